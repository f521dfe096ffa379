"""flow.jsonl: the gradients through time at every so many steps of a run."""

from functools import partial

import torch

from .. import flow
from ..streams import stream
from ..tasks import Batch, Task
from ._config import Config
from ._evaluate import cast, forward
from ._metrics import Log
from ._randomness import generators_held, seeded_by


class Watching:
    """A run whose gradients are looked at.

    Attributes:
        watch: of its model.
    """

    def __init__(self, log: Log, model: torch.nn.Module, task: Task, config: Config) -> None:
        self.watch = flow.watch(model, every=config.watch_every)
        self._log, self._model, self._task, self._config = log, model, task, config
        self._paths: tuple[flow.Paths, ...] = ()
        self._lengths: torch.Tensor | None = None

    def before(self, number: int, batch: Batch) -> None:
        """Split the gradients by path before step `number` is taken, if that is asked for."""
        config = self._config
        self._paths, self._lengths = (), batch.lengths
        if not config.paths_every or number % config.paths_every:
            return
        batch = batch._replace(y=cast(batch.y, config.dtype))
        call = partial(forward, dtype=config.dtype, autocast=config.autocast)
        dropout = stream(config.seed, "dropout", number)
        with generators_held(), seeded_by(dropout, self._model, self._task):
            self._paths = flow.paths(self._model, batch, self._task.loss, call=call)

    def after(self) -> None:
        """Write what was seen of the step, if it was looked at."""
        with generators_held():  # a layer of torch.nn is run again, with the random numbers that it had
            reading = self.watch.take()
        if reading is not None:
            self._log.append(reading.with_paths(self._paths, self._lengths).row())
