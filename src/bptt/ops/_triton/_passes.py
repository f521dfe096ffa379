"""One forward and one backward pass of a recurrence through the Triton kernels: tensors in, tensors out.

All tensors have replicas in front; a stride of 0 there shares one among them.
"""

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from .._problem import Inputs, Outputs, Spec, dense, kept_shapes, sizes, state_dtype
from . import _stepwise
from ._graphs import Arguments
from ._launch import launch
from ._plan import plan
from ._products import GradientSums, arguments_again, b_n, from_inputs, states_before
from .kernels import gru, lstm, rnn

_KERNELS: dict[str, ModuleType] = {"lstm": lstm, "gru": gru, "rnn": rnn}
_CHUNK = 64 << 20  # bytes of gates that are computed again at a time


def forward(spec: Spec, a: Inputs, *, keep: bool, cells: bool) -> Outputs:
    """Run over all steps; see `.._passes.forward`."""
    op, (R, T, B, _), H = spec.op.partition("_")[0], a.x.shape, a.w_hh.shape[2]
    real = state_dtype(a.x.dtype)
    h, c = _copy(a.h_0, real), _copy(a.c_0, real)
    one = _first(a)
    shapes = kept_shapes(spec, sizes(spec, one), one, keep=keep, cells=cells)
    y = a.x.new_empty(R, *shapes.y)
    every_cell = None if shapes.cells is None else a.x.new_empty(R, *shapes.cells, dtype=real)
    saved = None if shapes.saved is None else a.x.new_empty(R, *shapes.saved)
    arguments = _common(spec, a) | _with_strides(h_tap=a.h_tap, c_tap=a.c_tap, b_n=b_n(a))
    arguments |= {"x": from_inputs(a, op, slice(0, T)), "h": h, "c": c, "y": y, "cells": every_cell}
    arguments |= {"saved": saved, "product": None, "operand": None, "start": 0, "steps": T}
    how = plan(op, H, a.x.dtype, a.x.device)
    if how.resident:
        launch(_KERNELS[op].forward, how, arguments)
    else:
        arguments |= {"weights": a.w_hh, "operand": _copy(a.h_0, a.x.dtype)}
        arguments["product"] = a.x.new_empty(R, B, a.w_hh.shape[1])
        _stepwise.forward(_KERNELS[op], how, arguments)
    return Outputs(y, h.to(a.x.dtype), c, every_cell, saved)


def backward(
    spec: Spec, a: Inputs, out: Outputs, grads: Mapping[str, Tensor | None], wanted: frozenset[str]
) -> dict[str, Tensor]:
    """The gradients of the inputs; see `.._passes.backward`."""
    op, (R, T, B, _), H = spec.op.partition("_")[0], a.x.shape, a.w_hh.shape[2]
    real, how = state_dtype(a.x.dtype), plan(op, H, a.x.dtype, a.x.device)
    dh, dc = _start(grads["h_n"], a.h_0, real), None if a.c_0 is None else _start(grads["c_n"], a.c_0, real)
    taps = {name: _like(getattr(a, name)) for name in wanted & {"h_tap", "c_tap"}}
    h_keep, c_keep = a.h_keep, a.c_keep
    y = dense(out.y)
    arguments = _common(spec, a) | _with_strides(h_keep=h_keep, c_keep=c_keep)
    arguments |= {
        "H_KEEP_PER_ROW": h_keep is not None and h_keep.dim() == 3,
        "C_KEEP_PER_ROW": c_keep is not None and c_keep.dim() == 3,
        "y": y,
        "cells": dense(out.cells),
        "h_0": dense(a.h_0),
        "c_0": dense(a.c_0),
        "grad_y": dense(grads["y"]),
        "grad_cells": dense(grads["cells"]),
        "product": None if how.resident else torch.empty_like(dh, dtype=a.x.dtype),
        "weights": a.w_hh,
        "dh": dh,
        "dc": dc,
        "d_h_tap": taps.get("h_tap"),
        "d_c_tap": taps.get("c_tap"),
        "ACTIVE": out.saved is not None,
    }
    sums = GradientSums(a, op, wanted)
    again = op != "rnn" and out.saved is None
    most = max(1, _CHUNK // (R * B * 4 * H * a.x.itemsize)) if again else T
    for start, part in _parts(T, most, reverse=spec.reverse):
        count = part.stop - part.start
        before = states_before(a, y, part, reverse=spec.reverse)
        saved = arguments_again(a, op, before, part) if again else dense(out.saved)
        d_gates = a.x.new_empty(R, count, B, sizes(spec, _first(a)).slots * H)
        arguments |= {"saved": y if saved is None else saved, "d_gates": d_gates}
        arguments |= {"first": part.start, "count": count, "start": start, "steps": count}
        if how.resident:
            launch(_KERNELS[op].backward, how, arguments)
        else:
            _stepwise.backward(_KERNELS[op], how, arguments)
        sums.add(part, d_gates, before)
    if not how.resident:
        dh += _scaled(arguments["product"], h_keep, T - 1 if spec.reverse else 0)
    found = taps | {"h_0": dh.to(a.x.dtype)} | sums.totals()
    if dc is not None:
        found["c_0"] = dc
    return {name: found[name] for name in wanted}


def _common(spec: Spec, a: Inputs) -> Arguments:
    _, T, B, _ = a.x.shape
    numbers = {"T": T, "B": B, "H": a.w_hh.shape[2]}
    flags = {"REVERSE": spec.reverse, "RELU": spec.op == "rnn_relu"}
    return numbers | flags | _with_strides(w=a.w_hh, lengths=a.lengths)


def _with_strides(**tensors: Tensor | None) -> Arguments:
    """Tensors, and how far one replica's part is from the next one's."""
    arguments: Arguments = {}
    for name, tensor in tensors.items():
        dense = tensor
        if tensor is not None and not (
            tensor[0].is_contiguous() and tensor.stride(0) in (0, tensor[0].numel())
        ):
            dense = tensor.contiguous()
        arguments[name] = dense
        arguments[f"{name}_stride"] = 0 if dense is None else dense.stride(0)
    return arguments


def _parts(T: int, most: int, *, reverse: bool) -> Iterator[tuple[int, slice]]:
    """Parts of the steps in the order of a backward pass, and how many steps come before each."""
    for start in range(0, T, most):
        count = min(most, T - start)
        first = start if reverse else T - start - count
        yield start, slice(first, first + count)


def _first(a: Inputs) -> Inputs:
    return Inputs._make(None if tensor is None else tensor[0] for tensor in a)


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _copy(state: Any, dtype: torch.dtype) -> Any:
    return None if state is None else state.to(dtype, copy=True, memory_format=torch.contiguous_format)


def _start(grad: Tensor | None, like: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(like.shape, dtype=dtype, device=like.device) if grad is None else _copy(grad, dtype)


def _scaled(gradient: Tensor, keep: Tensor | None, t: int) -> Tensor:
    """A blocked path carries nothing, not even 0 × inf."""
    if keep is None:
        return gradient
    factor = keep[:, t].reshape(len(keep), -1, 1)
    return torch.where(factor == 0, 0, gradient * factor)
