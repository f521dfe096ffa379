"""The model of a run, as it is on disk."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .. import nn, tasks, train
from . import _build


@dataclass(frozen=True)
class Trained:
    """A run's model in evaluation mode, on the CPU.

    Attributes:
        name: arm and seed.
        model: with its weights.
        task: with its data.
        weights: which they are.
        config: how it was trained.
        spec: what made the run.
        spec_hash: the SHA-256 of the spec, by which runs are told apart.
    """

    name: str
    model: nn.SequenceModel
    task: tasks.Task
    weights: str
    config: train.Config
    spec: Mapping[str, Any]
    spec_hash: str

    def call(self, model: nn.SequenceModel, batch: tasks.Batch) -> Tensor:
        """A model's output on a batch as the run computes it, in its precision."""
        return train.forward(model, batch, self.config.dtype, self.config.autocast)

    def batch(self, split: str, number: int) -> tasks.Batch:
        """The first sequences of a split, as the run's loss takes them."""
        found = self.task.batch(split, torch.arange(min(number, self.task.sizes[split])))
        return found._replace(y=train.cast(found.y, self.config.dtype))


def trained(folder: Path, data: Path | None = None) -> Trained:
    """Build the model of a run with its weights: of the best epoch if it has ended, else those last saved.

    Args:
        folder: a run folder.
        data: where the data sets lie; None to look where tasks look.

    Raises:
        train.RunError: if the folder is no run folder of an experiment, is damaged, or holds no weights yet.
        FileNotFoundError: if the task's data is not found.
        RuntimeError: if it is other data than the run's.
    """
    return _opened(folder, data, train.read_weights)


def untrained(folder: Path, data: Path | None = None) -> Trained:
    """The model of a run as it was before its first update; arguments and errors as of `trained`."""
    return _opened(folder, data, lambda _: (None, "as initialised"))


def _opened(
    folder: Path, data: Path | None, weights_of: Callable[[Path], tuple[dict[str, Tensor] | None, str]]
) -> Trained:
    page = train.read_spec(folder)
    spec = page["spec"]
    if not {"task", "model", "train", "detach", "seed", "arm", "experiment", "profile"} <= spec.keys():
        raise train.RunError(f"{folder} must be a run that trained an experiment's model, got another spec")
    weights, which = weights_of(folder)
    task = _build.task(spec["task"], data)
    _build.check_data(task, spec["task"])
    config = _build.config(spec["train"])
    model = _build.model(spec["model"], task, spec["detach"], spec["seed"]).to(config.dtype).eval()
    if weights is not None:
        model.load_state_dict(weights)
    return Trained(
        f"{spec['arm']}, seed {spec['seed']}",
        model,
        task,
        which,
        config,
        spec,
        page["hash"],
    )
