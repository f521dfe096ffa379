"""The large products before and after a recurrence's loop, which are torch's."""

import torch
from torch import Tensor

from .._problem import Inputs


def from_inputs(a: Inputs, op: str, part: slice) -> Tensor:
    """`(R, steps, B, G·H)`: what the gates are given by x and the biases, without a GRU's b_hn."""
    bias = a.b_ih
    if a.b_ih is not None and a.b_hh is not None:
        to_gates = a.b_hh
        if op == "gru":
            to_gates = torch.cat([_two_of_three(a.b_hh), torch.zeros_like(_one_of_three(a.b_hh))], 1)
        bias = a.b_ih + to_gates
    return _product(a.x[:, part], a.w_ih.mT, bias)


def b_n(a: Inputs) -> Tensor | None:
    """`(R, H)`: the bias of a GRU's recurrent product inside its candidate."""
    return None if a.b_hh is None else _one_of_three(a.b_hh).contiguous()


def states_before(a: Inputs, y: Tensor, part: slice, *, reverse: bool) -> Tensor:
    """`(R, steps, B, H)`: the state that each step began with; 0 past the end of a sequence."""
    T, first = y.shape[1], a.h_0[:, None]
    if reverse:
        before = y[:, part.start + 1 : part.stop + 1]
        before = before if part.stop < T else torch.cat([before, first], 1)
    else:
        before = y[:, max(part.start - 1, 0) : part.stop - 1]
        before = before if part.start > 0 else torch.cat([first, before], 1)
    if a.lengths is None:
        return before
    if reverse:
        before = torch.where(_steps(part, a) == a.lengths[:, None, :, None] - 1, first, before)
    return _within(before, part, a)


def arguments_again(a: Inputs, op: str, before: Tensor, part: slice) -> Tensor:
    """`(R, steps, B, 4H)`: what a forward pass computed its gates from; see the backward kernels."""
    arguments, product = from_inputs(a, op, part), _product(before, a.w_hh.mT, None)
    if op != "gru":
        return arguments.add_(product)
    candidate = _one_of_three(product)
    bias = b_n(a)
    if bias is not None:
        candidate = candidate + bias[:, None, None]
    _two_of_three(arguments).add_(_two_of_three(product))
    return torch.cat([arguments, candidate], -1)


class GradientSums:
    """The gradients of x, weights and biases, from those of the gates, part by part.

    Args:
        a: the call.
        op: its recurrence.
        wanted: names of inputs.
    """

    def __init__(self, a: Inputs, op: str, wanted: frozenset[str]) -> None:
        self._a, self._wanted = a, wanted
        self._sums: dict[str, Tensor] = {}
        self._dx = torch.empty(a.x.shape, dtype=a.x.dtype, device=a.x.device) if "x" in wanted else None
        # Its gradients come in the order n, r, z, and b_hn's: those of W_ih lie together, those of W_hh too.
        self._turn = a.w_hh.shape[2] if op == "gru" else 0

    def add(self, part: slice, d_gates: Tensor, before: Tensor) -> None:
        """Count in `d_gates` `(R, steps, B, slots)`, of the steps that began with `before`."""
        x_side, h_side = self._sides(d_gates)
        if self._dx is not None:
            self._dx[:, part] = _product(x_side, self._a.w_ih.roll(self._turn, 1), None)
        if "w_ih" in self._wanted:
            self._add("w_ih", _outer(x_side, _within(self._a.x[:, part], part, self._a)).roll(-self._turn, 1))
        if "w_hh" in self._wanted:
            self._add("w_hh", _outer(h_side, before))
        if "b_ih" in self._wanted:
            self._add("b_ih", x_side.sum((1, 2)).roll(-self._turn, 1))
        if "b_hh" in self._wanted:
            self._add("b_hh", h_side.sum((1, 2)))

    def totals(self) -> dict[str, Tensor]:
        dtype = self._a.x.dtype
        found = {name: total.to(dtype) for name, total in self._sums.items()}
        return found if self._dx is None else found | {"x": self._dx}

    def _sides(self, d_gates: Tensor) -> tuple[Tensor, Tensor]:
        """What W_ih x and W_hh h get."""
        return (d_gates[..., : -self._turn], d_gates[..., self._turn :]) if self._turn else (d_gates, d_gates)

    def _add(self, name: str, term: Tensor) -> None:
        if name in self._sums:
            wide = torch.promote_types(term.dtype, torch.float32)
            self._sums[name] = self._sums[name].to(wide).add_(term)
        else:
            self._sums[name] = term


def _steps(part: slice, a: Inputs) -> Tensor:
    return torch.arange(part.start, part.stop, device=a.x.device)[:, None, None]


def _within(series: Tensor, part: slice, a: Inputs) -> Tensor:
    """`(R, steps, B, ·)` with 0 past the end of a sequence: NaN in the padding reaches nothing."""
    if a.lengths is None:
        return series
    return series.where(_steps(part, a) < a.lengths[:, None, :, None], 0)


def _product(rows: Tensor, matrix: Tensor, bias: Tensor | None) -> Tensor:
    """`(R, steps, B, K)` times `(R, K, N)`."""
    R, steps, B, K = rows.shape
    flat = rows.reshape(R, steps * B, K)
    out = torch.bmm(flat, matrix) if bias is None else torch.baddbmm(bias[:, None], flat, matrix)
    return out.view(R, steps, B, -1)


def _outer(left: Tensor, right: Tensor) -> Tensor:
    return torch.bmm(left.flatten(1, 2).mT, right.flatten(1, 2))


def _two_of_three(gates: Tensor) -> Tensor:
    return gates[..., : gates.shape[-1] // 3 * 2]


def _one_of_three(gates: Tensor) -> Tensor:
    return gates[..., gates.shape[-1] // 3 * 2 :]
