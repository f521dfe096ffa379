from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._C import DispatchKey
from torch._C import _dispatch_keys as dispatch_keys
from torch._C._functorch import is_functorch_wrapped_tensor

_Function = TypeVar("_Function", bound=Callable[..., Any])

# Whatever else handles a tensor may keep its numbers elsewhere, or other numbers than they mean.
_MEMORY = dispatch_keys(torch.empty(0, device="cpu"))
for _key in (DispatchKey.CUDA, DispatchKey.AutogradCUDA, DispatchKey.AutocastCUDA):
    _MEMORY = _MEMORY.add(_key)
_MORE_THAN_MEMORY = ~_MEMORY.raw_repr()


def has_values(tensor: Tensor) -> bool:
    """Whether the numbers in a tensor may be looked at now, without waiting for a device.

    Not so on a GPU, and for what is traced, transformed, fake or meta.
    """
    plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
    return plain and not (torch.compiler.is_compiling() or is_functorch_wrapped_tensor(tensor))


def is_memory(*tensors: Tensor | None) -> bool:
    """Whether the tensors that there are hold numbers in a CPU's or GPU's memory and nothing else.

    Not so for tensors on other devices, those with `__torch_dispatch__` (fake, distributed, …), of torch.func
    transforms, with a pending negation, or known to be zero without memory.
    """
    for tensor in tensors:
        if tensor is not None and dispatch_keys(tensor).raw_repr() & _MORE_THAN_MEMORY:
            return False
    return True


def constant_in_graphs(function: _Function) -> _Function:
    """`torch.compiler.assume_constant_result`, which takes a second: it imports torch's compiler."""
    function.__dict__["_dynamo_marked_constant"] = True
    return function
