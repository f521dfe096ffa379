"""The figures of a study as numbers: for each arm the seeds, and their median and spread at every epoch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

from ._ending import Status
from ._study import Arm, Study
from ._words import score

#: Up to this many seeds the spread is from the least to the greatest; beyond, from 10% to 90%.
WHOLE_RANGE = 10
#: Up to this many seeds each one is drawn as a thin line.
THIN_LINES = 10
_FAR = 1e300  # in the place of inf, of which no quantile can be taken


@dataclass(frozen=True)
class SeedLine:
    """One run in one figure: its values at `x`, which rises, and how it ended."""

    seed: int
    x: np.ndarray
    values: np.ndarray
    status: Status


@dataclass(frozen=True, kw_only=True)
class ArmCurve:
    """One arm in one figure, each array of shape (X,): one value for every x that one of its seeds has.

    There is a line in `seeds` for each of the `expected` runs that has values. At an x, `median`, `low`
    and `high` are over the `n` seeds with a value there, `carried` of which had already stopped as solved;
    NaN where n is 0.
    """

    arm: Arm
    index: int
    expected: int
    seeds: tuple[SeedLine, ...]
    x: np.ndarray
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray
    carried: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: its title, what to add beside the y axis, the arms, and the levels and epochs to mark.

    `unit` is what x counts, and `about` says what is seen. A value of inf is drawn at `ceiling`, below the
    end of the y axis in `limits`, and reads `endless`, in a figure that has these; in others it is no value.
    """

    key: str
    title: str
    axis: str
    percent: bool
    log: bool
    arms: tuple[ArmCurve, ...]
    spread: str
    levels: tuple[tuple[str, float], ...] = ()
    anneal_starts: tuple[int, ...] = ()
    unit: str = "epoch"
    about: str = ""
    ceiling: float = np.nan
    limits: tuple[float, float] | None = None
    endless: str = ""

    @property
    def x(self) -> np.ndarray:
        """Every x of any arm."""
        return reduce(np.union1d, (arm.x for arm in self.arms))

    @property
    def last(self) -> int:
        """The last x that any seed reached."""
        return int(self.x[-1])

    @property
    def single(self) -> bool:
        """Whether there is but one x, at which no line can be seen."""
        return self.x.size == 1

    @property
    def thin_lines(self) -> bool:
        """Whether to draw each seed: there are few, or a single x, at which there is no band to see."""
        return self.single or max(len(arm.seeds) for arm in self.arms) <= THIN_LINES

    def drawn(self, values: np.ndarray) -> np.ndarray:
        """Where values stand in the figure; NaN for those that do not."""
        return np.where(np.isfinite(values), values, np.where(values == np.inf, self.ceiling, np.nan))

    def ends(self, arm: ArmCurve) -> list[tuple[SeedLine, float, float]]:
        """The runs of an arm that ended otherwise than completed, each with its last x and y."""
        found = []
        for seed in arm.seeds:
            there = np.flatnonzero(~np.isnan(seed.values))
            if seed.status is not Status.COMPLETED and there.size:
                y = self.drawn(seed.values[there[-1]])
                found.append((seed, seed.x[there[-1]].item(), y.item()))
        return found

    def said(self, value: float) -> str:
        """A value in words."""
        endless = self.endless and value == np.inf
        return self.endless if endless else score(value, "accuracy" if self.percent else "loss")


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
    def lines(arm: Arm) -> Sequence[SeedLine]:
        return [
            SeedLine(run.seed, np.arange(1, values.size + 1), _finite(values), run.status)
            for run in study.of(arm)
            if (values := run.curves.get(curve)) is not None
        ]

    arms = arm_curves(study, lines, carry=carry)
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
        spread=spread_words(study),
        levels=_clip_levels(study) if norm else _chance_level(study, curve.split(".")[1]),
        anneal_starts=tuple(start for start in _anneal_starts(study) if start <= last),
    )


def spread_words(study: Study) -> str:
    """What the bands of a study's figures span."""
    return "10% to 90% of the seeds" if _tails(study) else "lowest to highest seed"


def arm_curves(
    study: Study, lines_of: Callable[[Arm], Sequence[SeedLine]], *, carry: bool = False
) -> tuple[ArmCurve, ...]:
    """A curve for each arm that has values.

    Args:
        study: whose arms they are.
        lines_of: the lines of an arm, one for each of its runs that has any, NaN where it has no value.
        carry: whether a solved run keeps its last value.
    """
    tails = _tails(study)
    arms = ((index, arm, tuple(lines_of(arm))) for index, arm in enumerate(study.arms))
    return tuple(
        _arm_curve(index, arm, len(study.of(arm)), lines, carry, tails)
        for index, arm, lines in arms
        if any(not np.isnan(line.values).all() for line in lines)
    )


def _arm_curve(
    index: int, arm: Arm, expected: int, lines: tuple[SeedLine, ...], carry: bool, tails: float
) -> ArmCurve:
    x = reduce(np.union1d, (line.x for line in lines))
    table = np.full((len(lines), x.size), np.nan)
    carried = np.zeros(x.size, dtype=int)
    for row, line in zip(table, lines, strict=True):
        row[np.searchsorted(x, line.x)] = line.values
        if carry and line.status is Status.SOLVED:
            later = x > line.x[-1]
            row[later] = line.values[-1]
            carried += later
    low, median, high = np.full((3, x.size), np.nan)
    n = (~np.isnan(table)).sum(axis=0)
    known = n > 0
    near = np.minimum(table[:, known], _FAR)
    found = np.nanquantile(near, (tails, 0.5, 1 - tails), axis=0)
    low[known], median[known], high[known] = np.where(found < _FAR / 100, found, np.inf)
    return ArmCurve(
        arm=arm,
        index=index,
        expected=expected,
        seeds=lines,
        x=x,
        median=median,
        low=low,
        high=high,
        n=n,
        carried=carried,
    )


def _tails(study: Study) -> float:
    return 0.0 if max(len(study.of(arm)) for arm in study.arms) <= WHOLE_RANGE else 0.1


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


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
