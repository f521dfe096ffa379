"""What the seeds of an arm say together: medians, intervals, epochs to a threshold, shares, differences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ._ending import Status
from ._run import Run
from ._study import Arm, Study

#: Validation accuracies whose first epoch is reported.
THRESHOLDS = (0.5, 0.9, 0.99)
#: What counts as solved when the spec has no `solved_at`.
SOLVED_AT = 0.99
CONFIDENCE = 0.95
#: Fewer seeds get no interval of their median: not even from the lowest to the highest of 5 is it in 95% of
#: all studies (1 − 2 · 0.5⁵ = 94%).
FEWEST_SEEDS = 6
#: Fewer seeds get no interval of the share of them that solved the task.
FEWEST_FOR_SHARE = 3


@dataclass(frozen=True)
class Estimate:
    """A statistic of `n` seeds: NaN when n is 0, without bounds when no interval can be given.

    `least` and `greatest` are the lowest and the highest seed of a median; they are no interval.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    least: float = math.nan
    greatest: float = math.nan


@dataclass(frozen=True)
class Reach:
    """When seeds first reached `threshold`.

    `estimate` is the median epoch with its interval, a seed that never reached it counting as later than any
    epoch (inf). `reached` seeds of `estimate.n` did; `censored` gives the last epochs of the others.
    """

    threshold: float
    estimate: Estimate
    reached: int
    censored: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ArmSummary:
    """The numbers of one arm: accuracies as shares of 1, or losses for a task without accuracy.

    `final`, `best` and `test` are over finished runs; `reach` and `solved` also count runs that a non-finite
    loss stopped, as not reached. `difference` compares `test` (`best` if nothing was tested) with the first
    arm, seed by seed; it is None for the first arm itself.
    """

    arm: Arm
    expected: int
    finished: int
    diverged: int
    final: Estimate
    best: Estimate
    test: Estimate
    reach: tuple[Reach, ...]
    solved_at: float
    solved_count: int
    solved: Estimate
    difference: Estimate | None


def median_interval(values: Sequence[float] | np.ndarray) -> Estimate:
    """The median of seeds with its 95% interval, from one seed to another.

    With x₁ ≤ … ≤ xₙ the interval [xₖ, xₙ₊₁₋ₖ] misses the median of all seeds with the probability 2 P(X < k),
    X ~ B(n, ½), whatever the seeds' distribution; k is the greatest for which that is at most 5%. Values may
    be inf (later than ever), and so may the bounds.

    Args:
        values: one value per seed, shape (n,), none of them NaN.

    Returns:
        The estimate; without bounds when there are fewer than 6 seeds, for which there is no such k.
    """
    data = np.sort(np.asarray(values, dtype=np.float64))
    if data.size == 0:
        return Estimate(math.nan, None, None, 0)
    value, least, greatest = float(np.median(data)), float(data[0]), float(data[-1])
    if data.size < FEWEST_SEEDS:
        return Estimate(value, None, None, data.size, least, greatest)
    from scipy.stats import binom

    k = int(binom.ppf((1 - CONFIDENCE) / 2, data.size, 0.5))
    return Estimate(value, float(data[k - 1]), float(data[-k]), data.size, least, greatest)


def share_interval(count: int, n: int) -> Estimate:
    """A share of seeds with its 95% Wilson interval; without bounds when there are fewer than 3 seeds."""
    if n < FEWEST_FOR_SHARE:
        return Estimate(count / n if n else math.nan, None, None, n)
    from scipy.stats import binomtest

    interval = binomtest(count, n).proportion_ci(confidence_level=CONFIDENCE, method="wilson")
    return Estimate(count / n, float(interval.low), float(interval.high), n)


def first_epoch(run: Run, threshold: float) -> float:
    """The first epoch whose validation accuracy is at least `threshold`; inf if there is none."""
    curve = run.curves.get("valid.accuracy")  # None for a run that diverged in its first epoch
    hits = np.flatnonzero(curve >= threshold) if curve is not None else np.empty(0)
    return float(hits[0] + 1) if hits.size else math.inf


def summarise(study: Study) -> tuple[ArmSummary, ...]:
    """The numbers of each arm of a study, in the study's order of arms."""
    return tuple(_summarise(study, arm) for arm in study.arms)


def compared_on(study: Study) -> str:
    """What `difference` compares: `test`, or `best` when some finished run was not tested."""
    finished = [run for run in study.runs if run.status.finished]
    return "test" if finished and all(study.score in run.test for run in finished) else "best"


def _summarise(study: Study, arm: Arm) -> ArmSummary:
    runs, score = study.of(arm), study.score
    finished = [run for run in runs if run.status.finished]
    given = study.train("solved_at", arm)
    solved_at = float(given) if isinstance(given, int | float) and not isinstance(given, bool) else SOLVED_AT
    ended = [run for run in runs if run.status.ended] if score == "accuracy" else []
    solved = sum(math.isfinite(first_epoch(run, solved_at)) for run in ended)
    return ArmSummary(
        arm=arm,
        expected=len(runs),
        finished=len(finished),
        diverged=sum(run.status is Status.DIVERGED for run in runs),
        final=_over(finished, lambda run: _final(run, score)),
        best=_over(finished, lambda run: run.best.get(score)),
        test=_over(finished, lambda run: run.test.get(score)),
        reach=tuple(_reach(ended, threshold) for threshold in THRESHOLDS) if score == "accuracy" else (),
        solved_at=solved_at,
        solved_count=solved,
        solved=share_interval(solved, len(ended)),
        difference=None if arm == study.arms[0] else _difference(study, arm),
    )


def _final(run: Run, score: str) -> float | None:
    curve = run.curves.get(f"valid.{score}")
    return float(curve[-1]) if curve is not None and curve.size else None


def _over(runs: Sequence[Run], value_of: Callable[[Run], float | None]) -> Estimate:
    values = [value for run in runs if (value := value_of(run)) is not None and not math.isnan(value)]
    return median_interval(values)


def _reach(runs: Sequence[Run], threshold: float) -> Reach:
    epochs = [first_epoch(run, threshold) for run in runs]
    censored = tuple(run.epochs for run, epoch in zip(runs, epochs, strict=True) if math.isinf(epoch))
    return Reach(threshold, median_interval(epochs), len(epochs) - len(censored), censored)


def _difference(study: Study, arm: Arm) -> Estimate:
    what, score = compared_on(study), study.score

    def scores(each: Arm) -> dict[int, float]:
        values = {
            run.seed: getattr(run, what).get(score, math.nan) for run in study.of(each) if run.status.finished
        }
        return {seed: value for seed, value in values.items() if math.isfinite(value)}

    base, other = scores(study.arms[0]), scores(arm)
    return median_interval([other[seed] - base[seed] for seed in sorted(base.keys() & other.keys())])
