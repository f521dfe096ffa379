"""Lyapunov exponents of a recurrent layer on its way through a batch."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from ..streams import stream
from ._copied import Call, called
from ._jacobian import state_size, step_jacobian
from ._steps import check_finite, from_start, lengths, one_step, trajectories
from ._trajectory import Trajectory


@dataclass(frozen=True)
class Lyapunov:
    """The leading exponents of one layer in one direction: natural logs of factors per step.

    A small disturbance of the state grows or fades by e^λ a step along the run; a gradient on its way back
    does the same. λ > 0 explodes, λ = 0 is kept, λ < 0 vanishes. −Inf: the Jacobians have no such direction.

    Attributes:
        name, layer, direction: of the layer, as in a `Flow`.
        warmup: steps at the start of each run that are left out.
        exponents: `(B, k)` in float64, of every sequence; descending if the run is long enough.
        running: the estimates after each step of the run beyond the warm-up, `(T − warmup, B, k)`; NaN beyond
            the length of a sequence.
    """

    name: str
    layer: int
    direction: int
    warmup: int
    exponents: Tensor
    running: Tensor

    @property
    def mean(self) -> Tensor:
        """`(k,)`: over sequences."""
        return self.exponents.mean(0)

    @property
    def running_mean(self) -> Tensor:
        """`(T − warmup, k)`: over the sequences that have the step."""
        return self.running.nanmean(1)


def lyapunov(
    model: Module, batch: Any, k: int, *, warmup: int | None = None, call: Call = called
) -> tuple[Lyapunov, ...]:
    """The k leading Lyapunov exponents along the run of every recurrent layer, by repeated QR.

    With J_t the Jacobian of step t at the states that the model passes through, Q_t R_t = J_t Q_{t−1} from a
    random Q of k columns; λ_i is the mean log of the size of the i-th element on the diagonal of R_t, over
    the steps after the warm-up. What is less than float64 resolves beside the largest entry of J_t Q_{t−1}
    counts as 0.

    Args:
        model, batch, call: as in `lag_profile`; the model runs in its own dtype, what follows is in float64.
        k: how many, at most the size of the state: 2H of an LSTM (H + P with a projection), H of a GRU or
            RNN.
        warmup: steps to leave out, while states and Q settle; None for a tenth of the shortest sequence.

    Returns:
        The exponents of each layer and direction.

    Raises:
        ValueError: if there is no recurrent layer, it is not called exactly once, k or warmup is out of
            range, a sequence has no step after the warm-up, or a state or Jacobian is not finite, saying
            where.

    Source: Benettin et al., "Lyapunov characteristic exponents …", Meccanica 15, 1980; for RNNs Vogt et al.
        (arXiv 2006.14123).
    """
    return tuple(_lyapunov(each, k, warmup) for each in trajectories(model, batch, call))


def _lyapunov(trajectory: Trajectory, k: int, warmup: int | None) -> Lyapunov:
    S, B = state_size(trajectory), trajectory.valid.shape[1]
    there = lengths(trajectory)
    shortest = int(there.min())
    warmup = shortest // 10 if warmup is None else warmup
    if not 1 <= k <= S:
        raise ValueError(f"k must be at least 1 and at most the size of the state, {S}, got {k}")
    if not 0 <= warmup < shortest:
        raise ValueError(
            f"warmup must leave a step of the shortest sequence, 0 <= warmup < {shortest}, got {warmup}"
        )
    run = from_start(trajectory)
    start = torch.randn(k, S, dtype=torch.float64, generator=stream(0, "flow.lyapunov")).T
    q = torch.linalg.qr(start)[0].to(run.h).expand(B, S, k)
    logs = []
    for step in range(len(run.valid)):
        at = one_step(run, step)
        # Where there is no step, Q stays, and NaN does not come near LAPACK.
        stretched = torch.where(at.valid[:, None, None], step_jacobian(run, step) @ q, q)
        check_finite(at, stretched.flatten(1), "what the Jacobian makes of Q", f"step {step} of the run")
        q, r = torch.linalg.qr(stretched)
        rates = r.diagonal(dim1=-2, dim2=-1).abs()
        resolved = stretched.abs().amax((-2, -1)) * S * torch.finfo(rates.dtype).eps
        logs.append(torch.where(rates > resolved.unsqueeze(-1), rates, 0).log())
    counted = torch.stack(logs[warmup:])
    number = torch.arange(1, len(counted) + 1, device=counted.device)[:, None, None]
    running = torch.where(run.valid[warmup:].unsqueeze(-1), counted.cumsum(0) / number, torch.nan)
    last = there - 1 - warmup
    exponents = running[last, torch.arange(B, device=last.device)]
    return Lyapunov(trajectory.name, trajectory.layer, trajectory.direction, warmup, exponents, running)
