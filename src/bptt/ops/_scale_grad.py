"""The one operation behind every blocked path: identity forward, scaled gradient backward."""

from typing import Any

import torch
from torch import Tensor


class _ScaleGrad(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, _keep: Tensor) -> Tensor:
        return h.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        _, keep = inputs
        ctx.save_for_backward(keep)
        ctx.save_for_forward(keep)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (keep,) = ctx.saved_tensors
        return _scaled(grad_outputs[0], keep), None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Tensor) -> Tensor:
        (keep,) = ctx.saved_tensors
        return _scaled(grad_inputs[0], keep)


def _scaled(grad: Tensor, keep: Tensor) -> Tensor:
    # A blocked path carries nothing, not even 0 × inf.
    return (grad * keep).masked_fill(keep == 0, 0).to(grad.dtype)


def scale_grad(h: Tensor, keep: Tensor | float | None) -> Tensor:
    """The value of `h`, with its gradient multiplied by `keep`.

    Args:
        h: any tensor.
        keep: factor in [0, 1] on the gradient, a number or a tensor broadcast against `h`; 0 blocks it as
            `h.detach()` does, even where it is infinite. None, like 1, leaves `h` as it is.

    Returns:
        A tensor bitwise equal to `h`. (The textbook `k·h + (1 − k)·stop_gradient(h)` rounds, and turns inf
        into NaN.)
    """
    if keep is None:
        return h
    if not isinstance(keep, Tensor):
        if keep in (0, 1):
            return h if keep == 1 else h.detach()
        keep = torch.tensor(keep, dtype=torch.float64, device=h.device)
    return _ScaleGrad.apply(h, keep)
