"""The folder of a run taken up, and the run carried to its end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch

from . import _files, _folder
from ._errors import AnotherRunError, Interrupted, RunError
from ._finish import finish, load_weights
from ._interrupt import StopRequested
from ._loop import Loop
from ._open import check_spec, open_run
from ._outcome import Outcome, verify_outcome
from ._progress import Progress
from ._replica import Replica
from ._run import Run
from ._steer import own_rules_restored


@contextmanager
def taken_up(
    replica: Replica,
    accept_environment: bool,
    observe: Callable[[Progress], None] | None,
    *,
    stacked: bool = False,
) -> Iterator[Outcome | Loop]:
    """Hold the folder of a replica that was checked: how it ended, or the training still to do.

    Whatever fails inside is told in failed.json.
    """
    folder, model = replica.path, replica.model
    folder.mkdir(parents=True, exist_ok=True)
    run: Run | None = None
    with _files.locked(folder), _mode_restored(model), own_rules_restored(model):
        try:
            check_spec(folder, replica.spec)
            model.to(dtype=replica.config.dtype)
            outcome = verify_outcome(folder)
            if outcome is not None:
                load_weights(model, outcome)
                (folder / _folder.FAILED).unlink(missing_ok=True)
                yield outcome
                return
            run = open_run(replica, accept_environment, stacked=stacked)
            yield Loop(run, replica.task.to(run.device), replica.config, replica.detach, observe)
        except AnotherRunError:
            raise
        except Exception as error:
            epoch, step = (0, 0) if run is None else (run.epoch, run.step)
            with suppress(OSError, RunError):  # the disk may be what failed; the error itself is raised below
                _folder.record_failure(folder, error, epoch=epoch, step=step)
            raise


def carried_on(loop: Loop, check: Callable[[], None]) -> Outcome:
    """Train what is still to be trained; a stop that `check` asks for is saved and raised as Interrupted."""
    try:
        loop.train(check)
        return concluded(loop, check)
    except StopRequested:
        raise stopped(loop.run) from None


def concluded(loop: Loop, check: Callable[[], None]) -> Outcome:
    """The end of a run that has a status."""
    outcome = finish(loop.run, loop.task, loop.config, check)
    check()  # a signal that came in the last moment concerns whoever called, too
    return outcome


def stopped(run: Run) -> Interrupted:
    """Save a run that is asked to stop, and say where it stands."""
    if run.status is None:
        run.save()
    return Interrupted(run.folder, run.epoch, run.step)


@contextmanager
def _mode_restored(model: torch.nn.Module) -> Iterator[None]:
    training = model.training
    try:
        yield
    finally:
        model.train(training)
