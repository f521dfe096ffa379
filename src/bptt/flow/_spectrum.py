"""What the Jacobians of a recurrent layer stretch and shrink: at a step, over lags, and by weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ._copied import Call, called, chosen
from ._jacobian import jacobians, recurrent_blocks
from ._steps import each_series, from_end, trajectories
from ._trajectory import Trajectory

_STEPS, _SEQUENCES = 32, 4  # that are looked at if nobody says which


@dataclass(frozen=True)
class Spectrum:
    """The Jacobians ∂s_t/∂s_{t−1} of one layer in one direction (∂s_t/∂s_{t+1} in the reverse one).

    s is the full state: [c; h] of an LSTM, h of a GRU or RNN, of size `S`. With `J` steps, `T` steps in all,
    `B` of the batch's sequences and `H` hidden units, in float64; NaN where a sequence has no such step.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        at: the steps.
        sequences: those of the batch that were looked at.
        singular: `(J, B, S)`, descending.
        radius: the size of the largest eigenvalue, `(J, B)`.
        condition: the largest singular value by the smallest, `(J, B)`; Inf for a singular Jacobian.
        products: row k is the natural log of the largest singular value of the product of the last k + 1
            Jacobians of each sequence, `(T, B)`: how much a gradient can grow at most on its way back.
        eigenvalues: of W_hh, `(H,)` complex for each gate (i f g o, r z n, or h of an RNN); of W_hh · W_hr
            with a projection.
        weight_singular: the singular values of the same, `(H,)` for each gate, descending.
        bound: γ · σ_max(W_hh) of an RNN, with γ = 1 for tanh and relu: no product of k Jacobians has a larger
            singular value than its k-th power, so that gradients vanish for sure if it is below 1, and can
            explode only if it is above. None for an LSTM or GRU, for which this is no bound.
        jacobians: the Jacobians themselves, `(J, B, S, S)`, if they were asked for.
    """

    name: str
    layer: int
    direction: int
    at: tuple[int, ...]
    sequences: tuple[int, ...]
    singular: Tensor
    radius: Tensor
    condition: Tensor
    products: Tensor
    eigenvalues: Mapping[str, Tensor]
    weight_singular: Mapping[str, Tensor]
    bound: float | None
    jacobians: Tensor | None = None


def spectrum(
    model: Module,
    batch: Any,
    *,
    at: Sequence[int] | None = None,
    sequences: Sequence[int] | None = None,
    full: bool = False,
    call: Call = called,
) -> tuple[Spectrum, ...]:
    """Singular values and eigenvalues of the step Jacobians, and the growth of their products.

    The model is copied and runs in its own dtype; the Jacobians are taken at the states it passes through,
    analytically and in float64. The cost is that of T products and J + T decompositions of `(S, S)` for each
    sequence.

    Args:
        model, batch, call: as in `lag_profile`.
        at: steps, negative ones from the end; None for 32 evenly spaced ones, or all if there are fewer.
        sequences: which of the batch; None for the first 4, or all if there are fewer.
        full: also keep the Jacobians themselves.

    Returns:
        One for each layer and direction.

    Raises:
        ValueError: if there is no recurrent layer, it is not called exactly once, a step or a sequence is out
            of range, there is none of them, or a state or Jacobian is not finite, saying where.

    Source: Pascanu et al. 2013 (arXiv 1211.5063) for the bound.
    """
    return tuple(_spectrum(each, at, sequences, full) for each in trajectories(model, batch, call))


def _spectrum(
    trajectory: Trajectory, at: Sequence[int] | None, sequences: Sequence[int] | None, full: bool
) -> Spectrum:
    T, B = trajectory.valid.shape
    if at is None:
        at = torch.linspace(0, T - 1, min(T, _STEPS)).round().int().tolist()
    steps = chosen(at, T, "layer")
    columns = tuple(range(min(B, _SEQUENCES)) if sequences is None else sequences)
    for sequence in columns:
        if not 0 <= sequence < B:
            raise ValueError(f"sequences must hold some of the batch, 0 <= sequence < {B}, got {sequence}")
    if not steps or not columns:
        raise ValueError(f"at and sequences must hold one or more, got {list(steps)} and {list(columns)}")
    mine = each_series(trajectory, lambda series: series[:, list(columns)])
    matrices = torch.stack([jacobians(mine, step, f"step {step}") for step in steps])
    there = mine.valid[list(steps)]
    singular = torch.linalg.svdvals(matrices)
    radius = torch.linalg.eigvals(matrices).abs().amax(-1)
    blocks = recurrent_blocks(trajectory)
    weight_singular = {gate: torch.linalg.svdvals(block) for gate, block in blocks.items()}
    return Spectrum(
        trajectory.name,
        trajectory.layer,
        trajectory.direction,
        steps,
        columns,
        torch.where(there.unsqueeze(-1), singular, torch.nan),
        torch.where(there, radius, torch.nan),
        torch.where(there, _ratio(singular), torch.nan),
        _growth(mine),
        {gate: torch.linalg.eigvals(block) for gate, block in blocks.items()},
        weight_singular,
        weight_singular["h"][0].item() if trajectory.op == "rnn" else None,
        torch.where(there[..., None, None], matrices, torch.nan) if full else None,
    )


def _ratio(singular: Tensor) -> Tensor:
    largest, smallest = singular[..., 0], singular[..., -1]
    return torch.where(smallest > 0, largest / smallest, torch.inf)


def _growth(trajectory: Trajectory) -> Tensor:
    """`Spectrum.products`; the product is kept near 1, so that no power of a rate overflows."""
    by_lag = from_end(trajectory)
    product: Tensor | None = None
    scale = torch.zeros(by_lag.valid.shape[1]).to(by_lag.h)
    rows = []
    for lag, there in enumerate(by_lag.valid):
        jacobian = jacobians(by_lag, lag, f"lag {lag}")
        product = jacobian if product is None else product @ jacobian
        size = product.abs().amax((-2, -1))
        product = product / torch.where(size > 0, size, 1)[:, None, None]
        scale = scale + size.log()
        growth = scale + torch.linalg.matrix_norm(product, 2).log()
        rows.append(torch.where(there, growth, torch.nan))
    return torch.stack(rows)
