"""The gradients of taps as they come in backward passes."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Variable

from .. import nn
from ._taps import Key

Gradients = dict[str, Tensor]  # of h and, of an LSTM, c: (T, B, H)
Receive = Callable[[Key, int, Gradients], None]  # of the key, and which backward pass


def listen(taps: Mapping[Key, nn.Taps], receive: Receive) -> None:
    """Call `receive` once the gradients of a (layer, direction) are there, in each backward pass.

    Of a state that the loss does not depend on, as h of a single step of which c_n alone is read, they are
    zeros.
    """
    for key, each in taps.items():
        there = {path: tap for path, tap in each._asdict().items() if tap is not None}
        pair = _Pair(key, there, receive)
        for path, tap in there.items():
            tap.register_hook(pair.receiver(path))


class _Pair:
    def __init__(self, key: Key, taps: Mapping[str, Tensor], receive: Receive) -> None:
        self._key, self._receive = key, receive
        # Detached, for the hooks of the taps hold this pair: a cycle would keep their gradients.
        self._taps = {path: tap.detach() for path, tap in taps.items()}
        self._waiting: dict[int, Gradients] = {}  # by backward pass
        self._passes = 0

    def receiver(self, path: str) -> Callable[[Tensor | None], Any]:
        def arrived(gradient: Tensor | None) -> None:
            if gradient is None:
                return
            number = torch._C._current_graph_task_id()
            if number not in self._waiting:
                self._waiting[number] = {}
                Variable._execution_engine.queue_callback(partial(self._ended, number))
            self._waiting[number][path] = gradient.detach()  # autograd copies one that somebody else holds
            if len(self._waiting[number]) == len(self._taps):
                self._complete(number)

        return arrived

    def _ended(self, number: int) -> None:
        if number in self._waiting:
            zeros = {path: tap.new_zeros(tap.shape) for path, tap in self._taps.items()}
            self._waiting[number] = zeros | self._waiting[number]
            self._complete(number)

    def _complete(self, number: int) -> None:
        self._receive(self._key, self._passes, self._waiting.pop(number))
        self._passes += 1
