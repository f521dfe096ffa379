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

from ._scale_grad import scale_grad

State = tuple[Tensor, ...]
Scanned = tuple[list[Tensor], State]  # every step's outputs, and the last state


class Inputs(NamedTuple):
    """What the cell reads at one step, or (with a leading T) at every step."""

    x: Tensor
    valid: Tensor | None  # (B, 1): whether the sequence has this step
    h_keep: Tensor | None = None  # () or (B, 1)
    c_keep: Tensor | None = None
    h_tap: Tensor | None = None
    c_tap: Tensor | None = None


Cell = Callable[[Inputs, State], State]


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
    def cell(at: Inputs, state: State) -> State:
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
    def cell(at: Inputs, state: State) -> State:
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

    def cell(at: Inputs, state: State) -> State:
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
) -> Inputs:
    def per_row(keep: Tensor | None) -> Tensor | None:
        return keep.unsqueeze(-1) if keep is not None and keep.dim() == 2 else keep

    valid = None
    if lengths is not None:
        steps = torch.arange(x.shape[0], device=x.device)
        valid = (steps[:, None] < lengths.to(x.device)).unsqueeze(-1)
        x, h_tap, c_tap = (None if s is None else torch.where(valid, s, 0) for s in (x, h_tap, c_tap))
    return Inputs(x, valid, per_row(h_keep), per_row(c_keep), h_tap, c_tap)


def _scan(
    cell: Cell,
    inputs: Inputs,
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

    def segment(part: Inputs, state: State) -> Scanned:
        part = part._replace(x=F.linear(part.x, *projection))
        # Unbinding once keeps the backward pass linear in T: x[t] would fill T zero tensors of T steps each.
        steps = list(zip(*(_each_step(sequence, len(part.x)) for sequence in part), strict=True))
        history: list[State] = []
        for at in map(Inputs._make, reversed(steps) if reverse else steps):
            state, visible = _advance(cell, at, state)
            history.append(visible[:outputs])
        if reverse:
            history.reverse()
        return [torch.stack(series) for series in zip(*history, strict=True)], state

    if memory == "fast":
        return segment(inputs, state)
    size = isqrt(len(inputs.x) - 1) + 1
    pieces = zip(*(_split(sequence, len(inputs.x), size) for sequence in inputs), strict=True)
    parts = list(map(Inputs._make, pieces))
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


def _advance(cell: Cell, at: Inputs, state: State) -> tuple[State, State]:
    """The next state, and what of it is visible in the outputs."""
    if at.valid is None:
        state = cell(at, state)
        return state, state
    # A finished sequence feeds zeros to the cell, so that nothing it computes there can be inf or NaN.
    valid = at.valid
    stepped = cell(at, tuple(torch.where(valid, s, 0) for s in state))
    state = tuple(torch.where(valid, new, old) for new, old in zip(stepped, state, strict=True))
    return state, tuple(torch.where(valid, s, 0) for s in stepped)


def _each_step(sequence: Tensor | None, T: int) -> Sequence[Tensor | None]:
    return (None,) * T if sequence is None else sequence.unbind(0)


def _split(sequence: Tensor | None, T: int, size: int) -> Sequence[Tensor | None]:
    return (None,) * -(-T // size) if sequence is None else sequence.split(size)
