"""The front door under torch.compile, export and tracing: the native kernels as operators of torch.library.

An operator's outputs are tensors, all of them: what is absent is an empty one.
"""

from typing import Any

import torch
from torch import Tensor

from ._check import check_keep_shape, prepare
from ._problem import DIFFERENTIABLE, Inputs, Outputs, Spec, sizes
from ._raw import backward, forward, kept_shapes
from ._shared_library import DTYPES, OPS


def recurrence(spec: Spec, inputs: Inputs, *, keep: bool, cells: bool) -> Outputs:
    """`Outputs` of `Inputs`, as one node of a graph."""
    return Outputs(*_forward(*spec, keep, cells, *inputs))


@torch.library.custom_op("bptt::recurrence", mutates_args=())
def _forward(
    op: str,
    reverse: bool,
    low: bool,
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
        map(_dense, (x, h_0, c_0, w_ih, w_hh, b_ih, b_hh, h_tap, c_tap, lengths, h_keep, c_keep))
    )
    spec = Spec(op, reverse, low)
    _check_inputs(spec, inputs)
    out = forward(spec, inputs, keep=keep, cells=cells)
    y, h_n, c_n, every_cell, saved = (x.new_empty(0) if tensor is None else tensor for tensor in out)
    return y, h_n, c_n, every_cell, saved


@_forward.register_fake
def _(
    op: str, reverse: bool, low: bool, keep: bool, cells: bool, *inputs: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    spec, a = Spec(op, reverse, low), Inputs(*inputs)
    shapes = kept_shapes(spec, sizes(spec, a), a, keep=keep, cells=cells)
    x = inputs[0]
    y, h_n, c_n, every_cell, saved = (x.new_empty((0,) if shape is None else shape) for shape in shapes)
    return y, h_n, c_n, every_cell, saved


@torch.library.custom_op("bptt::recurrence_backward", mutates_args=())
def _backward(
    op: str,
    reverse: bool,
    low: bool,
    wanted: str,
    grads: list[Tensor | None],
    inputs: list[Tensor | None],
    outputs: list[Tensor],
) -> list[Tensor]:
    spec, a = Spec(op, reverse, low), Inputs._make(map(_dense, inputs))
    _check_inputs(spec, a)
    named = dict(zip(Outputs._fields, map(_dense, grads), strict=False))
    y, cells, saved = (_dense(tensor) if tensor.numel() else None for tensor in outputs)
    out = Outputs(y, None, None, cells, saved)
    shapes = kept_shapes(spec, sizes(spec, a), a, keep=True, cells=True)._asdict()
    for name in ("y", "cells", "saved"):
        _check_result(name, getattr(out, name), shapes[name], a.x)
    for name, grad in named.items():
        if grad is not None:
            _check_result(f"the gradient of {name}", grad, shapes[name], a.x)
    names = wanted.split()
    found = backward(spec, a, out, named, frozenset(names))
    return [found[name] for name in names]


@_backward.register_fake
def _(*args: Any) -> list[Tensor]:
    _, _, _, wanted, _, inputs, _ = args
    by_name = dict(zip(Inputs._fields, inputs, strict=True))
    return [inputs[0].new_empty(by_name[name].shape) for name in wanted.split()]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    y, _, c_n, cells, saved = output
    ctx.spec, tensors = inputs[:3], inputs[5:]
    ctx.there = (True, True, c_n.numel() > 0, cells.numel() > 0)
    ctx.save_for_backward(*tensors, y, cells, saved)
    ctx.set_materialize_grads(False)


def _autograd(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
    inputs, outputs = ctx.saved_tensors[: len(Inputs._fields)], ctx.saved_tensors[len(Inputs._fields) :]
    names = [name for name, need in zip(DIFFERENTIABLE, ctx.needs_input_grad[5:], strict=False) if need]
    given = [grad if there else None for grad, there in zip(grads, ctx.there, strict=False)]
    found = dict(
        zip(names, _backward(*ctx.spec, " ".join(names), given, list(inputs), list(outputs)), strict=True)
    )
    return (None,) * 5 + tuple(map(found.get, Inputs._fields))


_forward.register_autograd(_autograd, setup_context=_setup_context)


def _check_inputs(spec: Spec, a: Inputs) -> None:
    """Refuse what the ops would refuse, or convert: the operators can be called without them."""
    if spec.op not in OPS:
        raise ValueError(f"op must be one of {', '.join(OPS)}, got {spec.op!r}")
    given = a._asdict()
    if a.x.dtype not in DTYPES:
        raise TypeError(f"x must be float32 or float64, got {a.x.dtype}")
    for name, tensor in given.items():
        dtype = torch.int64 if name == "lengths" else a.x.dtype
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


def _check_result(name: str, tensor: Tensor | None, shape: tuple[int, ...] | None, x: Tensor) -> None:
    got = None if tensor is None else (tuple(tensor.shape), tensor.dtype, tensor.device)
    wanted = None if shape is None else (shape, x.dtype, x.device)
    if got != wanted:
        raise ValueError(f"{name} must be {wanted}, got {got}")


def _dense(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.contiguous()
