"""Epoch after epoch until the run has a status."""

from collections.abc import Callable, Sequence
from math import isfinite
from time import monotonic
from typing import Any

from torch import Tensor

from ..detach import Detach
from ..tasks import Task
from . import _folder
from ._config import Config
from ._evaluate import evaluate
from ._metrics import Tally, TimingLog
from ._progress import Progress
from ._run import Run
from ._steer import detach_in, recurrent_layers
from ._step import Step, take_step


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
        self._detach = detach
        self._observe = observe
        self._began = self._saved = monotonic()
        self._resumed_at = self.run.step
        self._timing = TimingLog(self.run.folder / _folder.TIMING, self.run.epoch - 1)
        self._loss = float("nan")
        done = _folder.read_metrics(self.run.folder)
        self._latest: dict[str, Any] | None = done[-1] if done else None

    def train(self, check: Callable[[], None]) -> None:
        """Take the run from where it stands to its status.

        Args:
            check: called where stopping is safe: before a step, and in an evaluation that can be done again.
        """
        while self.run.status is None:
            order = self.task.train_indices(self.run.epoch, self.config.batch_size, self.config.seed)
            self._train_epoch(order, check)
            if self.run.status is None:
                self._end_epoch(len(order), check)

    def _train_epoch(self, order: Sequence[Tensor], check: Callable[[], None]) -> None:
        run = self.run
        detach = detach_in(run.epoch, self._detach, self.config)
        for layer in recurrent_layers(run.model).values():
            layer.detach = detach
        run.model.train()
        for indices in order[run.epoch_step :]:
            check()
            start = monotonic()
            step = take_step(
                run.model,
                run.optimizer,
                self.task,
                self.task.batch("train", indices),
                self.config,
                detach=detach,
                number=run.step + 1,
            )
            run.step += 1
            if step.non_finite is not None:
                self._end_non_finite(step)
                return
            run.epoch_step += 1
            run.tally.add(step.metrics, step.norm, step.clipped, monotonic() - start)
            self._loss = step.loss
            self._report(len(order))
            if monotonic() - self._saved >= self.config.checkpoint_seconds:
                self._save()

    def _end_epoch(self, steps: int, check: Callable[[], None]) -> None:
        run, config = self.run, self.config
        start = monotonic()
        valid = evaluate(run.model, self.task, "valid", batch_size=config.eval_batch_size, check=check)
        eval_seconds, train_seconds = monotonic() - start, run.tally.seconds
        p = detach_in(run.epoch, self._detach, config) or Detach()
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
                "steps_per_second": steps / max(train_seconds, 1e-9),
                "train_seconds": train_seconds,
                "eval_seconds": eval_seconds,
            }
        )
        self._latest = record
        self._report(steps)
        run.epoch, run.epoch_step, run.tally = run.epoch + 1, 0, Tally()
        self._save()

    def _end_non_finite(self, step: Step) -> None:
        self.run.status = step.non_finite
        self.run.non_finite = {"loss": step.loss, "grad_norm": step.norm}
        self._save()

    def _save(self) -> None:
        self.run.save()
        self._saved = monotonic()

    def _report(self, steps_per_epoch: int) -> None:
        if self._observe is None:
            return
        self._observe(
            Progress(
                epoch=self.run.epoch,
                epochs=self.config.epochs,
                step=self.run.step,
                epoch_step=self.run.epoch_step,
                steps_per_epoch=steps_per_epoch,
                loss=self._loss,
                seconds=monotonic() - self._began,
                resumed_at=self._resumed_at,
                metrics=self._latest,
            )
        )
