"""Keeps and taps for the recurrent layers inside a model, from outside it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn

from ..detach import Keeps
from ._gru import GRU
from ._layers import Recurrent
from ._lstm import LSTM
from ._paths import Key, PathMap, check_entries
from ._rnn import RNN


@contextmanager
def steer(
    model: nn.Module,
    *,
    keeps: PathMap | Mapping[str, PathMap] | None = None,
    taps: PathMap | Mapping[str, PathMap] | None = None,
) -> Iterator[None]:
    """Pass keeps and taps to the recurrent layers inside a model, for every forward pass in the context.

    A layer gets them as if its caller had passed them (see `bptt.nn.LSTM`): keeps replace its `detach`. What
    the model's own code passes to a layer wins over `steer`, and an inner `steer` over an outer one, keeps
    and taps each for themselves. Where a model recomputes parts of its forward pass (checkpointing), the
    backward pass belongs in the context as well. Contexts must nest, and hold for every thread.

    Args:
        model: any module, possibly a recurrent layer of ours itself (whose name is then `""`).
        keeps: for every recurrent layer inside, `{(layer, direction): …}`; or for those named,
            `{module name: {(layer, direction): …}}`, as `draw_keeps` returns.
        taps: likewise.

    Raises:
        TypeError: if keeps or taps is no such map.
        ValueError: if a name, a key or a path matches nothing, or a map for every layer finds no recurrent
            layer of ours. Sizes are checked in the forward pass.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(8, 32)
        >>> with bptt.nn.steer(lstm, keeps={(0, 0): torch.zeros(100)}):
        ...     y, _ = lstm(torch.randn(100, 4, 8))  # no gradient passes through the gates
    """
    layers = recurrent_layers(model)
    plan: dict[str, dict[str, PathMap]] = {}
    for argument, given in (("keeps", keeps), ("taps", taps)):
        for name, entries in _by_name(argument, given, layers).items():
            plan.setdefault(name, {})[argument] = entries
    before = {name: layers[name]._steering for name in plan}
    try:
        for name, arguments in plan.items():
            layers[name]._steering = before[name]._replace(**arguments)
        yield
    finally:
        for name, steering in before.items():
            if isinstance(layers[name], Recurrent):  # not so if it was restored to torch's class meanwhile
                layers[name]._steering = steering


def draw_keeps(
    model: nn.Module,
    shape: tuple[int, int],
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> dict[str, dict[Key, Keeps]]:
    """Toss the coins of every recurrent layer in a model, by its own `detach`, for `steer`.

    Args:
        model: any module.
        shape: `(T, B)`, steps and sequences.
        generator: where the coins come from; torch's global one if None.
        device: of the keeps; None for that of each layer's weights.

    Returns:
        For each layer that has a `detach`, by module name, a map from (layer, direction) to `Keeps`: ones
        where p is 0, for which nothing is drawn. An RNN's keeps have no c.

    Raises:
        ValueError: if shape is not two non-negative ints.
    """
    return {
        name: layer._draw(
            layer.detach, shape, generator=generator, like=layer._weights(0, 0).w_ih, device=device
        )
        for name, layer in recurrent_layers(model).items()
        if layer.detach is not None
    }


def recurrent_layers(model: nn.Module) -> dict[str, LSTM | GRU | RNN]:
    """Every recurrent layer of ours in a model, by module name."""
    return {name: module for name, module in model.named_modules() if isinstance(module, LSTM | GRU | RNN)}


def _by_name(argument: str, given: Any, layers: Mapping[str, Recurrent]) -> dict[str, PathMap]:
    """The map of each layer that `given` concerns, checked."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"{argument} must be a map, got {type(given).__name__}")
    by_name = all(isinstance(key, str) for key in given)
    if not by_name:
        if not all(isinstance(key, tuple) for key in given):
            kinds = sorted({type(key).__name__ for key in given})
            raise TypeError(
                f"{argument} must have either module names or (layer, direction) as keys, "
                f"got {', '.join(kinds)}"
            )
        if not layers:
            raise ValueError(
                f"{argument} must have a recurrent layer of bptt.nn to act on, got a model without "
                "(bptt.nn.convert replaces those of torch.nn)"
            )
    named: dict[str, Any] = dict(given) if by_name else dict.fromkeys(layers, given)
    for name, entries in named.items():
        if name not in layers:
            raise ValueError(
                f"{argument} must name recurrent layers of bptt.nn, got {name!r}; {_nearest(name, layers)}"
            )
        layer = layers[name]
        paths = layer._keep_paths if argument == "keeps" else layer._tap_paths
        check_entries(argument, entries, layer=f"{layer._kind} {name!r}", keys=layer._keys, paths=paths)
    return named


def _nearest(name: str, layers: Mapping[str, Recurrent]) -> str:
    if not layers:
        return "the model has none (bptt.nn.convert replaces those of torch.nn)"
    (nearest,) = get_close_matches(name, layers, n=1, cutoff=0)
    return f"the nearest is {nearest!r}"
