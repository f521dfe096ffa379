"""The end of a run: the best weights exported and tested, and done.json last of all."""

import hashlib
from collections.abc import Callable
from typing import Any

import safetensors.torch
import torch

from ..tasks import Task
from . import _files, _folder
from ._config import Config
from ._errors import RunError
from ._evaluate import evaluate_split
from ._outcome import Outcome, read_outcome, write_outcome
from ._run import Run


def finish(run: Run, task: Task, config: Config, check: Callable[[], None]) -> Outcome:
    """Export and test the best weights, leave them in the model, and write done.json.

    Done again after a stop, every file gets the same bytes.
    """
    test = weights_sha256 = None
    if run.best is not None:
        # One key only: safetensors writes the metadata of several in a random order.
        weights = safetensors.torch.save(dict(run.best.weights), metadata={"spec": run.spec})
        weights_sha256 = hashlib.sha256(weights).hexdigest()
        _files.write_whole(run.folder / _folder.WEIGHTS, weights)
        run.model.load_state_dict(run.best.weights)
        if "test" in task.sizes:
            test = evaluate_split(run.model, task, "test", config, check)
    page: dict[str, Any] = {
        "spec": run.spec,
        "status": run.status,
        "epoch": run.epoch - 1 if run.non_finite is None else min(run.epoch, config.epochs),
        "step": run.step,
        "best": None if run.best is None else {"epoch": run.best.epoch, "valid": run.best.valid},
        "test": test,
        "metrics_sha256": run.log.position["sha256"],
        "weights_sha256": weights_sha256,
        "environment_changed": len(run.environments) > 1,
    }
    if run.flow is not None:
        page["flow_sha256"] = run.flow.position["sha256"]
    if run.non_finite is not None:
        page["non_finite"] = run.non_finite
    if len(run.environments) > 1:
        page["environments"] = run.environments
    write_outcome(run.folder, page)
    outcome = read_outcome(run.folder)
    if outcome is None:
        raise RunError(f"{run.folder / _folder.DONE} was written and is gone")
    return outcome


def load_weights(model: torch.nn.Module, outcome: Outcome) -> None:
    """Give a model the best weights of a finished and verified run."""
    if outcome.weights_sha256 is not None:
        data = (outcome.folder / _folder.WEIGHTS).read_bytes()
        model.load_state_dict(safetensors.torch.load(data))
