"""The model's recurrent layers under the run's rule, and back under their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from .. import nn
from ..detach import Detach
from ._config import Config


def detach_in(epoch: int, detach: Detach | None, config: Config) -> Detach | None:
    """The rule of an epoch, counted from 1: p is 0 in exactly the last `anneal_epochs`."""
    annealed = epoch > config.epochs - config.anneal_epochs
    return replace(detach, h=0.0, c=0.0) if detach is not None and annealed else detach


def check_layers(model: torch.nn.Module, detach: Detach | None) -> None:
    """Refuse a rule that would reach nothing, or that contradicts a layer's own."""
    layers = nn.recurrent_layers(model)
    if detach is not None and not layers:
        raise ValueError(
            "detach needs a model with a recurrent layer of bptt.nn, got none in "
            f"{type(model).__name__}; bptt.nn.convert(model) replaces those of torch.nn"
        )
    for name, layer in layers.items():
        if layer.detach not in (None, detach):
            raise ValueError(
                f"detach of layer {name!r} must be None or that of the run = {detach}, got {layer.detach}"
            )


@contextmanager
def own_rules_restored(model: torch.nn.Module) -> Iterator[None]:
    """Whatever happens to the layers' `detach` inside, they leave with their own."""
    own = [(layer, layer.detach) for layer in nn.recurrent_layers(model).values()]
    try:
        yield
    finally:
        for layer, detach in own:
            layer.detach = detach
