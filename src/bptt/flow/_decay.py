"""How fast a gradient shrinks or grows from step to step: a line through its logarithm."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

import torch
from torch import Tensor

from ..streams import stream

FEWEST = 6  # sequences for an interval: fewer say nothing of the tails
_RESAMPLES, _POINTS = 400, 64


@dataclass(frozen=True)
class Decay:
    """A gradient that is `exp(log_value)` at lag `first`, and changes by the factor `rate` with every step.

    Attributes:
        rate: factor per step back.
        rate_interval: its 95 % interval over sequences; None for fewer than six.
        first, last: the lags that were fitted.
        log_value: of the fitted line at `first`, natural, relative to the end value.
    """

    rate: float
    rate_interval: tuple[float, float] | None
    first: int
    last: int
    log_value: float

    @property
    def half_life(self) -> float | None:
        """Steps in which the gradient halves; infinite if it stays; None if it grows."""
        return _half_life(self.rate)

    @property
    def half_life_interval(self) -> tuple[float, float] | None:
        """Its 95 % interval, whose upper end is infinite where the gradient may as well grow."""
        if self.rate_interval is None or self.half_life is None:
            return None
        low, high = map(_half_life, self.rate_interval)
        return (inf if low is None else low, inf if high is None else high)

    @property
    def doubling(self) -> float | None:
        """Steps in which the gradient doubles; None if it does not grow."""
        return log(2) / log(self.rate) if self.rate > 1 else None

    def factor(self, lag: int) -> float:
        """By how much the gradient changes over so many steps."""
        return exp(min(max(lag * log(self.rate), -700.0), 700.0)) if self.rate > 0 else 0.0


def fit(ratios: Tensor, lags: Sequence[int]) -> Decay:
    """The decay of a gradient by lag, of B sequences and J positions.

    The line goes through the logarithm of the median at the given lags, or at 64 of them. For its interval
    sequences are drawn again 400 times, each with all its positions; there is none if fewer than six have the
    last lag.

    Args:
        ratios: `(B, J, K)` relative to the end value, NaN where there is none.
        lags: rising, at least two, all with a median above 0.
    """
    chosen = torch.tensor(lags)
    if len(lags) > _POINTS:
        chosen = chosen[torch.linspace(0, len(lags) - 1, _POINTS).round().long()]
    kept = ratios[..., chosen]
    at = (chosen - chosen[0]).to(kept)

    def line(sequences: Tensor) -> tuple[Tensor, Tensor]:
        return _line(at, sequences.flatten(0, 1).nanquantile(0.5, dim=0).log())

    slope, start = line(kept)
    interval = None
    if (~kept[..., -1].isnan()).any(1).sum() >= FEWEST:
        ordered = kept[kept.flatten(1).nansum(1).argsort()]  # so that their order in the batch is nothing
        rows = torch.randint(
            len(kept), (_RESAMPLES, len(kept)), generator=stream(0, "flow.decay"), device="cpu"
        )
        slopes = torch.stack([line(ordered[row])[0] for row in rows])
        slopes = slopes[slopes.isfinite()]
        low, high = slopes.quantile(torch.tensor([0.025, 0.975], dtype=slopes.dtype)).exp().tolist()
        interval = (low, high)
    return Decay(slope.exp().item(), interval, int(chosen[0]), int(chosen[-1]), start.item())


def _line(at: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    centre = at.mean()
    slope = ((at - centre) * values).sum(-1) / ((at - centre) ** 2).sum()
    return slope, values.mean(-1) - slope * centre


def _half_life(rate: float) -> float | None:
    if rate >= 1:
        return inf if rate == 1 else None
    return 0.0 if rate <= 0 else -log(2) / log(rate)
