"""Torch's optimisers for many models at once: the same arithmetic on rows, each with its own at.

torch.optim takes one learning rate for a tensor, and a tensor here holds a row for every model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._config import Config, Optimizer

State = Mapping[str, Tensor]  # (R, N) each, under torch's names
Updated = tuple[Tensor, dict[str, Tensor]]

_BETA1, _BETA2 = 0.9, 0.999
_ALPHA = 0.99
_EPS = 1e-8


@dataclass(frozen=True)
class Settings:
    """Of R models at one step: (R, 1) columns in float64, in which torch computes its scalars, too."""

    lr: Tensor
    weight_decay: Tensor
    momentum: float
    step: Tensor  # (), from 1

    @classmethod
    def of(cls, configs: Sequence[Config], step: int, device: torch.device) -> "Settings":
        """Before the step after `step`."""

        def on_device(values: Any) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device="cpu").to(device)

        return cls(
            on_device([[config.lr] for config in configs]),
            on_device([[config.weight_decay] for config in configs]),
            configs[0].momentum,
            on_device(step),
        )


class Rule(NamedTuple):
    """What an optimiser keeps, and how it goes from parameters, gradients and state to the next."""

    keeps: Callable[[float], tuple[str, ...]]  # of the momentum
    update: Callable[[Tensor, Tensor, State, Settings], Updated]
    counts: bool = True  # whether torch's state has the step


def _adam(p: Tensor, g: Tensor, state: State, at: Settings) -> Updated:
    return _adapted(p, g + at.weight_decay.to(g.dtype) * p, state, at)


def _adamw(p: Tensor, g: Tensor, state: State, at: Settings) -> Updated:
    decayed = p * (1 - at.lr * at.weight_decay).to(p.dtype)
    return _adapted(decayed, g, state, at)


def _adapted(p: Tensor, g: Tensor, state: State, at: Settings) -> Updated:
    m = state["exp_avg"].lerp(g, 1 - _BETA1)
    v = torch.addcmul(state["exp_avg_sq"] * _BETA2, g, g, value=1 - _BETA2)
    size = (at.lr / (1 - _BETA1**at.step)).to(p.dtype)
    root = (1 - _BETA2**at.step).sqrt().to(p.dtype)
    return p - size * (m / (v.sqrt() / root + _EPS)), {"exp_avg": m, "exp_avg_sq": v}


def _rmsprop(p: Tensor, g: Tensor, state: State, at: Settings) -> Updated:
    lr = at.lr.to(p.dtype)
    g = g + at.weight_decay.to(g.dtype) * p
    v = torch.addcmul(state["square_avg"] * _ALPHA, g, g, value=1 - _ALPHA)
    scaled = g / (v.sqrt() + _EPS)
    if not at.momentum:
        return p - lr * scaled, {"square_avg": v}
    moved = state["momentum_buffer"] * at.momentum + scaled
    return p - lr * moved, {"square_avg": v, "momentum_buffer": moved}


def _sgd(p: Tensor, g: Tensor, state: State, at: Settings) -> Updated:
    lr = at.lr.to(p.dtype)
    g = g + at.weight_decay.to(g.dtype) * p
    if not at.momentum:
        return p - lr * g, {}
    moved = state["momentum_buffer"] * at.momentum + g
    return p - lr * moved, {"momentum_buffer": moved}


def _buffer(momentum: float) -> tuple[str, ...]:
    return ("momentum_buffer",) if momentum else ()


RULES: Mapping[Optimizer, Rule] = {
    "adam": Rule(lambda _: ("exp_avg", "exp_avg_sq"), _adam),
    "adamw": Rule(lambda _: ("exp_avg", "exp_avg_sq"), _adamw),
    "rmsprop": Rule(lambda momentum: ("square_avg", *_buffer(momentum)), _rmsprop),
    "sgd": Rule(_buffer, _sgd, counts=False),
}
