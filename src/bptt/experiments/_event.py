"""What happens to runs, as it is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .. import train
from ._child import Message, record_failure
from ._problems import first_line
from ._spec import Run

Kind = Literal["skip", "queue", "start", "progress", "end", "failed", "stopped"]

_BEFORE = "before its first step"


@dataclass(frozen=True)
class Event:
    """Something that happened to a run.

    Before any run starts, every one has had a `skip` (it was finished already) or a `queue`.
    `progress` comes with kind `progress`; `outcome` with `skip` and `end` of a training; `text` with `skip`
    and `end` of a measurement, with `failed`, why, and with `stopped`, where, if that is known. `saved`, with
    `queue` and `stopped`, is whether all that has been trained is saved, and None if nothing has been.
    """

    kind: Kind
    run: Run
    folder: Path
    progress: train.Progress | None = None
    outcome: train.Outcome | None = None
    text: str = ""
    saved: bool | None = None


def ended(folder: Path) -> train.Outcome | None:
    """How a run has ended, if it has, its files checked."""
    outcome = train.verify_outcome(folder)
    if outcome is not None or (folder / "spec.json").exists():
        train.read_spec(folder)
    return outcome


def damaged(run: Run, folder: Path, error: Exception) -> Event:
    """A run whose folder cannot be gone on with."""
    text = f"{first_line(error)}; move {folder} away and run again to train it anew"
    return Event("failed", run, folder, text=text)


def told(run: Run, folder: Path, message: Message, stopping: bool) -> Event:
    """What a message of a run's process comes to."""
    if message.kind == "killed":
        return _killed(run, folder, message.content, stopping)
    match message.kind:
        case "start":
            return Event("start", run, folder)
        case "progress":
            return Event("progress", run, folder, progress=message.content)
        case "end":
            return Event("end", run, folder, outcome=message.content)
        case "error":
            return Event("failed", run, folder, text=message.content)
        case _:
            return _stopped(run, folder, message.content)


def _stopped(run: Run, folder: Path, place: tuple[int, int] | None) -> Event:
    """A run that has stopped by itself, after this epoch and step or before it could train."""
    epoch, step = place or (0, 0)
    if step:
        return Event("stopped", run, folder, text=f"in epoch {epoch} after step {step}", saved=True)
    if place is None and has_state(folder):
        return Event("stopped", run, folder, saved=True)
    return Event("stopped", run, folder, text=_BEFORE)


def has_state(folder: Path) -> bool:
    """Whether something can be gone on with."""
    return (folder / "state.pt").exists()


def _killed(run: Run, folder: Path, cause: str, stopping: bool) -> Event:
    try:
        outcome = ended(folder)
    except (OSError, train.RunError) as error:
        return damaged(run, folder, error)
    if outcome is not None:
        return Event("end", run, folder, outcome=outcome)
    if stopping and not (folder / "spec.json").exists():
        return Event("stopped", run, folder, text=_BEFORE)
    if stopping:
        text = f"{'after' if has_state(folder) else 'before'} a checkpoint, without saving more"
        return Event("stopped", run, folder, text=text, saved=False)
    record_failure(folder, RuntimeError(cause))
    return Event("failed", run, folder, text=cause)
