"""Whether stacked runs fit into the memory of their GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import ReplicasMemoryError
from .._loop import Loop
from ._stack import Stack


def check_memory(loops: Sequence[Loop], orders: Sequence[Sequence[Tensor]]) -> None:
    """Take steps of one run, which leave it as it is, and refuse more runs than there is memory for."""
    device = loops[0].run.device
    if device.type != "cuda":
        return
    free = available(device)
    try:
        _try_one(loops, orders)  # what libraries take at a first time is taken once, and not by every run
        torch.cuda.synchronize(device)
        free = available(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        sizes = _try_one(loops, orders)
    except torch.OutOfMemoryError as error:
        raise ReplicasMemoryError(len(loops), needed=None, free=free, fit=0) from error
    # A recording for every size of a batch, each with memory of its own.
    each = sizes * (torch.cuda.max_memory_allocated(device) - before)
    if each * len(loops) > free:
        raise ReplicasMemoryError(len(loops), needed=each * len(loops), free=free, fit=free // each)


def _try_one(loops: Sequence[Loop], orders: Sequence[Sequence[Tensor]]) -> int:
    """A step of each size of a batch; how many sizes there are."""
    stack = Stack(loops[:1], orders[:1])
    for size in stack.sizes:
        stack.try_step(size)
    return len(stack.sizes)


def available(device: torch.device) -> int:
    """Bytes of the GPU that this process could still take."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
