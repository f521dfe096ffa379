"""Launching a kernel: on its tensors' device, with as many warps as are fastest there."""

from collections.abc import Hashable, Mapping
from contextlib import nullcontext
from functools import cache
from threading import Lock
from typing import Any

import torch
import triton
from torch import Tensor

from ._plan import ROWS, Plan, interpreted

_IN_PLACE = ("h", "c", "dh", "dc")
_tuning = Lock()
_best: dict[Hashable, dict[str, Any]] = {}


def launch(kernel: Any, how: Plan, arguments: Mapping[str, Any]) -> None:
    """Run a kernel of `.kernels` on those of the arguments that it has.

    The first launch for a size and dtype on a kind of GPU tries every number of warps of the plan, in less
    than a second beside their compilation, and leaves the fastest on disk, where Triton keeps its kernels.
    """
    state: Tensor = arguments["dh"] if "dh" in arguments else arguments["h"]
    R, B, H = state.shape
    arguments = {**arguments, "ROWS": ROWS, "COLS": how.columns, "PRECISION": how.precision}
    chosen = {name: arguments[name] for name in kernel.arg_names}
    grid = (R * -(-B // ROWS), -(-H // how.columns))
    with torch.cuda.device(state.device) if state.is_cuda else nullcontext():
        key = (kernel, how, H, arguments["w"] is not None and arguments["w"].dtype, state.device)
        default, *others = how.warps
        if key in _best or not others or interpreted() or capturing():
            kernel[grid](**chosen, **_best.get(key, options(default)))
            return
        with _tuning:  # the tuner keeps what it tunes on in itself
            tuner = _tuner(kernel, how.warps)
            tuner[grid](**chosen)
            _best[key] = tuner.best_config.all_kwargs()


@cache
def options(warps: int) -> dict[str, Any]:
    """What a kernel is compiled with.

    Its registers are bounded by what there is: left alone, the assembler spills some to make room for more
    programs on a multiprocessor, and none will come. Loads are begun early by the kernels themselves: in
    stages of Triton's they would not fit into shared memory beside the weights.
    """
    registers = min(255, (64 << 10) // (32 * warps))
    # As a tuner passes them on: the same options in other words would be compiled again.
    return triton.Config({}, num_warps=warps, num_stages=1, maxnreg=registers).all_kwargs()


def capturing() -> bool:
    """Whether a CUDA graph records what is launched now, where nothing can be timed."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


@cache
def _tuner(kernel: Any, warps: tuple[int, ...]) -> Any:
    tune = triton.autotune(
        [triton.Config({}, **options(count)) for count in warps],
        key=["H", "PRECISION"],
        restore_value=[name for name in _IN_PLACE if name in kernel.arg_names],
        cache_results=True,
    )
    return tune(kernel)
