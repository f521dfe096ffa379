"""The process of one run: build it, train it, tell the parent, and never outlive it."""

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
from . import _build
from ._problems import first_line
from ._spec import Section

# After the parent has died, how long a run may take to save its state.
_ORPHAN_SECONDS = 60.0
_SECONDS_BETWEEN = 0.25


@dataclass(frozen=True)
class Job:
    """What a run's process has to know; `folder` and `data` are absolute."""

    name: str
    folder: Path
    document: Section
    data: Path | None
    command: str
    accept_environment: bool
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


@dataclass(frozen=True)
class Message:
    """What a run's process says: `start`, `progress`, `end`, `error`, `stopped`, or `killed` if it cannot."""

    kind: Literal["start", "progress", "end", "error", "stopped", "killed"]
    content: Any = None


def main(job: Job, pipe: Connection) -> None:
    """Train one run, sending its progress and its end through `pipe`."""
    try:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_follow_parent, args=(pipe,), daemon=True).start()
        os.environ.clear()
        os.environ.update(job.environment)
        _tell(pipe, _train(job, pipe))
    except train.Interrupted as stop:
        _tell(pipe, Message("stopped", (stop.epoch, stop.step)))
    except KeyboardInterrupt:
        _tell(pipe, Message("stopped"))
    except Exception as error:
        _tell(pipe, Message("error", f"{type(error).__name__}: {first_line(error)}"))


def record_failure(folder: Path, error: Exception) -> None:
    """Write why a run failed before it was trained or while it could not say so, if that can be written."""
    with suppress(OSError, train.RunError):
        folder.mkdir(parents=True, exist_ok=True)
        train.record_failure(folder, error)


def _train(job: Job, pipe: Connection) -> Message:
    document = job.document
    try:
        task = _build.task(document["task"], job.data)
        _check_data(task.fingerprint(), document["task"])
        model = _build.model(document["model"], task, document["detach"], document["seed"])
        model = model.to(document["device"])
        config, detach = _build.config(document["train"]), _build.detach(document["detach"])
    except Exception as error:
        record_failure(job.folder, error)
        raise
    outcome = train.fit(
        job.folder,
        model,
        task,
        config,
        detach=detach,
        spec=document,
        command=job.command,
        observe=_Reporter(pipe),
        accept_environment=job.accept_environment,
    )
    return Message("end", outcome)


def _check_data(fingerprint: str, section: Section) -> None:
    if fingerprint != section["fingerprint"]:
        expected = section["fingerprint"]
        raise RuntimeError(
            f"the data of {section['name']} must have fingerprint {expected}, got {fingerprint}"
        )


class _Reporter:
    """Sends every epoch, and of the steps within it only what a person can follow."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._sent = 0.0
        self._epoch: object = None

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if progress.metrics is not self._epoch or now - self._sent >= _SECONDS_BETWEEN:
            _tell(self._pipe, Message("progress", progress))
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
