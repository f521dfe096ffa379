"""The gradient split by path: along the carry alone, or through the gates at least once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .. import nn
from ..detach import Detach, Keeps
from ._copied import Call, called, copied, scalar
from ._flows import norms
from ._input import Given, keys
from ._taps import Key, Ours, tapped_once

Loss = Callable[[Tensor, Any], Tensor]
Place = tuple[str, Key]


@dataclass(frozen=True)
class Paths:
    """dL/ds_t of one layer in one direction, s being the state on the carry: c of an LSTM, h of a GRU.

    With `T` steps and `B` sequences, the gradients `(T, B, H)`, which add up: `whole = carry + gates`.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        whole: through every path.
        carry: along the carry alone, from the steps where the loss reads the layer (products of A-terms): no
            hop from h_{t−1} into the gates of step t of this layer.
    """

    name: str
    layer: int
    direction: int
    whole: Tensor
    carry: Tensor

    @property
    def gates(self) -> Tensor:
        """With at least one hop through the gates of this layer (B-terms)."""
        return self.whole - self.carry

    @property
    def share(self) -> Tensor:
        """`(T, B)`: ‖carry‖ / (‖carry‖ + ‖gates‖), NaN where no gradient arrives at all."""
        carry, gates = norms(self.carry), norms(self.gates)
        return carry / (carry + gates)


def paths(model: Module, batch: Any, loss: Loss, *, call: Call = called) -> tuple[Paths, ...]:
    """Split the gradient with respect to the states into carry and gates, exactly, for every LSTM and GRU.

    Two backward passes for each layer and direction: with all paths open, and with its path through the gates
    blocked at every step. Dropout is the same in all of them; the model's own detachment is not used.

    Args:
        model: any module with an LSTM or GRU of `bptt.nn` or `torch.nn` inside; it stays as it is.
        batch: as in `lag_profile`.
        loss: of the output and the batch: a scalar.
        call: as in `lag_profile`.

    Returns:
        A split for each layer and direction.

    Raises:
        ValueError: if there is no LSTM or GRU, one is not called exactly once, or the loss is no scalar with
            a gradient.

    Source: Kanuparthi et al., "h-detach", ICLR 2019 (arXiv 1810.03023): the recursion
        z_t = (A_t + B_t) z_{t−1}.
    """
    with copied(model) as mine:
        layers = _with_carry(mine)
        asked = _Asked(mine, layers, batch, loss, call)
        whole = asked.gradients({})
        found = []
        for place in whole:
            carry = asked.gradients({place: 0.0})[place]
            name, (layer, direction) = place
            found.append(Paths(name, layer, direction, whole[place], carry))
    return tuple(found)


def expected(
    model: Module, batch: Any, loss: Loss, p: Sequence[float], *, call: Call = called
) -> tuple[dict[float, Tensor], ...]:
    """The mean over all coins of the gradient under h-detach, with respect to the states on the carry.

    The coins of different steps are independent, and every path crosses a step once: the mean is the gradient
    whose hops through the gates count 1 − p each.

    Args:
        model, batch, loss, call: as in `paths`.
        p: probabilities of blocking, of all layers alike.

    Returns:
        For each layer and direction, in the order of `paths`: p → `(T, B, H)`.

    Raises:
        ValueError: as `paths` does, and for a p outside [0, 1].
    """
    rules = [Detach(h=each) for each in p]
    with copied(model) as mine:
        layers = _with_carry(mine)
        asked = _Asked(mine, layers, batch, loss, call)
        places = [(name, key) for name, layer in layers.items() for key in keys(layer)]
        found = [asked.gradients(dict.fromkeys(places, 1 - rule.h)) for rule in rules]
    return tuple(
        {rule.h: gradients[place] for rule, gradients in zip(rules, found, strict=True)} for place in places
    )


def _with_carry(model: Module) -> Mapping[str, Ours]:
    every = nn.recurrent_layers(model)
    layers = {name: layer for name, layer in every.items() if not isinstance(layer, nn.RNN)}
    if not layers:
        raise ValueError("model must have an LSTM or GRU, for an RNN has no carry, got a model without")
    return layers


class _Asked:
    """One question: the gradients of a loss with respect to the states on the carry, under given keeps."""

    def __init__(self, model: Module, layers: Mapping[str, Ours], batch: Any, loss: Loss, call: Call) -> None:
        self._model, self._layers, self._batch, self._loss, self._call = model, layers, batch, loss, call
        self._random = torch.get_rng_state()

    def gradients(self, kept: Mapping[Place, float]) -> dict[Place, Tensor]:
        """By layer and direction; `kept` is the factor on hops through the gates, 1 where there is none."""
        torch.set_rng_state(self._random)

        def keeps(name: str, x: Given) -> dict[Key, Keeps]:
            return {key: Keeps(h=x.keep(factor)) for (owner, key), factor in kept.items() if owner == name}

        with tapped_once(self._layers, keeps) as calls:
            value = scalar(self._loss(self._call(self._model, self._batch), self._batch))
        places = {
            (name, key): tap.h if tap.c is None else tap.c
            for name, each in calls.items()
            for key, tap in each.taps.items()
        }
        wanted = [tap for tap in places.values() if tap is not None]
        found = torch.autograd.grad(value, wanted, materialize_grads=True)
        return dict(zip(places, found, strict=True))
