"""The backend of cuDNN, through torch: what `torch.nn` computes on an NVIDIA GPU."""

from typing import Any

import torch
from torch import _VF, Tensor
from torch._C._functorch import get_interpreter_stack

from ._call import Call
from ._check import states
from ._kernels import has_tangents, traced

_FUNCTIONS = {"lstm": "lstm", "gru": "gru", "tanh": "rnn_tanh", "relu": "rnn_relu"}
_CUTS = ("h_keep", "c_keep", "h_tap", "c_tap")


class Cudnn:
    """Serves what has no gradient path to block and none to record."""

    name = "cudnn"

    def missing(self) -> str | None:
        return None

    def refuses(self, call: Call) -> str | None:
        a = call.arguments
        x: Tensor = a["x"]
        if (reason := self.refuses_device(x)) is not None:
            return reason
        for name in _CUTS:
            if a.get(name) is not None:
                return f"it has no {name}"
        if a.get("return_cells"):
            return "it gives the cells of the last step only"
        if a["lengths"] is not None:
            return "it wants lengths on the CPU, sorted and packed"
        if a["memory"] == "low":
            return "it keeps what it likes for the backward pass"
        if a.get("w_hr") is not None:
            return "its projection has not been tried"
        if 0 in x.shape or 0 in a["w_hh"].shape:
            return f"it needs at least one sequence, input and hidden unit, got x of shape {tuple(x.shape)}"
        _, c_0 = states(a)
        if c_0 is not None and c_0.dtype != x.dtype:
            return f"its c has x's dtype {x.dtype}, got {c_0.dtype}"
        if traced() or torch.jit.is_tracing():
            return "in a graph the recurrence is one operator of bptt's"
        if get_interpreter_stack():
            return "torch.func transforms have no rules for it"
        if has_tangents(a):
            return "forward-mode derivatives go through the reference"
        return None

    def refuses_device(self, x: Tensor) -> str | None:
        if not x.is_cuda:
            return f"it runs on NVIDIA GPUs, got {x.device}"
        if not (torch.backends.cudnn.is_available() and torch.backends.cudnn.enabled):
            return "torch has no cuDNN here, or torch.backends.cudnn.enabled is off"
        return None

    def run(self, call: Call) -> Any:
        a = call.arguments
        x: Tensor = a["x"].flip(0) if a["reverse"] else a["x"]
        h_0, c_0 = states(a)
        biased = a["b_ih"] is not None
        weights = _together([a[name] for name in ("w_ih", "w_hh", *(("b_ih", "b_hh") if biased else ()))])
        function = getattr(_VF, _FUNCTIONS[a.get("nonlinearity", call.op)])
        hx = [state[None].contiguous() for state in (h_0, c_0) if state is not None]
        # As in training where a gradient may be wanted: torch.nn refuses one in evaluation.
        rest = (biased, 1, 0.0, torch.is_grad_enabled(), False, False)
        y, *last = function(x, hx if c_0 is not None else hx[0], weights, *rest)
        y, last = y.flip(0) if a["reverse"] else y, tuple(state[0] for state in last)
        return (y, last[0]) if c_0 is None else (y, last)


def _together(weights: list[Tensor]) -> list[Tensor]:
    """The weights as parts of one piece of memory, which spares cuDNN a copy and its users a warning."""
    flat = torch.cat([weight.flatten() for weight in weights])
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
