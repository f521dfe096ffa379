"""Whether stacked runs fit into the memory of their GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .._errors import ReplicasMemoryError
from .._loop import Loop
from ._stack import Stack


def check_memory(loops: Sequence[Loop], orders: Sequence[Sequence[Tensor]]) -> None:
    """Take a step of one run, which leaves it as it is, and refuse more runs than there is memory for."""
    device = loops[0].run.device
    if device.type != "cuda" or len(loops) == 1:
        return
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    free = available(device)
    try:
        Stack(loops[:1], orders[:1]).try_step()
    except torch.OutOfMemoryError as error:
        raise ReplicasMemoryError(len(loops), needed=None, free=free, fit=0) from error
    refuse_too_many(len(loops), torch.cuda.max_memory_allocated(device) - before, free)


def available(device: torch.device) -> int:
    """Bytes of the GPU that this process could still take."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def refuse_too_many(runs: int, each: int, free: int) -> None:
    """Raise if so many runs of so many bytes each need more than is free."""
    if runs * each > free:
        raise ReplicasMemoryError(runs, needed=runs * each, free=free, fit=free // each)
