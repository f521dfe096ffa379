"""A process of runs: build them, train them, tell the parent, and never outlive it."""

import os
import signal
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NoReturn

from .. import train
from ..tasks import Task
from . import _build
from ._problems import first_line
from ._spec import Section

# After the parent has died, how long a run may take to save its state.
_ORPHAN_SECONDS = 60.0
_SECONDS_BETWEEN = 0.25


@dataclass(frozen=True)
class Part:
    """A run of a process; `folder` is absolute."""

    name: str
    folder: Path
    document: Section


@dataclass(frozen=True)
class Job:
    """What a process has to know: its runs, and what is the same for them; `data` is absolute.

    `at_once` is how many of them are trained at a time, as replicas; None for a run that is alone.
    """

    parts: tuple[Part, ...]
    data: Path | None
    command: str
    accept_environment: bool
    at_once: int | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Message:
    """What a process says of a run; `killed` is what is said of it if it cannot."""

    run: str
    kind: Literal["start", "progress", "end", "error", "stopped", "killed"]
    content: Any = None


def main(job: Job, pipe: Connection) -> None:
    """Train the runs of a job, sending their progress and their ends through `pipe`."""
    try:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_follow_parent, args=(pipe,), daemon=True).start()
        os.environ.clear()
        os.environ.update(job.environment)
        _train(job, pipe)
    except BaseException as error:
        for part in job.parts:  # whoever listens knows already how some of them have ended
            _tell(pipe, _ending(part, error))


def _ending(part: Part, ending: train.Outcome | BaseException) -> Message:
    match ending:
        case train.Outcome():
            return Message(part.name, "end", ending)
        case train.Interrupted():
            return Message(part.name, "stopped", (ending.epoch, ending.step))
        case KeyboardInterrupt():
            return Message(part.name, "stopped")
        case _:
            return Message(part.name, "error", f"{type(ending).__name__}: {first_line(ending)}")


def record_failure(folder: Path, error: Exception) -> None:
    """Write why a run failed before it was trained or while it could not say so, if that can be written."""
    with suppress(OSError, train.RunError):
        folder.mkdir(parents=True, exist_ok=True)
        train.record_failure(folder, error)


def _train(job: Job, pipe: Connection) -> None:
    tasks: dict[str, Task] = {}
    parts: list[Part] = []
    replicas: list[train.Replica] = []
    for part in job.parts:
        try:
            replicas.append(_replica(part, job, tasks))
            parts.append(part)
        except Exception as error:
            record_failure(part.folder, error)
            _tell(pipe, _ending(part, error))
    reporters = [_Reporter(pipe, part.name) for part in parts]
    if job.at_once is None:
        for one, part, reporter in zip(replicas, parts, reporters, strict=True):
            outcome = train.fit(
                **vars(one),
                observe=reporter,
                accept_environment=job.accept_environment,
            )
            _tell(pipe, _ending(part, outcome))
        return
    try:
        train.fit_replicas(
            replicas,
            at_once=job.at_once,
            observe=lambda index, progress: reporters[index](progress),
            ended=lambda index, ending: _tell(pipe, _ending(parts[index], ending)),
            accept_environment=job.accept_environment,
        )
    except ValueError as error:  # nothing was begun
        for part in parts:
            record_failure(part.folder, error)
        raise


def _replica(part: Part, job: Job, tasks: dict[str, Task]) -> train.Replica:
    document = part.document
    section = document["task"]
    key = train.spec_hash(section)
    if key not in tasks:
        tasks[key] = _build.task(section, job.data)
        _build.check_data(tasks[key], section)
    model = _build.model(document["model"], tasks[key], document["detach"], document["seed"])
    return train.Replica(
        folder=part.folder,
        model=model.to(document["device"]),
        task=tasks[key],
        config=_build.config(document["train"]),
        detach=_build.detach(document["detach"]),
        spec=document,
        command=job.command,
    )


class _Reporter:
    """Sends every epoch, and of the steps within it only what a person can follow."""

    def __init__(self, pipe: Connection, run: str) -> None:
        self._pipe, self._run = pipe, run
        self._sent = 0.0
        self._epoch: object = None

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if progress.metrics is not self._epoch or now - self._sent >= _SECONDS_BETWEEN:
            _tell(self._pipe, Message(self._run, "progress", progress))
            self._sent, self._epoch = now, progress.metrics


def _tell(pipe: Connection, message: Message) -> None:
    # A parent that is gone is no failure of the run: `_follow_parent` is about to stop it.
    with suppress(OSError):
        pipe.send(message)


def _stop(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _follow_parent(pipe: Connection) -> None:
    # Nothing is ever sent this way: the only thing to receive is the end of the parent, however it came.
    try:
        pipe.recv()
    except (EOFError, OSError):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_ORPHAN_SECONDS)
        os._exit(1)
