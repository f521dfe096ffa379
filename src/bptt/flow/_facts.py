"""The numbers behind the remedies."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ._copied import Call
from ._flows import median_of, norms
from ._lags import LagProfile
from ._paths import Paths, paths
from ._remedies import Facts
from ._trajectory import Trajectory
from ._verdict import VANISHED, Verdict

Place = tuple[str, int, int]

_MOST = 32  # sequences whose gradients are taken one by one


def place_of(each: Any) -> Place:
    """Of anything that belongs to a layer and direction."""
    return each.name, each.layer, each.direction


def facts_of(run: Trajectory) -> Facts:
    """What the states and weights of a layer tell."""
    gates = run.gates()
    if run.op == "rnn":
        radius = torch.linalg.eigvals(run.weights.w_hh.detach().double()).abs().max().item()
        dead = None
        if run.nonlinearity == "relu":
            dead = (gates["h"] == 0).logical_or(~run.valid.unsqueeze(-1)).all(0).all(0).double().mean().item()
        return Facts(radius=radius, dead=dead)
    kept = gates["f" if run.op == "lstm" else "z"][run.valid]
    return Facts(gate=kept.detach().double().median().item())


def split_by_lag(
    model: Module,
    batch: Any,
    loss: Callable[[Tensor, Any], Tensor],
    profiles: Sequence[LagProfile],
    call: Call,
) -> dict[Place, Paths]:
    """`paths` of LSTMs and GRUs, each of the loss at the deepest position of its profile."""
    found: dict[Place, Paths] = {}
    for position in {profile.deepest for profile in profiles}:

        def total(output: Tensor, batch: Any, position: int | None = position) -> Tensor:
            losses = loss(output, batch)
            return losses.sum() if position is None else losses[position].sum()

        wanted = {place_of(profile) for profile in profiles if profile.deepest == position}
        split = paths(model, batch, total, call=call)
        found |= {place_of(each): each for each in split if place_of(each) in wanted}
    return found


def with_carry(facts: Facts, verdict: Verdict, profile: LagProfile, split: Mapping[Place, Paths]) -> Facts:
    """The same with what the carry has at the wanted lag."""
    each = split.get(place_of(profile))
    if each is None:
        return facts
    kept = profile.lagged(norms(each.carry)) / profile.lagged(norms(each.whole))[verdict.start]
    lag = verdict.start + verdict.lag
    return replace(
        facts,
        carry=median_of(profile.lagged(each.share))[lag].item(),
        carry_reaches=bool(median_of(kept)[lag] >= VANISHED),
    )


def usual_norm(losses: Tensor, parameters: Sequence[Tensor]) -> float:
    """Median over sequences, the first 32 of them, of the norm of the gradient of their mean loss."""
    found = []
    for sequence in losses.unbind(-1)[:_MOST]:
        parts = torch.autograd.grad(sequence.mean(), parameters, retain_graph=True, materialize_grads=True)
        found.append(torch.stack([part.double().norm() for part in parts]).norm())
    return torch.stack(found).quantile(0.5).item()
