"""Whether runs can be trained in one process, or stacked."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ._randomness import draws
from ._replica import Replica


def check_alike(replicas: Sequence[Replica]) -> None:
    """Refuse runs that one process cannot train side by side."""
    folders = [replica.folder.resolve() for replica in replicas]
    twice = next((folder for folder in folders if folders.count(folder) > 1), None)
    if twice is not None:
        raise ValueError(f"replicas must have folders of their own, got {twice} twice")
    owners: dict[int, int] = {}
    for index, replica in enumerate(replicas):
        for tensor in (*replica.model.parameters(), *replica.model.buffers()):
            if (other := owners.setdefault(id(tensor), index)) != index:
                raise ValueError(
                    f"replicas must have models of their own, got one for numbers {other} and {index}"
                )
    _refuse_differences([_process(replica) for replica in replicas])


def check_stackable(replicas: Sequence[Replica]) -> None:
    """Refuse runs that cannot take their steps as one."""
    for replica in replicas:
        if draws(replica.model, replica.task):
            raise ValueError(
                "stacked replicas must draw nothing (no dropout, no hook, no module or task that bptt does "
                "not know), for they would see each other's numbers, "
                f"got {type(replica.model).__name__}; train them one by one, or in threads (stacked=False)"
            )
        first = torch.zeros(1, dtype=torch.int64, device=replica.task.device)
        if replica.task.batch("train", first).lengths is not None:
            raise ValueError(
                f"stacked replicas must have sequences of one length, got task {replica.task.name}"
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
        "task": (type(task).__name__, task.name, task.steps, task.input_size, task.output_size, task.sizes),
        "arguments of the task": {k: v for k, v in task.arguments.items() if not k.endswith("seed")},
        "model": [(name, type(module).__name__, _settings(module)) for name, module in model.named_modules()],
        "weights": {name: (tuple(t.shape), t.requires_grad) for name, t in state.items()},
    }


def _settings(module: torch.nn.Module) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if name != "training" and not name.startswith("_") and isinstance(value, int | float | str | None)
    }


def _refuse_differences(told: Sequence[Mapping[str, Any]]) -> None:
    for index, one in enumerate(told):
        for name, value in one.items():
            if value != told[0][name]:
                raise ValueError(
                    f"replicas must have the same {name}, got {told[0][name]} for the first and {value} for "
                    f"number {index}"
                )
