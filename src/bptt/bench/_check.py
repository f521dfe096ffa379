"""Before anything is timed: both sides compute the same."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import nn as ours
from ..streams import stream
from ._case import Case
from ._data import Data, make, tensors
from ._rivals import WATCHED, Contender, Loop, contenders
from ._step import Step

TOLERANCE = 1e-4  # of the largest entry: float32 sums over T·B terms, taken in another order

Found = Mapping[str, Tensor]


class MismatchError(RuntimeError):
    """Two sides that should compute the same do not."""


def check(case: Case, rival: str, *, tolerance: float | None = None) -> float:
    """Compare outputs, final states and every gradient of ours with those of a rival.

    Under the same coins, or under none where the rival has none. A step of training is compared by its
    output, its loss and every gradient before clipping.

    Args:
        case: the row.
        rival: its rival.
        tolerance: the largest difference allowed, relative to the largest entry of the tensor; None for
            `TOLERANCE`, and for a watched step for 0.

    Returns:
        The largest relative difference found.

    Raises:
        MismatchError: if one is above the tolerance or is not a number.
        ValueError: if the rival cannot do what the case wants.
    """
    mine, other = contenders(case, rival)
    if tolerance is None:
        tolerance = 0.0 if rival in WATCHED else TOLERANCE
    coins = None
    if case.p > 0:
        generator = stream(0, "bench.coins")
        coins = ours.draw_keeps(mine.layer, (case.shape.T, case.shape.B), generator=generator)[""]
    if case.mode == "step":
        sides = {side: Step(case, side) for side in (mine, other)}

        def result(side: Contender, keeps: Any = None) -> Found:
            return sides[side].found(keeps)
    else:
        data = make(case)

        def result(side: Contender, keeps: Any = None) -> Found:
            return _found(case, data, side, keeps)

    if isinstance(other.layer, Loop):
        if coins is not None and (keep := coins[0, 0].h) is not None:
            other.layer.coins = [factor == 0 for factor in keep.tolist()]
        theirs = result(other)
    elif rival in ("torch", "torch-no-onednn"):
        coins, theirs = None if coins is None else {}, result(other)
    else:
        theirs = result(other, coins)
    return compare(case, rival, result(mine, coins), theirs, tolerance)


def compare(case: Case, name: str, ours: Found, theirs: Found, tolerance: float) -> float:
    """The largest difference of two sides' results, relative to the largest entry of each tensor.

    Raises:
        MismatchError: if it is above the tolerance or is not a number, or something is missing.
    """
    if ours.keys() != theirs.keys():
        raise MismatchError(f"{case}: ours gives {', '.join(ours)}, {name} gives {', '.join(theirs)}")
    worst = 0.0
    for what, mine in ours.items():
        largest = theirs[what].abs().max().item()
        error = (mine - theirs[what]).abs().max().item() / max(largest, 1e-30)
        if not error <= tolerance:
            raise MismatchError(
                f"{case}: {what} must be that of {name} to {tolerance:g} of its largest entry, "
                f"got a difference of {error:.2g}"
            )
        worst = max(worst, error)
    return worst


def _found(case: Case, data: Data, side: Contender, keeps: Any) -> Found:
    for tensor in (*side.parameters, data.leaf):
        tensor.grad = None
    with side.context(), torch.set_grad_enabled(case.mode != "forward"):
        y, states = tensors(side.layer(data.x, **({} if keeps is None else {"keeps": keeps})))
        if case.mode != "forward":
            if not all(result.requires_grad for result in (y, *states)):
                raise MismatchError(f"{case}: {side.name} gives an output without a gradient")
            torch.autograd.backward((y, *states), (data.grad_y, *data.grad_states))
    leaves = dict(side.layer.named_parameters(), **({"x": data.leaf} if case.needs_input_gradient else {}))
    gradients = {
        f"the gradient of {name}": leaf.grad.clone() for name, leaf in leaves.items() if leaf.grad is not None
    }
    names = ("h_n", "c_n")[: len(states)]
    return {
        "y": y.detach(),
        **{name: state.detach() for name, state in zip(names, states, strict=True)},
        **gradients,
    }
