"""A recurrence to run: what every part of a backend with kernels is given, and gives."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Spec(NamedTuple):
    """What is not a tensor."""

    op: str  # of `_shared_library.OPS`
    reverse: bool
    low: bool  # keep the states only, and compute the gates again
    kernels: str = "native"  # or "triton"
    replicas: bool = False  # every tensor has a dimension of replicas in front


class Inputs(NamedTuple):
    """The arguments of every op. c, its tap and keeps have `state_dtype`, the others but lengths x's dtype.

    All are dense but taps: those may be one number in all places.
    """

    x: Tensor
    h_0: Tensor
    c_0: Tensor | None
    w_ih: Tensor
    w_hh: Tensor
    b_ih: Tensor | None
    b_hh: Tensor | None
    h_tap: Tensor | None
    c_tap: Tensor | None
    lengths: Tensor | None
    h_keep: Tensor | None
    c_keep: Tensor | None


DIFFERENTIABLE = Inputs._fields[:9]


class Outputs(NamedTuple):
    """What a forward pass gives; y, cells and saved are what its backward pass needs.

    c_n and cells have `state_dtype`, the others x's dtype.
    """

    y: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    cells: Tensor | None  # (T, B, H)
    saved: Tensor | None  # LSTM, GRU: (T, B, 4H) gates, None if they are computed again
    # RNN under taps: (T, B, H), h before them


class Sizes(NamedTuple):
    T: int
    B: int
    I: int
    H: int
    slots: int  # numbers per unit and step in the gradient of the gates


_SLOTS = {"lstm": 4, "gru": 4, "rnn_tanh": 1, "rnn_relu": 1}


def sizes(spec: Spec, a: Inputs) -> Sizes:
    T, B, I = a.x.shape
    return Sizes(T, B, I, a.w_hh.shape[1], _SLOTS[spec.op])


class Shapes(NamedTuple):
    """Of `Outputs`."""

    y: tuple[int, ...]
    h_n: tuple[int, ...]
    c_n: tuple[int, ...] | None
    cells: tuple[int, ...] | None
    saved: tuple[int, ...] | None


def kept_shapes(spec: Spec, n: Sizes, a: Inputs, *, keep: bool, cells: bool) -> Shapes:
    """What a forward pass of these sizes gives."""
    every_h, last = (n.T, n.B, n.H), (n.B, n.H)
    saved = None
    if keep and n.slots == 4 and not spec.low:
        saved = (n.T, n.B, 4 * n.H)
    if keep and n.slots == 1 and a.h_tap is not None:
        saved = every_h
    if spec.op != "lstm":
        return Shapes(every_h, last, None, None, saved)
    return Shapes(every_h, last, last, every_h if keep or cells else None, saved)


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of cells, and of what is summed over steps, beside numbers of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def dense(tensor: Tensor | None) -> Any:
    """The tensor without gaps, if there is one."""
    return None if tensor is None else tensor.contiguous()
