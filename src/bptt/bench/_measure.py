"""Two things timed beside each other: interleaved pairs, and the median of their ratios."""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """The median of paired ratios and their quartiles."""

    median: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Pairs:
    """Times of both sides of every pair, in seconds of one call, and the floor under ours at that moment."""

    ours: tuple[float, ...]
    rival: tuple[float, ...]
    floors: tuple[float, ...] = ()

    @property
    def ratio(self) -> Ratio:
        """How many times longer the rival takes."""
        return summarize([b / a for a, b in zip(self.ours, self.rival, strict=True)])

    @property
    def floor_share(self) -> float | None:
        """The median share that the floor has in our time."""
        if not self.floors:
            return None
        return statistics.median(
            floor / seconds for floor, seconds in zip(self.floors, self.ours, strict=True)
        )


def summarize(ratios: Sequence[float]) -> Ratio:
    """The median and quartiles; with a single ratio all three are it."""
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, lower, upper)


def measure(
    ours: Work,
    rival: Work,
    *,
    pairs: int,
    warm_ups: int = 3,
    at_least: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
    tell: Callable[[int], object] = lambda _: None,
    gauge: Callable[[], float | None] = lambda: None,
) -> Pairs:
    """Time two pieces of work in turns: ours, rival, rival, ours, and so on.

    Args:
        ours: one call of the first.
        rival: one call of the second.
        pairs: how many pairs.
        warm_ups: calls of each beforehand, at least.
        at_least: how long, in seconds, one timing of either must last; calls are repeated to fill it.
        clock: seconds since any moment.
        tell: is called with the number of pairs done.
        gauge: what the floor under one call of ours is now, in seconds, or None. Asked before and after every
            timing, since a shared machine is not equally fast all the time; counted beside ours.

    Returns:
        The times of one call.
    """
    with without_collector():
        counts = [_calls(work, warm_ups, at_least, clock) for work in (ours, rival)]
        times: tuple[list[float], list[float]] = ([], [])
        floors: list[float] = []
        for pair in range(pairs):
            for side in (0, 1) if pair % 2 == 0 else (1, 0):
                before = gauge()
                times[side].append(_seconds((ours, rival)[side], counts[side], clock) / counts[side])
                after = gauge()
                if side == 0 and before is not None and after is not None:
                    floors.append((before + after) / 2)
            tell(pair + 1)
    return Pairs(tuple(times[0]), tuple(times[1]), tuple(floors))


@contextmanager
def without_collector() -> Iterator[None]:
    """Inside, Python's cyclic garbage collector does not run by itself."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _calls(work: Work, warm_ups: int, at_least: float, clock: Callable[[], float]) -> int:
    took = min(_seconds(work, 1, clock) for _ in range(max(warm_ups, 1)))
    count = max(1, round(at_least / max(took, 1e-7) + 0.5))
    while count > 1 and (took := _seconds(work, count, clock)) < at_least:
        count = max(count + 1, round(count * 1.2 * at_least / max(took, 1e-7)))
    return count


def _seconds(work: Work, count: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(count):
        work()
    return clock() - began
