"""Epoch after epoch until the run has a status."""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from time import monotonic
from typing import Any

from torch import Tensor

from .. import nn
from ..detach import Detach
from ..tasks import Task
from . import _folder
from ._config import Config
from ._evaluate import evaluate_split
from ._metrics import Series, Tally, TimingLog
from ._progress import Progress
from ._run import Run
from ._steer import detach_in
from ._step import Step, take_step
from ._watching import Watching


class Loop:
    """The training of one run in this process."""

    def __init__(
        self,
        run: Run,
        task: Task,
        config: Config,
        detach: Detach | None,
        observe: Callable[[Progress], None] | None,
    ) -> None:
        self.run = run
        self.task = task
        self.config = config
        self.rule = detach
        self._observe = observe
        self._began = self._saved = monotonic()
        self._resumed_at = self.run.step
        self._timing = TimingLog(self.run.folder / _folder.TIMING, self.run.epoch - 1)
        self._loss = float("nan")
        self.steps = 0  # of the epoch in progress, once it has begun
        log = self.run.flow
        self._watching = None if log is None else Watching(log, self.run.model, task, config)
        done = _folder.read_metrics(self.run.folder)
        self._latest: dict[str, Any] | None = done[-1] if done else None

    def train(self, check: Callable[[], None]) -> None:
        """Take the run from where it stands to its status.

        Args:
            check: called where stopping is safe: before a step, and in an evaluation that can be done again.
        """
        while self.run.status is None:
            order = self.begin_epoch()
            for indices in order[self.run.epoch_step :]:
                check()
                self._step(indices)
                if self.run.status is not None:
                    return
                self.report()
                if self.save_is_due:
                    self.save()
            self.end_epoch(check)

    def begin_epoch(self) -> Sequence[Tensor]:
        """Put the model under the rule of the epoch in progress, and give its order."""
        detach = self.detach
        for layer in nn.recurrent_layers(self.run.model).values():
            layer.detach = detach
        self.run.model.train()
        order = self.task.train_indices(self.run.epoch, self.config.batch_size, self.config.seed)
        self.steps = len(order)
        return order

    @property
    def detach(self) -> Detach | None:
        """Which paths are blocked in the epoch in progress."""
        return detach_in(self.run.epoch, self.rule, self.config)

    def _step(self, indices: Tensor) -> None:
        start = monotonic()
        number, watching = self.run.step + 1, self._watching
        batch = self.task.batch("train", indices)
        if watching is not None:
            watching.before(number, batch)
        step = take_step(
            self.run.model,
            self.run.optimizer,
            self.task,
            batch,
            self.config,
            detach=self.detach,
            number=number,
            watch=None if watching is None else watching.watch,
        )
        if watching is not None:
            watching.after()
        self.count(step, monotonic() - start)

    def count(self, step: Step, seconds: float) -> None:
        """Enter a step that was taken, or that ends the run."""
        run = self.run
        run.step += 1
        if step.non_finite is not None:
            run.status = step.non_finite
            run.non_finite = {"loss": step.loss, "grad_norm": step.norm}
            self.save()
            return
        run.epoch_step += 1
        run.tally.add(step.metrics, step.norm, step.clipped, seconds)
        self._loss = step.loss

    def count_series(self, series: Series, seconds: float) -> None:
        """Enter steps that were taken together with others, up to one that ends the run."""
        finite = series.finite
        self.run.step += finite
        self.run.epoch_step += finite
        limit = inf if self.config.clip_norm == "none" else self.config.clip_norm
        self.run.tally.add_series(series, finite, limit, seconds)
        if finite:
            self._loss = series.losses[finite - 1]
        if finite < len(series.losses):
            self.count(Step(series.losses[finite], series.norms[finite], clipped=False, metrics={}), 0.0)

    def end_epoch(self, check: Callable[[], None]) -> None:
        """Evaluate, write what the epoch was, and save."""
        run, config = self.run, self.config
        start = monotonic()
        valid = evaluate_split(run.model, self.task, "valid", config, check)
        eval_seconds, train_seconds = monotonic() - start, run.tally.seconds
        p = self.detach or Detach()
        record = {
            "epoch": run.epoch,
            "step": run.step,
            "p": {"h": p.h, "c": p.c},
            "train": run.tally.metrics.means(),
            "valid": valid,
            **run.tally.norm_record(),
        }
        run.offer_best(valid)
        if config.solved_at != "none" and valid["accuracy"] >= config.solved_at:
            run.status = "solved"
        elif run.epoch == config.epochs and isfinite(valid["loss"]):
            run.status = "completed"
        elif run.epoch == config.epochs:
            run.status, run.non_finite = "non-finite loss", {"valid_loss": valid["loss"]}
        run.log.append(record)
        self._timing.append(
            {
                "epoch": run.epoch,
                "time": _folder.now(),
                "steps_per_second": self.steps / max(train_seconds, 1e-9),
                "train_seconds": train_seconds,
                "eval_seconds": eval_seconds,
            }
        )
        self._latest = record
        self.report()
        run.epoch, run.epoch_step, run.tally = run.epoch + 1, 0, Tally()
        self.save()

    @property
    def save_is_due(self) -> bool:
        """Whether the last checkpoint is old."""
        return monotonic() - self._saved >= self.config.checkpoint_seconds

    def save(self) -> None:
        """Make this step the one to resume from."""
        self.run.save()
        self._saved = monotonic()

    def report(self, ahead: int = 0) -> None:
        """Tell whoever observes.

        Args:
            ahead: steps that are under way beyond those counted.
        """
        if self._observe is None:
            return
        self._observe(
            Progress(
                epoch=self.run.epoch,
                epochs=self.config.epochs,
                step=self.run.step + ahead,
                epoch_step=self.run.epoch_step + ahead,
                steps_per_epoch=self.steps,
                loss=self._loss,
                seconds=monotonic() - self._began,
                resumed_at=self._resumed_at,
                metrics=self._latest,
            )
        )
