"""One forward and one backward pass of a recurrence through the native kernels: tensors in, tensors out."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from . import _shared_library as native
from ._check import check_lengths
from ._pool import pool
from ._problem import DIFFERENTIABLE, Inputs, Outputs, Sizes, Spec, kept_shapes, sizes


def forward(spec: Spec, a: Inputs, *, keep: bool, cells: bool) -> Outputs:
    """Run over all steps; see `_passes.forward`."""
    n = sizes(spec, a)
    if a.lengths is not None:  # a compiled graph and a transform see them here for the first time
        check_lengths(a.lengths, n.T, n.B)
    dtype = a.x.dtype
    shapes = kept_shapes(spec, n, a, keep=keep, cells=cells)
    a = _added(a)
    out = Outputs(
        a.x.new_empty(*shapes.y),  # the caller's: it may be resized, shared or kept, which ends a lease
        a.x.new_empty(*shapes.h_n),
        None if a.c_0 is None else a.c_0.clone(),
        None if shapes.cells is None else pool.lease(shapes.cells, dtype),
        None if shapes.saved is None else pool.lease(shapes.saved, dtype),
    )
    _call(spec, n, a, *out).run(spec.op, native.FORWARD, dtype)
    return out


def backward(
    spec: Spec, a: Inputs, out: Outputs, grads: Mapping[str, Tensor | None], wanted: frozenset[str]
) -> dict[str, Tensor]:
    """The gradients of the inputs; see `_passes.backward`."""
    n = sizes(spec, a)
    # Hooks on saved tensors may have given them other strides.
    given, a, out = a, Inputs._make(_dense(_added(a))), Outputs._make(_dense(out))
    grads = dict(zip(grads, _dense(grads.values()), strict=True))
    found = {"h_0": _start(grads["h_n"], a.h_0)}
    if a.c_0 is not None:
        found["c_0"] = _start(grads["c_n"], a.c_0)
    for name in wanted - found.keys():
        like: Tensor = getattr(given, name)
        leased = name in ("h_tap", "c_tap")
        found[name] = (pool.lease if leased else a.x.new_empty)(like.shape, dtype=like.dtype)
    gradients = map(found.get, DIFFERENTIABLE)
    call = _call(spec, n, a, *out, grads["y"], grads["cells"], *gradients)
    call.run(spec.op, native.BACKWARD, a.x.dtype)
    return {name: found[name] for name in wanted}


def _call(spec: Spec, n: Sizes, a: Inputs, *rest: Tensor | None) -> native.Call:
    """The struct for a call. `rest`: `Outputs`, and in a backward pass gradients in the struct's order."""
    strides = _stride(a.h_keep), _stride(a.c_keep)
    addresses = [None if tensor is None else tensor.data_ptr() for tensor in (*a, *rest)]
    return native.Call(
        n.T, n.B, n.I, n.H, spec.reverse, torch.get_num_threads(), 0, *strides, None, 0, *addresses
    )


def _added(a: Inputs) -> Inputs:
    """The same with taps without gaps, and without those that add nothing."""
    if a.h_tap is None and a.c_tap is None:
        return a
    h_tap, c_tap = _dense(None if tap is None or _is_zero(tap) else tap for tap in (a.h_tap, a.c_tap))
    return a._replace(h_tap=h_tap, c_tap=c_tap)


def _is_zero(tap: Tensor) -> bool:
    """Whether a tap is known to be zero: one number in all places."""
    return not any(tap.stride()) and tap[0, 0, 0].item() == 0


def _dense(tensors: Iterable[Tensor | None]) -> list[Any]:
    return [t if t is None or t.is_contiguous() else pool.dense(t) for t in tensors]


def _start(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad.clone()


def _stride(keep: Tensor | None) -> int:
    return 1 if keep is not None and keep.dim() == 2 else 0
