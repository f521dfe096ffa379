"""What can stop a run, each with what is safe and what to do next."""

from pathlib import Path


class RunError(RuntimeError):
    """A run folder that cannot be used as asked: damaged, of another run, or incomplete."""


class LockedError(RunError):
    """Another process is training in the folder."""


class EnvironmentChangedError(RunError):
    """The run was started under an environment that may compute other bits than this one."""


class DiskFullError(RunError):
    """No space left for a file of the run; the last checkpoint is untouched."""


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
            f"stopped in epoch {self.epoch} after step {self.step}; all of it is saved, "
            f"continue with: bptt resume {self.folder}"
        )
