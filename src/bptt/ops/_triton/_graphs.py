"""Many small launches recorded once and repeated as one: CUDA graphs over buffers of their own."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from ._launch import capturing

Arguments = dict[str, Any]
_KEPT, _NOTED = 8, 64
_BYTES = 2 << 30


def _capture(body: Callable[[], None]) -> Callable[[], None]:
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        body()
    return graph.replay


class Graphs:
    """Recordings of work on named tensors, the latest used of them.

    Args:
        record: makes a function that repeats what a function launches.
        most: bytes of all their buffers together.
    """

    def __init__(
        self, record: Callable[[Callable[[], None]], Callable[[], None]] = _capture, most: int = _BYTES
    ) -> None:
        self._record, self._most = record, most
        self._noted: OrderedDict[Hashable, None] = OrderedDict()
        self._kept: OrderedDict[Hashable, tuple[Arguments, Callable[[], None]]] = OrderedDict()

    def run(
        self,
        work: Callable[[Arguments], None],
        arguments: Arguments,
        *,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
    ) -> None:
        """Do `work(arguments)`, which reads some tensors and writes some, and waits for nothing.

        What comes for the second time is recorded.

        Args:
            work: a function that depends on nothing else.
            arguments: tensors, None, and what decides how the work is done.
            inputs, outputs: names of what it reads and writes.
        """
        key = (work, tuple((name, _described(value)) for name, value in sorted(arguments.items())))
        size = sum(t.nbytes for t in arguments.values() if isinstance(t, Tensor))
        if capturing() or size > self._most or not (key in self._kept or self._seen(key)):
            work(arguments)
            return
        if key not in self._kept:
            own = {name: t.clone() if isinstance(t, Tensor) else t for name, t in arguments.items()}
            self._kept[key] = own, self._record(lambda: work(own))
        self._kept.move_to_end(key)
        own, repeat = self._kept[key]
        _copy(arguments, own, inputs)
        repeat()
        _copy(own, arguments, outputs)
        self._forget()

    @property
    def bytes(self) -> int:
        """Of all buffers."""
        return sum(t.nbytes for own, _ in self._kept.values() for t in own.values() if isinstance(t, Tensor))

    def _seen(self, key: Hashable) -> bool:
        if key in self._noted:
            return True
        self._noted[key] = None
        if len(self._noted) > _NOTED:
            self._noted.popitem(last=False)
        return False

    def _forget(self) -> None:
        while len(self._kept) > 1 and (len(self._kept) > _KEPT or self.bytes > self._most):
            self._kept.popitem(last=False)


def _described(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    return value


def _copy(source: Mapping[str, Any], target: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if source[name] is not None:
            target[name].copy_(source[name])
