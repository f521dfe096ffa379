"""One forward and one backward pass of a recurrence, through the kernels that its spec names.

Both front doors (`_autograd`, `_library`) stand on these functions.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from . import _raw
from ._problem import Inputs, Outputs, Spec


def forward(spec: Spec, a: Inputs, *, keep: bool, cells: bool) -> Outputs:
    """Run over all steps.

    Args:
        spec, a: the call.
        keep: whether a backward pass will follow.
        cells: whether the cells of every step are wanted (LSTM).
    """
    if spec.kernels == "native":
        return _raw.forward(spec, a, keep=keep, cells=cells)
    passes = _triton()
    if spec.replicas:
        return passes.forward(spec, a, keep=keep, cells=cells)
    out = passes.forward(spec, Inputs._make(map(_one, a)), keep=keep, cells=cells)
    return Outputs._make(None if tensor is None else tensor[0] for tensor in out)


def backward(
    spec: Spec, a: Inputs, out: Outputs, grads: Mapping[str, Tensor | None], wanted: frozenset[str]
) -> dict[str, Tensor]:
    """The gradients of the inputs.

    Args:
        spec, a: the call.
        out: what `forward` gave with `keep`.
        grads: gradients of y, h_n, c_n and cells, where there are any.
        wanted: names out of `DIFFERENTIABLE`.
    """
    if spec.kernels == "native":
        return _raw.backward(spec, a, out, grads, wanted)
    passes = _triton()
    if spec.replicas:
        return passes.backward(spec, a, out, grads, wanted)
    lone = {name: _one(grad) for name, grad in grads.items()}
    found = passes.backward(spec, Inputs._make(map(_one, a)), Outputs._make(map(_one, out)), lone, wanted)
    return {name: gradient[0] for name, gradient in found.items()}


def _triton() -> Any:
    from ._triton import _passes  # imports Triton, which takes a while

    return _passes


def _one(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor[None]
