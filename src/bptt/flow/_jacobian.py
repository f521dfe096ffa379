"""The Jacobian of one step: its state by the state before, split into the carry and the gates.

The state s is [c; h] of an LSTM, h of a GRU or RNN; S is its size, H + P for an LSTM with P outputs, else H.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ._steps import check_finite, one_step
from ._trajectory import Trajectory

GATES = {"lstm": ("i", "f", "g", "o"), "gru": ("r", "z", "n"), "rnn": ("h",)}


def step_jacobian(trajectory: Trajectory, step: int) -> Tensor:
    """∂s_t/∂s_{t−1} of every sequence, `(B, S, S)`."""
    carry, gates = step_paths(trajectory, step)
    return carry + gates


def step_paths(trajectory: Trajectory, step: int) -> tuple[Tensor, Tensor]:
    """The Jacobian along the carry and through the gates, `(B, S, S)` each; they add up."""
    at = one_step(trajectory, step)
    return {"lstm": _lstm, "gru": _gru, "rnn": _rnn}[at.op](at)


def jacobians(trajectory: Trajectory, step: int, place: str) -> Tensor:
    """`step_jacobian` for LAPACK, which may crash on NaN: finite, and the identity where there is no step.

    Raises:
        ValueError: if one is not finite, naming the `place`.
    """
    at = one_step(trajectory, step)
    jacobian = step_jacobian(trajectory, step)
    check_finite(at, jacobian.flatten(1), "the Jacobian", place)
    return torch.where(at.valid[:, None, None], jacobian, torch.eye(jacobian.shape[-1]).to(jacobian))


def state_size(trajectory: Trajectory) -> int:
    """S."""
    return trajectory.h.shape[-1] + (0 if trajectory.c is None else trajectory.c.shape[-1])


def recurrent_blocks(trajectory: Trajectory) -> dict[str, Tensor]:
    """The rows of W_hh for each gate, `(H, H)`; times W_hr with a projection."""
    w = trajectory.weights
    matrix = w.w_hh if w.w_hr is None else w.w_hh @ w.w_hr
    names = GATES[trajectory.op]
    return dict(zip(names, matrix.chunk(len(names)), strict=True))


class Slopes(NamedTuple):
    """What one step of an LSTM multiplies derivatives by, `(B, H)` each: a is what a gate adds up.

    i, f, g: ∂c_t/∂a of these gates. o: ∂h_t/∂a_o. carry: ∂c_t/∂c_{t−1}. q: ∂h_t/∂c_t. h is before any
    projection.
    """

    i: Tensor
    f: Tensor
    g: Tensor
    o: Tensor
    carry: Tensor
    q: Tensor


def slopes(at: Trajectory) -> Slopes:
    """Those of one step of an LSTM."""
    if at.c is None:
        raise TypeError(f"at must be a step of an LSTM, got one of a {at.op}")
    i, f, g, o = at.gates().values()
    c = at.c
    t = torch.tanh(f * c + i * g)
    return Slopes(
        i=g * i * (1 - i), f=c * f * (1 - f), g=i * (1 - g**2), o=t * o * (1 - o), carry=f, q=o * (1 - t**2)
    )


def _lstm(at: Trajectory) -> tuple[Tensor, Tensor]:
    d = slopes(at)
    w_i, w_f, w_g, w_o = at.weights.w_hh.chunk(4)
    c_of_c = torch.diag_embed(d.carry)
    h_of_c = torch.diag_embed(d.q * d.carry)
    c_of_h = _rows(d.i, w_i) + _rows(d.f, w_f) + _rows(d.g, w_g)
    h_of_h = _rows(d.q, c_of_h) + _rows(d.o, w_o)
    if at.weights.w_hr is not None:
        h_of_c, h_of_h = at.weights.w_hr @ h_of_c, at.weights.w_hr @ h_of_h
    by_c, by_h = torch.cat([c_of_c, h_of_c], 1), torch.cat([c_of_h, h_of_h], 1)
    return torch.cat([by_c, torch.zeros_like(by_h)], 2), torch.cat([torch.zeros_like(by_c), by_h], 2)


def _gru(at: Trajectory) -> tuple[Tensor, Tensor]:
    r, z, n = at.gates().values()
    w_r, w_z, w_n = at.weights.w_hh.chunk(3)
    _, _, h_n = at.projected()[1].chunk(3, -1)
    n_of_h = _rows((1 - n**2) * h_n * r * (1 - r), w_r) + _rows((1 - n**2) * r, w_n)
    return torch.diag_embed(z), _rows((at.h - n) * z * (1 - z), w_z) + _rows(1 - z, n_of_h)


def _rnn(at: Trajectory) -> tuple[Tensor, Tensor]:
    (h,) = at.gates().values()
    slope = (h > 0).to(h) if at.nonlinearity == "relu" else 1 - h**2
    gates = _rows(slope, at.weights.w_hh)
    return torch.zeros_like(gates), gates


def _rows(factors: Tensor, matrix: Tensor) -> Tensor:
    """diag(factors) · matrix, `(B, H, ·)`."""
    return factors.unsqueeze(-1) * matrix
