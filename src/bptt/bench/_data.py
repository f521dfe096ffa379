"""The numbers that both sides are given."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from ._case import Case


class Data(NamedTuple):
    """An input and what is fed into the backward pass.

    Attributes:
        x: `(T, B, I)`, or packed.
        leaf: the tensor in which the gradient of the input arrives.
        grad_y: the gradient of the loss by y, lying as y does.
        grad_states: likewise of h_n and, for an LSTM, of c_n.
    """

    x: Tensor | PackedSequence
    leaf: Tensor
    grad_y: Tensor
    grad_states: tuple[Tensor, ...]


def make(case: Case) -> Data:
    """Random data of a case, always the same."""
    T, B, I, H = case.shape.T, case.shape.B, case.shape.I, case.shape.H
    directions = 2 if case.bidirectional else 1
    generator = torch.Generator().manual_seed(1)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    leaf = normal(T, B, I).requires_grad_(case.needs_input_gradient)
    grad_y = normal(T, B, directions * H)
    states = 2 if case.cell == "lstm" else 1
    grad_states = tuple(normal(case.layers * directions, B, H) for _ in range(states))
    if not case.packed:
        return Data(leaf, leaf, grad_y, grad_states)
    lengths = torch.randint(max(1, T // 4), T + 1, (B,), generator=generator)
    lengths[0] = T
    packed = pack_padded_sequence(leaf.detach(), lengths, enforce_sorted=False)
    packed = packed._replace(data=packed.data.requires_grad_(case.needs_input_gradient))
    packed_grad = pack_padded_sequence(grad_y, lengths, enforce_sorted=False).data
    return Data(packed, packed.data, packed_grad, grad_states)


def tensors(result: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """y, without its packing, and the states, of what a layer returned."""
    y, states = result
    return (
        y.data if isinstance(y, PackedSequence) else y,
        states if isinstance(states, tuple) else (states,),
    )
