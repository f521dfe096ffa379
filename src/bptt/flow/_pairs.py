"""The gradients of taps as they come in backward passes."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from .. import nn
from ._taps import Key

Gradients = dict[str, Tensor]  # of h and, of an LSTM, c: (T, B, H)
Receive = Callable[[Key, int, Gradients], None]  # of the key, and which backward pass


def listen(taps: Mapping[Key, nn.Taps], receive: Receive) -> None:
    """Call `receive` once the gradients of a (layer, direction) are there, in each backward pass."""
    for key, each in taps.items():
        there = {path: tap for path, tap in each._asdict().items() if tap is not None}
        pair = _Pair(key, tuple(there), receive)
        for path, tap in there.items():
            tap.register_hook(pair.receiver(path))


class _Pair:
    def __init__(self, key: Key, paths: tuple[str, ...], receive: Receive) -> None:
        self._key, self._paths, self._receive = key, paths, receive
        self._waiting: list[Gradients] = []
        self._passes = 0

    def receiver(self, path: str) -> Callable[[Tensor], Any]:
        def arrived(gradient: Tensor) -> None:
            place = next((each for each in self._waiting if path not in each), None)
            if place is None:
                place = {}
                self._waiting.append(place)
            place[path] = gradient.detach()  # autograd copies a gradient that somebody else holds
            if len(place) == len(self._paths):
                self._waiting.remove(place)
                self._receive(self._key, self._passes, place)
                self._passes += 1

        return arrived
