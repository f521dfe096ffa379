"""Many small launches recorded once and repeated as one: CUDA graphs over buffers of their own."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from ..._cuda_graphs import recorded
from ._launch import capturing

Arguments = dict[str, Any]
_KEPT, _NOTED = 16, 256
_IDLE = 64  # calls after which a recording makes room for another
_SHARE = 8  # of a device's memory, the part that buffers may have


@dataclass
class _Recording:
    own: Arguments
    repeat: Callable[[], object]
    bytes: int
    used: int


class Graphs:
    """Recordings of work on named tensors.

    Args:
        record: makes a function that repeats what a function launches on a device.
        most: bytes of all their buffers together; None for an eighth of the device's memory.
    """

    def __init__(
        self,
        record: Callable[[Callable[[], None], torch.device], Callable[[], object]] = recorded,
        most: int | None = None,
    ) -> None:
        self._record, self._most = record, most
        self._noted: OrderedDict[Hashable, None] = OrderedDict()
        self._kept: dict[Hashable, _Recording] = {}
        self._calls = 0
        self._lock = Lock()

    def run(
        self,
        work: Callable[[Arguments], None],
        arguments: Arguments,
        device: torch.device,
        *,
        inputs: tuple[str, ...],
        outputs: tuple[str, ...],
    ) -> None:
        """Do `work(arguments)`, which reads some tensors, writes some whole, and waits for nothing.

        What comes for the second time is recorded, if there is room; a recording that has not been used
        for a while makes room. Inside somebody's own recording the work is done as it is, to be part of it.

        Args:
            work: a function that depends on nothing else.
            arguments: tensors, None, and what decides how the work is done.
            device: of the tensors.
            inputs, outputs: names of what it reads and writes.
        """
        if capturing():
            work(arguments)
            return
        described = tuple((name, _described(value)) for name, value in sorted(arguments.items()))
        key = (work, described, _settings(), _stream(device))
        with self._lock:
            self._calls += 1
            recording = self._kept.get(key) or self._recorded(key, work, arguments, device)
            if recording is not None:
                recording.used = self._calls
                _copy(arguments, recording.own, inputs)
                recording.repeat()
                _copy(recording.own, arguments, outputs)
                return
        work(arguments)

    @property
    def bytes(self) -> int:
        """Of all buffers."""
        return sum(recording.bytes for recording in self._kept.values())

    def _recorded(
        self, key: Hashable, work: Callable[[Arguments], None], arguments: Arguments, device: torch.device
    ) -> _Recording | None:
        if not self._seen(key):
            return None
        size = sum(t.nbytes for t in arguments.values() if isinstance(t, Tensor))
        if not self._has_room(size, device):
            return None
        try:
            with torch.inference_mode(False), torch.no_grad():
                own = {
                    n: torch.empty_like(t).copy_(t) if isinstance(t, Tensor) else t
                    for n, t in arguments.items()
                }
                repeat = self._record(lambda: work(own), device)
        except torch.OutOfMemoryError:
            return None
        self._kept[key] = _Recording(own, repeat, size, self._calls)
        return self._kept[key]

    def _seen(self, key: Hashable) -> bool:
        if key in self._noted:
            self._noted.move_to_end(key)
            return True
        self._noted[key] = None
        if len(self._noted) > _NOTED:
            self._noted.popitem(last=False)
        return False

    def _has_room(self, size: int, device: torch.device) -> bool:
        most = self._most
        if most is None:
            most = torch.cuda.get_device_properties(device).total_memory // _SHARE
        idle = [key for key, recording in self._kept.items() if self._calls - recording.used > _IDLE]
        while idle and (self.bytes + size > most or len(self._kept) >= _KEPT):
            del self._kept[idle.pop(0)]
        return self.bytes + size <= most and len(self._kept) < _KEPT


def _described(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    return value


def _settings() -> Hashable:
    """What decides how torch multiplies."""
    products = torch.backends.cuda.matmul
    return (
        products.fp32_precision,
        products.allow_fp16_reduced_precision_reduction,
        products.allow_bf16_reduced_precision_reduction,
        torch.are_deterministic_algorithms_enabled(),
    )


def _stream(device: torch.device) -> int:
    return torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0


def _copy(source: Mapping[str, Any], target: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if source[name] is not None:
            target[name].copy_(source[name])
