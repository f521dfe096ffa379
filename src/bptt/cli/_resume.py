"""`bptt resume`: go on from what is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from ._arguments import parse, whole_number
from ._folders import check_there, only_study


@dataclass(frozen=True)
class Arguments:
    """Go on with a study, or with one of its runs, from what is written in its folder.

    A run that was stopped anywhere ends with the same bytes as one that never was. Exit status: as of
    `bptt run`.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """A study folder, a folder that holds one study alone, or a run folder inside a study."""
    data: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: where the study found it)")
    ] = None
    """Where the data sets lie."""
    workers: Annotated[
        str | None, arg(metavar="N", help_behavior_hint="(default: the cores, one on a GPU)")
    ] = None
    """Processes at once."""
    replicas: Annotated[str | None, arg(metavar="R", help_behavior_hint="(default: 1, or as stacked)")] = None
    """Runs that a process trains together: on a GPU as one model with a row for each, on a CPU in threads.
    Only runs alike but for seed, p, learning rate and the like share a process."""
    accept_environment: FlagCreatePairsOff[bool] = False
    """Go on with runs that were begun under other versions or threads, and mark them so."""


def main(argv: Sequence[str]) -> int:
    """Resume what the arguments ask for."""
    given = parse(Arguments, "resume", argv, takes="one folder, of a study or of a run in it")
    workers = whole_number("--workers", given.workers)
    replicas = whole_number("--replicas", given.replicas)
    check_there([given.folder])
    folder = only_study(given.folder)
    from .. import experiments
    from ._conclude import conclude

    def study(observe: Callable[[experiments.Event], None]) -> experiments.Result:
        return experiments.resume(
            folder,
            workers=workers,
            replicas=replicas,
            data=given.data,
            accept_environment=given.accept_environment,
            observe=observe,
        )

    return conclude(study, resumed=folder)
