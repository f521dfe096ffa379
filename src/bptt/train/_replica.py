"""A run to train: what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..detach import Detach
from ..tasks import Task
from ._config import Config
from ._steer import check_layers


@dataclass(frozen=True, kw_only=True)
class Replica:
    """A run to train, alone (`fit`) or beside others (`fit_replicas`).

    Attributes:
        folder: of this run alone; made if it does not exist.
        model: freshly built; cast to the config's precision, and in the end it holds the best weights (the
            last ones if no epoch was the best). Its device is where everything runs.
        task: gives batches, loss and metrics.
        config: how to train.
        detach: which gradient paths are blocked in every recurrent layer of `bptt.nn`; None for none.
        spec: everything that made model, task, config and detach, as JSON values: the run's identity.
        command: what to type to make this run, kept in spec.json.
    """

    folder: Path | str
    model: torch.nn.Module
    task: Task
    config: Config
    detach: Detach | None
    spec: Mapping[str, Any]
    command: str | None = None

    @property
    def path(self) -> Path:
        """Of the folder."""
        return Path(self.folder)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def check(self) -> None:
        """Refuse what cannot be trained, before anything is written."""
        config = self.config
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ValueError(f"model must have parameters to train, got none in {type(self.model).__name__}")
        check_layers(self.model, self.detach)
        if config.solved_at != "none" and "accuracy" not in self.task.chance():
            name, got = self.task.name, config.solved_at
            raise ValueError(f'solved_at must be "none" for {name}, which has no accuracy, got {got}')
        kinds = {module.mode for module in self.model.modules() if isinstance(module, torch.nn.RNNBase)}
        if config.watch_every and not kinds:
            model, got = type(self.model).__name__, config.watch_every
            raise ValueError(
                f"watch_every must be 0 without an LSTM, GRU or RNN in the model, got {got} for {model}"
            )
        if config.paths_every and not kinds & {"LSTM", "GRU"}:
            raise ValueError(
                "paths_every must be 0 without an LSTM or GRU in the model, for an RNN has no carry, got "
                f"{config.paths_every}"
            )
        kind = self.device.type
        if config.precision == "tf32" and kind != "cuda":
            raise ValueError(f'precision must be one that a CPU has, got "tf32" for a model on {self.device}')
        if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind):
            raise ValueError(
                f"fit must be called outside torch.autocast, which rounds what precision says is exact, got "
                f"autocast on {kind} to {torch.get_autocast_dtype(kind)}"
            )
