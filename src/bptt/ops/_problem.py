"""A recurrence to run: what every part of the native backend is given, and gives."""

from typing import NamedTuple

from torch import Tensor


class Spec(NamedTuple):
    """What is not a tensor."""

    op: str  # of `_shared_library.OPS`
    reverse: bool
    low: bool  # keep the states only, and compute the gates again


class Inputs(NamedTuple):
    """The arguments of every op; dense and of one dtype, but for lengths."""

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
    """What a forward pass gives; y, cells and saved are what its backward pass needs."""

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
