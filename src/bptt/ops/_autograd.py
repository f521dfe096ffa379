"""The front door in eager mode: autograd functions around the kernels.

Derivatives of the backward pass go through the reference; so does forward mode, before it gets here.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from . import _reference
from ._concrete import is_memory
from ._passes import backward, forward
from ._problem import DIFFERENTIABLE, Inputs, Outputs, Spec

Grads = tuple[Tensor | None, ...]  # of y, h_n, c_n and cells

_OUTPUTS, _GRADS = len(Outputs._fields), 4


class _Function(Function):
    """A function whose eager call skips what only transforms need: it would cost more than a short call."""

    @classmethod
    def apply(cls, *args: Any) -> Any:
        if torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        base: Any = super(Function, cls)
        return base.apply(*args)


class Recurrence(_Function):
    """`Outputs` of `Inputs`, as two flat tuples."""

    @staticmethod
    def forward(spec: Spec, *inputs: Tensor | None) -> tuple[Tensor | None, ...]:
        return tuple(forward(spec, Inputs._make(inputs), keep=True, cells=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor | None, ...]) -> None:
        spec, *tensors = inputs
        out = Outputs._make(output)
        ctx.spec = spec
        ctx.set_materialize_grads(False)
        h_n = c_n = None  # no backward pass needs them
        ctx.save_for_backward(*tensors, *Outputs(out.y, h_n, c_n, out.cells, out.saved))
        if out.saved is not None:
            ctx.mark_non_differentiable(out.saved)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        needed = ctx.needs_input_grad[1 : 1 + len(DIFFERENTIABLE)]
        wanted = tuple(name for name, need in zip(DIFFERENTIABLE, needed, strict=True) if need)
        if all(grad is None for grad in grads[:_GRADS]):
            return (None,) * (1 + len(Inputs._fields))
        gradient = _gradient(grads)
        found = gradient(ctx.spec, wanted, *grads[:_GRADS], *ctx.saved_tensors)
        by_name = dict(zip(wanted, found, strict=True))
        return None, *map(by_name.get, Inputs._fields)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        spec, *inputs = args
        if spec.kernels == "triton" and not spec.replicas:
            return _at_once(Recurrence, (spec,), info.batch_size, in_dims[1:], inputs)
        return _each(info.batch_size, in_dims[1:], inputs, lambda *one: Recurrence.apply(spec, *one))


def _gradient(grads: Sequence[Tensor | None]) -> Callable[..., tuple[Tensor, ...]]:
    if torch._C._are_functorch_transforms_active():  # somebody maps this over a batch of gradients
        return Gradient.apply
    if not is_memory(*grads):  # such as those of is_grads_batched
        return _by_reference
    # Somebody may differentiate this backward pass.
    return Gradient.apply if torch.is_grad_enabled() else Gradient.forward


def _by_reference(spec: Spec, wanted: tuple[str, ...], *tensors: Tensor | None) -> tuple[Tensor, ...]:
    """What `Gradient` computes, operator by operator."""
    grads, inputs, _ = _split(tensors)
    again = torch.is_grad_enabled()  # somebody may differentiate these gradients
    with torch.enable_grad():
        # Views: one tensor may be several of the inputs.
        at = {name: getattr(inputs, name).view_as(getattr(inputs, name)) for name in wanted}
        out = reference(spec, inputs._replace(**at))
        pairs = [
            (value, grad)
            for value, grad in zip(out, grads, strict=True)
            if value is not None and grad is not None
        ]
    values, cotangents = zip(*pairs, strict=True)
    return torch.autograd.grad(
        values, list(at.values()), cotangents, create_graph=again, materialize_grads=True
    )


class Gradient(_Function):
    """The wanted gradients, from those of the outputs, `Inputs` and `Outputs`."""

    @staticmethod
    def forward(spec: Spec, wanted: tuple[str, ...], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        grads, inputs, out = _split(tensors)
        named = dict(zip(Outputs._fields, grads, strict=False))
        found = backward(spec, inputs, out, named, frozenset(wanted))
        return tuple([found[name] for name in wanted])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:  # noqa: ARG004
        ctx.spec, ctx.wanted, *tensors = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors[: _GRADS + len(Inputs._fields)])

    @staticmethod
    def backward(ctx: Any, *grads_of_grads: Tensor | None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        differentiable = _GRADS + len(DIFFERENTIABLE)
        needed = [
            tensor is not None and need
            for tensor, need in zip(
                tensors[:differentiable], ctx.needs_input_grad[2 : 2 + differentiable], strict=True
            )
        ]

        def gradients(*given: Tensor) -> tuple[Tensor, ...]:
            rest = iter(given)
            full = [
                next(rest) if need else tensor
                for tensor, need in zip(tensors, needed + [False] * 3, strict=True)
            ]
            grads, inputs, _ = _split((*full, *(None,) * _OUTPUTS))
            return _reference_gradients(ctx.spec, ctx.wanted, grads, inputs)

        chosen = tuple(tensor for tensor, need in zip(tensors, needed, strict=False) if need)
        found = iter(_vjp(gradients, chosen, grads_of_grads))
        answer = [next(found) if need else None for need in needed]
        return None, None, *answer, *(None,) * (len(Inputs._fields) - len(DIFFERENTIABLE) + _OUTPUTS)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        spec, wanted, *tensors = args
        if spec.kernels == "triton" and not spec.replicas:
            return _at_once(Gradient, (spec, wanted), info.batch_size, in_dims[2:], tensors)
        return _each(info.batch_size, in_dims[2:], tensors, lambda *one: Gradient.apply(spec, wanted, *one))


def reference(spec: Spec, a: Inputs) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """y, h_n, c_n and cells by the definition."""
    if spec.replicas:
        return _reference_of_replicas(spec, a)
    shared: dict[str, Any] = {
        "lengths": a.lengths,
        "reverse": spec.reverse,
        "h_keep": a.h_keep,
        "h_tap": a.h_tap,
        "memory": "fast",
    }
    weights = (a.w_ih, a.w_hh, a.b_ih, a.b_hh)
    if spec.op == "lstm" and a.c_0 is not None:
        more = {"w_hr": None, "c_keep": a.c_keep, "c_tap": a.c_tap, "return_cells": True}
        y, (h_n, c_n), *cells = _reference.lstm(a.x, (a.h_0, a.c_0), *weights, **shared, **more)
        return y, h_n, c_n, cells[0]
    if spec.op == "gru":
        return *_reference.gru(a.x, a.h_0, *weights, **shared, c_keep=a.c_keep), None, None
    phi = spec.op.removeprefix("rnn_")
    return *_reference.rnn(a.x, a.h_0, *weights, **shared, nonlinearity=phi), None, None


def _reference_of_replicas(spec: Spec, a: Inputs) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    one = spec._replace(replicas=False)
    there = {name: tensor for name, tensor in a._asdict().items() if tensor is not None}

    def call(given: dict[str, Tensor]) -> tuple[Tensor, ...]:
        out = reference(one, a._replace(**given))
        return tuple(tensor for tensor in out if tensor is not None)

    y, h_n, *rest = torch.func.vmap(call)(there)
    c_n, cells = rest or (None, None)
    return y, h_n, c_n, cells


def _reference_gradients(
    spec: Spec, wanted: Sequence[str], grads: Grads, inputs: Inputs
) -> tuple[Tensor, ...]:
    def outputs(*given: Tensor) -> tuple[Tensor, ...]:
        out = reference(spec, inputs._replace(**dict(zip(wanted, given, strict=True))))
        return tuple(
            value for value, grad in zip(out, grads, strict=True) if grad is not None and value is not None
        )

    given = tuple(grad for grad in grads if grad is not None)
    return _vjp(outputs, tuple(getattr(inputs, name) for name in wanted), given)


def _vjp(
    function: Callable[..., tuple[Tensor, ...]], at: tuple[Tensor, ...], cotangents: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    out, pull, *_ = torch.func.vjp(function, *at)
    full = tuple(
        torch.zeros_like(value) if cotangent is None else cotangent
        for value, cotangent in zip(out, cotangents, strict=True)
    )
    return pull(full)


def _split(tensors: Sequence[Tensor | None]) -> tuple[Grads, Inputs, Outputs]:
    inputs = len(Inputs._fields)
    return (
        tuple(tensors[:_GRADS]),
        Inputs._make(tensors[_GRADS : _GRADS + inputs]),
        Outputs._make(tensors[_GRADS + inputs :]),
    )


def _at_once(
    function: type[_Function],
    fixed: tuple[Any, ...],
    size: int,
    in_dims: Sequence[int | None],
    tensors: Sequence[Tensor | None],
) -> tuple[Any, Any]:
    """One call for all examples, as replicas."""
    spec, *more = fixed
    stacked = [
        t if t is None else t.expand(size, *t.shape) if d is None else t.movedim(d, 0)
        for t, d in zip(tensors, in_dims, strict=True)
    ]
    results = function.apply(spec._replace(replicas=True), *more, *stacked)
    return results, tuple(None if result is None else 0 for result in results)


def _each(
    size: int, in_dims: Sequence[int | None], tensors: Sequence[Tensor | None], call: Callable[..., Any]
) -> tuple[Any, Any]:
    """One call for each example, the results stacked."""
    results = [
        call(
            *(
                t if t is None or d is None else t.select(d, i).contiguous()
                for t, d in zip(tensors, in_dims, strict=True)
            )
        )
        for i in range(size)
    ]
    stacked = tuple(
        None if series[0] is None else torch.stack(series) for series in zip(*results, strict=True)
    )
    return stacked, tuple(None if series is None else 0 for series in stacked)
