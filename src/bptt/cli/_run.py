"""`bptt run`: an experiment, from its spec to finished runs."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from ._arguments import parse, whole_number, whole_numbers


@dataclass(frozen=True)
class Arguments:
    """Run an experiment: every arm under every seed, each run in its own process.

    Finished runs are skipped and broken ones go on where they stopped: the same command may be given again.
    A run that ends at a loss or gradient that is not finite is a result, named at the end, and no failure.
    Exit status: 0 done, 1 some runs failed, 2 bad input, 130 stopped with Ctrl-C.
    """

    experiment: Annotated[Positional[str], arg(metavar="NAME|FILE")]
    """One of `bptt ls`, or a spec file."""
    profile: Annotated[
        str | None, arg(metavar="NAME", help_behavior_hint="(default: the spec's usual one)")
    ] = None
    """Which [profiles.NAME] to lay over the base values."""
    seeds: Annotated[
        tuple[str, ...] | None, arg(metavar="N ...", help_behavior_hint="(default: the spec's)")
    ] = None
    """Seeds, separated by spaces."""
    arms: Annotated[tuple[str, ...] | None, arg(metavar="ARM ...", help_behavior_hint="(default: all)")] = (
        None
    )
    """Which arms to run."""
    set: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="KEY=VALUE")] = ()
    """Another value for a key, for all arms: task.delay=300. For one arm, its name in double quotes and the
    whole in single ones: 'arms."h-detach-0.25".detach.h=0.5'."""
    device: Annotated[str, arg(metavar="cpu|cuda")] = "cpu"
    """Where to train; CUDA_VISIBLE_DEVICES chooses among GPUs."""
    data: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: $BPTT_DATA, then the cache)")
    ] = None
    """Where the data sets lie."""
    out: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """Folder for study folders; this study is DIR/EXPERIMENT-PROFILE."""
    workers: Annotated[
        str | None, arg(metavar="N", help_behavior_hint="(default: the cores, one on a GPU)")
    ] = None
    """Processes at once."""
    replicas: Annotated[str | None, arg(metavar="R", help_behavior_hint="(default: 1)")] = None
    """Runs that a process trains together: on a GPU as one model with a row for each, on a CPU in threads.
    Only runs alike but for seed, p, learning rate and the like share a process."""
    accept_environment: FlagCreatePairsOff[bool] = False
    """Go on with runs that were begun under other versions or threads, and mark them so."""


def main(argv: Sequence[str]) -> int:
    """Run what the arguments ask for."""
    given = parse(Arguments, "run", argv, takes="one experiment: a name of `bptt ls` or a spec file")
    seeds = None if given.seeds is None else whole_numbers("--seeds", given.seeds)
    workers = whole_number("--workers", given.workers)
    replicas = whole_number("--replicas", given.replicas)
    # torch loads here, after the flags have been found right.
    from .. import experiments
    from ._conclude import conclude

    def study(observe: Callable[[experiments.Event], None]) -> experiments.Result:
        spec = experiments.load(
            given.experiment,
            profile=given.profile,
            arms=given.arms,
            seeds=seeds,
            settings=given.set,
            device=given.device,
        )
        return experiments.run(
            spec,
            given.out,
            workers=workers,
            replicas=1 if replicas is None else replicas,
            data=given.data,
            command=shlex.join(["bptt", "run", *argv]),
            accept_environment=given.accept_environment,
            observe=observe,
        )

    return conclude(study)
