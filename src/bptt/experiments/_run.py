"""Running a study: arms × seeds in processes, exact through any interruption."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import train
from . import _build, _measured, _stored, _study
from ._child import Job, Message, Part
from ._event import Event, damaged, ended, has_state, told
from ._pool import execute
from ._problems import Problem, SpecError, first_line
from ._share import Share, shared_out, together
from ._spec import Run, Spec
from ._study import Study


@dataclass(frozen=True)
class Result:
    """How a study ended: its folder, each run's last event, and whether it was interrupted."""

    folder: Path
    events: Mapping[str, Event]
    interrupted: bool

    @property
    def failed(self) -> tuple[Event, ...]:
        """The runs that failed."""
        return tuple(event for event in self.events.values() if event.kind == "failed")


def run(
    spec: Spec,
    out: Path | str,
    *,
    workers: int | None = None,
    replicas: int = 1,
    data: Path | str | None = None,
    command: str | None = None,
    accept_environment: bool = False,
    observe: Callable[[Event], None] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> Result:
    """Run every arm under every seed; what is finished is skipped, what is broken goes on where it stopped.

    Runs are processes of `multiprocessing`: a script that calls this needs its `if __name__ == "__main__":`.

    Args:
        spec: from `load`.
        out: the folder that holds study folders; this study's is `out / spec.folder`.
        workers: processes at once; None for as many as there are cores for their threads, and one on a GPU.
        replicas: runs that a process trains together, at most (`bptt.train.fit_replicas`).
        data: where tasks look for their files first.
        command: what to record as the command that asked for this.
        accept_environment: go on with runs begun under other versions or threads, and mark them.
        observe: called in this process with each event.
        until: asked often; once it is true, all that is under way is saved and stopped, as by Ctrl-C.

    Returns:
        How each run ended. A run that fails stops no other.

    Raises:
        SpecError: if the task's data is not found, or given to a task that reads none, or workers or replicas
            is less than 1, or replicas cannot be had, before anything is written.
        StudyError: if a folder belongs to another spec or its study.json is damaged, before anything is
            written.
    """
    place = Path(data).resolve() if data is not None else None
    description, runs = _prepared(spec, place)
    asked = command or f"bptt.experiments.run({spec.experiment!r}, profile={spec.profile!r})"
    study = Study(Path(out) / spec.folder, spec, description, runs, place, (asked,))
    share = shared_out(spec, workers, replicas)
    with study.held():  # another command may be adding its own seeds
        begun = (study.folder / _study.NAME).exists()
        joined = _study.joined(_stored.read(study.folder), study) if begun else study
        _study.check_folders(study.folder, runs)
        joined.write()
    return _execute(study, share, accept_environment, observe, until)


def resume(
    folder: Path | str,
    *,
    workers: int | None = None,
    replicas: int | None = None,
    data: Path | str | None = None,
    accept_environment: bool = False,
    observe: Callable[[Event], None] | None = None,
) -> Result:
    """Go on with a study, or with a single run of one, from what is written in its folder.

    Args:
        folder: a study folder, or a run folder inside one.
        workers: as in `run`.
        replicas: as in `run`; None for 1, or for all where runs have been stacked, which go on stacked.
        data: as in `run`; None for where the study found it.
        accept_environment: as in `run`.
        observe: as in `run`.

    Raises:
        StudyError: if the folder is no study and no run of one.
        SpecError: as in `run`.
    """
    folder = Path(folder)
    home = folder if (folder / _study.NAME).exists() else folder.resolve().parent.parent
    if home != folder and not (home / _study.NAME).exists():
        home = folder
    study = _stored.read(home)
    place = study.data if data is None else Path(data).resolve()
    _, runs = _prepared(study.spec, place)
    wanted = {one.folder for one in study.runs}
    if home != folder:
        wanted &= {folder.resolve().relative_to(home).as_posix()}
    chosen = tuple(one for one in runs if one.folder in wanted)
    if not chosen:
        raise _study.StudyError(f"{folder} must be a study folder or one of its run folders, got neither")
    _study.check_folders(home, chosen)
    if replicas is None:
        replicas = len(chosen) if any(_was_stacked(home / one.folder) for one in chosen) else 1
    share = shared_out(study.spec, workers, replicas)
    return _execute(replace(study, runs=chosen, data=place), share, accept_environment, observe)


def _was_stacked(folder: Path) -> bool:
    try:
        return train.read_spec(folder)["environment"].get("replicas") == "stacked"
    except train.RunError:
        return False


def _prepared(spec: Spec, data: Path | None) -> tuple[Mapping[str, Any], tuple[Run, ...]]:
    """Make every task once: the description of the first, and the runs with their data's fingerprints."""
    if spec.measured:
        if data is not None:
            raise SpecError(
                [Problem("data", f"must be left out, for a measurement reads no files, got {data}")]
            )
        return {}, spec.runs
    if data is not None and not any(_build.reads_data(arm.task) for arm in spec.arms):
        names = ", ".join(dict.fromkeys(arm.task["name"] for arm in spec.arms))
        raise SpecError(
            [Problem("data", f"must be left out, for {names} reads no files of yours, got {data}")]
        )
    made: dict[str, tuple[_build.Sizes, Mapping[str, Any]]] = {}
    problems = []
    for arm in spec.arms:
        key = train.spec_hash(arm.task)
        try:
            if key not in made:
                task = _build.task(arm.task, data)
                made[key] = _build.Sizes.of(task), task.describe()
        except (FileNotFoundError, ValueError) as error:
            problems.append(Problem("task", str(error)))
        except RuntimeError as error:
            problems.append(Problem("task", first_line(error)))
        else:
            problems += _build.misfit(arm, made[key][0])
    if problems:
        raise SpecError(dict.fromkeys(problems))
    runs = []
    for one in spec.runs:
        task = one.document["task"]
        _, description = made[train.spec_hash(task)]
        fingerprint = description["fingerprint"]
        runs.append(replace(one, document={**one.document, "task": {**task, "fingerprint": fingerprint}}))
    _, description = made[train.spec_hash(spec.arms[0].task)]
    return description, tuple(runs)


def _job(runs: Sequence[Run], study: Study, share: Share, accept_environment: bool) -> Job:
    parts = (Part(one.name, (study.folder / one.folder).absolute(), one.document) for one in runs)
    at_once = share.at_once if share.replicas > 1 else None
    return Job(tuple(parts), study.data, study.commands[-1], accept_environment, at_once)


def _execute(
    study: Study,
    share: Share,
    accept_environment: bool,
    observe: Callable[[Event], None] | None,
    until: Callable[[], bool] = lambda: False,
) -> Result:
    events: dict[str, Event] = {}

    def tell(event: Event) -> None:
        events[event.run.folder] = event
        if observe is not None:
            observe(event)

    if study.spec.measured:
        with _interruptible() as asked:
            _measured.execute(study, tell, lambda: asked() > 0 or until())
            return Result(study.folder, events, asked() > 0)
    left: dict[str, Run] = {}
    for one in study.runs:
        folder = study.folder / one.folder
        try:
            outcome = ended(folder)
        except (OSError, train.RunError) as error:
            tell(damaged(one, folder, error))
            continue
        if outcome is not None:
            tell(Event("skip", one, folder, outcome=outcome))
            continue
        left[one.name] = one
        tell(Event("queue", one, folder, saved=has_state(folder) or None))
    with _interruptible() as asked:

        def stopping() -> bool:
            return asked() > 0 or until()

        def receive(message: Message) -> None:
            one = left[message.run]
            tell(told(one, study.folder / one.folder, message, stopping()))

        execute(
            [
                _job(group, study, share, accept_environment)
                for group in together(left.values(), share.replicas)
            ],
            share.workers,
            receive=receive,
            stopping=stopping,
            insisting=lambda: asked() > 1,
        )
        return Result(study.folder, events, asked() > 0)


@contextmanager
def _interruptible() -> Iterator[Callable[[], int]]:
    """Count Ctrl-C and SIGTERM, which then cut no line of this process in half; the third is as anywhere."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number: int, _frame: object) -> None:
        if len(asked) > 1:
            raise KeyboardInterrupt
        asked.append(number)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) not in (None, signal.SIG_IGN):
                before[number] = signal.signal(number, ask)
    try:
        yield asked.__len__
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
