"""What a recurrent module is given: how many steps and sequences, and of what lengths."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


class Given(NamedTuple):
    """The input of a call: T steps, B sequences, their lengths in the caller's order, and its tensor."""

    T: int
    B: int
    lengths: Tensor | None
    data: Tensor

    def keep(self, factor: float) -> Tensor:
        """The same factor at every step, `(T,)`."""
        like = self.data if self.data.is_floating_point() else torch.zeros((), device=self.data.device)
        return like.new_full((self.T,), factor)


def given(module: nn.RNNBase, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Given | None:
    """The input of a call; None if it is none that the module can take, which will say so itself."""
    x = args[0] if args else kwargs.get("input")
    if isinstance(x, PackedSequence):
        T, B = len(x.batch_sizes), int(x.batch_sizes[0])
        lengths = (x.batch_sizes[:, None] > torch.arange(B)).sum(0)
        if x.unsorted_indices is not None:
            lengths = lengths[x.unsorted_indices.cpu()]
        return Given(T, B, lengths, x.data)
    if not isinstance(x, Tensor) or x.dim() not in (2, 3):
        return None
    if x.dim() == 2:
        return Given(len(x), 1, None, x)
    B, T = x.shape[:2] if module.batch_first else (x.shape[1], x.shape[0])
    return Given(T, B, kwargs.get("lengths"), x)


def keys(module: nn.RNNBase) -> list[tuple[int, int]]:
    """Every (layer, direction) of a module."""
    directions = 2 if module.bidirectional else 1
    return [(layer, direction) for layer in range(module.num_layers) for direction in range(directions)]


def paths(module: nn.RNNBase) -> tuple[str, ...]:
    """The states whose gradients there are."""
    return ("h", "c") if module.mode == "LSTM" else ("h",)
