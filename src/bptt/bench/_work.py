"""What one timed call does."""

import torch

from ._case import Case
from ._data import Data, tensors
from ._measure import Work
from ._rivals import Contender
from ._step import Step


def work(case: Case, data: Data, side: Contender, *, steps: int = 1) -> Work:
    """A forward pass, a forward and a backward pass with fresh gradients, or so many steps of training."""
    if case.mode == "step":
        step = Step(case, side)

        def take() -> None:
            for _ in range(steps):
                step()

        return take

    def forward() -> None:
        with side.context(), torch.no_grad():
            side.layer(data.x)

    leaves = (*side.parameters, data.leaf)

    def train() -> None:
        for leaf in leaves:
            leaf.grad = None
        with side.context():
            y, _ = tensors(side.layer(data.x))
            y.backward(data.grad_y)

    return forward if case.mode == "forward" else train
