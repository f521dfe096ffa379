"""Whether what a layer is given and what it holds can meet in one computation, in torch's words."""

from collections.abc import Sequence

import torch
from torch import Tensor


def check_agreement(data: Tensor, kind: str, tensors: Sequence[Tensor | None]) -> None:
    """Refuse tensors elsewhere than the input, or of another dtype than autocast can mend."""
    device, dtype = data.device, data.dtype
    for tensor in tensors:
        if tensor is None:
            continue
        if tensor.device != device:
            raise RuntimeError(
                f"Input and {kind} tensors are not at the same device, found input tensor at {device} "
                f"and {kind} tensor at {tensor.device}"
            )
        if tensor.dtype != dtype and _computed_dtype(tensor) != _computed_dtype(data):
            raise RuntimeError(
                f"Input and {kind} tensors are not the same dtype, found input tensor with {dtype} "
                f"and {kind} tensor with {tensor.dtype}"
            )


def _computed_dtype(tensor: Tensor) -> torch.dtype:
    device, dtype = tensor.device.type, tensor.dtype
    castable = dtype.is_floating_point and dtype != torch.float64
    if castable and torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return dtype
