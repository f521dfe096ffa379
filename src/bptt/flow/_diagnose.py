"""The verdict on a model: how far back in time it learns, and what to do about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import index
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, RNNBase

from .. import nn
from ..detach import Keeps
from ._copied import Call, called, check_module, copied
from ._facts import facts_of, place_of, split_by_lag, usual_norm, with_carry
from ._flows import key_of, norms
from ._input import Given, keys
from ._lags import LagProfile, by_lag, check_losses, check_shape, look_back, positions
from ._nonfinite import first_nonfinite
from ._reach import called_on_leaf
from ._remedies import Facts, remedies
from ._taps import Key, Ours
from ._trajectory import followed
from ._verdict import Verdict, decisive, judge, lags_from_first

Loss = Callable[[Tensor, Any], Tensor]


@dataclass(frozen=True)
class Diagnosis:
    """The verdicts on a model.

    Attributes:
        verdicts: one for each recurrent layer and direction; for a model without, one for its input.
        profiles: the gradients by lag that they rest on, in the same order.
        lag: the lag that is wanted.
        left_out: why there is none of a layer: it takes another number of steps than the loss has, or has
            too few before the loss reads it.
    """

    verdicts: tuple[Verdict, ...]
    profiles: tuple[LagProfile, ...]
    lag: int
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        return "\n".join(map(str, self.verdicts))

    @property
    def within_reach(self) -> bool:
        """Whether all gradients are finite, and that of some layer reaches the wanted lag."""
        finite = all(each.kind != "non-finite" for each in self.verdicts)
        return finite and any(each.within_reach for each in self.verdicts)

    @property
    def sentence(self) -> str:
        """The verdict on the whole model: on the layer that reaches furthest, and how many others fail."""
        chosen = decisive(self.verdicts)
        short = sum(not each.within_reach for each in self.verdicts if each is not chosen)
        rest = f" Of the other {len(self.verdicts) - 1}, {short} out of reach." if short else ""
        return chosen.sentence + rest


def diagnose(
    model: Module,
    batch: Any,
    loss: Loss,
    *,
    lag: int | None = None,
    at: Sequence[int] | None = None,
    batch_first: bool = False,
    call: Call = called,
) -> Diagnosis:
    """Say how far back in time a model learns, for every recurrent layer, with remedies.

    The gradient of the loss at step j with respect to the full state of a layer k steps before is taken
    against the lag k, relative to its end value at lag 0, in the median over sequences: ‖∂L_j/∂h_{j−k}‖, or,
    of an LSTM, the root of ‖∂L_j/∂h_{j−k}‖² + ‖∂L_j/∂c_{j−k}‖². A model without recurrent layers is judged
    by the gradient with respect to its input. Where a loss reads a layer only some steps before its position,
    lags count from there. Of a layer that blocks paths at random as it trains, the gradient is the mean over
    its coins. The model is copied and left as it is.

    Args:
        model, batch, loss, at, call: as in `lag_profile`.
        lag: how far back it is to learn, in steps; None for as far as the sequences allow.
        batch_first: whether the input of a model without recurrent layers is `(B, T, ·)`.

    Returns:
        The verdicts.

    Raises:
        ValueError: as `lag_profile` does, and if no layer has so many steps before the loss reads it.
        TypeError: if weights are in half precision on a CPU, or lag is no integer.

    Example:
        >>> import torch, bptt
        >>> rnn = torch.nn.RNN(1, 32)
        >>> _ = torch.nn.init.orthogonal_(rnn.weight_hh_l0, gain=0.5)
        >>> found = bptt.flow.diagnose(rnn, torch.randn(50, 8, 1), lambda y, _: y.square().sum(-1))
        >>> found.verdicts[0].kind, found.within_reach
        ('vanishing', False)

    Source: Bengio et al. 1994 for what is judged. The thresholds are `REACH`, `VANISHED` and `EXPLODED`.
    """
    check_module(model)
    if not any(isinstance(module, RNNBase) for module in model.modules()):
        return _of_input(model, batch, loss, lag, at, batch_first, call)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    with copied(model) as mine:
        layers = nn.recurrent_layers(mine)
        weights = [weight.requires_grad_() for name, weight in mine.named_parameters() if name in trained]
        expected = partial(_expected, layers)
        with followed(layers) as found:
            look = look_back(mine, batch, loss, at, call, expected)
        profiles = [each.profile() for each in look.series]
        wanted = wanted_lag(lag, profiles)
        steps = {place_of(each): each for each in found}
        judged: list[tuple[Verdict, LagProfile, Facts]] = []
        left_out = dict(look.left_out)
        for series, profile in zip(look.series, profiles, strict=True):
            run, gradient = steps[place_of(profile)], series.taps[0].dtype
            verdict = judge(profile, lag=wanted, of=run.op.upper(), state=run.h_next.dtype, gradient=gradient)
            if verdict is None:
                left_out[key_of(*place_of(profile))] = f"has no {wanted} steps before the loss reads it"
            else:
                judged.append((verdict, profile, facts_of(run)))
        if not judged:
            raise ValueError(
                f"lag must be one that a layer has before the loss reads it, got {wanted}: "
                + "; ".join(f"{name or 'the model'} {why}" for name, why in left_out.items())
            )
        if any(verdict.kind == "exploding" for verdict, *_ in judged):
            clip = usual_norm(look.losses, weights)
            judged = [(verdict, profile, replace(facts, clip=clip)) for verdict, profile, facts in judged]
        uncut = look_back(mine, batch, loss, at, call, partial(_cut, layers))
    direct = {place_of(each): each for each in (series.profile() for series in uncut.series)}
    kinds = {verdict.kind for verdict, *_ in judged}
    gated = [profile for verdict, profile, _ in judged if verdict.of != "RNN"]
    split = split_by_lag(model, batch, loss, gated, call) if kinds & {"vanishing", "exploding"} else {}
    where = None
    if "non-finite" in kinds:
        first = first_nonfinite(model, batch, lambda y, b: loss(y, b).sum(), call=call)
        where = None if first is None else first.sentence
    told = []
    for verdict, profile, facts in judged:
        broken = verdict.kind == "non-finite"
        verdict = replace(
            verdict,
            where=where if broken else None,
            direct=not broken and _direct(verdict, profile, direct[place_of(profile)]),
        )
        told.append(replace(verdict, remedies=remedies(verdict, with_carry(facts, verdict, profile, split))))
    return Diagnosis(tuple(told), tuple(profile for _, profile, _ in judged), wanted, left_out)


def _of_input(
    model: Module,
    batch: Any,
    loss: Loss,
    lag: int | None,
    at: Sequence[int] | None,
    batch_first: bool,
    call: Call,
) -> Diagnosis:
    with copied(model, recurrent=False) as mine:
        output, leaf = called_on_leaf(mine, batch, call)
        losses = check_losses(loss(output, batch), at)
        if not leaf.requires_grad:
            raise ValueError(
                "the loss must depend on the input with a gradient, got tokens without nn.Embedding"
            )
        profile = _input_profile(losses, positions(losses, at, reverse=False), leaf, batch_first)
    wanted = wanted_lag(lag, [profile])
    verdict = judge(profile, lag=wanted, of="input", state=leaf.dtype, gradient=leaf.dtype)
    if verdict is None:
        raise ValueError(f"lag must be one that there is before the loss reads the input, got {wanted}")
    if verdict.kind == "non-finite":
        first = first_nonfinite(model, batch, lambda y, b: loss(y, b).sum(), call=call)
        verdict = replace(verdict, where=None if first is None else first.sentence)
    told = replace(verdict, remedies=remedies(verdict, Facts()))
    return Diagnosis((told,), (profile,), wanted, {})


def _input_profile(losses: Tensor, at: tuple[int, ...] | None, leaf: Tensor, batch_first: bool) -> LagProfile:
    """The gradient of losses with respect to an input by lag."""
    B, T = leaf.shape[:2] if batch_first else (leaf.shape[1], leaf.shape[0])
    check_shape(losses, T, B)
    rows = [losses.sum()] if at is None else [losses[step].sum() for step in at]
    found = [norms(torch.autograd.grad(row, leaf, retain_graph=True)[0]) for row in rows]
    by_step = torch.stack([each.T if batch_first else each for each in found])
    return by_lag("", (0, 0), at, [by_step], torch.full((B,), T))


def wanted_lag(lag: int | None, profiles: Sequence[LagProfile]) -> int:
    """The lag that is wanted, checked against those that there are."""
    longest = max(int(each.depth.max()) for each in profiles) - 1
    if longest < 1:
        raise ValueError("sequences must have at least 2 steps before the loss, got 1")
    if lag is None:
        return max(1, max(map(lags_from_first, profiles)) - 1)
    if isinstance(lag, bool) or not hasattr(lag, "__index__"):
        raise TypeError(f"lag must be an integer, got {lag!r}")
    lag = index(lag)
    if not 1 <= lag <= longest:
        raise ValueError(
            f"lag must be from 1 to {longest}, which is as far as the sequences go back, got {lag}"
        )
    return lag


def _expected(layers: Mapping[str, Ours], name: str, given: Given) -> dict[Key, Keeps] | None:
    """Of a layer that draws coins, what they are in the mean."""
    layer = layers[name]
    if layer.detach is None or not (layer.training and layer.detach.active):
        return None
    return _kept(layer, given, 1 - layer.detach.h, 1 - layer.detach.c)


def _cut(layers: Mapping[str, Ours], name: str, given: Given) -> dict[Key, Keeps]:
    """No gradient through time."""
    return _kept(layers[name], given, 0.0, 0.0)


def _kept(layer: Ours, given: Given, h: float, c: float) -> dict[Key, Keeps]:
    carry = None if isinstance(layer, nn.RNN) else given.keep(c)
    return dict.fromkeys(keys(layer), Keeps(h=given.keep(h), c=carry))


def _direct(verdict: Verdict, profile: LagProfile, cut: LagProfile) -> bool:
    """Whether at least half of the gradient at the wanted lag is there without any path through time."""
    lag = verdict.start + verdict.lag
    if lag >= profile.h.shape[1]:
        return False
    share = cut.state[:, lag] / profile.state[:, lag]
    return bool(share.nanquantile(0.5) >= 0.5)
