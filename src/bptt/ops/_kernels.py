"""What the backends with kernels of their own have in common: from a call to one of the two front doors."""

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType, get_interpreter_stack
from torch.autograd import forward_ad

from . import _library
from ._autograd import Recurrence
from ._call import Call
from ._check import states
from ._concrete import constant_in_graphs, is_memory
from ._passes import forward
from ._problem import Inputs, Outputs, Spec, state_dtype


class Kernels:
    """A backend whose forward and backward passes are in `_passes`, under its name."""

    name: str

    def missing(self) -> str | None:
        """What this machine lacks to run the backend, or None."""
        raise NotImplementedError

    def refuses_tensor(self, x: Tensor) -> str | None:
        """Why x's device or dtype cannot be served, or None."""
        raise NotImplementedError

    def refuses(self, call: Call) -> str | None:
        a = call.arguments
        x: Tensor = a["x"]
        refused = self.refuses_tensor(x)
        if refused is not None:
            return refused
        if a.get("w_hr") is not None:
            return "it has no projection: the extra product at every step leaves its kernels little to gain"
        if 0 in x.shape or 0 in a["w_hh"].shape:
            return (
                "it needs at least one sequence, input and hidden unit, got x of shape "
                f"{tuple(x.shape)} and w_hh of shape {tuple(a['w_hh'].shape)}"
            )
        if not torch.compiler.is_compiling():
            transforms = [level.key() for level in get_interpreter_stack() or ()]
            if TransformType.Jvp in transforms or has_tangents(a):
                return "forward-mode derivatives go through the reference"
            if torch.jit.is_tracing():
                return "the tracer of torch.jit sees the reference's operators only"
            if TransformType.Functionalize in transforms:
                return "torch.func.functionalize goes through the reference"
        if traced() and _transformed():
            return "compiled torch.func transforms go through the reference"
        return None

    def run(self, call: Call) -> Any:
        a = call.arguments
        inputs = _inputs(call)
        op = call.op if call.op != "rnn" else f"rnn_{a['nonlinearity']}"
        spec = Spec(op, a["reverse"], a["memory"] == "low", self.name)
        cells = a.get("return_cells", False)
        wants_gradient = _wants_gradient(inputs)
        if traced() or not (_transformed() or is_memory(*inputs)):
            out = _library.recurrence(spec, inputs, keep=wants_gradient, cells=cells)
        elif wants_gradient or _transformed():
            out = Outputs(*Recurrence.apply(spec, *inputs))
        else:
            out = forward(spec, inputs, keep=False, cells=cells)
        if call.op != "lstm":
            return out.y, out.h_n
        dtype = a["hx"][1].dtype
        state = (out.h_n, _cast(out.c_n, dtype))
        return (out.y, state, _cast(out.cells, dtype)) if cells else (out.y, state)


def _cast(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return tensor if tensor is None or tensor.dtype == dtype else tensor.to(dtype)


def _inputs(call: Call) -> Inputs:
    a = call.arguments
    h_0, c_0 = states(a)
    dtype: torch.dtype = a["x"].dtype
    real = state_dtype(dtype)
    return Inputs(
        a["x"].contiguous(),
        h_0.contiguous(),
        _dense(c_0, real),
        a["w_ih"].contiguous(),
        a["w_hh"].contiguous(),
        _dense(a["b_ih"], dtype),
        _dense(a["b_hh"], dtype),
        _cast(a["h_tap"], dtype),
        _cast(a.get("c_tap"), real),
        None if a["lengths"] is None else a["lengths"].to(a["x"].device, non_blocking=True).contiguous(),
        _dense(a["h_keep"], real),
        _dense(a.get("c_keep"), real),
    )


def _dense(tensor: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    if tensor is None:
        return None
    return (tensor if tensor.dtype == dtype else tensor.to(dtype)).contiguous()


def _wants_gradient(inputs: Inputs) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in inputs if t is not None)


@constant_in_graphs
def _transformed() -> bool:
    """Whether a torch.func transform is at work."""
    return bool(get_interpreter_stack())


def traced() -> bool:
    """Whether the tensors may stand for others: under torch.compile, export, make_fx and fake tensors."""
    return torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack() > 0


def has_tangents(arguments: Any) -> bool:
    """Whether any argument is a dual number of forward-mode differentiation."""
    if forward_ad._current_level < 0:
        return False
    values = (value if isinstance(value, (tuple, list)) else (value,) for value in arguments.values())
    tensors = (t for several in values for t in several if isinstance(t, Tensor))
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
