"""The first value inside a recurrent layer that is not finite: in a step, or in the gradient through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ._trajectory import Trajectory


class Series(NamedTuple):
    """What every step computes: `(T, B, ·)`."""

    key: str
    what: str
    gate: str | None
    values: Tensor


@dataclass(frozen=True)
class Fault:
    """The first value, and the finite ones of its sequence that it was computed from."""

    what: str
    gate: str | None
    index: tuple[int, ...]  # step, sequence and unit; or that in a weight
    value: float
    before: dict[str, Tensor]


def forward_fault(at: Trajectory) -> Fault | None:
    """The first in the order of the run; the weights, as they served the call, come first."""
    for name, weight in vars(at.weights).items():
        if weight is not None and not weight.isfinite().all():
            index = tuple((~weight.isfinite()).nonzero()[0].tolist())
            return Fault(name, None, index, weight[index].item(), {})
    with torch.no_grad():
        series = [*_states(at), *_gates(at), *_next(at)]
    hit = _first(at, series)
    if hit is None:
        return None
    place, step, sequence = hit
    fault = series[place]
    read = (each for each in series[:place] if _reads(fault, each))
    return _fault(fault, step, sequence, {each.key: each.values[step, sequence] for each in read})


def backward_fault(at: Trajectory, gradients: Mapping[str, Tensor]) -> Fault | None:
    """The first in the order of the backward pass, of dL/dh_t, dL/dc_t and dL/da_t of every gate's a_t."""
    pre, series = _gradients(at, gradients)
    hit = _first(at, series, backward=True)
    if hit is None:
        return None
    place, step, sequence = hit
    fault = series[place]
    before = {each.key: each.values[step, sequence] for each in _states(at) if each.key != "x"}
    before |= {f"a_{gate}": a[step, sequence] for gate, a in pre.items() if fault.gate in (None, gate)}
    came = step + (-1 if at.direction else 1)  # the step before it in the backward pass
    if fault.gate is None and 0 <= came < len(at.x) and at.valid[came, sequence]:
        before |= {f"{each.key}[{came}]": each.values[came, sequence] for each in series}
    before |= {f"{each.key}[{step}]": each.values[step, sequence] for each in series[:place] if not each.gate}
    return _fault(fault, step, sequence, before)


def _states(at: Trajectory) -> list[Series]:
    """The input and the state before a step."""
    found = [Series("x", "input", None, at.x), Series("h", "initial state h", None, at.h)]
    return found if at.c is None else [*found, Series("c", "initial cell c", None, at.c)]


def _gates(at: Trajectory) -> list[Series]:
    pre = at.preactivations()
    x, h = (dict(zip(pre, each.chunk(len(pre), -1), strict=True)) for each in at.projected())
    return [
        *(Series(f"x_{gate}", "input projection", gate, x[gate]) for gate in pre),
        *(Series(f"h_{gate}", "recurrent projection", gate, h[gate]) for gate in pre),
        *(Series(f"a_{gate}", "pre-activation", gate, pre[gate]) for gate in pre),
    ]


def _next(at: Trajectory) -> list[Series]:
    cells = [] if at.c_next is None else [Series("c_next", "cell c", None, at.c_next)]
    return [*cells, Series("h_next", "state h", None, at.h_next)]


def _reads(reader: Series, other: Series) -> bool:
    """Whether what comes first may be named as what the reader was computed from."""
    if other.gate is None:
        return True
    return other.what == "pre-activation" if reader.gate is None else other.gate == reader.gate


def _gradients(at: Trajectory, gradients: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], list[Series]]:
    """The pre-activations; and dL/dh_t, dL/dc_t and theirs from them, by autograd of every step alone."""
    alone = {name: getattr(at, name) for name in ("x", "h", "c", "c_next")}
    alone = {name: each if each is None else each.detach() for name, each in alone.items()}
    alone["x"].requires_grad_()
    with torch.enable_grad():
        step = replace(at, **alone)
        pre = step.preactivations()
        after = _advanced(step, pre)
    given = [gradients[name] for name in after]
    found = torch.autograd.grad(list(after.values()), list(pre.values()), given, materialize_grads=True)
    words = {"h": "state h", "c": "cell c"}
    return pre, [
        *(Series(f"d{name}", words[name], None, gradients[name]) for name in after),
        *(Series(f"da_{gate}", "pre-activation", gate, each) for gate, each in zip(pre, found, strict=True)),
    ]


def _advanced(at: Trajectory, pre: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The states after each step, of the gates' pre-activations; h of an LSTM reads c_t as a value."""
    gate = at.gates(pre)
    if at.op == "rnn":
        return {"h": gate["h"]}
    if at.op == "gru":
        return {"h": (1 - gate["z"]) * gate["n"] + gate["z"] * at.h}
    if at.c is None or at.c_next is None:
        raise ValueError("an LSTM must have cells, got None")
    h = gate["o"] * at.c_next.tanh()
    if at.weights.w_hr is not None:
        h = F.linear(h.to(at.weights.w_hr.dtype), at.weights.w_hr.detach())
    return {"h": h, "c": gate["f"] * at.c + gate["i"] * gate["g"]}


def _first(
    at: Trajectory, series: Sequence[Series], *, backward: bool = False
) -> tuple[int, int, int] | None:
    """Which series, step and sequence come first: by step in the order of a pass, then as listed."""
    bad = torch.stack([~each.values.isfinite().all(-1) & at.valid for each in series], 1)
    if not bad.any():
        return None
    turned = (at.direction == 1) != backward
    step, place, sequence = (bad.flip(0) if turned else bad).nonzero()[0].tolist()
    return place, len(bad) - 1 - step if turned else step, sequence


def _fault(of: Series, step: int, sequence: int, before: Mapping[str, Tensor]) -> Fault:
    row = of.values[step, sequence].detach()
    unit = int((~row.isfinite()).nonzero()[0])
    kept = {key: each.detach().clone() for key, each in before.items()}
    return Fault(of.what, of.gate, (step, sequence, unit), row[unit].item(), kept)
