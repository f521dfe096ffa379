"""How open the gates of a recurrent layer are, and how long its memory is by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn import functional as F

from ._copied import Call, called
from ._flows import quantile_of
from ._steps import from_end, trajectories
from ._trajectory import Trajectory

SATURATED = 0.05  # so near to one of its ends is a gate saturated

Quantity = Literal["memory", "carried"]


@dataclass(frozen=True)
class Gates:
    """The gates of one layer in one direction.

    With `T` steps, `B` sequences and `H` hidden units; f is the forget gate of an LSTM, z of a GRU.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        saturated: for each gate (i f g o, r z n, or the new state h of an RNN) the share of units and
            sequences where it is saturated, `(T,)`: a sigmoid below 0.05 or above 0.95, a tanh beyond 0.95 in
            size, a relu that is 0. NaN at a step that no sequence has.
        memory: the effective memory 1/(1 − f) in steps, `(T, B, H)` in float64; NaN beyond a length. None for
            an RNN.
        carried: row k is the natural log of the product of f over the last k steps of each sequence's run,
            `(T, B, H)`: what the carry alone keeps of a state over the lag k. NaN where there is no such
            step; None for an RNN.
        values: the gates themselves, `(T, B, H)` for each, NaN beyond a length, if they were asked for.
    """

    name: str
    layer: int
    direction: int
    saturated: Mapping[str, Tensor]
    memory: Tensor | None
    carried: Tensor | None
    values: Mapping[str, Tensor] | None = None

    def quantile(self, q: float, of: Quantity = "carried") -> Tensor:
        """`(T,)`: over units and sequences, at every lag (carried) or step (memory)."""
        values = self.carried if of == "carried" else self.memory
        if values is None:
            raise ValueError(f"of must be a quantity of a layer with a forget gate, got {of!r} of an RNN")
        return quantile_of(values.flatten(1), q)

    def median(self, of: Quantity = "carried") -> Tensor:
        """`(T,)`: over units and sequences, as `quantile`."""
        return self.quantile(0.5, of)

    def band(self, of: Quantity = "carried") -> tuple[Tensor, Tensor]:
        """`(T,)` twice: the 10 % and the 90 % quantile."""
        return self.quantile(0.1, of), self.quantile(0.9, of)


def gates(model: Module, batch: Any, *, full: bool = False, call: Call = called) -> tuple[Gates, ...]:
    """How saturated the gates of every recurrent layer are, and what its forget gates keep over time.

    Args:
        model, batch, call: as in `lag_profile`; the model runs in its own dtype, and its gates are computed
            again in float64 from the states that it passes through.
        full: also keep the values of the gates.

    Returns:
        One for each layer and direction.

    Raises:
        ValueError: if there is no recurrent layer, it is not called exactly once, or a state is not finite,
            saying where.
    """
    return tuple(_gates(each, full) for each in trajectories(model, batch, call))


def _gates(trajectory: Trajectory, full: bool) -> Gates:
    values = trajectory.gates()
    there = trajectory.valid.unsqueeze(-1)
    memory = carried = None
    if trajectory.op != "rnn":
        # 1/(1 − σ(a)) = 1 + e^a and ln σ(a), where σ(a) itself may have been rounded to 1 or 0
        memory = torch.where(there, 1 + _forget(trajectory).exp(), torch.nan)
        by_lag = from_end(trajectory)
        kept = F.logsigmoid(_forget(by_lag)).cumsum(0)
        over = torch.cat([torch.zeros_like(kept[:1]), kept[:-1]])
        carried = torch.where(by_lag.valid.unsqueeze(-1), over, torch.nan)
    return Gates(
        trajectory.name,
        trajectory.layer,
        trajectory.direction,
        {
            gate: _share(_saturated(trajectory, gate, value), trajectory.valid)
            for gate, value in values.items()
        },
        memory,
        carried,
        {gate: torch.where(there, value, torch.nan) for gate, value in values.items()} if full else None,
    )


def _forget(trajectory: Trajectory) -> Tensor:
    """What f or z is the sigmoid of."""
    return trajectory.preactivations()["f" if trajectory.op == "lstm" else "z"]


def _saturated(trajectory: Trajectory, gate: str, value: Tensor) -> Tensor:
    if gate == "h" and trajectory.nonlinearity == "relu":
        return value == 0
    if gate in ("g", "n", "h"):
        return value.abs() > 1 - SATURATED
    return (value < SATURATED) | (value > 1 - SATURATED)


def _share(there: Tensor, valid: Tensor) -> Tensor:
    """`(T,)`: of units and sequences within their lengths."""
    return (there & valid.unsqueeze(-1)).sum((1, 2)).double() / (valid.sum(1) * there.shape[-1])
