"""The definition of the recurrences: a plain loop over time, on any device, dtype and order of derivative.

Every other backend has these signatures and is compared with these functions. The arguments are those of
the public ops, already checked.
"""

from collections.abc import Callable, Sequence
from math import isqrt
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ._concrete import has_values
from ._scale_grad import scale_grad

State = tuple[Tensor, ...]
Scanned = tuple[list[Tensor], State]  # every step's outputs, and the last state


Series = Tensor | list[float] | None  # what there is of a sequence: T rows, T numbers, or nothing


class Step(NamedTuple):
    """What the cell reads at one step."""

    x: Tensor
    valid: Tensor | None  # (B, 1): whether the sequence has this step
    h_keep: Tensor | float | None  # one factor, or (B, 1)
    c_keep: Tensor | float | None
    h_tap: Tensor | None
    c_tap: Tensor | None


class Steps(NamedTuple):
    """What the cell reads at every step, in the order of `Step`."""

    x: Tensor
    valid: Series
    h_keep: Series
    c_keep: Series
    h_tap: Series
    c_tap: Series


Cell = Callable[[Step, State], State]


def lstm(
    x: Tensor,
    hx: tuple[Tensor, Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    w_hr: Tensor | None,
    lengths: Tensor | None,
    reverse: bool,
    h_keep: Tensor | None,
    c_keep: Tensor | None,
    h_tap: Tensor | None,
    c_tap: Tensor | None,
    return_cells: bool,
    memory: str,
) -> tuple[Tensor, State] | tuple[Tensor, State, Tensor]:
    def cell(at: Step, state: State) -> State:
        h, c = state
        i, f, g, o = (at.x + F.linear(scale_grad(h, at.h_keep), w_hh, b_hh)).chunk(4, -1)
        c = f.sigmoid() * scale_grad(c, at.c_keep) + i.sigmoid() * g.tanh()
        c = _tapped(c, at.c_tap)
        h = (o.sigmoid() * c.tanh()).to(h.dtype)
        if w_hr is not None:
            h = F.linear(h, w_hr)
        return _tapped(h, at.h_tap), c

    inputs = _inputs(x, lengths, h_keep, c_keep, h_tap, c_tap)
    series, (h_n, c_n) = _scan(
        cell, inputs, tuple(hx), (w_ih, b_ih), outputs=1 + return_cells, reverse=reverse, memory=memory
    )
    return (series[0], (h_n, c_n), series[1]) if return_cells else (series[0], (h_n, c_n))


def gru(
    x: Tensor,
    h_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    lengths: Tensor | None,
    reverse: bool,
    h_keep: Tensor | None,
    c_keep: Tensor | None,
    h_tap: Tensor | None,
    memory: str,
) -> tuple[Tensor, Tensor]:
    def cell(at: Step, state: State) -> State:
        (h,) = state
        x_r, x_z, x_n = at.x.chunk(3, -1)
        h_r, h_z, h_n = F.linear(scale_grad(h, at.h_keep), w_hh, b_hh).chunk(3, -1)
        z = (x_z + h_z).sigmoid()
        n = (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
        return (_tapped((1 - z) * n + z * scale_grad(h, at.c_keep), at.h_tap),)

    inputs = _inputs(x, lengths, h_keep, c_keep, h_tap, None)
    (y,), (h_n,) = _scan(cell, inputs, (h_0,), (w_ih, b_ih), outputs=1, reverse=reverse, memory=memory)
    return y, h_n


def rnn(
    x: Tensor,
    h_0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    *,
    nonlinearity: str,
    lengths: Tensor | None,
    reverse: bool,
    h_keep: Tensor | None,
    h_tap: Tensor | None,
    memory: str,
) -> tuple[Tensor, Tensor]:
    activation = torch.tanh if nonlinearity == "tanh" else torch.relu

    def cell(at: Step, state: State) -> State:
        (h,) = state
        return (_tapped(activation(at.x + F.linear(scale_grad(h, at.h_keep), w_hh, b_hh)), at.h_tap),)

    inputs = _inputs(x, lengths, h_keep, None, h_tap, None)
    (y,), (h_n,) = _scan(cell, inputs, (h_0,), (w_ih, b_ih), outputs=1, reverse=reverse, memory=memory)
    return y, h_n


def _tapped(state: Tensor, tap: Tensor | None) -> Tensor:
    return state if tap is None else (state + tap).to(state.dtype)


def _inputs(
    x: Tensor,
    lengths: Tensor | None,
    h_keep: Tensor | None,
    c_keep: Tensor | None,
    h_tap: Tensor | None,
    c_tap: Tensor | None,
) -> Steps:
    valid = None
    if lengths is not None:
        steps = torch.arange(x.shape[0], device=x.device)
        valid = (steps[:, None] < lengths.to(x.device)).unsqueeze(-1)
        x = torch.where(valid, x, 0)
        h_tap, c_tap = (None if tap is None else torch.where(valid, tap, 0) for tap in (h_tap, c_tap))
    return Steps(x, valid, _factors(h_keep), _factors(c_keep), h_tap, c_tap)


def _scan(
    cell: Cell,
    inputs: Steps,
    state: State,
    projection: tuple[Tensor, Tensor | None],
    *,
    outputs: int,
    reverse: bool,
    memory: str,
) -> Scanned:
    """Run `cell` over time; returns the first `outputs` states of every step, and the last state.

    With `memory="low"` only the states at the borders of about √T segments are kept, and each segment is
    computed again when its gradient is wanted.
    """

    def segment(part: Steps, state: State) -> Scanned:
        part = part._replace(x=F.linear(part.x, *projection))
        # Unbinding once keeps the backward pass linear in T: x[t] would fill T zero tensors of T steps each.
        steps = list(zip(*(_each_step(series, len(part.x)) for series in part), strict=True))
        history: list[State] = []
        for at in map(Step._make, reversed(steps) if reverse else steps):
            state, visible = _advance(cell, at, state)
            history.append(visible[:outputs])
        if reverse:
            history.reverse()
        return [torch.stack(series) for series in zip(*history, strict=True)], state

    if memory == "fast":
        return segment(inputs, state)
    size = isqrt(len(inputs.x) - 1) + 1
    pieces = zip(*(_split(series, len(inputs.x), size) for series in inputs), strict=True)
    parts = list(map(Steps._make, pieces))
    collected: list[list[Tensor]] = []
    for part in reversed(parts) if reverse else parts:
        series, state = cast(
            Scanned,
            checkpoint(segment, part, state, use_reentrant=False, preserve_rng_state=False),
        )
        collected.append(series)
    if reverse:
        collected.reverse()
    return [torch.cat(series) for series in zip(*collected, strict=True)], state


def _advance(cell: Cell, at: Step, state: State) -> tuple[State, State]:
    """The next state, and what of it is visible in the outputs."""
    if at.valid is None:
        state = cell(at, state)
        return state, state
    # A finished sequence feeds zeros to the cell, so that nothing it computes there can be inf or NaN.
    valid = at.valid
    stepped = cell(at, tuple(torch.where(valid, s, 0) for s in state))
    state = tuple(torch.where(valid, new, old) for new, old in zip(stepped, state, strict=True))
    return state, tuple(torch.where(valid, s, 0) for s in stepped)


def _factors(keep: Tensor | None) -> Series:
    """Keeps by step: numbers where one coin holds for the whole batch and is at hand without a wait."""
    if keep is None or keep.dim() == 2:
        return None if keep is None else keep.unsqueeze(-1)
    return keep.tolist() if has_values(keep) else keep


def _each_step(series: Series, T: int) -> Sequence[Tensor | float | None]:
    if series is None:
        return (None,) * T
    return series.unbind(0) if isinstance(series, Tensor) else series


def _split(series: Series, T: int, size: int) -> Sequence[Series]:
    if series is None:
        return (None,) * -(-T // size)
    if isinstance(series, Tensor):
        return series.split(size)
    return [series[start : start + size] for start in range(0, T, size)]
