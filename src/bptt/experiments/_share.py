"""Which runs share a process, and how many processes share the machine."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import train
from .._cpus import available_cpus
from ._problems import Problem, SpecError
from ._spec import Run, Spec

# What replicas may differ in: what an arm or a seed decides, and what changes the data but not its shape.
_OWN = {
    "task": ("fingerprint", "permutation_seed", "seed"),
    "train": train.OWN_SETTINGS,
    "model": (),
}


@dataclass(frozen=True)
class Share:
    """How many processes there are at once, how many runs each has, and how many of these at once."""

    workers: int
    replicas: int
    at_once: int


def shared_out(spec: Spec, workers: int | None, replicas: int) -> Share:
    """The share of a study's processes.

    Raises:
        SpecError: if a number is less than 1, or the runs cannot be replicas on their device.
    """
    problems = [
        Problem(name, f"must be an integer ≥ 1, got {value}")
        for name, value in (("workers", workers), ("replicas", replicas))
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1)
    ]
    if spec.measured:
        alone = "must be left out or 1, for a measurement is made in one process"
        given = (("workers", workers), ("replicas", replicas))
        problems += [Problem(key, f"{alone}, got {value}") for key, value in given if value not in (None, 1)]
    elif not problems and spec.device != "cpu" and replicas > 1:
        rule = "must be 1 on a GPU for a model with dropout, whose masks a stack of runs could not draw"
        problems += [
            Problem(
                "replicas",
                f"{rule}: arm {arm.name} has model.dropout = {arm.model['dropout']}, got {replicas}",
            )
            for arm in spec.arms
            if arm.model.get("dropout")
        ]
        rule = "must be 1 on a GPU for runs that are watched, for a stack of them has no hooks"
        problems += [
            Problem("replicas", f"{rule}: arm {arm.name} has train.watch_every = {every}, got {replicas}")
            for arm in spec.arms
            if (every := arm.train.get("watch_every"))
        ]
    if problems:
        raise SpecError(problems)
    if spec.measured:
        return Share(1, 1, 1)
    room = max(1, available_cpus() // max(arm.train["threads"] for arm in spec.arms))
    if workers is None:
        workers = 1 if spec.device != "cpu" else max(1, room // min(replicas, room))
    return Share(workers, replicas, max(1, room // workers))


def together(runs: Iterable[Run], replicas: int) -> list[Sequence[Run]]:
    """Groups of at most so many runs that can be replicas of each other, in their order."""
    if replicas == 1:
        return [(run,) for run in runs]
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(json.dumps(_frame(run), sort_keys=True), []).append(run)
    return [same[i : i + replicas] for same in alike.values() for i in range(0, len(same), replicas)]


def _frame(run: Run) -> Any:
    return {
        section: {key: value for key, value in run.document[section].items() if key not in own}
        for section, own in _OWN.items()
    }
