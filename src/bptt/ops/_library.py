"""The front door under torch.compile, export and tracing: the kernels as operators of torch.library.

An operator's outputs are tensors, all of them: what is absent is an empty one.
"""

from typing import Any

import torch
from torch import Tensor

from ._check import check_keep_shape, prepare
from ._passes import backward, forward
from ._problem import DIFFERENTIABLE, Inputs, Outputs, Shapes, Spec, dense, kept_shapes, sizes, state_dtype
from ._shared_library import DTYPES, OPS

_KERNELS = ("native", "triton")


def recurrence(spec: Spec, inputs: Inputs, *, keep: bool, cells: bool) -> Outputs:
    """`Outputs` of `Inputs`, as one node of a graph."""
    return Outputs(*_forward(*spec[:4], keep, cells, *map(dense, inputs)))


@torch.library.custom_op("bptt::recurrence", mutates_args=())
def _forward(
    op: str,
    reverse: bool,
    low: bool,
    kernels: str,
    keep: bool,
    cells: bool,
    x: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    h_tap: Tensor | None,
    c_tap: Tensor | None,
    lengths: Tensor | None,
    h_keep: Tensor | None,
    c_keep: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs = Inputs._make(
        map(dense, (x, h_0, c_0, w_ih, w_hh, b_ih, b_hh, h_tap, c_tap, lengths, h_keep, c_keep))
    )
    spec = Spec(op, reverse, low, kernels)
    _check_inputs(spec, inputs)
    out = forward(spec, inputs, keep=keep, cells=cells)
    y, h_n, c_n, every_cell, saved = (x.new_empty(0) if tensor is None else tensor for tensor in out)
    return y, h_n, c_n, every_cell, saved


@_forward.register_fake
def _(
    op: str, reverse: bool, low: bool, kernels: str, keep: bool, cells: bool, *inputs: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    spec, a = Spec(op, reverse, low, kernels), Inputs(*inputs)
    shapes = kept_shapes(spec, sizes(spec, a), a, keep=keep, cells=cells)._asdict()
    y, h_n, c_n, every_cell, saved = (
        a.x.new_empty((0,)) if shape is None else a.x.new_empty(shape, dtype=_dtype(name, a.x))
        for name, shape in shapes.items()
    )
    return y, h_n, c_n, every_cell, saved


@torch.library.custom_op("bptt::recurrence_backward", mutates_args=())
def _backward(
    op: str,
    reverse: bool,
    low: bool,
    kernels: str,
    wanted: str,
    grads: list[Tensor | None],
    inputs: list[Tensor | None],
    outputs: list[Tensor],
) -> list[Tensor]:
    spec, a = Spec(op, reverse, low, kernels), Inputs._make(map(dense, inputs))
    _check_inputs(spec, a)
    named = dict(zip(Outputs._fields, map(dense, grads), strict=False))
    y, cells, saved = (dense(tensor) if tensor.numel() else None for tensor in outputs)
    out = Outputs(y, None, None, cells, saved)
    shapes = kept_shapes(spec, sizes(spec, a), a, keep=True, cells=True)
    for name in ("y", "cells", "saved"):
        _check_result(name, getattr(out, name), name, shapes, a.x)
    for name, grad in named.items():
        if grad is not None:
            _check_result(f"the gradient of {name}", grad, name, shapes, a.x)
    names = wanted.split()
    found = backward(spec, a, out, named, frozenset(names))
    return [found[name] for name in names]


@_backward.register_fake
def _(*args: Any) -> list[Tensor]:
    *_, wanted, _, inputs, _ = args
    by_name = dict(zip(Inputs._fields, inputs, strict=True))
    return [torch.empty_like(by_name[name]) for name in wanted.split()]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    y, _, c_n, cells, saved = output
    ctx.spec, tensors = inputs[:4], inputs[6:]
    ctx.there = (True, True, c_n.numel() > 0, cells.numel() > 0)
    ctx.save_for_backward(*tensors, y, cells, saved)
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    inputs, outputs = ctx.saved_tensors[: len(Inputs._fields)], ctx.saved_tensors[len(Inputs._fields) :]
    names = [name for name, need in zip(DIFFERENTIABLE, ctx.needs_input_grad[6:], strict=False) if need]
    given = [grad if there else None for grad, there in zip(grads, ctx.there, strict=False)]
    found = dict(
        zip(names, _backward(*ctx.spec, " ".join(names), given, list(inputs), list(outputs)), strict=True)
    )
    return (None,) * 6 + tuple(map(found.get, Inputs._fields))


_forward.register_autograd(_autograd, setup_context=_setup_context)


def _check_inputs(spec: Spec, a: Inputs) -> None:
    """Refuse what the ops would refuse, or convert: the operators can be called without them."""
    if spec.op not in OPS:
        raise ValueError(f"op must be one of {', '.join(OPS)}, got {spec.op!r}")
    if spec.kernels not in _KERNELS:
        raise ValueError(f"kernels must be one of {', '.join(_KERNELS)}, got {spec.kernels!r}")
    if spec.kernels == "native" and a.x.dtype not in DTYPES:
        raise TypeError(f"x must be float32 or float64, got {a.x.dtype}")
    if spec.kernels == "native" and not a.x.is_cpu:
        raise ValueError(f"x must be on the CPU, got {a.x.device}")
    given = a._asdict()
    for name, tensor in given.items():
        dtype = _dtype(name, a.x)
        if tensor is not None and tensor.dtype != dtype:
            raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
    # In compiled graphs, the values of keeps are not looked at.
    more: dict[str, Any] = dict.fromkeys(("w_hr", "h_keep", "c_keep"))
    more |= {"nonlinearity": "tanh", "memory": "fast", "reverse": False, "return_cells": False}
    if spec.op == "lstm":
        more["hx"] = given.pop("h_0"), given.pop("c_0")
    prepare(spec.op.partition("_")[0], given | more)
    T, B = a.x.shape[:2]
    for name in ("h_keep", "c_keep"):
        keep = given[name]
        if keep is not None:
            check_keep_shape(name, keep, T, B)


def _check_result(what: str, tensor: Tensor | None, name: str, shapes: Shapes, x: Tensor) -> None:
    shape = getattr(shapes, name)
    got = None if tensor is None else (tuple(tensor.shape), tensor.dtype, tensor.device)
    wanted = None if shape is None else (shape, _dtype(name, x), x.device)
    if got != wanted:
        raise ValueError(f"{what} must be {wanted}, got {got}")


def _dtype(name: str, x: Tensor) -> torch.dtype:
    """What a field of `Inputs` or `Outputs` is held in, beside an x."""
    if name == "lengths":
        return torch.int64
    return state_dtype(x.dtype) if name.startswith("c") or name.endswith("keep") else x.dtype
