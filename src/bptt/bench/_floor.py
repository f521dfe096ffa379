"""The least time that a recurrence can take on this machine."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from .. import ops
from ._case import GATES, Case

# One LSTM cell, forward and backward, without its products: 4.9 ns where one tanh takes 0.355 ns.
_CELL, _TANH = 4.9e-9, 0.355e-9
_ACTIVATIONS = {"lstm": 5, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Machine:
    """What the machine can do at a moment.

    Attributes:
        peak: float32 operations per second of some threads together.
        activation: seconds that one thread needs for one tanh.
    """

    peak: float
    activation: float


def now(threads: int) -> Machine | None:
    """What so many threads can do, measured in about a millisecond; None without the native kernels."""
    try:
        return Machine(ops.fma_peak(threads, trials=1), ops.activation_seconds(trials=1))
    except RuntimeError:
        return None


def middle(machines: Sequence[Machine]) -> Machine:
    """The medians of several measurements."""
    return Machine(
        statistics.median(machine.peak for machine in machines),
        statistics.median(machine.activation for machine in machines),
    )


def has_floor(case: Case) -> bool:
    """Whether `floor` tells anything of a case."""
    return case.plain and case.mode == "train" and case.p == 0


def floor(case: Case, machine: Machine) -> float | None:
    """The seconds of a forward and a backward pass with all products at the peak.

    The rest of a cell is that of a probe, in proportion to a tanh here, and no bound:

    F / peak + T·B·H·e / threads, where F = G·2·T·B·H·(3H + 2I), or 3I if the input needs a gradient; G = 4
    gates for an LSTM, 3 for a GRU, 1 for an RNN; and e in proportion to a tanh.

    Returns:
        The floor, or None for anything but one layer in one direction, forward and backward, at p = 0.
    """
    if not has_floor(case):
        return None
    T, B, I, H = case.shape.T, case.shape.B, case.shape.I, case.shape.H
    inputs = 3 if case.needs_input_gradient else 2
    operations = GATES[case.cell] * 2 * T * B * H * (3 * H + inputs * I)
    cell = _CELL * machine.activation / _TANH * _ACTIVATIONS[case.cell] / _ACTIVATIONS["lstm"]
    return operations / machine.peak + T * B * H * cell / case.threads
