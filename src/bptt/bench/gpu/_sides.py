"""Both sides of a row, on the same numbers."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...streams import stream
from .._case import GATES, Case
from .._measure import Work
from .._rivals import contenders
from .._step import Step
from ._rows import DTYPES, Row


class Side:
    """An op on random data, the same on both sides.

    Args:
        row: what is measured.
        device: where.
        ours: whether this is our side: blocked with p, all replicas at once.
    """

    def __init__(self, row: Row, device: str, *, ours: bool) -> None:
        self._row, self._ours = row, ours
        self._backend = row.ours if ours else row.rival
        T, B, I, H = asdict(row.shape).values()
        G, R, dtype = GATES[row.cell], row.replicas, DTYPES[row.precision]
        generator = torch.Generator().manual_seed(0)

        def normal(*size: int, scale: float = 1.0) -> Tensor:
            return (torch.randn(R, *size, generator=generator) * scale).to(device, dtype)

        self.x = normal(T, B, I).requires_grad_(I > 1)
        self.state = (normal(B, H), normal(B, H)) if row.cell == "lstm" else (normal(B, H),)
        self.weights = [normal(G * H, I, scale=H**-0.5), normal(G * H, H, scale=H**-0.5)]
        self.weights += [normal(G * H, scale=H**-0.5), normal(G * H, scale=H**-0.5)]
        for weight in self.weights:
            weight.requires_grad_()
        self.cotangent = normal(T, B, H)
        coins = torch.rand(R, T, generator=stream(0, "bench.coins")) >= row.p
        self.keep = coins.float().to(device) if row.p > 0 and ours else None

    @property
    def served_by(self) -> str | None:
        """The backend that the op takes."""
        weights = [weight[0] for weight in self.weights]
        state = tuple(state[0] for state in self.state)
        keep = None if self.keep is None else self.keep[0]
        with ops.use_backend(self._backend):
            given = state if self._row.cell == "lstm" else state[0]
            return ops.explain(self._row.cell, self.x[0], given, *weights, h_keep=keep).backend

    def forward(self) -> Tensor:
        """y of every replica."""
        one = self._row.replicas == 1
        if one or not self._ours:
            return torch.stack([self._call(*self._of(i)) for i in range(self._row.replicas)])
        coins = None if self.keep is None else 0
        together = torch.func.vmap(self._call, in_dims=(0, 0, 0, coins))
        return together(self.x, self.state, self.weights, self.keep)

    def both(self) -> list[Tensor]:
        """Every gradient, after a forward pass."""
        leaves = [*self.weights, self.x] if self.x.requires_grad else self.weights
        return list(torch.autograd.grad(self.forward(), leaves, self.cotangent))

    def _of(self, i: int) -> tuple[Any, ...]:
        keep = None if self.keep is None else self.keep[i]
        return self.x[i], [s[i] for s in self.state], [w[i] for w in self.weights], keep

    def _call(self, x: Tensor, state: Sequence[Tensor], weights: Sequence[Tensor], keep: Any) -> Tensor:
        given = tuple(state) if self._row.cell == "lstm" else state[0]
        op = getattr(ops, self._row.cell)
        return op(x, given, *weights, h_keep=keep, backend=self._backend)[0]


def steps(row: Row, device: str) -> tuple[Work, Work]:
    """A whole step of training on each side."""
    case = Case("lstm", row.shape, row.p, mode="step")

    def on_device(side: Any) -> Work:
        step = Step(case, side)
        step.model.to(device)
        step.batch = step.batch._replace(x=step.batch.x.to(device), y=step.batch.y.to(device))

        def take() -> None:
            with _precision(row, device):
                step()

        return take

    mine, theirs = contenders(case, row.rival)
    return on_device(mine), on_device(theirs)


def _precision(row: Row, device: str) -> AbstractContextManager[Any]:
    dtype = DTYPES[row.precision]
    return torch.autocast(device, dtype) if dtype.itemsize == 2 else nullcontext()
