"""The steps that a model's recurrent layers take, in float64: one by one, and from either end of a run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from .. import nn
from ._copied import Call, copied
from ._trajectory import Trajectory, Weights, followed


def trajectories(model: Module, batch: Any, call: Call) -> list[Trajectory]:
    """Those of a copy's call: the states of a model that runs in its own dtype, given in float64.

    Raises:
        ValueError: if there is no recurrent layer, one is called twice or none at all, or a state is not
            finite.
        TypeError: if a layer of torch.nn is none that `bptt.nn.convert` knows.
    """
    with copied(model) as mine, torch.no_grad(), followed(nn.recurrent_layers(mine)) as found:
        call(mine, batch)
    places = [(each.name, each.layer, each.direction) for each in found]
    twice = [place[0] for place in places if places.count(place) > 1]
    if twice or not found:
        got = f"several calls of {twice[0]!r}" if twice else "no call"
        raise ValueError(f"model must call each recurrent layer once, got {got}")
    for each in found:
        for step in each.order:
            at = one_step(each, step)
            for name, state in (("h", at.h_next), ("c", at.c_next)):
                if state is not None:
                    check_finite(at, state, name, f"step {step}")
    return list(map(_in_float64, found))


def check_finite(at: Trajectory, values: Tensor, what: str, place: str) -> None:
    """Of values `(B, ·)` of one step.

    Raises:
        ValueError: if one of a sequence that has the step is not.
    """
    bad = ~values.isfinite() & at.valid.unsqueeze(-1)
    if bad.any():
        sequence = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"{what} must be finite at every step, got {values[bad][0].item()} at {place} of sequence "
            f"{sequence} in layer {at.layer}, direction {at.direction} of {at.name!r}"
        )


def lengths(trajectory: Trajectory) -> Tensor:
    """How many steps each sequence has, `(B,)`."""
    return trajectory.valid.sum(0)


def from_start(trajectory: Trajectory) -> Trajectory:
    """Its steps as the layer takes them, beginning with the first of each sequence."""
    return _counted(trajectory, down=trajectory.direction == 1)


def from_end(trajectory: Trajectory) -> Trajectory:
    """Its steps by lag, beginning with the one at which the run of each sequence ends."""
    return _counted(trajectory, down=trajectory.direction == 0)


def one_step(trajectory: Trajectory, step: int) -> Trajectory:
    """One step of it, without the dimension of time."""
    return each_series(trajectory, lambda series: series[step])


def each_series(trajectory: Trajectory, change: Callable[[Tensor], Tensor]) -> Trajectory:
    """The trajectory with all that it has by step and sequence changed."""
    names = ("x", "h", "c", "h_next", "c_next", "valid")
    found = {name: getattr(trajectory, name) for name in names}
    return replace(trajectory, **{name: change(each) for name, each in found.items() if each is not None})


def _counted(trajectory: Trajectory, *, down: bool) -> Trajectory:
    T, B = trajectory.valid.shape
    rows = torch.arange(T, device=trajectory.valid.device)[:, None].expand(T, B)
    there = lengths(trajectory)
    steps = (there - 1 - rows).clamp_min(0) if down else rows
    columns = torch.arange(B, device=rows.device)
    return replace(each_series(trajectory, lambda series: series[steps, columns]), valid=rows < there)


def _in_float64(trajectory: Trajectory) -> Trajectory:
    found = each_series(trajectory, lambda series: series if series.dtype == torch.bool else series.double())
    weights: dict[str, Any] = {
        name: None if w is None else w.double() for name, w in vars(trajectory.weights).items()
    }
    return replace(found, weights=Weights(**weights))
