"""The gradient of a loss at one step with respect to the states before it, against the lag."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import Module

from .. import nn
from ._copied import Call, called, chosen, copied
from ._flows import norms
from ._taps import Key, tapped_once


@dataclass(frozen=True)
class LagProfile:
    """‖∂L_j/∂h_{j−k}‖ of one layer in one direction, against the lag k.

    With `J` positions, `T` steps and `B` sequences; in a reverse direction the state is that of step j + k.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        at: the positions j.
        h: `(J, T, B)` in float64, by position, lag and sequence; NaN where there is no such step.
        c: likewise for ∂L_j/∂c_{j−k}, of an LSTM; else None.
    """

    name: str
    layer: int
    direction: int
    at: tuple[int, ...]
    h: Tensor
    c: Tensor | None

    def quantile(self, q: float, state: Literal["h", "c"] = "h") -> Tensor:
        """`(T,)`: over sequences and positions, at every lag."""
        return torch.nanquantile(self._of(state).transpose(0, 1).flatten(1), q, dim=1)

    def median(self, state: Literal["h", "c"] = "h") -> Tensor:
        """`(T,)`: over sequences and positions, at every lag."""
        return self.quantile(0.5, state)

    def band(self, state: Literal["h", "c"] = "h") -> tuple[Tensor, Tensor]:
        """`(T,)` twice: the 10 % and the 90 % quantile."""
        return self.quantile(0.1, state), self.quantile(0.9, state)

    def map(self, state: Literal["h", "c"] = "h") -> Tensor:
        """`(J, T, B)` by position j and the state's own step i, 0 where i cannot matter to j."""
        values = self._of(state)
        steps = torch.arange(values.shape[1], device=values.device)
        at = torch.tensor(self.at, device=values.device)[:, None]
        lag = steps - at if self.direction else at - steps
        found = values.gather(1, lag.clamp_min(0).unsqueeze(-1).expand_as(values))
        return torch.where((lag >= 0).unsqueeze(-1), found, 0.0)

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
        loss: of the output and the batch: the loss of every step and sequence, `(T, B)`.
        at: the steps j, negative ones from the end; None for the last.
        call: of the model and the batch: the output, `(T, B, ·)`. By default the model is called with the
            batch's input, and with `batch.lengths` if there are any, and the first part of what it returns
            is the output.

    Returns:
        A profile for each layer and direction.

    Raises:
        ValueError: if there is no recurrent layer, it is not called exactly once, the loss is not `(T, B)` or
            has no gradient, or a step is out of range.

    Example:
        >>> import torch, bptt
        >>> lstm = bptt.nn.LSTM(2, 8)
        >>> (profile,) = bptt.flow.lag_profile(lstm, torch.randn(50, 4, 2), lambda y, _: y.sum(-1))
        >>> profile.median().shape
        torch.Size([50])

    Source: Bengio et al. 1994 for the gradient by lag, Pascanu et al. 2013 (arXiv 1211.5063) for its matrix.
    """
    with copied(model) as mine:
        with tapped_once(nn.recurrent_layers(mine)) as given:
            losses = loss(call(mine, batch), batch)
        steps = _checked(losses, at)
        series = [_Series(name, key, taps) for name, each in given.items() for key, taps in each.items()]
        tensors = [tap for each in series for tap in each.taps]
        for step in steps:
            found = iter(
                torch.autograd.grad(losses[step].sum(), tensors, retain_graph=True, materialize_grads=True)
            )
            for each in series:
                each.norms.append([norms(next(found)) for _ in each.taps])
    return tuple(each.profile(steps) for each in series)


class _Series:
    """The norms (T, B) of one layer and direction, for each position."""

    def __init__(self, name: str, key: Key, taps: nn.Taps) -> None:
        self.name, self.key = name, key
        self.taps = [tap for tap in taps if tap is not None]
        self.norms: list[list[Tensor]] = []

    def profile(self, at: tuple[int, ...]) -> LagProfile:
        h, *c = (_by_lag(at, series, self.key[1] == 1) for series in zip(*self.norms, strict=True))
        return LagProfile(self.name, *self.key, at, h, c[0] if c else None)


def _checked(losses: Any, at: Sequence[int] | None) -> tuple[int, ...]:
    if not isinstance(losses, Tensor) or losses.dim() != 2:
        got = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise ValueError(f"loss must return the loss of every step and sequence, (T, B), got {got}")
    if not losses.requires_grad:
        raise ValueError("loss must depend on the states of a recurrent layer, got one without a gradient")
    return chosen(at, len(losses), "loss")


def _by_lag(at: Sequence[int], norms: Sequence[Tensor], reverse: bool) -> Tensor:
    """(J, T, B) by lag, of norms (T, B) by step for each position."""
    T = len(norms[0])
    by_lag = norms[0].new_full((len(at), T, norms[0].shape[1]), torch.nan)
    for row, (step, norm) in enumerate(zip(at, norms, strict=True)):
        past = norm[step:] if reverse else norm[: step + 1].flip(0)
        by_lag[row, : len(past)] = past
    return by_lag
