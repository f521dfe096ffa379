"""How a recurrence runs on a GPU: every step in one kernel with its weights on chip, or step by step."""

from typing import Any, NamedTuple

import torch
from triton import knobs

from .._call import GATES

_LEAST, _MOST = 16, 128  # sides of a product on tensor cores, and of one that leaves registers for the rest
_ON_CHIP = 128 << 10  # bytes of weights, where a block may have 163 KiB of shared memory or more
_ON_SMALL_CHIP = 64 << 10  # where it may have 99 KiB
ROWS = 16  # sequences of a program


class Plan(NamedTuple):
    """What a kernel is launched with.

    Attributes:
        resident: the whole sequence in one kernel that keeps W_hh on chip; else a product of torch's and a
            pointwise kernel for every step.
        weights: bytes of W_hh, padded to the sides of a product.
        columns: hidden units of a program.
        warps: of a program; the fastest of them is found on the GPU.
        precision: of products in a kernel; "wide" if they are interpreted.
    """

    resident: bool
    weights: int
    columns: int
    warps: tuple[int, ...]
    precision: str

    def __str__(self) -> str:
        size = f"{self.weights / 1024:.0f} KiB of W_hh"
        if self.resident:
            return f"one kernel for the whole sequence, {size} on chip"
        return f"a product and a pointwise kernel for every step, {size}"


def plan(op: str, H: int, dtype: torch.dtype, device: torch.device) -> Plan:
    """How an op with H hidden units is served in a dtype on a device.

    Tensor cores multiply 16-bit numbers, or float32 rounded to TF32 where torch's own RNNs may, which
    `torch.backends.cudnn.allow_tf32` says. Exact float32 and float64 go step by step, like what is too large.
    """
    side = max(_LEAST, 1 << (H - 1).bit_length())
    weights = GATES[op] * side * side * dtype.itemsize
    rounded = dtype.itemsize == 2 or (dtype == torch.float32 and _tf32())
    if rounded and side <= _MOST and weights <= _on_chip(device):
        # Those with which no kernel spills: `make test-slow` compiles them all.
        warps = {16: (4, 8), 32: (4, 8), 64: (8,), 128: (8, 16)}[side]
        return Plan(True, weights, side, warps, "wide" if interpreted() else "tf32")
    return Plan(False, weights, min(side, 64), (8,) if dtype == torch.float64 else (4,), "ieee")


def interpreted() -> bool:
    """Whether Triton interprets kernels, on the CPU, instead of compiling them."""
    return knobs.runtime.interpret


def _tf32() -> bool:
    # Not allow_tf32, which raises once somebody has set one of the newer switches.
    switch: Any = torch.backends.cudnn.rnn
    return switch.fp32_precision == "tf32"


def _on_chip(device: torch.device) -> int:
    if device.type != "cuda":
        return _ON_CHIP
    major, minor = torch.cuda.get_device_capability(device)
    # Shared memory by compute capability: NVIDIA's CUDA programming guide, technical specifications.
    small = (major, minor) in ((8, 6), (8, 9)) or major == 12
    return _ON_SMALL_CHIP if small else _ON_CHIP
