"""The products of a backward pass that run over all steps, a part of the steps at a time."""

from typing import Protocol

import torch
from torch import Tensor

from . import _shared_library as native
from ._pool import pool
from ._problem import NARROW, Inputs, Sizes, Spec

_SUMMED = 256  # hidden units up to which the kernels' own sums are faster than torch's products


class Product(Protocol):
    """The gradients of some inputs, from those of the gates at every step."""

    def add(self, begin: int, end: int, g: Tensor) -> None:
        """Take up some steps, from the first rows `(steps · B, …)` and columns `(…, slots · H)` of g."""
        ...

    def result(self) -> dict[str, Tensor]:
        """The gradients by name."""
        ...


def products_over_steps(
    spec: Spec, n: Sizes, a: Inputs, y: Tensor, wanted: frozenset[str], call: native.Call, steps: int
) -> list[Product]:
    """What gives the wanted gradients in the fastest way, from parts of so many steps at most."""
    found: list[Product] = []
    if wanted & {"w_ih", "w_hh", "b_ih", "b_hh"}:
        by_kernel = n.I <= NARROW and n.H <= _SUMMED
        found.append(_ByKernel(spec, n, a, call, steps) if by_kernel else _ByTorch(spec, n, a, y, wanted))
    if "x" in wanted:
        found.append(_OfInput(spec, n, a))
    return found


class _ByKernel:
    """The kernel itself sums, with all threads, when its steps are done."""

    def __init__(self, spec: Spec, n: Sizes, a: Inputs, call: native.Call, steps: int) -> None:
        self._spec, self._n = spec, n
        self._w_hh = torch.zeros_like(a.w_hh)
        self._w_x = a.x.new_zeros(n.I + 1, n.slots * n.H)
        rows = pool.lease((native.row_bytes(a.x.dtype, steps * n.B, n.I, n.H),), torch.uint8)
        call.point({"x": a.x, "grad_w_hh": self._w_hh, "grad_w_x": self._w_x, "rows": rows})

    def add(self, begin: int, end: int, g: Tensor) -> None:
        pass

    def result(self) -> dict[str, Tensor]:
        w_ih, bias = self._w_x[: self._n.I].t(), self._w_x[self._n.I]
        return {"w_hh": self._w_hh, **_of_input_and_biases(self._spec, self._n.H, w_ih, bias)}


class _ByTorch:
    """One product of torch for each weight and part."""

    def __init__(self, spec: Spec, n: Sizes, a: Inputs, y: Tensor, wanted: frozenset[str]) -> None:
        self._spec, self._n, self._a, self._y = spec, n, a, y
        self._x = a.x
        if a.lengths is not None and "w_ih" in wanted:  # NaN beyond a length, times 0, would be NaN
            steps = torch.arange(n.T)
            self._x = torch.where((steps[:, None] < a.lengths)[..., None], a.x, 0)
        self._w_ih = a.x.new_zeros(n.slots * n.H, n.I) if "w_ih" in wanted else None
        self._w_hh = torch.zeros_like(a.w_hh) if "w_hh" in wanted else None
        self._bias = a.x.new_zeros(n.slots * n.H) if {"b_ih", "b_hh"} & wanted else None

    def add(self, begin: int, end: int, g: Tensor) -> None:
        H = self._n.H
        g = _rows(self._n, begin, end, g)
        of_input = of_state = g
        if self._spec.op == "gru":
            of_input, of_state = g[:, : 3 * H], g[:, H:]
        if self._w_hh is not None:
            before = _states_before(self._spec, self._n, self._a, self._y, begin, end)
            self._w_hh.addmm_(of_state.t(), before)
        if self._w_ih is not None:
            self._w_ih[: of_input.shape[1]].addmm_(of_input.t(), self._x[begin:end].reshape(len(g), -1))
        if self._bias is not None:
            self._bias.add_(g.sum(0))

    def result(self) -> dict[str, Tensor]:
        w_hh = {} if self._w_hh is None else {"w_hh": self._w_hh}
        return w_hh | _of_input_and_biases(self._spec, self._n.H, self._w_ih, self._bias)


class _OfInput:
    """The gradient of x."""

    def __init__(self, spec: Spec, n: Sizes, a: Inputs) -> None:
        self._n = n
        self._w_ih = torch.cat([a.w_ih[2 * n.H :], a.w_ih[: 2 * n.H]]) if spec.op == "gru" else a.w_ih
        self._x = a.x.new_empty(a.x.shape)

    def add(self, begin: int, end: int, g: Tensor) -> None:
        g = _rows(self._n, begin, end, g)
        torch.mm(g[:, : len(self._w_ih)], self._w_ih, out=self._x[begin:end].view(len(g), -1))

    def result(self) -> dict[str, Tensor]:
        return {"x": self._x}


def _rows(n: Sizes, begin: int, end: int, g: Tensor) -> Tensor:
    return g[: (end - begin) * n.B, : n.slots * n.H]


def _of_input_and_biases(spec: Spec, H: int, w_ih: Tensor | None, bias: Tensor | None) -> dict[str, Tensor]:
    """By name, from sums over slots: those of a GRU are n, r, z and the hidden part of n."""

    def in_order(rows: Tensor) -> Tensor:
        return torch.cat([rows[H : 3 * H], rows[:H]]) if spec.op == "gru" else rows.contiguous()

    found = {} if w_ih is None else {"w_ih": in_order(w_ih)}
    if bias is not None:
        found["b_ih"] = in_order(bias)
        found["b_hh"] = bias[H:].clone() if spec.op == "gru" else bias.clone()
    return found


def _states_before(spec: Spec, n: Sizes, a: Inputs, y: Tensor, begin: int, end: int) -> Tensor:
    """The h that each of these steps began with, `(steps · B, H)`."""
    if spec.reverse:
        before = y[begin + 1 : end + 1] if end < n.T else torch.cat([y[begin + 1 :], a.h_0[None]])
    else:
        before = y[begin - 1 : end - 1] if begin > 0 else torch.cat([a.h_0[None], y[: end - 1]])
    if a.lengths is None:
        return before.view(-1, n.H)
    before = before.clone()
    steps = torch.arange(begin, end)[:, None]
    if spec.reverse:
        step, row = (steps == a.lengths - 1).nonzero(as_tuple=True)
        before[step, row] = a.h_0[row]
    before[steps >= a.lengths] = 0  # inf, times a gradient of 0, would be NaN
    return before.view(-1, n.H)


def project(x: Tensor, w_ih: Tensor, b_ih: Tensor | None) -> Tensor:
    flat = x.reshape(-1, x.shape[-1])
    out = pool.lease((len(flat), len(w_ih)), x.dtype)
    return torch.mm(flat, w_ih.t(), out=out) if b_ih is None else torch.addmm(b_ih, flat, w_ih.t(), out=out)
