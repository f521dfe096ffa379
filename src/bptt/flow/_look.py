"""What is seen of the gradients through time at one step of a training."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import RNNBase
from torch.nn import functional as F

from .. import nn
from ._decay import fit_line
from ._flows import key_of, median_of, norms
from ._input import Given, keys
from ._pairs import Gradients, listen
from ._paths import Paths
from ._record import Recording
from ._taps import Key

_MOST = 64  # time steps kept
_AT_ONCE = 1 << 16  # numbers that become float64 while they are in the cache of a CPU


@dataclass(frozen=True)
class LayerReading:
    """The gradients of one layer in one direction at one optimiser step.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        t: the M time steps kept, rising: at most 64, evenly spaced, counted from the last that the direction
            runs through.
        h: the median over sequences of ‖dL/dh_t‖ at these, `(M,)`; NaN where one of them is.
        c: likewise of ‖dL/dc_t‖, of an LSTM; else None.
        half_life: the time steps over which the gradient with respect to the state on the carry (c of an
            LSTM, else h) halves, by the line through its logarithms back from the last step, as far as they
            are finite; None where that does not fall. It tells how far the layer reaches only where the loss
            reads the last steps alone.
        carry, gates: the medians of the two parts of the gradient with respect to that state with all paths
            open, if they were measured.
    """

    name: str
    layer: int
    direction: int
    t: tuple[int, ...]
    h: tuple[float, ...]
    c: tuple[float, ...] | None
    half_life: float | None
    carry: tuple[float, ...] | None = None
    gates: tuple[float, ...] | None = None

    @property
    def key(self) -> str:
        """Its name (or `model`), layer and direction with colons between."""
        return key_of(self.name, self.layer, self.direction)


@dataclass(frozen=True)
class Reading:
    """What a `Watch` saw at one optimiser step.

    Attributes:
        step: its number.
        layers: those that a gradient reached.
        before, after: the norm of the gradient of all weights before and after clipping, if it was told.
    """

    step: int
    layers: tuple[LayerReading, ...]
    before: float | None
    after: float | None

    def with_paths(self, paths: Iterable[Paths], lengths: Tensor | None = None) -> "Reading":
        """The same with the medians of the parts of a split that was made for this step.

        Args:
            paths: as `bptt.flow.paths` returns them.
            lengths: of the sequences that it was made of, `(B,)`.
        """
        split = {(each.name, each.layer, each.direction): each for each in paths}
        layers = []
        for layer in self.layers:
            found = split.get((layer.name, layer.layer, layer.direction))
            if found is not None:
                t = torch.tensor(layer.t, device=found.carry.device)
                parts = [norms(part[t]) for part in (found.carry, found.gates)]
                there = _there(t, lengths, parts[0])
                carry, gates = (tuple(median_of(part, there).tolist()) for part in parts)
                layer = replace(layer, carry=carry, gates=gates)
            layers.append(layer)
        return replace(self, layers=tuple(layers))

    def row(self) -> dict[str, Any]:
        """The same as numbers, lists and mappings, the layers by key."""
        layers = {}
        for each in self.layers:
            series = {path: getattr(each, path) for path in ("t", "h", "c", "carry", "gates")}
            layers[each.key] = {path: list(values) for path, values in series.items() if values is not None}
            layers[each.key]["half_life"] = each.half_life
        return {"step": self.step, "before": self.before, "after": self.after, "layers": layers}


class _Call(NamedTuple):
    """What is kept of one backward pass through one call of a layer.

    By lag from the last step that the direction runs through, in strides: norms `(M, B)` of each path, and
    whether the sequence has the step.
    """

    T: int
    stride: int
    norms: Mapping[str, Tensor]
    there: Tensor


class Look:
    """One step that is looked at.

    Args:
        step: its number.
        layers: by name.
        scaler: of the loss.
    """

    def __init__(self, step: int, layers: Mapping[str, RNNBase], scaler: torch.amp.GradScaler | None) -> None:
        self._step, self._scaler = step, scaler
        self._scale: float | None = None
        self._calls: dict[tuple[str, Key], list[_Call]] = {
            (name, key): [] for name, layer in layers.items() for key in keys(layer)
        }
        self.replayed = Recording(full=False, scale=self._scale_now)
        self.before: float | None = None
        self.after: float | None = None

    def listen(self, name: str, x: Given, taps: Mapping[Key, nn.Taps]) -> None:
        """Take the norms of a call's gradients as they come."""
        listen(taps, partial(self._arrived, name, x.lengths))

    def reading(self) -> Reading:
        """What was seen; to be asked for once."""
        for flow in self.replayed.flows:
            series = {"h": flow.h} if flow.c is None else {"h": flow.h, "c": flow.c}
            self._keep(flow.name, (flow.layer, flow.direction), flow.lengths, series)
        seen = {place: _medians(calls) for place, calls in self._calls.items() if calls}
        every = [median for medians in seen.values() for median in medians.values()]
        if every:  # to the host at once
            flat = torch.cat([median.to(every[0].device) for median in every]).cpu()
            found = iter(flat.split(list(map(len, every))))
            seen = {place: {path: next(found) for path in medians} for place, medians in seen.items()}
        layers = tuple(
            _layer_reading(*place, max(self._calls[place], key=_length), medians)
            for place, medians in seen.items()
        )
        return Reading(self._step, layers, self.before, self.after)

    def _arrived(self, name: str, lengths: Tensor | None, key: Key, _: int, gradients: Gradients) -> None:
        scale = self._scale_now()
        self._keep(name, key, lengths, gradients, lambda kept: _norms(kept) / scale)

    def _keep(
        self,
        name: str,
        key: Key,
        lengths: Tensor | None,
        series: Mapping[str, Tensor],
        of: Callable[[Tensor], Tensor] = lambda kept: kept,
    ) -> None:
        """Keep `of` some of the steps of each series, the last that the direction runs through among them."""
        T, B = series["h"].shape[:2]
        if B == 0:
            return
        stride = 1 << max(0, math.ceil(math.log2(T / _MOST)))  # so that those of other lengths fit into it
        first, turned = (0, False) if key[1] else ((T - 1) % stride, True)

        def by_lag(values: Tensor) -> Tensor:
            return values.flip(0) if turned else values

        kept = {path: by_lag(of(values[first::stride])) for path, values in series.items()}
        steps = torch.arange(first, T, stride, device=kept["h"].device)
        there = _there(by_lag(steps), lengths, kept["h"])
        self._calls[name, key].append(_Call(T, stride, kept, there))

    def _scale_now(self) -> float:
        if self._scale is None:
            self._scale = 1.0 if self._scaler is None else self._scaler.get_scale()
        return self._scale


def _norms(gradient: Tensor) -> Tensor:
    """(M, B, H) → (M, B) in float64; on a CPU a few steps at a time."""
    if gradient.device.type != "cpu":
        return norms(gradient)
    return torch.cat([norms(few) for few in gradient.split(max(1, _AT_ONCE // gradient[0].numel()))])


def _length(call: _Call) -> int:
    return call.T


def _medians(calls: Sequence[_Call]) -> dict[str, Tensor]:
    """The median of each path over the sequences of all calls, `(M,)` by lag."""
    longest = max(calls, key=_length)

    def together(parts: Sequence[Tensor], missing: float) -> Tensor:
        parts = [part[:: longest.stride // call.stride] for part, call in zip(parts, calls, strict=True)]
        M = max(map(len, parts))
        return torch.cat([F.pad(part, (0, 0, 0, M - len(part)), value=missing) for part in parts], 1)

    there = together([call.there for call in calls], False)
    medians = {}
    for path in longest.norms:
        values = together([call.norms[path] for call in calls], torch.nan)
        medians[path] = median_of(values, there)
    return medians


def _there(steps: Tensor, lengths: Tensor | None, like: Tensor) -> Tensor:
    """Whether the sequences have the steps: `(M,)` → `(M, B)`."""
    if lengths is None:
        return torch.ones_like(like, dtype=torch.bool)
    return steps.unsqueeze(1) < lengths.to(steps.device)


def _layer_reading(name: str, key: Key, longest: _Call, medians: Mapping[str, Tensor]) -> LayerReading:
    layer, direction = key
    lags = range(0, longest.T, longest.stride)
    t = lags if direction else [longest.T - 1 - lag for lag in reversed(lags)]
    by_step = {
        path: tuple((median if direction else median.flip(0)).tolist()) for path, median in medians.items()
    }
    half_life = _half_life(medians.get("c", medians["h"]).log(), longest.stride)
    return LayerReading(name, layer, direction, tuple(t), by_step["h"], by_step.get("c"), half_life)


def _half_life(logs: Tensor, stride: int) -> float | None:
    """In time steps, of logarithms `(M,)` by lag: from the first finite one to the last before another."""
    finite = logs.isfinite()
    begun = finite.cumsum(0) > 0
    run = logs[finite & (finite | ~begun).cumprod(0).bool()]
    slope = fit_line(run)[0].item() / stride
    return -math.log(2) / slope if slope < 0 else None
