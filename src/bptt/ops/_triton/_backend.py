"""The backend of Triton kernels, for NVIDIA GPUs."""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .._call import Call
from .._concrete import constant_in_graphs
from .._kernels import Kernels

if TYPE_CHECKING:
    from ._plan import Plan

_OLDEST = (8, 0)  # compute capability: the first with TF32 and bfloat16 on tensor cores
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # Triton reads it once, too
MISSING = None if find_spec("triton") else "Triton is not installed: torch's CUDA builds bring it"


class Triton(Kernels):
    """Serves every floating dtype on a GPU, without a projection."""

    name = "triton"

    def missing(self) -> str | None:
        return MISSING

    def refuses_tensor(self, x: Tensor) -> str | None:
        if x.is_cuda:
            return _unsuitable(x.device.index)
        if x.is_cpu and _INTERPRETED:
            return None
        return f"it runs on NVIDIA GPUs, got {x.device}"

    def refuses(self, call: Call) -> str | None:
        B, H = call.arguments["x"].shape[1], call.arguments["w_hh"].shape[1]
        if B * 4 * H >= 2**31:
            return f"it counts the numbers of a step in 32 bits, got {B} sequences of {H} hidden units"
        return super().refuses(call)

    def in_one_kernel(self, call: Call) -> bool:
        """Whether a call that is not refused keeps its weights on chip."""
        return _plan(call).resident

    def how(self, call: Call) -> str:
        """In which of its ways it serves a call."""
        return str(_plan(call))


def _plan(call: Call) -> "Plan":
    from ._plan import plan  # imports Triton, which takes a while

    x: Tensor = call.arguments["x"]
    return plan(call.op, call.arguments["w_hh"].shape[1], x.dtype, x.device)


@constant_in_graphs
def _unsuitable(device: int) -> str | None:
    if torch.version.hip is not None:
        return "it was made for NVIDIA GPUs"
    capability = torch.cuda.get_device_capability(device)
    if capability < _OLDEST:
        return "it needs a GPU of compute capability {}.{} or newer, got {}.{}".format(*_OLDEST, *capability)
    return None
