"""Whether runs can be trained in one process, or stacked."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ._randomness import draws
from ._replica import Replica
from ._steer import own_rules_restored, recurrent_layers


def check_alike(replicas: Sequence[Replica]) -> None:
    """Refuse runs that one process cannot train side by side."""
    folders = [replica.folder.resolve() for replica in replicas]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise ValueError(f"replicas must have folders of their own, got {twice} twice")
    _refuse_differences([_process(replica) for replica in replicas])


def check_stackable(replicas: Sequence[Replica]) -> None:
    """Refuse runs that cannot take their steps as one."""
    for replica in replicas:
        if draws(replica.model):
            raise ValueError(
                "stacked replicas must draw nothing in a forward pass (no dropout, and no module that bptt "
                "does not know), for they would see each other's numbers, "
                f"got {type(replica.model).__name__}; train them one by one, or in threads (stacked=False)"
            )
    _refuse_differences([_frame(replica) for replica in replicas])


def _process(replica: Replica) -> Mapping[str, Any]:
    config = replica.config
    return {
        "device": str(replica.device),
        "threads": config.threads,
        "precision": config.precision,
        "backend": config.backend,
    }


def _frame(replica: Replica) -> Mapping[str, Any]:
    config, task, model = replica.config, replica.task, replica.model
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "optimizer": config.optimizer,
        "momentum": config.momentum,
        "batch_size": config.batch_size,
        "task": (
            task.name,
            task.steps,
            task.input_size,
            task.output_size,
            task.readout,
            task.sizes,
        ),
        "iterations": task.iterations(config.batch_size),
        "model": _structure(model),
        "weights": {name: (tuple(t.shape), t.requires_grad) for name, t in state.items()},
    }


def _structure(model: torch.nn.Module) -> str:
    with own_rules_restored(model):
        for layer in recurrent_layers(model).values():
            layer.detach = None
        return repr(model)


def _refuse_differences(told: Sequence[Mapping[str, Any]]) -> None:
    for index, one in enumerate(told):
        for name, value in one.items():
            if value != told[0][name]:
                raise ValueError(
                    f"replicas must have the same {name}, got {told[0][name]} for the first and {value} for "
                    f"number {index}"
                )
