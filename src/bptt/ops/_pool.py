"""Large buffers that are used again: the page faults of fresh ones can cost as much as the arithmetic."""

import math
import os
import threading
import warnings
import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

_SMALL = 1 << 20  # bytes under which malloc itself reuses memory
_NUMPY = {torch.uint8: "u1", torch.float32: "f4", torch.float64: "f8"}
_CAPACITY = 1 << 30
_SPARE = 4  # times what is asked for: the largest buffer that is lent for it


class Pool:
    """Buffers given back when their last reference dies, kept up to a number of bytes.

    Args:
        capacity: bytes to keep for later; what is lent out does not count.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._free: dict[int, Tensor] = {}  # by id, the longest unused first
        self._lock = threading.RLock()  # the collector may give a buffer back in the middle of a lease

    def forget_threads(self) -> None:
        """To be called in a forked child."""
        self._lock = threading.RLock()

    @property
    def idle_bytes(self) -> int:
        """Bytes kept that nobody uses."""
        return sum(block.numel() for block in self._idle())

    def _idle(self) -> list[Tensor]:
        # Not a tuple: to make one may call the collector, which gives buffers back while they are counted.
        return list(self._free.values())

    def lease(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """An uninitialised tensor; its memory comes back when nothing refers to it any more."""
        size = math.prod(shape) * dtype.itemsize
        if size < _SMALL:
            return torch.empty(*shape, dtype=dtype, device="cpu")
        block = self._take(size)
        if block is None:
            block = torch.empty(size, dtype=torch.uint8, device="cpu")
        # The array, not the tensor, is what every view and every saved tensor holds on to.
        lent = block.numpy()[:size].view(_NUMPY[dtype]).reshape(shape)
        weakref.finalize(lent, self._give_back, block).atexit = False
        tensor = torch.from_numpy(lent)  # no view, of which autograd would forbid some changes in place
        filled = torch._C._get_deterministic_fill_uninitialized_memory()  # as torch.empty does
        if filled and dtype.is_floating_point and torch.are_deterministic_algorithms_enabled():
            tensor.fill_(math.nan)
        return tensor

    def dense(self, tensor: Tensor) -> Tensor:
        """What a tensor holds, in a leased one without gaps."""
        return self.lease(tensor.shape, tensor.dtype).copy_(tensor)

    def _take(self, size: int) -> Tensor | None:
        with self._lock:
            fitting = [block for block in self._idle() if size <= block.numel() <= _SPARE * size]
            if not fitting:
                return None
            best = min(fitting, key=Tensor.numel)
            self._free.pop(id(best), None)
            return best

    def _give_back(self, block: Tensor) -> None:
        with self._lock:
            if block.numel() <= self._capacity:
                self._free[id(block)] = block
            while self.idle_bytes > self._capacity:
                del self._free[next(iter(self._free))]


def _capacity() -> int:
    given = os.environ.get("BPTT_POOL_BYTES") or str(_CAPACITY)
    if given.isascii() and given.isdecimal():
        return int(given)
    warnings.warn(
        f"BPTT_POOL_BYTES must be a whole number of bytes, 0 or more, got {given!r}. It stays at {_CAPACITY}",
        RuntimeWarning,
        stacklevel=2,
    )
    return _CAPACITY


pool = Pool(_capacity())
if hasattr(os, "register_at_fork"):  # another thread of the parent may hold the lock for ever
    os.register_at_fork(after_in_child=pool.forget_threads)
