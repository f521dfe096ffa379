import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor


def has_values(tensor: Tensor) -> bool:
    """Whether the numbers in a tensor may be looked at now, without waiting for a device.

    Not so on a GPU, and for what is traced, transformed, fake or meta.
    """
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
    return plain and not (torch.compiler.is_compiling() or is_functorch_wrapped_tensor(tensor))
