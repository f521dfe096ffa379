"""Runs at the same step trained as one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from time import monotonic
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from ... import nn
from ..._cuda_graphs import recorded
from ...detach import Keeps
from ...tasks import Batch
from .._evaluate import cast, forward
from .._loop import Loop
from .._metrics import Series
from ._feed import Feed, Place, places
from ._rows import Rows
from ._rules import Settings

_AHEAD = 64  # steps whose coins are on the device at a time, at most
_SECONDS = 1.0  # that they take, about: as long as a stop has to wait


@dataclass(frozen=True)
class Stretch:
    """What came of some steps: the series of each run, and how long they took."""

    series: list[Series]
    seconds: float


class Stack:
    """R runs that take their steps together.

    A step is a fixed sequence of launches that reads and writes the same memory and waits for nothing: on a
    GPU it is recorded once and repeated. A run whose loss or gradient is not finite keeps its weights from
    then on.

    Args:
        loops: of the runs, at the same step of the same epoch, which has begun.
        orders: of the epoch, as `Loop.begin_epoch` gives them.
    """

    def __init__(self, loops: Sequence[Loop], orders: Sequence[Sequence[Tensor]]) -> None:
        self.loops = list(loops)
        run, self._config = loops[0].run, loops[0].config
        configs = [loop.config for loop in loops]
        self._device = run.device
        self.rows = Rows([loop.run for loop in loops], self._config.optimizer, self._config.momentum)
        self._settings = Settings.of(configs, run.step, self._device)
        limits = [inf if config.clip_norm == "none" else config.clip_norm for config in configs]
        self._limits = torch.tensor(limits, dtype=torch.float64, device=self._device)
        self._alive = torch.ones(len(loops), dtype=torch.bool, device=self._device)
        self._at = torch.zeros((), dtype=torch.int64, device=self._device)  # in the epoch, the next step
        self._every = torch.arange(len(orders[0]), device=self._device).view(-1, 1, 1)
        self._places = places(loops)
        self._feeds: dict[int, Feed] = {}  # by batch size, as are those below
        self._takes: dict[int, Callable[[], object]] = {}
        self._counts: dict[int, dict[str, int]] = {}
        self._record: Tensor | None = None  # (steps, numbers of a step, R)
        self._events: list[torch.cuda.Event] = []
        self._pace = 1  # steps to take before anybody is asked again
        self.new_epoch(orders)

    def new_epoch(self, orders: Sequence[Sequence[Tensor]]) -> None:
        """Go on with the order of another epoch."""
        self._sizes = [len(indices) for indices in orders[0]]
        for size in self.sizes:
            part = slice(self._first(size), self._first(size) + self._sizes.count(size))
            order = torch.stack([torch.stack(list(order[part])) for order in orders], 1)
            if size in self._feeds:
                self._feeds[size].new_epoch(order)
            else:
                self._feeds[size] = Feed(
                    self.loops, order, self._at, first=part.start, places=self._places, ahead=_AHEAD
                )
        self._settled, self._since = self.loops[0].run.epoch_step, monotonic()
        self._at.fill_(self._settled)

    @property
    def sizes(self) -> list[int]:
        """Every size that a batch of the epoch has."""
        return list(dict.fromkeys(self._sizes))

    def train(self, end: int, going_on: Callable[[int], bool]) -> Stretch:
        """Take steps and wait for them.

        Args:
            end: the step of the epoch to stop before.
            going_on: called about every second with how many are under way; returns whether to take more.

        Returns:
            What came of them. The runs are as they were until `rows.give_back`.
        """
        at = self._settled
        while at < end:
            began = monotonic()
            size = self._sizes[at]
            first = self._first(size)
            same = first + self._sizes.count(size)
            stop = min(end, same, at + _AHEAD - (at - first) % _AHEAD, at + self._pace)
            self._feeds[size].draw(at, stop)
            take = self._take(size)
            for _ in range(at, stop):
                take()
            self._wait_for_the_last_but_one()
            taken, at = stop - at, stop
            self._pace = max(1, min(_AHEAD, int(taken * _SECONDS / max(monotonic() - began, 1e-6))))
            if not going_on(at - self._settled):
                break
        return self._settle(at)

    def try_step(self, size: int) -> None:
        """Take a step that is not counted."""
        first = self._first(size)
        self._at.fill_(first)
        self._feeds[size].draw(first, first + 1)
        self._step(size)

    def _first(self, size: int) -> int:
        return self._sizes.index(size)

    def _take(self, size: int) -> Callable[[], object]:
        if size not in self._takes:
            self._takes[size] = self._recorded(lambda: self._step(size))
        return self._takes[size]

    def _recorded(self, step: Callable[[], None]) -> Callable[[], object]:
        changed = [*self.rows.tensors, self._settings.step, self._alive, self._at]
        before = [tensor.clone() for tensor in changed]

        def undo() -> None:
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)

        return recorded(step, self._device, undo=undo)

    def _step(self, size: int) -> None:
        """One step of every run, the next of the epoch."""
        feed = self._feeds[size]
        parameters = self.rows.parameters()
        with torch.enable_grad():
            losses, sums = self._losses(parameters, feed, size)
            parts = torch.autograd.grad(losses.sum(), list(parameters.values()), allow_unused=True)
        gradient = self.rows.flat(parts)
        norms = torch.linalg.vector_norm(gradient, dim=1, dtype=torch.float64)
        losses = losses.detach().double()
        self._alive &= losses.isfinite() & norms.isfinite()
        scale = torch.where(norms > self._limits, self._limits / (norms + 1e-6), 1.0)
        self._settings.step.add_(1)
        self.rows.update(gradient * scale.to(gradient.dtype).unsqueeze(1), self._alive, self._settings)
        numbers = torch.stack([losses, norms, *sums])
        if self._record is None:
            self._record = numbers.new_empty(len(self._sizes), *numbers.shape)
        self._record.copy_(torch.where(self._every == self._at, numbers, self._record))
        self._at += 1

    def _losses(self, parameters: Mapping[str, Tensor], feed: Feed, size: int) -> tuple[Tensor, list[Tensor]]:
        """(R,) losses, and (R,) sums of each metric."""
        model, task, config = self.loops[0].run.model, self.loops[0].task, self._config

        def one(weights: Any, constants: Any, x: Tensor, y: Tensor, keeps: Tensor) -> Any:
            batch = Batch(x, cast(y, config.dtype))
            named = {**weights, **constants}
            with nn.steer(model, keeps=_by_place(self._places, keeps)):
                call = partial(functional_call, model, named)
                output = forward(call, batch, config.dtype, config.autocast)
            metrics = task.metrics(output.detach(), batch)
            self._counts[size] = {name: int(count) for name, (_, count) in metrics.items()}
            return task.loss(output, batch), [value.detach().double() for value, _ in metrics.values()]

        x, y = self._batches(feed.indices())
        return vmap(one)(parameters, self.rows.constants, x, y, feed.keeps())

    def _batches(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(R, T, B, …) and the targets of the sequences (R, B), all neighbours of one task at once."""
        xs, ys = [], []
        tasks = [loop.task for loop in self.loops]
        first = 0
        while first < len(tasks):
            last = next((i for i in range(first, len(tasks)) if tasks[i] is not tasks[first]), len(tasks))
            batch = tasks[first].batch("train", indices[first:last].flatten())
            shape = (last - first, indices.shape[1])
            xs.append(batch.x.unflatten(1, shape).movedim(1, 0))
            axis = 1 if tasks[first].readout == "each" else 0
            ys.append(batch.y.unflatten(axis, shape).movedim(axis, 0))
            first = last
        return torch.cat(xs), torch.cat(ys)

    def _wait_for_the_last_but_one(self) -> None:
        # The device always has something left to do while the host waits.
        if self._device.type != "cuda":
            return
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        self._events.append(event)
        if len(self._events) > 2:
            self._events.pop(0).synchronize()

    def _settle(self, end: int) -> Stretch:
        begin, self._settled = self._settled, end
        numbers: list[Any] = [[[], []] for _ in self.loops]
        if self._record is not None and end > begin:
            numbers = self._record[begin:end].permute(2, 1, 0).tolist()
        now = monotonic()
        seconds, self._since = now - self._since, now
        sizes = self._sizes[begin:end]
        names = self._counts[sizes[0]] if sizes else ()
        counts = {name: [self._counts[size][name] for size in sizes] for name in names}
        series = [
            Series(losses, norms, dict(zip(names, sums, strict=True)), counts)
            for losses, norms, *sums in numbers
        ]
        return Stretch(series, seconds)


def _by_place(where: Sequence[Place], keeps: Tensor) -> dict[str, Any] | None:
    """For `steer`, of keeps (places, …)."""
    if not where:
        return None
    found: dict[str, dict[tuple[int, int], Keeps]] = {}
    for (name, key, path), keep in zip(where, keeps.unbind(0), strict=True):
        layer = found.setdefault(name, {})
        layer[key] = layer.get(key, Keeps())._replace(**{path: keep})
    return found
