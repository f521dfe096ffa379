"""What one timed call does."""

import torch

from ._case import Case
from ._data import Data, tensors
from ._measure import Work
from ._rivals import Contender


def work(case: Case, data: Data, side: Contender) -> Work:
    """A forward pass, or a forward and a backward pass with fresh gradients."""

    def forward() -> None:
        with torch.no_grad():
            side(data.x)

    leaves = (*side.parameters, data.leaf)

    def train() -> None:
        for leaf in leaves:
            leaf.grad = None
        y, _ = tensors(side(data.x))
        y.backward(data.grad_y)

    return forward if case.mode == "forward" else train
