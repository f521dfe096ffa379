"""One piece of a stage: go on with its runs, all as replicas of one process, for so many minutes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ... import train
from .._event import Event
from .._load import load
from .._run import Result, run
from .._spec import Spec

#: Stage → the experiment, and what is changed in it.
STAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "copying-100": ("copying", ()),
    "copying-300": ("copying", ("task.delay=300",)),
    "smnist": ("smnist", ()),
    "pmnist": ("pmnist", ()),
}
_SEEDS = [0, 1, 2, 3, 4]  # of every arm
_BETWEEN = 10.0  # seconds from one line to the next


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What to run, and for how long.

    Attributes:
        stage: a key of `STAGES`.
        out: the folder for study folders.
        profile: of the experiment.
        precision: of the weights and products, as `bptt.train.Config` has it.
        device: `"cuda"` or `"cpu"`.
        minutes: after which all that is under way is saved.
        data: where tasks look for their files first.
        accept_environment: go on with runs begun elsewhere, and mark them.
        command: what to record as the command that asked for this.
    """

    stage: str
    out: Path
    profile: str = "paper"
    precision: str = "float32"
    device: str = "cuda"
    minutes: float = 7.0
    data: Path | None = None
    accept_environment: bool = False
    command: str | None = None

    def spec(self) -> Spec:
        """The experiment.

        Raises:
            SpecError: for a profile or setting that it does not have, or a device that is not there.
        """
        name, changes = STAGES[self.stage]
        settings = (*changes, f"train.precision={self.precision}")
        return load(name, profile=self.profile, seeds=_SEEDS, settings=settings, device=self.device)


def piece(given: Piece, spec: Spec, tell: Callable[[str], object]) -> Result:
    """Run a piece.

    Args:
        given: what and how long.
        spec: that of it.
        tell: is given a line now and then.

    Returns:
        How the runs stand. `interrupted` is whether somebody stopped them, and not the time.

    Raises:
        SpecError, StudyError: as `bptt.experiments.run` does.
    """
    tell(f"{spec.title}: {len(spec.runs)} runs in one process, for {given.minutes:g} min at most")
    deadline = time.monotonic() + 60 * given.minutes
    return run(
        spec,
        given.out,
        workers=1,
        replicas=len(spec.runs),
        data=given.data,
        command=given.command,
        accept_environment=given.accept_environment,
        observe=_Lines(tell),
        until=lambda: time.monotonic() > deadline,
    )


class _Lines:
    """A line for what ends or fails, and every few seconds one for all that is under way."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._last = time.monotonic()
        self._under_way: dict[str, tuple[str, train.Progress]] = {}  # arm and progress, by run

    def __call__(self, event: Event) -> None:
        if event.progress is None:
            self._under_way.pop(event.run.folder, None)
        else:
            self._under_way[event.run.folder] = event.run.arm, event.progress
        if event.outcome is not None and event.kind == "end":
            self._tell(f"{event.run.name}: {event.outcome.status} after epoch {event.outcome.epoch}")
        elif event.kind in ("failed", "stopped"):
            self._tell(f"{event.run.name}: {event.kind} {event.text}")
        elif event.progress is not None and time.monotonic() - self._last > _BETWEEN:
            self._last = time.monotonic()
            self._tell(self._all())

    def _all(self) -> str:
        progress = [now for _, now in self._under_way.values()]
        left = max(now.seconds_left or 0.0 for now in progress)
        by_arm: dict[str, list[float]] = {}
        for arm, now in self._under_way.values():
            if now.metrics:
                valid = now.metrics["valid"]
                by_arm.setdefault(arm, []).append(valid.get("accuracy", valid["loss"]))
        scores = ", ".join(f"{arm} {median(values):.4g}" for arm, values in by_arm.items())
        reached = (
            f"{len(progress)} runs in epoch {min(now.epoch for now in progress)} of {progress[0].epochs}"
        )
        return f"{reached}; {left / 60:.0f} min left" + (f"; median valid: {scores}" if scores else "")
