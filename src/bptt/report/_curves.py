"""The figures of a study as numbers: for each arm the seeds, and their median and spread at every epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ._ending import Status
from ._run import Run
from ._study import Arm, Study
from ._words import score

#: Up to this many seeds the spread is from the least to the greatest; beyond, from 10% to 90%.
WHOLE_RANGE = 10
#: Up to this many seeds each one is drawn as a thin line.
THIN_LINES = 10


@dataclass(frozen=True)
class SeedLine:
    """One run in one figure: its values at epochs 1, 2, …, and how it ended."""

    seed: int
    values: np.ndarray
    status: Status


@dataclass(frozen=True, kw_only=True)
class ArmCurve:
    """One arm in one figure, each array of shape (epochs,).

    There is a line in `seeds` for each of the `expected` runs that has values. At an epoch, `median`, `low`
    and `high` are over the `n` seeds with a finite value there, `carried` of which had already stopped as
    solved; NaN where n is 0.
    """

    arm: Arm
    index: int
    expected: int
    seeds: tuple[SeedLine, ...]
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    carried: np.ndarray

    @property
    def epochs(self) -> np.ndarray:
        """1, 2, … up to the last epoch that any seed reached."""
        return np.arange(1, self.median.size + 1)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: its title, what to add beside the y axis, the arms, and the levels and epochs to mark."""

    key: str
    title: str
    axis: str
    percent: bool
    log: bool
    arms: tuple[ArmCurve, ...]
    spread: str
    levels: tuple[tuple[str, float], ...]
    anneal_starts: tuple[int, ...]

    @property
    def last(self) -> int:
        """The last epoch that any seed reached."""
        return max(arm.median.size for arm in self.arms)

    @property
    def thin_lines(self) -> bool:
        """Whether to draw each seed: there are few, or a single epoch, at which there is no band to see."""
        return self.last == 1 or max(len(arm.seeds) for arm in self.arms) <= THIN_LINES


def figures(study: Study) -> tuple[Figure, ...]:
    """The figures of a study: its validation score, the training loss and the gradient norm against epochs.

    A run that stopped because it was solved keeps its last score and loss in the later epochs of its arm,
    so that the others do not stand for the arm; it has no later gradients. A run that ended in any other way
    is in the epochs it reached. An arm without a value is left out, and so is a figure without an arm.
    """
    judged = study.score
    wanted = (
        ("validation-" + judged, f"Validation {judged}", f"valid.{judged}", True),
        ("training-loss", "Training loss", "train.loss", True),
        ("gradient-norm", "Gradient norm before clipping", "grad_norm.median", False),
    )
    made = (_figure(study, key, title, curve, carry) for key, title, curve, carry in wanted)
    return tuple(figure for figure in made if figure is not None)


def _figure(study: Study, key: str, title: str, curve: str, carry: bool) -> Figure | None:
    tails = 0.0 if max(len(study.of(arm)) for arm in study.arms) <= WHOLE_RANGE else 0.1
    arms = tuple(
        made
        for index, arm in enumerate(study.arms)
        if (made := _arm_curve(index, arm, study.of(arm), curve, carry, tails)) is not None
    )
    if not arms:
        return None
    percent, norm = curve.endswith(".accuracy"), curve.startswith("grad_norm")
    shown = np.concatenate([line.values[np.isfinite(line.values)] for arm in arms for line in arm.seeds])
    wide = bool((shown > 0).all() and shown.max() > 30 * shown.min())
    log = norm or (not percent and wide)
    last = max(arm.median.size for arm in arms)
    notes = ["median over the epoch's steps"] * norm + ["log scale"] * log
    return Figure(
        key=key,
        title=title,
        axis=", ".join(notes),
        percent=percent,
        log=log,
        arms=arms,
        spread="10% to 90% of the seeds" if tails else "lowest to highest seed",
        levels=_clip_levels(study) if norm else _chance_level(study, curve.split(".")[1]),
        anneal_starts=tuple(start for start in _anneal_starts(study) if start <= last),
    )


def _arm_curve(
    index: int, arm: Arm, runs: Sequence[Run], curve: str, carry: bool, tails: float
) -> ArmCurve | None:
    lines = tuple(SeedLine(run.seed, run.curves[curve], run.status) for run in runs if curve in run.curves)
    if not any(np.isfinite(line.values).any() for line in lines):
        return None
    length = max(line.values.size for line in lines)
    table = np.full((len(lines), length), np.nan)
    carried = np.zeros(length, dtype=int)
    for row, line in zip(table, lines, strict=True):
        row[: line.values.size] = np.where(np.isfinite(line.values), line.values, np.nan)
        if carry and line.status is Status.SOLVED:
            row[line.values.size :] = line.values[-1]
            carried[line.values.size :] += 1
    low, median, high = np.full((3, length), np.nan)
    n = np.isfinite(table).sum(axis=0)
    known = n > 0
    low[known], median[known], high[known] = np.nanquantile(table[:, known], (tails, 0.5, 1 - tails), axis=0)
    return ArmCurve(
        arm=arm,
        index=index,
        expected=len(runs),
        seeds=lines,
        median=median,
        low=low,
        high=high,
        n=n,
        carried=carried,
    )


def _chance_level(study: Study, metric: str) -> tuple[tuple[str, float], ...]:
    chance = study.chance(metric)
    return () if chance is None else (("chance: " + score(chance, metric), chance),)


def _clip_levels(study: Study) -> tuple[tuple[str, float], ...]:
    norms = (study.train("clip_norm", arm) for arm in study.arms)
    numbers = sorted(
        {float(norm) for norm in norms if isinstance(norm, int | float) and not isinstance(norm, bool)}
    )
    return tuple((f"clipped above {norm:g}", norm) for norm in numbers)


def _anneal_starts(study: Study) -> tuple[int, ...]:
    """The first epochs with p = 0 of the arms that block something before."""
    starts = set()
    for arm in study.arms:
        epochs, last = study.train("epochs", arm), study.train("anneal_epochs", arm)
        blocks = any(
            (run.curves[key] > 0).any()
            for run in study.of(arm)
            for key in ("p.h", "p.c")
            if key in run.curves
        )
        if blocks and isinstance(epochs, int) and isinstance(last, int) and 0 < last < epochs:
            starts.add(epochs - last + 1)
    return tuple(sorted(starts))
