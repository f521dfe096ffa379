"""Optimisers by name, and clipping by the global norm."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import Parameter

from ._config import Config


def build_optimizer(parameters: Iterable[Parameter], config: Config) -> torch.optim.Optimizer:
    """The optimiser that a config names, over the parameters that are trained."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    lr, weight_decay, momentum = config.lr, config.weight_decay, config.momentum
    match config.optimizer:
        case "adam":
            return torch.optim.Adam(trained, lr=lr, weight_decay=weight_decay)
        case "adamw":
            return torch.optim.AdamW(trained, lr=lr, weight_decay=weight_decay)
        case "rmsprop":
            return torch.optim.RMSprop(trained, lr=lr, weight_decay=weight_decay, momentum=momentum)
        case "sgd":
            return torch.optim.SGD(trained, lr=lr, weight_decay=weight_decay, momentum=momentum)


def global_norm(parameters: Sequence[Parameter]) -> Tensor:
    """The L2 norm of all gradients together, as a float64 scalar.

    In float64 the square of no float32 gradient overflows, so the norm is finite if every gradient is.
    """
    norms = [
        torch.linalg.vector_norm(parameter.grad, dtype=torch.float64)
        for parameter in parameters
        if parameter.grad is not None
    ]
    return torch.linalg.vector_norm(torch.stack(norms))
