"""What can stop a run, each with what is safe and what to do next."""

from collections.abc import Sequence
from pathlib import Path

# How the part of torch's messages begins that tells of its C++ functions.
_FRAMES = ("\nException raised from ", "\nC++ CapturedTraceback:", "\nframe #")


class RunError(RuntimeError):
    """A run folder that cannot be used as asked: damaged, of another run, or incomplete."""


class LockedError(RunError):
    """Another process is training in the folder."""


class AnotherRunError(RunError):
    """The folder holds a run of another spec, which is left as it is."""


class EnvironmentChangedError(RunError):
    """The run was started under an environment that may compute other bits than this one.

    Attributes:
        folder: of the run.
        differences: one line for each thing that changed.
    """

    def __init__(self, folder: Path, differences: Sequence[str]) -> None:
        super().__init__(folder, differences)
        self.folder = folder
        self.differences = tuple(differences)

    def __str__(self) -> str:
        return (
            f"{self.folder} was last trained under another environment and could end with other bytes here: "
            + "; ".join(self.differences)
            + self._hint()
            + ". Resume it where it was, or accept the change, which marks the run: "
            "accept_environment=True, on the command line --accept-environment"
        )

    def _hint(self) -> str:
        if any(line.startswith("replicas: stacked") for line in self.differences):
            return " (a run that was stacked goes on stacked: --replicas on a GPU, stacked=True in Python)"
        if any(line.startswith("replicas:") for line in self.differences):
            return " (a run that was not stacked goes on alone, or with stacked=False)"
        return ""


class ReplicasMemoryError(RunError):
    """Stacked runs that do not fit into the memory of their GPU; what was saved of them stays as it is.

    Attributes:
        runs: how many there are.
        needed: bytes for all of them; None if that is not known.
        free: bytes that there are.
        fit: how many runs would fit; None if that is not known.
    """

    def __init__(self, runs: int, *, needed: int | None, free: int, fit: int | None) -> None:
        super().__init__(runs, needed, free, fit)
        self.runs, self.needed, self.free, self.fit = runs, needed, free, fit

    def __str__(self) -> str:
        rule = f"{self.runs} replicas must fit into the {self.free:,} bytes that the GPU has free"
        if self.fit is None:
            return f"{rule}, and do not: take fewer (--replicas)"
        if self.fit == 0:
            return f"{rule}, and one alone does not: take a smaller batch_size"
        return f"{rule}, and need {self.needed:,}: {self.fit} fit (--replicas {self.fit})"


class DiskFullError(RunError):
    """No space left for a file; what was there before is untouched."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM: the run is saved at an exact step and can be resumed.

    A `KeyboardInterrupt`, so that a handler of failures (`except Exception`) does not take it for one.
    """

    def __init__(self, folder: Path, epoch: int, step: int) -> None:
        super().__init__(folder, epoch, step)
        self.folder = folder
        self.epoch = epoch
        self.step = step

    def __str__(self) -> str:
        return (
            f"stopped in epoch {self.epoch} after step {self.step}; all of it is saved in {self.folder}, "
            "and fit called again with the same arguments goes on from there"
        )


def describe(error: BaseException) -> str:
    """An error as `Type: message`, without the list of C++ functions that torch may add to its messages."""
    message = str(error)
    for frames in _FRAMES:
        message = message.partition(frames)[0]
    return f"{type(error).__name__}: {message}"
