"""Torch's global generators, borrowed and given back."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch

from .. import nn
from ..tasks import Task

_DRAW_NOTHING = (
    nn.LSTM,
    nn.GRU,
    nn.RNN,
    nn.SequenceModel,
    torch.nn.LSTM,
    torch.nn.GRU,
    torch.nn.RNN,
    torch.nn.Embedding,
    torch.nn.Linear,
    torch.nn.LayerNorm,
    torch.nn.Sequential,
    torch.nn.ModuleList,
    torch.nn.ModuleDict,
)
_lent = RLock()  # the generators are the process's, and other threads may be training, too


def draws(model: torch.nn.Module, task: Task) -> bool:
    """Whether a step may draw from torch's generators: what is not known here may."""
    return not type(task).__module__.startswith("bptt.tasks.") or any(map(_draws, model.modules()))


def _draws(module: torch.nn.Module) -> bool:
    hooked = module._forward_hooks or module._forward_pre_hooks
    return bool(hooked or type(module) not in _DRAW_NOTHING or getattr(module, "dropout", 0))


@contextmanager
def generators_held() -> Iterator[None]:
    """Inside, no other thread draws from torch's generators for a run, or has borrowed them."""
    with _lent:
        yield


@contextmanager
def seeded_by(generator: torch.Generator, model: torch.nn.Module, task: Task) -> Iterator[None]:
    """Inside, what is drawn from torch's generators (dropout) depends on `generator`'s seed alone.

    Covers the CPU and the model's device; on exit both are as they were. One model at a time is inside, but
    for those that draw nothing.
    """
    if not draws(model, task):
        yield
        return
    device = next(model.parameters()).device
    borrowed = [torch.default_generator]
    if device.type == "cuda":
        borrowed.append(torch.cuda.default_generators[device.index])
    with _lent:
        before = [each.get_state() for each in borrowed]
        try:
            for each in borrowed:
                each.manual_seed(generator.initial_seed())
            yield
        finally:
            for each, state in zip(borrowed, before, strict=True):
                each.set_state(state)
