"""A model to measure on: a copy, so that nothing of the one that is asked about changes."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, RNNBase
from torch.nn.utils.rnn import PackedSequence

from .. import nn
from ._uncompiled import uncompiled

Call = Callable[[Any, Any], Tensor]  # of the model and the batch: the output


@contextmanager
def copied(model: Module, *, recurrent: bool = True, half: bool = False) -> Iterator[Module]:
    """A copy whose recurrent layers are all of `bptt.nn`, with weights that want no gradient.

    Inside, gradients are on, and torch's random streams are given back at the end.

    Args:
        model: any module.
        recurrent: whether it must have a recurrent layer.
        half: whether its weights may be in half precision on a CPU, where many operators lack it.

    Raises:
        ValueError: if there is no recurrent layer.
        TypeError: if the model is no module or cannot be copied, a layer of torch.nn is none that
            `bptt.nn.convert` knows, or weights are in half precision on a CPU and may not be.
    """
    check_module(model)
    dtypes = {p.dtype for p in model.parameters() if p.device.type == "cpu" and p.is_floating_point()}
    if not half and dtypes & {torch.float16, torch.bfloat16}:
        raise TypeError(
            "model must have weights in float32 or float64 on a CPU, got "
            f"{', '.join(sorted(map(str, dtypes)))}; model.float() converts it"
        )
    layers = [name for name, module in model.named_modules() if isinstance(module, RNNBase)]
    if recurrent and not layers:
        raise ValueError(
            f"model must have an LSTM, GRU or RNN of bptt.nn or torch.nn, got {type(model).__name__} without"
        )
    with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(), uncompiled():
        mine = _copy_of(model)
        if len(nn.recurrent_layers(mine)) < len(layers):
            nn.convert(mine)
        yield mine.requires_grad_(False)


def _copy_of(model: Module) -> Module:
    try:
        return copy.deepcopy(model, _without_graphs(model))
    except (TypeError, RuntimeError) as error:
        if type(error) not in (TypeError, RuntimeError):  # such as for want of memory
            raise
        raise TypeError(f"model must be one that copy.deepcopy can copy, and is not: {error}") from error


def check_module(model: Any) -> None:
    """Raise TypeError unless a model is a module."""
    if not isinstance(model, Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")


def _without_graphs(model: Module) -> dict[int, Any]:
    """What stands for tensors with a graph, such as a state that a module keeps from call to call."""
    kept: dict[int, Any] = {}

    def look(value: Any) -> None:
        if isinstance(value, Tensor):
            if not value.is_leaf:
                kept[id(value)] = value.detach().clone()
        elif isinstance(value, tuple | list):
            for each in value:
                look(each)
        elif isinstance(value, dict):
            look(list(value.values()))

    for module in model.modules():
        shown = {name for name in vars(module) if not name.startswith("_")} | {"_flat_weights"}
        look({name: value for name, value in vars(module).items() if name in shown})
        look(dict(module.named_buffers(recurse=False)))
    return kept


def called(model: Module, batch: Any) -> Tensor:
    """The output for a batch: its first part is the input; `lengths`, if it has any, go along."""
    alone = isinstance(batch, PackedSequence) or not isinstance(batch, tuple | list)
    x = batch if alone else batch[0]
    lengths = getattr(batch, "lengths", None)
    output: Any = model(x) if lengths is None else model(x, lengths=lengths)
    return output[0] if type(output) is tuple else output  # a PackedSequence is no pair of results


def scalar(value: Any) -> Tensor:
    """A loss, checked.

    Raises:
        ValueError: if it is no scalar with a gradient.
    """
    if not (isinstance(value, Tensor) and value.dim() == 0 and value.requires_grad):
        got = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"loss must return a scalar with a gradient, got {got}")
    return value


def chosen(at: Sequence[int], T: int, of: str) -> tuple[int, ...]:
    """Steps counted from the start, of steps that may be counted from the end.

    Raises:
        ValueError: if one is out of range.
    """
    for step in at:
        if not -T <= step < T:
            raise ValueError(f"at must hold steps of the {of}, -{T} <= step < {T}, got {step}")
    return tuple(step % T for step in at)
