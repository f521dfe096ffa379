"""Taps given to layers of ours as they are called."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import nn
from ..detach import Keeps
from ._input import Given, given, keys, paths

Key = tuple[int, int]
Ours = nn.LSTM | nn.GRU | nn.RNN
Begun = Callable[[Given, dict[Key, nn.Taps]], None]


class Tapped(NamedTuple):
    """A call of a layer: what it was given, and its taps."""

    given: Given
    taps: dict[Key, nn.Taps]


def taps(layer: Ours, x: Given) -> dict[Key, nn.Taps]:
    """Zeros for every state of a call, whose gradients can be asked for."""
    dtype = torch.promote_types(x.data.dtype, torch.float32) if x.data.is_floating_point() else torch.float32
    zero = torch.zeros((), dtype=dtype, device=x.data.device)  # one in all places: kernels leave it out
    zeros = {
        "h": zero.expand(x.T, x.B, layer.proj_size or layer.hidden_size),
        "c": zero.expand(x.T, x.B, layer.hidden_size),
    }
    return {
        key: nn.Taps(**{path: zeros[path].detach().requires_grad_() for path in paths(layer)})
        for key in keys(layer)
    }


@contextmanager
def tapped(
    layers: Mapping[str, Ours],
    begun: Callable[[str, Given, dict[Key, nn.Taps]], None],
    keeps: Callable[[str, Given], Mapping[Key, Keeps] | None] = lambda *_: None,
) -> Iterator[None]:
    """Give every call of the layers taps, and tell of them; those of the caller get their gradients, too.

    Args:
        layers: by name.
        begun: called with a layer's name, its input and its taps before each of its calls.
        keeps: of a layer's name and input: what replaces the layer's own keeps, if anything.
    """
    with ExitStack() as hooks:
        for name, layer in layers.items():
            tap = partial(_tap, partial(begun, name), partial(keeps, name))
            hooks.callback(layer.register_forward_pre_hook(tap, with_kwargs=True).remove)
        yield


@contextmanager
def tapped_once(
    layers: Mapping[str, Ours], keeps: Callable[[str, Given], Mapping[Key, Keeps] | None] = lambda *_: None
) -> Iterator[dict[str, Tapped]]:
    """`tapped` for layers that are called once: their calls by name.

    Raises:
        ValueError: if one is called again.
    """
    calls: dict[str, Tapped] = {}

    def begun(name: str, given: Given, made: dict[Key, nn.Taps]) -> None:
        if name in calls:
            raise ValueError(f"model must call each recurrent layer once, got several calls of {name!r}")
        calls[name] = Tapped(given, made)

    with tapped(layers, begun, keeps):
        yield calls


def _tap(begun: Begun, keeps: Callable[[Given], Any], layer: Any, args: Any, kwargs: Any) -> Any:
    x = given(layer, args, kwargs)
    if x is None or not torch.is_grad_enabled():
        return None
    ours = taps(layer, x)
    begun(x, ours)
    theirs = kwargs.get("taps")
    theirs = layer.steering.taps if theirs is None else theirs
    both = {**ours}
    for key, tap in (theirs or {}).items():
        pair = (tap, None) if isinstance(tap, Tensor) else tap
        sums = (a if b is None else b if a is None else a + b for a, b in zip(ours[key], pair, strict=True))
        both[key] = nn.Taps(*sums)
    mine = keeps(x)
    return args, {**kwargs, "taps": both} | ({} if mine is None else {"keeps": mine})
