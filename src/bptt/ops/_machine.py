"""What this machine can do at best, measured now: the floor under a recurrence's time is counted from it."""

import time
from collections.abc import Callable

import torch

from . import _shared_library as native

_ROUNDS = 200_000  # under a millisecond
_ELEMENTS = 32_768  # they stay in the second-level cache
_CALLS = 32
_TRIALS = 15


def fma_peak(threads: int, *, trials: int = _TRIALS) -> float:
    """The float32 operations per second of so many threads that multiply and add in registers.

    Args:
        threads: how many, all at once.
        trials: the best counts; each takes under a millisecond.

    Returns:
        Operations per second of all of them together. A multiplication with an addition counts as two.

    Raises:
        RuntimeError: if the native kernels are missing.
    """
    _need_kernels()
    operations = native.busy(threads, 1) * _ROUNDS
    return operations / _seconds(lambda: native.busy(threads, _ROUNDS), trials)


def activation_seconds(*, trials: int = _TRIALS) -> float:
    """The seconds that the native tanh takes per float32 number, on one thread, its numbers in the caches.

    Args:
        trials: the best counts; each takes about half a millisecond.

    Raises:
        RuntimeError: if the native kernels are missing.
    """
    _need_kernels()
    x = torch.linspace(-4, 4, _ELEMENTS, dtype=torch.float32, device="cpu")

    def work() -> None:
        for _ in range(_CALLS):
            native.activation(1, x, x)

    return _seconds(work, trials) / (_CALLS * _ELEMENTS)


def _need_kernels() -> None:
    if native.MISSING is not None:
        raise RuntimeError(f"only the native kernels can measure the machine: {native.MISSING}")


def _seconds(work: Callable[[], object], trials: int) -> float:
    best = float("inf")
    for _ in range(trials):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best
