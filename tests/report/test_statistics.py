"""The statistics against brute-force numpy."""

import json
import math

import numpy as np
import pytest
from helpers.studies import digest, write_done

from bptt import report
from bptt.report._statistics import median_interval, share_interval


def summary(folder, arm=0) -> report.ArmSummary:
    (study,) = report.load([folder])
    return report.summarise(study)[arm]


def missed(n: int, k: int) -> float:
    """How often the median is outside the k-th lowest to the k-th highest of n seeds."""
    return 2 * sum(math.comb(n, j) for j in range(k)) / 2**n


@pytest.mark.parametrize("n", range(6, 41))
def test_the_interval_is_the_narrowest_that_holds_95_percent(n):
    values = np.random.default_rng(n).permutation(n).astype(float)
    estimate = median_interval(values)
    assert (estimate.value, estimate.n) == (np.median(values), n)
    assert (estimate.least, estimate.greatest) == (0, n - 1)
    assert estimate.low is not None
    k = round(estimate.low) + 1
    assert estimate.high == n - k
    assert missed(n, k) <= 0.05 < missed(n, k + 1)


def test_the_interval_holds_the_median_as_often_as_it_says():
    draws = np.random.default_rng(1).exponential(size=(2000, 8))
    found = [median_interval(draw) for draw in draws]
    held = np.mean([each.low <= math.log(2) <= each.high for each in found])
    assert held == pytest.approx(1 - missed(8, 1), abs=0.01)


def test_the_interval_is_reproducible_and_follows_the_data():
    values = np.random.default_rng(3).normal(size=200)
    first, shifted = median_interval(values), median_interval(values + 1)
    assert [median_interval(values) for _ in range(5)] == [first] * 5
    assert first.low < first.value < first.high
    assert shifted.low == first.low + 1
    assert median_interval(values * 2).high == 2 * first.high


@pytest.mark.parametrize("n", range(1, 6))
def test_few_seeds_get_no_interval(n):
    assert missed(n, 1) > 0.05  # not even the whole range would do
    values = np.arange(n) / 10
    estimate = median_interval(values)
    assert (estimate.value, estimate.low, estimate.high) == (np.median(values), None, None)
    assert (estimate.least, estimate.greatest) == (0, values[-1])


def test_no_seeds_get_nothing_and_few_no_share():
    assert math.isnan(median_interval([]).value)
    assert share_interval(1, 2).low is None
    assert math.isnan(share_interval(0, 0).value)


def test_seeds_that_agree_get_a_point():
    estimate = median_interval([0.25] * 6)
    assert (estimate.low, estimate.value, estimate.high) == (0.25, 0.25, 0.25)


def test_never_is_later_than_every_epoch():
    estimate = median_interval([4, 9, math.inf, 8, math.inf, 5])
    assert (estimate.value, estimate.low, estimate.high) == (8.5, 4, math.inf)
    none = median_interval([math.inf] * 7)
    assert (none.value, none.low, none.high) == (math.inf,) * 3


@pytest.mark.parametrize(("count", "n"), [(0, 3), (5, 5), (2, 7)])
def test_the_share_has_wilsons_interval(count, n):
    z, share = 1.959963984540054, count / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    estimate = share_interval(count, n)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(
        (share, middle - half, middle + half)
    )


CURVES = {  # validation accuracy by epoch of five seeds
    0: [0.30, 0.60, 0.92, 0.995, 0.99, 0.97],
    1: [0.10, 0.20, 0.55, 0.910, 0.96, 0.98],
    2: [0.10, 0.10, 0.10, 0.200, 0.30, 0.40],
    3: [0.50, 0.90, 0.99, 0.990, 0.90, 0.95],
    4: [0.20, 0.40, 0.60, 0.700, 0.93, 0.94],
}


def test_an_arm_is_summarised_over_its_seeds(make_study):
    folder = make_study(arms={"a": "a"}, seeds=range(5), curve=lambda _, seed: np.array(CURVES[seed]))
    arm = summary(folder)
    assert (arm.finished, arm.expected, arm.diverged) == (5, 5, 0)
    assert arm.final.value == np.median([curve[-1] for curve in CURVES.values()])
    assert arm.best.value == np.median([max(curve) for curve in CURVES.values()])
    assert arm.test.value == pytest.approx(0.99 * arm.best.value)
    half, ninety, ninety_nine = arm.reach
    assert (half.estimate.value, half.reached, half.censored) == (3, 4, (6,))  # 2, 3, never, 1, 3
    assert (ninety.estimate.value, ninety.reached, ninety.censored) == (4, 4, (6,))  # 3, 4, never, 2, 5
    assert (ninety_nine.estimate.value, ninety_nine.reached) == (math.inf, 2)
    assert (arm.solved_at, arm.solved_count, arm.solved.value) == (0.99, 2, 0.4)
    assert arm.difference is None


def test_the_spec_says_what_solved_means(make_study):
    folder = make_study(
        arms={"a": "a"},
        seeds=range(5),
        curve=lambda _, seed: np.array(CURVES[seed]),
        train={"solved_at": 0.9},
    )
    assert (summary(folder).solved_at, summary(folder).solved_count) == (0.9, 4)


def test_runs_without_an_end_are_in_no_number_and_diverged_runs_count_as_not_solved(make_study):
    ends = {("a", 0): "non-finite", ("a", 1): "failed", ("a", 3): "unfinished"}
    folder = make_study(
        arms={"a": "a"}, seeds=range(5), curve=lambda _, seed: np.array(CURVES[seed]), ends=ends
    )
    arm = summary(folder)  # seed 0 ends after 4 epochs
    assert (arm.finished, arm.expected, arm.diverged) == (2, 5, 1)
    assert (arm.final.value, arm.final.n, arm.final.low) == (np.median([0.40, 0.94]), 2, None)
    assert (arm.reach[0].reached, arm.reach[0].estimate.n) == (2, 3)  # seeds 0, 2 and 4
    assert (arm.reach[2].reached, arm.reach[2].censored) == (1, (6, 6))
    assert (arm.solved_count, arm.solved.n) == (1, 3)


def test_a_run_that_diverged_in_its_first_epoch_counts_as_not_solved(make_study):
    ends = {("a", 0): "non-finite", ("a", 1): "non-finite"}
    folder = make_study(arms={"a": "a"}, seeds=range(3), curve=lambda *_: np.array(CURVES[1]), ends=ends)
    nothing = {"metrics_sha256": digest(b""), "weights_sha256": None, "best": None, "test": None, "epoch": 1}
    for run in (folder / "a/seed-0", folder / "a/seed-1"):
        (run / "metrics.jsonl").unlink()  # never written: there was no whole epoch
        write_done(run, json.loads((run / "done.json").read_text()) | nothing)
    arm = summary(folder)
    assert (arm.finished, arm.diverged) == (1, 2)
    assert arm.solved.n == arm.reach[0].estimate.n == 3


def test_differences_are_between_runs_of_one_seed(make_study):
    offsets = {0: 0.01, 1: -0.02, 2: 0.03, 3: 0.5}

    def curve(arm, seed):
        return np.array([0.3 + 0.1 * seed + arm * offsets[seed]])

    ends = {("vanilla", 3): "failed"}
    folder = make_study(seeds=range(4), epochs=1, curve=curve, ends=ends, tested=False)
    difference = summary(folder, arm=1).difference
    assert difference is not None
    assert (difference.value, difference.n) == (pytest.approx(0.01), 3)
    assert (difference.least, difference.greatest) == (pytest.approx(-0.02), pytest.approx(0.03))


def test_a_task_without_accuracy_is_judged_by_its_loss(make_study):
    folder = make_study(
        arms={"a": "a"}, seeds=range(3), score="loss", curve=lambda _, seed: np.full(4, 0.5 + seed / 10)
    )
    arm = summary(folder)
    assert arm.final.value == pytest.approx(-math.log(0.6))
    assert arm.reach == ()
    (study,) = report.load([folder])
    assert report.summary_table(study).columns == (
        "Arm", "Seeds finished", "Final validation loss", "Best validation", "Test, best model",
    )  # fmt: skip
