"""The gradient of a loss at one step with respect to the states before it, against the lag."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module

from .. import nn
from ..detach import Keeps
from ._copied import Call, called, chosen, copied
from ._flows import norms, quantile_of
from ._input import Given
from ._taps import Key, tapped_once


@dataclass(frozen=True)
class LagProfile:
    """‖∂L_j/∂h_{j−k}‖ of one layer in one direction, against the lag k.

    With `J` positions, `T` steps and `B` sequences; in a reverse direction the state is that of step j + k.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        at: the positions j; None for a loss of whole sequences, whose lags count from the last step of each
            (in a reverse direction from step 0, the last that it takes).
        h: `(J, T, B)` in float64, by position, lag and sequence; NaN where there is no such step.
        c: likewise for ∂L_j/∂c_{j−k}, of an LSTM; else None.
        ends: `(J, B)`: the step with lag 0.
        depth: `(J, B)`: how many lags there are.
    """

    name: str
    layer: int
    direction: int
    at: tuple[int, ...] | None
    h: Tensor
    c: Tensor | None
    ends: Tensor
    depth: Tensor

    def quantile(self, q: float, state: Literal["h", "c"] = "h") -> Tensor:
        """`(T,)`: over sequences and positions, at every lag; NaN where any of them is."""
        values = self._of(state)
        there = torch.arange(values.shape[1], device=values.device)[:, None] < self.depth.unsqueeze(1)
        return quantile_of(values.transpose(0, 1).flatten(1), q, there.transpose(0, 1).flatten(1))

    def median(self, state: Literal["h", "c"] = "h") -> Tensor:
        """`(T,)`: over sequences and positions, at every lag."""
        return self.quantile(0.5, state)

    def band(self, state: Literal["h", "c"] = "h") -> tuple[Tensor, Tensor]:
        """`(T,)` twice: the 10 % and the 90 % quantile."""
        return self.quantile(0.1, state), self.quantile(0.9, state)

    def map(self, state: Literal["h", "c"] = "h") -> Tensor:
        """`(J, T, B)` by position j and the state's own step i, 0 where i cannot matter to j."""
        values = self._of(state)
        steps = torch.arange(values.shape[1], device=values.device)[:, None]
        ends = self.ends.unsqueeze(1)
        lag = steps - ends if self.direction else ends - steps
        found = values.gather(1, lag.clamp_min(0))
        return torch.where((lag >= 0) & (lag < self.depth.unsqueeze(1)), found, 0.0)

    @property
    def deepest(self) -> int | None:
        """The position with the most steps before it; None for a loss of whole sequences."""
        return None if self.at is None else self.at[self._deepest_row]

    def lagged(self, by_step: Tensor) -> Tensor:
        """A quantity `(T, B)` by step as one by lag, counted from the deepest position."""
        row = slice(self._deepest_row, self._deepest_row + 1)
        return _turned(by_step.unsqueeze(0), self.ends[row], self.depth[row], self.direction == 1)[0]

    @property
    def _deepest_row(self) -> int:
        return int(self.depth.sum(1).argmax())

    @property
    def state(self) -> Tensor:
        """`(J, T, B)`: with respect to the full state, h alone or h and c together."""
        return self.h if self.c is None else torch.hypot(self.h, self.c)

    def _of(self, state: str) -> Tensor:
        values = self.c if state == "c" else self.h
        if values is None:
            raise ValueError("state must be 'h' for a layer that is no LSTM, got 'c'")
        return values


def lag_profile(
    model: Module,
    batch: Any,
    loss: Callable[[Tensor, Any], Tensor],
    *,
    at: Sequence[int] | None = None,
    call: Call = called,
) -> tuple[LagProfile, ...]:
    """How much the loss at chosen steps depends on the states k steps before, of every recurrent layer.

    The model is copied and left as it is, in its mode, with its dropout and detachment if it is training.

    Args:
        model: any module with an LSTM, GRU or RNN of `bptt.nn` or `torch.nn` inside.
        batch: what it is given: a tensor, or a tuple whose first part is the input.
        loss: of the output and the batch: the loss of every step and sequence, `(T, B)`, or of every
            sequence, `(B,)`.
        at: the steps j, negative ones from the end; None for the last, and in a reverse direction the first.
            Not for a loss `(B,)`.
        call: of the model and the batch: the output, `(T, B, ·)`. By default the model is called with the
            batch's input, and with `batch.lengths` if there are any, and the first part of what it returns
            is the output.

    Returns:
        A profile for each layer and direction; of a loss `(T, B)` only for layers that take T steps.

    Raises:
        ValueError: if there is no recurrent layer, one is called twice, the loss is neither `(T, B)` nor
            `(B,)` with the T and B of a layer or has no gradient, or a step is out of range or given without
            steps.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(2, 8)
        >>> (profile,) = bptt.flow.lag_profile(lstm, torch.randn(50, 4, 2), lambda y, _: y.sum(-1))
        >>> profile.median().shape
        torch.Size([50])

    Source: Bengio et al. 1994 for the gradient by lag, Pascanu et al. 2013 (arXiv 1211.5063) for its matrix.
    """
    with copied(model) as mine:
        look = look_back(mine, batch, loss, at, call)
        return tuple(each.profile() for each in look.series)


class Series:
    """The taps of one layer and direction, and the norms `(T, B)` of their gradients for each position."""

    def __init__(self, name: str, key: Key, given: Given, taps: nn.Taps, at: tuple[int, ...] | None) -> None:
        self.name, self.key, self.given, self.at = name, key, given, at
        self.taps = [tap for tap in taps if tap is not None]
        self.norms: dict[int | None, list[Tensor]] = {}  # by position: of h, and of c if there is one

    def profile(self) -> LagProfile:
        T, B = self.given.T, self.given.B
        lengths = torch.full((B,), T) if self.given.lengths is None else self.given.lengths
        rows = [self.norms[step] for step in ([None] if self.at is None else self.at)]
        by_step = [torch.stack(each) for each in zip(*rows, strict=True)]
        return by_lag(self.name, self.key, self.at, by_step, lengths)


@dataclass(frozen=True)
class LookBack:
    """Losses `(T, B)` or `(B,)` with their graph, and the gradients by step of every layer and direction.

    `left_out` says of layers why there are none.
    """

    losses: Tensor
    series: tuple[Series, ...]
    left_out: Mapping[str, str]


def look_back(
    model: Module,
    batch: Any,
    loss: Callable[[Tensor, Any], Tensor],
    at: Sequence[int] | None,
    call: Call,
    keeps: Callable[[str, Given], Mapping[Key, Keeps] | None] = lambda *_: None,
) -> LookBack:
    """The gradients behind `lag_profile`, of a model that may be called as it is.

    Args:
        keeps: as in `tapped_once`.
    """
    with tapped_once(nn.recurrent_layers(model), keeps) as calls:
        losses = check_losses(loss(call(model, batch), batch), at)
    series, left_out = [], {}
    for name, each in calls.items():
        if losses.shape != (each.given.T, each.given.B)[-losses.dim() :]:
            left_out[name] = f"takes {each.given.T} steps of {each.given.B} sequences"
            continue
        for key, taps in each.taps.items():
            series.append(Series(name, key, each.given, taps, positions(losses, at, reverse=key[1] == 1)))
    if calls and not series:
        check_shape(losses, *next(iter(calls.values())).given[:2])
    every = sorted({step for each in series for step in each.at or ()})
    for step in every if losses.dim() == 2 else [None]:
        mine = [each for each in series if each.at is None or step in each.at]
        tensors = [tap for each in mine for tap in each.taps]
        total = losses.sum() if step is None else losses[step].sum()
        found = iter(torch.autograd.grad(total, tensors, retain_graph=True, materialize_grads=True))
        for each in mine:
            each.norms[step] = [norms(next(found)) for _ in each.taps]
    return LookBack(losses, tuple(series), left_out)


def check_losses(losses: Any, at: Sequence[int] | None) -> Tensor:
    """The losses, if they may be `(T, B)` or `(B,)`.

    Raises:
        ValueError: if not, if they have no gradient, or if positions are given that they do not have.
    """
    if not isinstance(losses, Tensor) or losses.dim() not in (1, 2):
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(
            "loss must return the loss of every step and sequence, (T, B), or of every sequence, (B,), "
            f"got {got}"
        )
    if not losses.requires_grad:
        raise ValueError("loss must depend on the states of a recurrent layer, got one without a gradient")
    if losses.dim() == 1 and at is not None:
        raise ValueError(f"at must be None for a loss (B,), which has no steps, got {list(at)}")
    if at is not None and not at:
        raise ValueError("at must hold at least one step, got none")
    return losses


def check_shape(losses: Tensor, T: int, B: int) -> None:
    """Raise unless losses have the shape of T steps and B sequences.

    Raises:
        ValueError: saying which.
    """
    shape = tuple(losses.shape)
    if shape != (T, B)[-losses.dim() :]:
        turned = " = (B, T): turn it, and for an input (B, T, ·) of a model without recurrent layers give "
        hint = f"{turned}batch_first=True" if shape == (B, T) else ""
        raise ValueError(
            f"loss must return the loss of every step and sequence, (T, B) = ({T}, {B}), or of every "
            f"sequence, (B,) = ({B},), got {shape}{hint}"
        )


def positions(losses: Tensor, at: Sequence[int] | None, *, reverse: bool) -> tuple[int, ...] | None:
    """Where losses are read, rising; None for losses of whole sequences."""
    if losses.dim() == 1:
        return None
    return tuple(chosen((0 if reverse else -1,) if at is None else at, len(losses), "loss"))


def by_lag(
    name: str, key: Key, at: tuple[int, ...] | None, by_step: Sequence[Tensor], lengths: Tensor
) -> LagProfile:
    """A profile, of norms `(J, T, B)` by step: those of h, and of c if there are any."""
    J, _, B = by_step[0].shape
    device, reverse = by_step[0].device, key[1] == 1
    lengths = lengths.to(device)
    if at is None:
        ends = (torch.zeros_like(lengths) if reverse else lengths - 1).unsqueeze(0)
    else:
        ends = torch.tensor(at, device=device).unsqueeze(1).expand(J, B)
    depth = torch.where(ends < lengths, lengths - ends if reverse else ends + 1, 0)
    h, *c = (_turned(series, ends, depth, reverse) for series in by_step)
    return LagProfile(name, *key, at, h, c[0] if c else None, ends, depth)


def _turned(by_step: Tensor, ends: Tensor, depth: Tensor, reverse: bool) -> Tensor:
    """(J, T, B) by lag, of values by step."""
    T = by_step.shape[1]
    lags = torch.arange(T, device=by_step.device)[:, None]
    steps = (ends.unsqueeze(1) + (lags if reverse else -lags)).clamp(0, T - 1)
    return torch.where(lags < depth.unsqueeze(1), by_step.gather(1, steps), torch.nan)
