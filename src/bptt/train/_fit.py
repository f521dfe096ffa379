"""From a model and a task to a finished run folder, through any number of stops."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from ..detach import Detach
from ..tasks import Task
from . import _files, _folder
from ._config import Config
from ._environment import as_configured
from ._errors import AnotherRunError, Interrupted, RunError
from ._finish import finish, load_weights
from ._interrupt import StopRequested, StopSignals
from ._loop import Loop
from ._open import check_spec, open_run
from ._outcome import Outcome, verify_outcome
from ._progress import Progress
from ._run import Run
from ._steer import check_layers, own_rules_restored


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
        folder: of this run alone; made if it does not exist.
        model: freshly built; cast to the config's precision, and on return it holds the best weights (the
            last ones if no epoch was the best). Its device is where everything runs.
        task: gives batches, loss and metrics.
        config: how to train.
        detach: which gradient paths are blocked in every recurrent layer of `bptt.nn`; None for none.
        spec: everything that made model, task, config and detach, as JSON values: the run's identity.
        command: what to type to make this run, kept in spec.json.
        observe: called in this thread after every step and epoch; it decides how often to show anything.
        accept_environment: resume under another environment, and mark the run as changed.

    Returns:
        How the run ended.

    Raises:
        ValueError: if the model has nothing to train, `detach` reaches no layer or contradicts a layer's own,
            `solved_at` is given for a task without an accuracy, or torch.autocast is on, whose rounding no
            run records; nothing is written.
        AnotherRunError: if the folder is another run's, which stays as it is.
        RunError: if the folder is damaged; what is good in it stays.
        LockedError: if another process is training in it.
        EnvironmentChangedError: if it was started under another environment, unless `accept_environment`.
        DiskFullError: if there is no space left; the last checkpoint stays.
        Interrupted: after the first Ctrl-C or SIGTERM, with the current step finished and saved.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError(f"model must have parameters to train, got none in {type(model).__name__}")
    check_layers(model, detach)
    if config.solved_at != "none" and "accuracy" not in task.chance():
        raise ValueError(
            f'solved_at must be "none" for {task.name}, which has no accuracy, got {config.solved_at}'
        )
    _refuse_autocast(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run: Run | None = None
    with _files.locked(folder), as_configured(config), _mode_restored(model), own_rules_restored(model):
        try:
            check_spec(folder, spec)
            model.to(dtype=config.dtype)
            outcome = verify_outcome(folder)
            if outcome is not None:
                load_weights(model, outcome)
                (folder / _folder.FAILED).unlink(missing_ok=True)
                return outcome
            run = open_run(folder, model, task, config, detach, spec, command, accept_environment)
            return _carry_on(Loop(run, task.to(run.device), config, detach, observe))
        except AnotherRunError:
            raise
        except Exception as error:
            epoch, step = (0, 0) if run is None else (run.epoch, run.step)
            with suppress(OSError, RunError):  # the disk may be what failed; the error itself is raised below
                _folder.record_failure(folder, error, epoch=epoch, step=step)
            raise


def _refuse_autocast(model: torch.nn.Module) -> None:
    kind = next(model.parameters()).device.type
    if torch.is_autocast_enabled(kind):
        raise ValueError(
            f"fit must be called outside torch.autocast, which rounds what precision says is exact, got "
            f"autocast on {kind} to {torch.get_autocast_dtype(kind)}"
        )


def _carry_on(loop: Loop) -> Outcome:
    run = loop.run
    try:
        with StopSignals() as stop:
            loop.train(stop.check)
            outcome = finish(run, loop.task, loop.config, stop.check)
            stop.check()  # a signal that came in the last moment concerns whoever called, too
            return outcome
    except StopRequested:
        if run.status is None:
            run.save()
        raise Interrupted(run.folder, run.epoch, run.step) from None


@contextmanager
def _mode_restored(model: torch.nn.Module) -> Iterator[None]:
    training = model.training
    try:
        yield
    finally:
        model.train(training)
