"""Before anything is timed: both sides compute the same."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .. import nn as ours
from .. import ops
from ._case import Case
from ._data import Data, make, tensors
from ._rivals import Contender, Loop, contenders

TOLERANCE = 1e-4  # of the largest entry: float32 sums over T·B terms, taken in another order

Found = Mapping[str, Tensor]


class MismatchError(RuntimeError):
    """Two sides that should compute the same do not."""


def check(case: Case, rival: str, *, tolerance: float = TOLERANCE) -> float:
    """Compare outputs, final states and every gradient of ours with the reference and with a rival.

    With the reference, and with a loop that detaches, under the same coins; with torch under none.

    Args:
        case: the row.
        rival: its rival.
        tolerance: the largest difference allowed, relative to the largest entry of the tensor.

    Returns:
        The largest relative difference found.

    Raises:
        MismatchError: if one is above the tolerance or is not a number.
        ValueError: if the rival cannot do what the case wants.
    """
    mine, other = contenders(case, rival)
    data = make(case)
    keeps = ours.draw_keeps(mine.layer, (case.shape.T, case.shape.B)).get("") if case.p > 0 else None
    steered = {} if keeps is None else {"keeps": keeps}
    computed = found(case, data, mine, **steered)
    with ops.use_backend("reference"):
        error = compare(case, "the reference", computed, found(case, data, mine, **steered), tolerance)
    if rival in ("torch", "torch-no-onednn", "compiled") and keeps is not None:
        computed, steered = found(case, data, mine, keeps={}), {}
    if isinstance(other.layer, Loop):
        if keeps is not None:
            other.layer.coins = [keep == 0 for keep in keeps[0, 0].h.tolist()]
        steered = {}
    elif rival in ("torch", "torch-no-onednn"):
        steered = {}
    return max(error, compare(case, rival, computed, found(case, data, other, **steered), tolerance))


def found(case: Case, data: Data, side: Contender, **steered: Any) -> dict[str, Tensor]:
    """Everything that a side computes, by name."""
    for tensor in (*side.parameters, data.leaf):
        tensor.grad = None
    with torch.set_grad_enabled(case.mode != "forward"):
        y, states = tensors(side(data.x, **steered))
    names = ("h_n", "c_n")[: len(states)]
    results = {"y": y.detach(), **{name: state.detach() for name, state in zip(names, states, strict=True)}}
    if case.mode == "forward":
        return results
    torch.autograd.backward((y, *states), (data.grad_y, *data.grad_states))
    leaves = dict(side.layer.named_parameters())
    if case.needs_input_gradient:
        leaves["x"] = data.leaf
    for name, leaf in leaves.items():
        if leaf.grad is None:
            raise MismatchError(f"{case}: {side.name} gives no gradient of {name}")
        results[f"the gradient of {name}"] = leaf.grad.clone()
    return results


def compare(case: Case, name: str, ours: Found, theirs: Found, tolerance: float) -> float:
    """The largest difference, relative to the largest entry of its tensor.

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
