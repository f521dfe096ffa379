"""What a gradient by lag comes to: kept, lost, blown up, or none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Literal

import torch
from torch import Tensor

from ._decay import Decay, fit
from ._flows import key_of
from ._lags import LagProfile

REACH = 1e-6
"""A state whose gradient is under this share of the end value is out of reach.

Float32's resolution is 1.2e-7: what is much smaller is lost where gradients of all steps are added up."""
VANISHED = 1e-3
"""A gradient that the fitted decay brings under this at the wanted lag is vanishing. A rule of thumb."""
EXPLODED = 1e3
"""A gradient that the fitted growth brings above this at the wanted lag is exploding. A rule of thumb."""

Kind = Literal["vanishing", "preserved", "exploding", "non-finite", "no gradient"]


@dataclass(frozen=True)
class Remedy:
    """Something to try.

    Attributes:
        name: a short name, the same wherever it is meant.
        action: what to do.
        reason: why, with the number behind it.
        value: the number to use, if there is one.
    """

    name: str
    action: str
    reason: str
    value: float | None = None


@dataclass(frozen=True)
class Verdict:
    """How far back the gradient of a loss reaches in one layer and direction.

    Attributes:
        name, layer, direction: as in a `Flow`; `""`, 0 and 0 for the input of a model without such layers.
        of: `"LSTM"`, `"GRU"`, `"RNN"` or `"input"`.
        lag: the lag that is wanted.
        floor: relative to the end value: `REACH`, or the resolution of the dtype if that is coarser.
        kind: `"exploding"` or `"vanishing"` by the fitted decay over the wanted lag, `"vanishing"` too if the
            gradient is under the floor there, else `"preserved"`; `"no gradient"` if in half of the sequences
            it is exactly zero from some lag on; `"non-finite"` if any is Inf or NaN.
        decay: the fitted decay; None if there is nothing to fit.
        end: the median gradient at lag 0: the end value.
        start: how many steps before its position a loss reads the layer; lag 0 is there.
        at_lag: the median gradient at the wanted lag, relative to the end value.
        reach: the first lag from which on the gradient is under the floor; None if there is none such.
        zero_from: the lag from which on it is exactly zero, for `"no gradient"`.
        cut: in how many of how many sequences (and positions) it is, for `"no gradient"`.
        within_reach: whether the gradient at the wanted lag is a finite number not under the floor.
        least: a lag before the wanted one where the gradient is less than a hundredth of that there and of
            the end value, and how large it is relative to the end value; None if there is none.
        direct: whether most of the gradient at the wanted lag is there with all paths through time cut: the
            loss reads that step itself, as a mean over steps does, or through a layer in reverse.
        where: of the first value that is not finite, for `"non-finite"`.
        remedies: what to try, in this order.
    """

    name: str
    layer: int
    direction: int
    of: str
    lag: int
    floor: float
    kind: Kind = "preserved"
    decay: Decay | None = None
    end: float = 0.0
    start: int = 0
    at_lag: float = 0.0
    reach: int | None = None
    zero_from: int | None = None
    cut: tuple[int, int] = (0, 0)
    within_reach: bool = False
    least: tuple[int, float] | None = None
    direct: bool = False
    where: str | None = None
    remedies: tuple[Remedy, ...] = ()

    def __str__(self) -> str:
        return "\n".join([self.sentence, *(f"- {each.action}: {each.reason}" for each in self.remedies)])

    @property
    def key(self) -> str:
        """The module's name (or `model`), layer and direction, with colons between."""
        return key_of(self.name, self.layer, self.direction)

    @property
    def label(self) -> str:
        """The layer's name for people."""
        if self.of == "input":
            return "the model's input (there is no LSTM, GRU or RNN in it)"
        place = f"layer {self.layer}{' in reverse' if self.direction else ''}"
        return f"{self.of} {self.name}, {place}" if self.name else f"{self.of}, {place}"

    @property
    def sentence(self) -> str:
        """The verdict in one sentence."""
        return f"{self.label}: {self._said()}."

    def _said(self) -> str:
        if self.kind == "non-finite":
            return f"the gradient is not finite{f'; {self.where}' if self.where else ''}"
        if self.kind == "no gradient":
            some = f" in {self.cut[0]} of {self.cut[1]} sequences" if self.cut[0] < self.cut[1] else ""
            if self.zero_from == 0:
                return f"no gradient at all arrives{some}"
            return f"no gradient from {_steps(self.zero_from or 0)} back on{some}: it is exactly zero"
        there = f"{_steps(self.lag)} back it is {self.at_lag:.2g} of its end value"
        if self.reach is not None and self.reach <= self.lag:
            there = f"it is under {self.floor:.2g} of its end value from {_steps(self.reach)} back on"
        if self.start:
            there += f" (counted from {_steps(self.start)} before the end, where the loss reads it)"
        if self.least is not None:
            there += f", and in between, {_steps(self.least[0])} back, {self.least[1]:.2g}"
        reached = "within reach" if self.within_reach else "out of reach"
        if self.within_reach and self.at_lag < VANISHED:
            reached += ", if faintly"
        if self.direct and self.within_reach:
            reached += ", but by no way through time: the loss reads that step by a shorter one"
        name = {"preserved": "", "vanishing": "vanishing: ", "exploding": "exploding: "}[self.kind]
        return f"{name}the gradient {self._pace()}; {there}: a lag of {self.lag} is {reached}"

    def _pace(self) -> str:
        decay = self.decay
        if decay is None:
            return "has too few lags for a rate"
        if self.direct or self.least is not None:
            return "follows no single rate"
        if 0.5 <= decay.factor(self.lag) <= 2:
            return f"is preserved (× {decay.rate:.4g} per step)"
        if decay.doubling is not None:
            later = " after the first step" if decay.first and self.at_lag < 1 else ""
            return f"doubles every {decay.doubling:.3g} steps{later} (× {decay.rate:.4g} per step)"
        interval = decay.half_life_interval
        spread = "" if interval is None else f" [{interval[0]:.3g}, {interval[1]:.3g}]"
        return f"halves every {decay.half_life:.3g}{spread} steps"


def judge(
    profile: LagProfile, *, lag: int, of: str, state: torch.dtype, gradient: torch.dtype
) -> Verdict | None:
    """The verdict on a profile, without remedies; None if no gradient has so many lags.

    Args:
        profile: gradients by lag.
        lag: the lag that is wanted.
        of: what the layer is.
        state: dtype of the states, whose resolution the floor is.
        gradient: dtype of their gradients, below whose smallest number there is nothing.
    """
    floor = max(REACH, torch.finfo(state).eps)
    underflow = torch.finfo(gradient).smallest_normal / torch.finfo(gradient).eps
    verdict = Verdict(profile.name, profile.layer, profile.direction, of, lag, floor)
    values, depth, start = _from_first(profile)
    there = torch.arange(values.shape[-1]) < depth.unsqueeze(-1)
    if not values[there].isfinite().all():
        return replace(verdict, kind="non-finite")
    deep = depth > lag
    if not deep.any():
        return None
    ends = (values > 0).long().mul(torch.arange(1, values.shape[-1] + 1)).amax(-1)  # after the last gradient
    last = values.gather(-1, (ends - 1).clamp_min(0).unsqueeze(-1)).squeeze(-1)
    cut = deep & (ends <= lag) & ((ends == 0) | (last > underflow))
    if 2 * cut.sum() >= deep.sum():
        zero = int(ends[cut].median())
        return replace(
            verdict, kind="no gradient", zero_from=zero, reach=zero, cut=(int(cut.sum()), int(deep.sum()))
        )
    ratios = torch.where(there & (ends > 0).unsqueeze(-1), values / values[..., :1], torch.nan)
    median = ratios.flatten(0, 1).nanquantile(0.5, dim=0)
    above = torch.nonzero(median >= floor)
    reach = int(above.amax()) + 1
    end = values[..., 0][ends > 0].quantile(0.5).item()
    found = replace(
        verdict,
        end=end,
        start=start,
        at_lag=median[lag].item(),
        least=_least(median[: lag + 1]),
        reach=reach if reach < int(depth.max()) else None,
        within_reach=bool(median[lag] >= floor),
    )
    usable = torch.nonzero(median[: lag + 1] * end > underflow).flatten().tolist()
    lags = usable[1:] if len(usable) > 2 else usable  # lag 0 is read directly, and is no part of the decay
    if len(lags) < 2:
        return found if found.within_reach else replace(found, kind="vanishing")
    decay = fit(ratios, lags)
    factor = decay.factor(lag)
    if factor > EXPLODED:
        return replace(found, kind="exploding", decay=decay)
    vanishing = factor < VANISHED or not found.within_reach
    return replace(found, kind="vanishing" if vanishing else "preserved", decay=decay)


def _least(median: Tensor) -> tuple[int, float] | None:
    """The lag with the smallest value, if that is less than a hundredth of both ends."""
    lag = int(median.nan_to_num(torch.inf).argmin())
    return (lag, median[lag].item()) if 100 * median[lag] < min(1.0, median[-1]) else None


def lags_from_first(profile: LagProfile) -> int:
    """How many lags there are, counted from where the loss reads the layer."""
    return int(_from_first(profile)[1].max())


def _from_first(profile: LagProfile) -> tuple[Tensor, Tensor, int]:
    """By lag from the first that has a gradient, `(B, J, K)`; depths `(B, J)` from there; which it is."""
    values, depth = profile.state.permute(2, 0, 1).cpu().double(), profile.depth.T.cpu()
    K = values.shape[-1]
    some = (values != 0) & (torch.arange(K) < depth.unsqueeze(-1))
    first = torch.where(some.any(-1), some.to(torch.int8).argmax(-1), 0)
    steps = (torch.arange(K) + first.unsqueeze(-1)).clamp_max(K - 1)
    start = first[some.any(-1)]
    return values.gather(-1, steps), depth - first, int(start.median()) if len(start) else 0


def _steps(number: int) -> str:
    return "1 step" if number == 1 else f"{number} steps"


def decisive(verdicts: Sequence[Verdict]) -> Verdict:
    """The one that tells how far back the whole model learns: not finite, or else reaching furthest."""
    broken = [verdict for verdict in verdicts if verdict.kind == "non-finite"]
    return broken[0] if broken else max(verdicts, key=lambda each: inf if each.reach is None else each.reach)
