"""What is seen of the gradients through time at one step of a training."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import dropwhile, takewhile
from statistics import linear_regression
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import RNNBase
from torch.nn import functional as F

from .. import nn
from ._flows import key_of, median_of, norms
from ._input import Given, keys
from ._pairs import Gradients, listen
from ._paths import Paths
from ._record import Recording
from ._taps import Key

_MOST = 64  # time steps kept
_PATHS = ("h", "c")
_AT_ONCE = 1 << 16  # numbers that become float64 while they are in the cache of a CPU
_LEAST, _LARGEST = 1e-15, 1e15  # of norms whose squares, and those of all that counts, float32 holds


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

    By lag from the last step that the direction runs through, in strides: norms `(P, M, B)` of the paths h
    and, of an LSTM, c, and whether the sequence has the step, `(M, B)`.
    """

    T: int
    stride: int
    norms: Tensor
    there: Tensor


class Look:
    """One step that is looked at.

    Args:
        step: its number.
        layers: by name.
        scaler: of the loss.
    """

    def __init__(self, step: int, layers: Mapping[str, RNNBase], scaler: torch.amp.GradScaler | None) -> None:
        self._step = step
        self._scale = cache((lambda: 1.0) if scaler is None else scaler.get_scale)  # as it first was
        self._calls: dict[tuple[str, Key], list[_Call]] = {
            (name, key): [] for name, layer in layers.items() for key in keys(layer)
        }
        self.replayed = Recording(full=False, scale=self._scale)
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
        calls = _on_host([call for calls in self._calls.values() for call in calls])
        layers = tuple(
            _layer_reading(*place, [next(calls) for _ in kept]) for place, kept in self._calls.items() if kept
        )
        return Reading(self._step, layers, self.before, self.after)

    def _arrived(self, name: str, lengths: Tensor | None, key: Key, _: int, gradients: Gradients) -> None:
        scale = self._scale()
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
        kept = torch.stack([of(series[path][first::stride]) for path in _PATHS if path in series])
        there = _there(torch.arange(first, T, stride, device=kept.device), lengths, kept[0])
        if turned:
            kept, there = kept.flip(1), there.flip(0)
        self._calls[name, key].append(_Call(T, stride, kept, there))


def _norms(gradient: Tensor) -> Tensor:
    """(M, B, H) → (M, B) in float64, of float32 on a CPU as precisely as float32 gives."""
    if gradient.device.type != "cpu" or gradient.dtype != torch.float32:
        return norms(gradient)
    quick = torch.linalg.vector_norm(gradient, dim=-1)
    least, most = quick.aminmax()
    if least > _LEAST and most < _LARGEST:
        return quick.double()
    return torch.cat([norms(few) for few in gradient.split(max(1, _AT_ONCE // gradient[0].numel()))])


def _length(call: _Call) -> int:
    return call.T


def _on_host(calls: Sequence[_Call]) -> Iterator[_Call]:
    """The same on the CPU, the norms of all at once."""
    if not calls:
        return
    device = calls[0].norms.device
    together = torch.cat([call.norms.flatten().to(device) for call in calls]).cpu()
    for call, values in zip(calls, together.split([call.norms.numel() for call in calls]), strict=True):
        yield call._replace(norms=values.view_as(call.norms), there=call.there.cpu())


def _medians(calls: Sequence[_Call]) -> Tensor:
    """The median of each path over the sequences of all calls, `(P, M)` by lag."""
    longest = max(calls, key=_length)

    def together(parts: Iterable[Tensor], missing: float) -> Tensor:
        parts = [
            part[..., :: longest.stride // call.stride, :] for part, call in zip(parts, calls, strict=True)
        ]
        M = len(longest.there)
        return torch.cat([F.pad(part, (0, 0, 0, M - part.shape[-2]), value=missing) for part in parts], -1)

    there = together([call.there for call in calls], False)
    return median_of(together([call.norms for call in calls], torch.nan), there)


def _there(steps: Tensor, lengths: Tensor | None, like: Tensor) -> Tensor:
    """Whether the sequences have the steps: `(M,)` → `(M, B)`."""
    if lengths is None:
        return torch.ones_like(like, dtype=torch.bool)
    return steps.unsqueeze(1) < lengths.to(steps.device)


def _layer_reading(name: str, key: Key, calls: Sequence[_Call]) -> LayerReading:
    layer, direction = key
    longest, medians = max(calls, key=_length), _medians(calls)
    lags = range(0, longest.T, longest.stride)
    t = lags if direction else [longest.T - 1 - lag for lag in reversed(lags)]
    h, *c = (tuple(each.tolist()) for each in (medians if direction else medians.flip(1)))
    half_life = _half_life(medians[-1].tolist(), longest.stride)
    return LayerReading(name, layer, direction, tuple(t), h, c[0] if c else None, half_life)


def _half_life(medians: Sequence[float], stride: int) -> float | None:
    """In time steps, of medians by lag: from the first with a finite logarithm to the last before another."""

    def finite(median: float) -> bool:
        return 0 < median < math.inf

    logs = [math.log(median) for median in takewhile(finite, dropwhile(lambda m: not finite(m), medians))]
    slope = linear_regression(range(len(logs)), logs).slope / stride if len(logs) > 1 else 0
    return -math.log(2) / slope if slope < 0 else None
