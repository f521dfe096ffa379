"""The recursion that the h-detach paper rests on, term by term, for one weight of an LSTM."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module, RNNBase

from ._copied import called
from ._jacobian import GATES, slopes, step_paths
from ._steps import one_step, trajectories
from ._trajectory import Trajectory


@dataclass(frozen=True)
class Recursion:
    """z_t = (A_t + B_t) z_{t−1}, where z_t = [∂c_t/∂w; ∂h_t/∂w; 1] for one weight w, and z_0 = [0; 0; 1].

    With `T` steps, `B` sequences and `H` hidden units; in float64, NaN beyond the length of a sequence.

    Attributes:
        A: along the cell state, and the weight's direct effect at step t, `(T, B, 3H, 3H)`.
        B: through h_{t−1} and the gates, `(T, B, 3H, 3H)`.
        z: `(T, B, 3H)`.
    """

    A: Tensor
    B: Tensor
    z: Tensor

    def kept(self, keep: Tensor) -> Tensor:
        """z when B_t counts ξ_t only, `(T, B, 3H)`: z_t = (A_t + ξ_t B_t) z_{t−1}.

        Coins ξ of 0 and 1 are those of h-detach; ξ = 1 − p at every step gives the mean over all coins.

        Args:
            keep: ξ, `(T,)` or `(T, B)`.

        Raises:
            ValueError: if it has another shape.
        """
        T, B = self.z.shape[:2]
        if keep.shape not in ((T,), (T, B)):
            raise ValueError(f"keep must be (T,) or (T, B) = ({T},) or ({T}, {B}), got {tuple(keep.shape)}")
        factors = keep.to(self.z).reshape(T, -1, 1, 1)
        return _run(self.A + factors * self.B)


def recursion(layer: Module, x: Any, weight: str, index: int | Sequence[int]) -> Recursion:
    """A_t and B_t of the h-detach paper, and how the states depend on one weight.

    With q = o (1 − tanh² c_t), and W_g, W_f, W_i, W_o the blocks of W_hh::

        ψ  = diag(i (1 − g²)) W_g + diag(c_{t−1} f (1 − f)) W_f + diag(g i (1 − i)) W_i
        ψ~ = diag(q) ψ + diag(tanh(c_t) o (1 − o)) W_o
        A  = [[diag f, 0, diag k], [diag(q f), 0, diag k~], [0, 0, 1]]
        B  = [[0, ψ, 0], [0, ψ~, 0], [0, 0, 0]]

    where k and k~ are the derivatives of c_t and h_t by w at fixed c_{t−1} and h_{t−1}.

    Args:
        layer: an LSTM of `bptt.nn` or `torch.nn` with one layer, one direction and no projection.
        x: what it is called with, or a batch as in `lag_profile`; the states begin at 0.
        weight: the name of one of its parameters, such as `"weight_hh_l0"`.
        index: of one element of it: a row and a column, or a row of a bias.

    Returns:
        The recursion, in float64 from the states that the layer passes through in its own dtype.

    Raises:
        ValueError: if the layer is no such LSTM, it has no such weight, the index is not one of an element,
            or a state is not finite, saying where.

    Source: Kanuparthi et al., "h-detach", ICLR 2019 (arXiv 1810.03023), section 2.
    """
    place = _checked(layer, weight, index)
    (trajectory,) = trajectories(layer, x, called)
    A, B = [], []
    for step in range(len(trajectory.x)):
        carry, gates = step_paths(trajectory, step)
        k = torch.cat(list(map(torch.diag_embed, _direct(one_step(trajectory, step), weight, place))), 1)
        A.append(_blocks(carry, k, 1.0))
        B.append(_blocks(gates, torch.zeros_like(k), 0.0))
    there = trajectory.valid[..., None, None]
    a, b = (torch.where(there, torch.stack(each), torch.nan) for each in (A, B))
    return Recursion(a, b, _run(a + b))


def _run(matrices: Tensor) -> Tensor:
    """z `(T, B, 3H)` of the matrices `(T, B, 3H, 3H)` of every step."""
    H = matrices.shape[-1] // 3
    z = matrices.new_zeros(*matrices.shape[1:3])
    z[:, 2 * H :] = 1
    states = []
    for matrix in matrices:
        z = (matrix @ z.unsqueeze(-1)).squeeze(-1)
        states.append(z)
    return torch.stack(states)


def _direct(at: Trajectory, weight: str, place: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """k and k~, `(B, H)`: one unit of one gate reads the weight, times what the weight multiplies."""
    row, *column = place
    d = slopes(at)
    index, unit = divmod(row, d.q.shape[-1])
    gate = GATES["lstm"][index]
    read = torch.zeros_like(d.q)
    read[:, unit] = (at.x if weight == "weight_ih_l0" else at.h)[:, column[0]] if column else 1.0
    if gate == "o":
        return torch.zeros_like(d.q), d.o * read
    k = getattr(d, gate) * read
    return k, d.q * k


def _blocks(state: Tensor, last: Tensor, one: float) -> Tensor:
    """[[state, last], [0, one · 1]], `(B, 3H, 3H)`."""
    H = last.shape[-1]
    below = torch.cat([torch.zeros_like(last.mT), one * torch.eye(H).to(last).expand(len(last), H, H)], 2)
    return torch.cat([torch.cat([state, last], 2), below], 1)


def _checked(layer: Module, weight: str, index: int | Sequence[int]) -> tuple[int, ...]:
    """The index, of an element that there is."""
    if not (isinstance(layer, RNNBase) and layer.mode == "LSTM"):
        raise ValueError(f"layer must be an LSTM, got {type(layer).__name__}")
    if layer.num_layers > 1 or layer.bidirectional or layer.proj_size:
        raise ValueError(f"layer must have one layer, one direction and no projection, got {layer}")
    shapes = {name: tuple(each.shape) for name, each in layer.named_parameters()}
    if weight not in shapes:
        raise ValueError(f"weight must be one of {', '.join(shapes)}, got {weight!r}")
    place = (index,) if isinstance(index, int) else tuple(index)
    shape = shapes[weight]
    if len(place) != len(shape) or not all(0 <= i < size for i, size in zip(place, shape, strict=True)):
        raise ValueError(f"index must be one of an element of {weight}, {shape}, got {place}")
    return place
