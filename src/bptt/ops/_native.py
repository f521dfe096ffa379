"""The backend of C++ kernels, for the CPU."""

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import forward_ad

from . import _library, _shared_library
from ._autograd import Recurrence
from ._call import Call
from ._check import states
from ._concrete import is_memory
from ._problem import Inputs, Outputs, Spec
from ._raw import forward


class Native:
    """Serves float32 and float64 on the CPU, without a projection."""

    name = "native"

    def missing(self) -> str | None:
        return _shared_library.MISSING

    def refuses(self, call: Call) -> str | None:
        a = call.arguments
        x: Tensor = a["x"]
        if not x.is_cpu:
            return f"it runs on the CPU, got {x.device}"
        if x.dtype not in _shared_library.DTYPES:
            return f"it computes in float32 and float64, got {x.dtype}"
        if a.get("w_hr") is not None:
            return "it has no projection: the extra product at every step leaves its kernels little to gain"
        if 0 in x.shape or 0 in a["w_hh"].shape:
            return (
                "it needs at least one sequence, input and hidden unit, got x of shape "
                f"{tuple(x.shape)} and w_hh of shape {tuple(a['w_hh'].shape)}"
            )
        if not torch.compiler.is_compiling():
            transforms = [level.key() for level in get_interpreter_stack() or ()]
            if TransformType.Jvp in transforms or _has_tangents(a):
                return "forward-mode derivatives go through the reference"
            if torch.jit.is_tracing():
                return "the tracer of torch.jit sees the reference's operators only"
            if TransformType.Functionalize in transforms:
                return "torch.func.functionalize goes through the reference"
        if _traced() and _transformed():
            return "compiled torch.func transforms go through the reference"
        return None

    def run(self, call: Call) -> Any:
        a = call.arguments
        inputs = _inputs(call)
        op = call.op if call.op != "rnn" else f"rnn_{a['nonlinearity']}"
        spec = Spec(op, a["reverse"], a["memory"] == "low")
        cells = a.get("return_cells", False)
        wants_gradient = _wants_gradient(inputs)
        if _traced() or not (_transformed() or is_memory(*inputs)):
            out = _library.recurrence(spec, inputs, keep=wants_gradient, cells=cells)
        elif wants_gradient or _transformed():
            out = Outputs(*Recurrence.apply(spec, *inputs))
        else:
            out = forward(spec, inputs, keep=False, cells=cells)
        if call.op != "lstm":
            return out.y, out.h_n
        state = (out.h_n, out.c_n)
        return (out.y, state, out.cells) if cells else (out.y, state)


def _inputs(call: Call) -> Inputs:
    a = call.arguments
    h_0, c_0 = states(a)
    dtype: torch.dtype = a["x"].dtype
    return Inputs(
        a["x"].contiguous(),
        h_0.contiguous(),
        _dense(c_0, dtype),
        a["w_ih"].contiguous(),
        a["w_hh"].contiguous(),
        _dense(a["b_ih"], dtype),
        _dense(a["b_hh"], dtype),
        _dense(a["h_tap"], dtype),
        _dense(a.get("c_tap"), dtype),
        None if a["lengths"] is None else a["lengths"].to(a["x"].device).contiguous(),
        _dense(a["h_keep"], dtype),
        _dense(a.get("c_keep"), dtype),
    )


def _dense(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if tensor is None:
        return None
    return (tensor if tensor.dtype == dtype else tensor.to(dtype)).contiguous()


def _wants_gradient(inputs: Inputs) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in inputs if t is not None)


@torch.compiler.assume_constant_result
def _transformed() -> bool:
    """Whether a torch.func transform is at work."""
    return bool(get_interpreter_stack())


def _traced() -> bool:
    """Whether the tensors may stand for others: under torch.compile, export, make_fx and fake tensors."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def _has_tangents(arguments: Any) -> bool:
    if forward_ad._current_level < 0:
        return False
    values = (value if isinstance(value, (tuple, list)) else (value,) for value in arguments.values())
    tensors = (t for several in values for t in several if isinstance(t, Tensor))
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
