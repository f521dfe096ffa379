"""A run in memory: everything that its next step depends on, saved and restored as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from . import _state
from ._environment import Environment
from ._metrics import Log, Tally


@dataclass(frozen=True)
class Best:
    """The best epoch by validation so far, with its weights on the CPU."""

    epoch: int
    valid: Mapping[str, float]
    weights: Mapping[str, Tensor]


@dataclass(kw_only=True)
class Run:
    """A run between two optimiser steps.

    Attributes:
        folder: where it is saved.
        model, optimizer: what is trained.
        spec: the hash of its spec.
        inputs: what else decides its results; a resumed run must have the same.
        environments: where it ran, oldest first; more than one if it was resumed elsewhere.
        log: metrics.jsonl.
        flow: flow.jsonl, if the run is watched.
        epoch: the one in progress, from 1; one past the last when all are done.
        step: optimiser steps taken.
        epoch_step: those of them in the epoch in progress.
        tally: what these came to.
        best: by validation.
        status: None while training goes on.
        non_finite: the loss and gradient norm that ended it.
    """

    folder: Path
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    spec: str
    inputs: Mapping[str, Any]
    environments: list[Environment]
    log: Log
    flow: Log | None
    epoch: int = 1
    step: int = 0
    epoch_step: int = 0
    tally: Tally = field(default_factory=Tally)
    best: Best | None = None
    status: str | None = None
    non_finite: Mapping[str, float] | None = None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def save(self) -> None:
        """Make this step the one to resume from."""
        state = {
            "spec": self.spec,
            "inputs": dict(self.inputs),
            "environments": self.environments,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "metrics": self.log.position,
            "flow": None if self.flow is None else self.flow.position,
            "epoch": self.epoch,
            "step": self.step,
            "epoch_step": self.epoch_step,
            "tally": self.tally.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "status": self.status,
            "non_finite": self.non_finite,
        }
        _state.save(self.folder, state)

    def restore(self, state: _state.State) -> Self:
        """Go to the step that a state was saved at."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = state["epoch"]
        self.step = state["step"]
        self.epoch_step = state["epoch_step"]
        self.tally = Tally.from_state_dict(state["tally"], self.device)
        self.best = None if state["best"] is None else Best(**state["best"])
        self.status = state["status"]
        self.non_finite = state["non_finite"]
        return self

    def offer_best(self, valid: Mapping[str, float]) -> None:
        """Keep the weights if this epoch's validation is the best so far; of equals the earlier stays."""
        if _score(valid) > (_score(self.best.valid) if self.best is not None else float("-inf")):
            weights = {
                name: tensor.detach().to("cpu", copy=True).contiguous()
                for name, tensor in self.model.state_dict().items()
            }
            self.best = Best(self.epoch, dict(valid), weights)


def _score(valid: Mapping[str, float]) -> float:
    # Accuracy where the task has one. A model whose loss is inf or NaN is never the best.
    if not abs(valid["loss"]) < float("inf"):
        return float("-inf")
    return valid["accuracy"] if "accuracy" in valid else -valid["loss"]
