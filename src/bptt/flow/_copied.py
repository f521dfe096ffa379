"""A model to measure on: a copy, so that nothing of the one that is asked about changes."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, RNNBase

from .. import nn

Call = Callable[[Any, Any], Tensor]  # of the model and the batch: the output


@contextmanager
def copied(model: Module, *, recurrent: bool = True) -> Iterator[Module]:
    """A copy whose recurrent layers are all of `bptt.nn`, with weights that want no gradient.

    Inside, gradients are on, and torch's random streams are given back at the end.

    Args:
        model: any module.
        recurrent: whether it must have a recurrent layer.

    Raises:
        ValueError: if there is no recurrent layer.
        TypeError: if a layer of torch.nn is none that `bptt.nn.convert` knows.
    """
    layers = [name for name, module in model.named_modules() if isinstance(module, RNNBase)]
    if recurrent and not layers:
        raise ValueError(
            f"model must have an LSTM, GRU or RNN of bptt.nn or torch.nn, got {type(model).__name__} without"
        )
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng():
        mine = copy.deepcopy(model)
        if len(nn.recurrent_layers(mine)) < len(layers):
            nn.convert(mine)
        yield mine.requires_grad_(False)


def called(model: Module, batch: Any) -> Tensor:
    """The output for a batch: its first part is the input; `lengths`, if it has any, go along."""
    x = batch[0] if isinstance(batch, tuple | list) else batch
    lengths = getattr(batch, "lengths", None)
    output = model(x) if lengths is None else model(x, lengths=lengths)
    return output[0] if isinstance(output, tuple) else output


def scalar(value: Any) -> Tensor:
    """A loss, checked.

    Raises:
        ValueError: if it is no scalar with a gradient.
    """
    if not (isinstance(value, Tensor) and value.dim() == 0 and value.requires_grad):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return a scalar with a gradient, got {got}")
    return value


def chosen(at: Sequence[int] | None, T: int, of: str) -> tuple[int, ...]:
    """Steps counted from the start, of steps that may be counted from the end; None for the last.

    Raises:
        ValueError: if one is out of range.
    """
    for step in at or ():
        if not -T <= step < T:
            raise ValueError(f"at must hold steps of the {of}, -{T} <= step < {T}, got {step}")
    return tuple(step % T for step in ((T - 1,) if at is None else at))
