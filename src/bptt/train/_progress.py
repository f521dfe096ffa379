"""What a run tells whoever watches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stands, after every optimiser step and after every epoch.

    Attributes:
        epoch: the current one, from 1.
        epochs: how many there are.
        step: optimiser steps taken since the run began.
        epoch_step: those of them in this epoch.
        steps_per_epoch: how many this epoch has.
        loss: of the last step whose loss is known; NaN before the first one of this process.
        seconds: since this process took the run up.
        resumed_at: the step at which it did, 0 for a new run.
        metrics: the line of metrics.jsonl of the last finished epoch, or None before the first.
    """

    epoch: int
    epochs: int
    step: int
    epoch_step: int
    steps_per_epoch: int
    loss: float
    seconds: float
    resumed_at: int
    metrics: Mapping[str, Any] | None

    @property
    def seconds_left(self) -> float | None:
        """Until the last epoch ends, at this process's pace; None before its first step."""
        taken = self.step - self.resumed_at
        if taken == 0:
            return None
        left = (self.epochs - self.epoch + 1) * self.steps_per_epoch - self.epoch_step
        return left * self.seconds / taken
