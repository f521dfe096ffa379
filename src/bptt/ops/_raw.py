"""One forward and one backward pass of a recurrence through the native kernels: tensors in, tensors out.

Both front doors (`_autograd`, `_library`) stand on these two functions. The kernels do what happens step by
step; the products over all steps (the input's projection, the gradients of the weights) are torch's, a few
steps at a time while their numbers are in the cache.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from . import _shared_library as native
from ._pool import pool
from ._problem import NARROW, Inputs, Outputs, Sizes, Spec, sizes
from ._products import products_over_steps, project

_POINTERS = (*Inputs._fields, *Outputs._fields, "panels")
_LINE = 64  # bytes of the cache that are loaded together
_PART = 2 << 20  # bytes of gate gradients in work at once: they stay in the last-level cache


class Shapes(NamedTuple):
    """Of `Outputs`."""

    y: tuple[int, ...]
    h_n: tuple[int, ...]
    c_n: tuple[int, ...] | None
    cells: tuple[int, ...] | None
    saved: tuple[int, ...] | None


def kept_shapes(spec: Spec, n: Sizes, a: Inputs, *, keep: bool, cells: bool) -> Shapes:
    """What `forward` gives."""
    every_h, last = (n.T, n.B, n.H), (n.B, n.H)
    saved = None
    if keep and n.slots == 4 and not spec.low:
        saved = (n.T, n.B, 4 * n.H)
    if keep and n.slots == 1 and a.h_tap is not None:
        saved = every_h
    if spec.op != "lstm":
        return Shapes(every_h, last, None, None, saved)
    return Shapes(every_h, last, last, every_h if keep or cells else None, saved)


def forward(spec: Spec, a: Inputs, *, keep: bool, cells: bool) -> Outputs:
    """Run over all steps.

    Args:
        spec, a: the call.
        keep: whether a backward pass will follow.
        cells: whether the cells of every step are wanted (LSTM).
    """
    n = sizes(spec, a)
    dtype = a.x.dtype
    shapes = kept_shapes(spec, n, a, keep=keep, cells=cells)
    out = Outputs(
        a.x.new_empty(shapes.y),  # the caller's: it may be resized, shared or kept, which ends a lease
        a.x.new_empty(shapes.h_n),
        None if a.c_0 is None else a.c_0.clone(),
        None if shapes.cells is None else pool.lease(shapes.cells, dtype),
        None if shapes.saved is None else pool.lease(shapes.saved, dtype),
    )
    call = _call(spec, n, a, out, native.FORWARD)
    whole = [(0, n.T)]
    for begin, end in whole if n.I <= NARROW else _parts(n, dtype, ascending=not spec.reverse):
        _run_forward(call, spec, n, a, begin, end)
    return out


def backward(
    spec: Spec, a: Inputs, out: Outputs, grads: Mapping[str, Tensor | None], wanted: frozenset[str]
) -> dict[str, Tensor]:
    """The gradients of the inputs.

    Args:
        spec, a: the call.
        out: what `forward` gave with `keep`.
        grads: dense gradients of y, h_n, c_n and cells, where there are any.
        wanted: names out of `DIFFERENTIABLE`.
    """
    n = sizes(spec, a)
    dtype, lstm = a.x.dtype, spec.op == "lstm"
    grad_h = _start(grads["h_n"], a.h_0)
    grad_c = _start(grads["c_n"], a.h_0) if lstm else None
    taps = {name: pool.lease((n.T, n.B, n.H), dtype) for name in ("h_tap", "c_tap") if name in wanted}
    call = _call(spec, n, a, out, native.BACKWARD)
    call.h_keep_stride, call.c_keep_stride = _stride(a.h_keep), _stride(a.c_keep)
    call.point({f"grad_{name}": tap for name, tap in taps.items()})
    steps = _part_steps(n, dtype)
    call.grad_gates_row = _apart(n.slots * n.H, dtype)
    grad_gates = pool.lease((steps * n.B, call.grad_gates_row), dtype)
    call.point(
        {
            "grad_y": grads["y"],
            "grad_cells": grads["cells"],
            "grad_h": grad_h,
            "grad_c": grad_c,
            "grad_gates": grad_gates,
        }
    )
    products = products_over_steps(spec, n, a, out.y, wanted, call, steps)
    gates = _GatesAgain(spec, n, a, out, steps) if spec.low and n.slots == 4 else None
    for begin, end in _parts(n, dtype, ascending=spec.reverse):
        if gates is not None:
            call.saved = gates.compute(begin, end)
        call.begin, call.end = begin, end
        call.run(spec.op, native.BACKWARD, dtype)
        call.pack = 0
        for product in products:
            product.add(begin, end, grad_gates)
    found = {"h_0": grad_h, **taps}
    if grad_c is not None:
        found["c_0"] = grad_c
    for product in products:
        found |= product.result()
    return {name: found[name] for name in wanted}


class _GatesAgain:
    """What `forward` would have saved, a part of the steps at a time."""

    def __init__(self, spec: Spec, n: Sizes, a: Inputs, out: Outputs, steps: int) -> None:
        self._problem = spec, n, a
        self._call = _call(spec, n, a, out, native.FORWARD)
        self._call.again = 1
        self._gates = pool.lease((steps, n.B, 4 * n.H), a.x.dtype)

    def compute(self, begin: int, end: int) -> int:
        """Fill in these steps; the address at which step 0 would lie."""
        before = begin * self._gates.stride(0) * self._gates.itemsize
        self._call.saved = address = self._gates.data_ptr() - before
        _run_forward(self._call, *self._problem, begin, end)
        return address


def _run_forward(call: native.Call, spec: Spec, n: Sizes, a: Inputs, begin: int, end: int) -> None:
    call.begin, call.end = begin, end
    if n.I > NARROW:
        projection = project(a.x[begin:end], a.w_ih, a.b_ih)
        call.projected, call.projection, call.projection_row = 1, projection.data_ptr(), n.gates * n.H
    call.run(spec.op, native.FORWARD, a.x.dtype)
    call.pack = 0


def _call(spec: Spec, n: Sizes, a: Inputs, out: Outputs, direction: int) -> native.Call:
    call = native.Call(
        T=n.T,
        B=n.B,
        I=n.I,
        H=n.H,
        begin=0,
        end=n.T,
        reverse=spec.reverse,
        threads=torch.get_num_threads(),
        pack=1,
    )
    panels = pool.lease((native.panel_bytes(spec.op, direction, a.x.dtype, n.I, n.H),), torch.uint8)
    given = dict(zip(_POINTERS, (*a, *out, panels), strict=True))
    if n.slots == 1:
        given["outputs"] = given.pop("saved")
    call.point(given)
    return call


def _start(grad: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if grad is None else grad.clone()


def _stride(keep: Tensor | None) -> int:
    return 1 if keep is not None and keep.dim() == 2 else 0


def _apart(width: int, dtype: torch.dtype) -> int:
    """An odd number of cache lines: rows so far apart do not compete for the same few places of a cache."""
    line = _LINE // dtype.itemsize
    return (-(-width // line) | 1) * line


def _part_steps(n: Sizes, dtype: torch.dtype) -> int:
    return max(1, min(n.T, _PART // max(1, n.B * n.slots * n.H * dtype.itemsize)))


def _parts(n: Sizes, dtype: torch.dtype, *, ascending: bool) -> Iterator[tuple[int, int]]:
    size = _part_steps(n, dtype)
    begins = range(0, n.T, size)
    for begin in begins if ascending else reversed(begins):
        yield begin, min(n.T, begin + size)
