"""Statistics on known numbers, and the order in which both sides are timed."""

import gc

import pytest

from bptt.bench import Pairs, measure


class Clock:
    """Time passes only while someone works."""

    def __init__(self):
        self.now = 0.0
        self.order = []

    def __call__(self):
        return self.now

    def work(self, name, seconds):
        def run():
            self.now += seconds
            self.order.append(name)

        return run


def test_the_ratio_is_the_median_of_the_pairs_with_quartiles():
    pairs = Pairs(ours=(1.0, 1.0, 2.0, 1.0, 1.0), rival=(1.0, 2.0, 6.0, 4.0, 5.0))
    assert (pairs.ratio.lower, pairs.ratio.median, pairs.ratio.upper) == (2.0, 3.0, 4.0)


def test_a_single_pair_is_its_own_quartiles():
    ratio = Pairs((2.0,), (3.0,)).ratio
    assert (ratio.lower, ratio.median, ratio.upper) == (1.5, 1.5, 1.5)


def test_the_share_of_the_floor_follows_the_machine():
    slower = tuple(1.0 + k for k in range(15))  # and the floor with it
    assert Pairs(slower, slower, tuple(seconds / 2 for seconds in slower)).floor_share == 0.5
    assert Pairs(slower, slower).floor_share is None


def test_the_floor_is_gauged_before_and_after_ours():
    clock = Clock()
    floors = iter([1.0, 3.0, 50.0, 50.0, 70.0, 70.0, 4.0, 6.0])  # ours, the rival's, the rival's, ours
    pairs = measure(
        clock.work("ours", 10.0), clock.work("rival", 10.0), pairs=2, clock=clock, gauge=lambda: next(floors)
    )
    assert pairs.floors == (2.0, 5.0)


def test_slow_drift_of_both_sides_leaves_the_ratio():
    ours = tuple(1.0 + k for k in range(15))
    assert Pairs(ours, tuple(2 * seconds for seconds in ours)).ratio.median == 2


def test_pairs_alternate_which_side_is_first():
    clock = Clock()
    times = measure(clock.work("a", 1.0), clock.work("b", 3.0), pairs=4, clock=clock)
    assert "".join(clock.order[:6]) == "aaabbb"
    assert "".join(clock.order[6:]) == "abbaabba"
    assert times.ratio.median == pytest.approx(3.0)


def test_short_work_is_repeated_to_fill_the_time():
    clock = Clock()
    seen = []

    def tell(pairs):
        seen.append((pairs, clock.now))

    times = measure(
        clock.work("a", 0.001), clock.work("b", 0.5), pairs=3, at_least=0.02, clock=clock, tell=tell
    )
    assert [pairs for pairs, _ in seen] == [1, 2, 3]
    assert seen[1][1] - seen[0][1] >= 0.52 - 1e-9
    assert times.ours == pytest.approx((0.001,) * 3)
    assert clock.order.count("a") >= 60


def test_the_collector_rests_while_timing_and_works_again_after():
    states = []
    measure(lambda: states.append(gc.isenabled()), lambda: None, pairs=1, at_least=0)
    assert not any(states)
    assert gc.isenabled()
