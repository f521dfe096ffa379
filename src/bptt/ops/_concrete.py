import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor


def has_values(tensor: Tensor) -> bool:
    """Whether the numbers in a tensor may be looked at now: it is not traced, transformed or meta."""
    return not (
        torch.compiler.is_compiling() or is_functorch_wrapped_tensor(tensor) or tensor.device.type == "meta"
    )
