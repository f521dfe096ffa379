"""Numbers in words: one way to write each, in the terminal as on the page."""

import math
from collections.abc import Sequence

from ._statistics import FEWEST_SEEDS, Estimate, Reach


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
    """The interval of a score, or why there is none, and its seeds unless they are all that were expected."""
    if estimate.n < FEWEST_SEEDS or estimate.low is None or estimate.high is None:
        return f"{seeds(estimate.n)}, no interval" if estimate.n else ""
    low, high = score(estimate.low, name), score(estimate.high, name)
    return f"{low.removesuffix('%')}–{high}" + ("" if estimate.n == expected else f", {seeds(estimate.n)}")


def change_interval(estimate: Estimate, name: str) -> str:
    """The interval of a difference and the pairs behind it, or why there is none."""
    if estimate.low is None or estimate.high is None:
        return f"{seeds(estimate.n)}, no interval" if estimate.n else "no seed in common"
    return f"{change(estimate.low, name)} to {change(estimate.high, name)}, {seeds(estimate.n)}"


def reach(found: Reach) -> tuple[str, str]:
    """When a threshold was reached: the median epoch or `not reached by …`, and how many seeds did."""
    estimate = found.estimate
    if not estimate.n:
        return "—", ""
    count = f"{found.reached} of {seeds(estimate.n)}"
    if math.isinf(estimate.value):
        return f"not reached by {_span(found.censored)}", count
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:g}", f"{count}, no interval"
    return f"{estimate.value:g}", f"{_epoch(estimate.low)} to {_epoch(estimate.high)}, {count}"


def solved(share: Estimate, count: int) -> tuple[str, str]:
    """The seeds that solved the task, and the interval of their share."""
    if not share.n:
        return "—", ""
    if share.low is None or share.high is None:
        return f"{count} of {share.n}", "no interval"
    return f"{count} of {share.n}", f"{100 * share.low:.0f} to {100 * share.high:.0f}%"


def _epoch(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:g}"


def _span(epochs: Sequence[int]) -> str:
    return f"{min(epochs)}" if min(epochs) == max(epochs) else f"{min(epochs)}–{max(epochs)}"
