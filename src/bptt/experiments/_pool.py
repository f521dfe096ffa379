"""Runs in processes of their own, some at once: one that dies takes no other with it."""

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from . import _child
from ._child import Job, Message

# No library may start threads as it loads, for they would not survive a fork. A run then sets its own number.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# What torch imports at the first step of an optimiser, which takes as long as importing torch.
_LOADED_BY_TRAINING = ("torch._dynamo",)
# A run asked to stop saves its state first; one that does not manage in this time is killed.
_GRACE_SECONDS = 60.0
_POLL_SECONDS = 0.2


@dataclass
class _Active:
    job: Job
    process: BaseProcess
    ended: set[str] = field(default_factory=set)  # names of its runs


def execute(
    jobs: Sequence[Job],
    workers: int,
    *,
    receive: Callable[[Message], None],
    stopping: Callable[[], bool],
    insisting: Callable[[], bool],
) -> None:
    """Run every job in a process of its own, `workers` at once.

    Args:
        jobs: what to run, in order.
        workers: how many processes at once, at least 1.
        receive: called here, in this process, with the messages of each run: `start`, any number of
            `progress`, and one that says how it ended: `end`, `error`, `killed` or `stopped`.
        stopping: asked often; once true, no job starts and those under way are asked to save and stop.
        insisting: as often; once true, those that have not stopped yet are killed.
    """
    waiting = deque(jobs)
    active: dict[connection.Connection, _Active] = {}
    deadline: float | None = None
    try:
        while active or (waiting and not stopping()):
            while waiting and len(active) < workers and not stopping():
                job = waiting.popleft()
                for part in job.parts:
                    receive(Message(part.name, "start"))
                ours, process = _start(job)
                active[ours] = _Active(job, process)
            if stopping() and deadline is None:
                deadline = time.monotonic() + _GRACE_SECONDS
                for run in active.values():
                    run.process.terminate()
            if insisting() or (deadline is not None and time.monotonic() > deadline):
                for run in active.values():
                    run.process.kill()
            for ready in connection.wait(list(active), timeout=_POLL_SECONDS):
                _hear(active, ready, receive)
    finally:
        for run in active.values():
            run.process.kill()
            run.process.join()


def _hear(active: dict[Any, _Active], ready: Any, receive: Callable[[Message], None]) -> None:
    run = active[ready]
    try:
        message = ready.recv()
    except (EOFError, ConnectionError):
        # The end of the pipe is the end of the process: it holds the only other handle.
        del active[ready]
        ready.close()
        run.process.join()
        for part in run.job.parts:
            if part.name not in run.ended:
                receive(Message(part.name, "killed", _cause(run.process.exitcode)))
        return
    if message.run in run.ended:
        return
    if message.kind != "progress":
        run.ended.add(message.run)
    receive(message)


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"the process ended with status {exitcode} and no word"
    name = signal.Signals(-exitcode).name
    hint = ", which is what the system does when memory runs out" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{hint}"


def _start(job: Job) -> tuple[connection.Connection, BaseProcess]:
    context = _context()
    ours, theirs = context.Pipe(duplex=True)
    process = context.Process(target=_child.main, args=(job, theirs), name=job.parts[0].name, daemon=True)
    with _environment(_ONE_THREAD), _interrupts_held():
        process.start()
    theirs.close()
    return ours, process


def _context() -> ForkServerContext | SpawnContext:
    """How processes start: forked from a server that has loaded torch and never used it, where that is safe.

    Loading torch costs seconds, which a study of many short runs pays once and not once a run. The server is
    a new process and not this one, so a run inherits no threads, no locks and no GPU.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload(["bptt.experiments", *_LOADED_BY_TRAINING])
    return context


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # Ctrl-C goes to every process of the terminal. A child inherits this mask, so its imports do not
    # end in a traceback; after them it ignores Ctrl-C and stops when this process tells it to.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
