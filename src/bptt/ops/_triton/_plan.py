"""How a recurrence runs on a GPU: every step in one kernel with its weights on chip, or step by step."""

from typing import NamedTuple

import torch
from triton import knobs

from .._call import GATES

_ON_CHIP = 128 << 10  # bytes of weights: an A100 has 163 KiB of shared memory for a block
_LEAST, _MOST = 16, 128  # sides of a product on tensor cores, and of one that leaves registers for the rest
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


def plan(op: str, dtype: torch.dtype, H: int) -> Plan:
    """How an op with H hidden units is served in a dtype.

    Tensor cores multiply 16-bit numbers, or float32 rounded to TF32 where torch's own RNNs may:
    `torch.backends.cudnn.allow_tf32`. Exact float32 and float64 go step by step, like what is too large.
    """
    side = max(_LEAST, 1 << (H - 1).bit_length())
    weights = GATES[op] * side * side * dtype.itemsize
    rounded = dtype.itemsize == 2 or (dtype == torch.float32 and torch.backends.cudnn.allow_tf32)
    if rounded and side <= _MOST and weights <= _ON_CHIP:
        warps = (4, 8) if side < 64 else (8, 16)
        return Plan(True, weights, side, warps, "wide" if interpreted() else "tf32")
    return Plan(False, weights, min(side, 64), (8,) if dtype == torch.float64 else (4,), "ieee")


def interpreted() -> bool:
    """Whether Triton interprets kernels, on the CPU, instead of compiling them."""
    return knobs.runtime.interpret
