"""Numbers in words: one way to write each, in the terminal as on the page."""

import math
from collections.abc import Sequence

from ._statistics import CONFIDENCE, Estimate, Reach

INTERVAL = f"{CONFIDENCE:.0%} interval"
RANGE = "min to max"


def score(value: float | None, name: str) -> str:
    """An accuracy as a percentage, a loss with four digits; a dash when there is none."""
    if value is None or math.isnan(value):
        return "—"
    if name != "accuracy" or math.isinf(value):
        return f"{value:.4g}"
    digits = 2 if 0.995 < value < 1 else 1  # 99.98% must not read 100.0%
    return f"{100 * value:.{digits}f}%"


def change(value: float, name: str) -> str:
    """A difference with its sign; of accuracies in percentage points."""
    text = f"{100 * value:+.1f}" if name == "accuracy" else f"{value:+.3g}"
    return text.replace("-", "−")


def seeds(n: int) -> str:
    """`1 seed`, `2 seeds`."""
    return "1 seed" if n == 1 else f"{n} seeds"


def names(items: Sequence[object]) -> str:
    """`a, b and c`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]


def interval(estimate: Estimate, name: str, expected: int | None = None) -> str:
    """The interval of a score, or the range of too few seeds; and its seeds unless all that were expected."""
    if estimate.n < 2:
        return seeds(estimate.n) if estimate.n else ""
    kind, *bounds = _bounds(estimate)
    low, high = (score(bound, name) for bound in bounds)
    return f"{kind} {low.removesuffix('%')}–{high}" + (
        "" if estimate.n == expected else f", {seeds(estimate.n)}"
    )


def change_interval(estimate: Estimate, name: str) -> str:
    """The interval of a difference, or the range of too few seeds, and the pairs behind it."""
    if estimate.n < 2:
        return seeds(estimate.n) if estimate.n else "no seed in common"
    kind, low, high = _bounds(estimate)
    return f"{kind} {change(low, name)} to {change(high, name)}, {seeds(estimate.n)}"


def reach(found: Reach) -> tuple[str, str]:
    """When a threshold was reached: the median epoch or `not reached by …`, and how many seeds did."""
    estimate = found.estimate
    if not estimate.n:
        return "—", ""
    count = f"{found.reached} of {seeds(estimate.n)}"
    if math.isinf(estimate.value):
        return f"not reached by {_span(found.censored)}", count
    if estimate.n < 2:
        return f"{estimate.value:g}", count
    kind, low, high = _bounds(estimate)
    return f"{estimate.value:g}", f"{kind} {_epoch(low)} to {_epoch(high)}, {count}"


def solved(share: Estimate, count: int) -> tuple[str, str]:
    """The seeds that solved the task, and Wilson's interval of their share."""
    if not share.n:
        return "—", ""
    if share.low is None or share.high is None:
        return f"{count} of {share.n}", ""
    return f"{count} of {share.n}", f"{INTERVAL} {100 * share.low:.0f} to {100 * share.high:.0f}%"


def _bounds(estimate: Estimate) -> tuple[str, float, float]:
    if estimate.low is None or estimate.high is None:
        return RANGE, estimate.least, estimate.greatest
    return INTERVAL, estimate.low, estimate.high


def _epoch(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:g}"


def _span(epochs: Sequence[int]) -> str:
    return f"{min(epochs)}" if min(epochs) == max(epochs) else f"{min(epochs)}–{max(epochs)}"
