"""From a model and a task to a finished run folder, through any number of stops."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from ..detach import Detach
from ..tasks import Task
from ._config import Config
from ._environment import as_configured
from ._interrupt import StopSignals
from ._outcome import Outcome
from ._progress import Progress
from ._replica import Replica
from ._take_up import carried_on, taken_up


def fit(
    folder: Path | str,
    model: torch.nn.Module,
    task: Task,
    config: Config,
    *,
    detach: Detach | None,
    spec: Mapping[str, Any],
    command: str | None = None,
    observe: Callable[[Progress], None] | None = None,
    accept_environment: bool = False,
) -> Outcome:
    """Train a model in a run folder, taking up whatever the folder already holds.

    Stopped anywhere, even by `kill -9`, and called again with the same arguments, a run ends with the same
    bytes in metrics.jsonl, weights.safetensors and done.json as one never stopped. A finished run is not
    trained again, but verified. Whatever fails once the folder is held is told in failed.json.

    Args:
        folder, model, task, config, detach, spec, command: the attributes of a `Replica`.
        observe: called in this thread after every step and epoch; it decides how often to show anything.
        accept_environment: resume under another environment, and mark the run as changed.

    Returns:
        How the run ended.

    Raises:
        ValueError: if the model has nothing to train, `detach` reaches no layer or contradicts a layer's own,
            `solved_at` is given for a task without an accuracy, `precision` is none that the model's device
            has, or torch.autocast is on, whose rounding no run records; nothing is written.
        AnotherRunError: if the folder is another run's, which stays as it is.
        RunError: if the folder is damaged; what is good in it stays.
        LockedError: if another process is training in it.
        EnvironmentChangedError: if it was started under another environment, unless `accept_environment`.
        DiskFullError: if there is no space left; the last checkpoint stays.
        Interrupted: after the first Ctrl-C or SIGTERM, with the current step finished and saved.
    """
    replica = Replica(
        folder=folder,
        model=model,
        task=task,
        config=config,
        detach=detach,
        spec=spec,
        command=command,
    )
    replica.check()
    with as_configured(config), taken_up(replica, accept_environment, observe) as taken:
        if isinstance(taken, Outcome):
            return taken
        with StopSignals() as stop:
            return carried_on(taken, stop.check)
