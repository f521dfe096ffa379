"""Whether runs can be trained in one process, or stacked."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ._replica import Replica

#: Settings of a `Config` that stacked replicas may have of their own.
OWN_SETTINGS = (
    "seed",
    "lr",
    "weight_decay",
    "clip_norm",
    "epochs",
    "anneal_epochs",
    "solved_at",
    "eval_batch_size",
    "checkpoint_seconds",
)
_DROPOUTS = (torch.nn.modules.dropout._DropoutNd, torch.nn.RReLU)


def check_alike(replicas: Sequence[Replica]) -> None:
    """Refuse runs that one process cannot train side by side."""
    folders = [replica.path.resolve() for replica in replicas]
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
    """Refuse runs that cannot take their steps as one.

    Whatever else draws random numbers in a step is refused by torch.func.vmap when it does.
    """
    for replica in replicas:
        if replica.config.watch_every:
            raise ValueError(
                "stacked replicas must have watch_every = 0, for the steps of all of them are one recorded "
                f"step without hooks, got {replica.config.watch_every}; train them one by one, or in threads "
                "(stacked=False)"
            )
        for name, module in replica.model.named_modules():
            where = f"{name or 'the model'}, a {type(module).__name__}"
            if (isinstance(module, _DROPOUTS) and getattr(module, "p", 1)) or getattr(module, "dropout", 0.0):
                raise ValueError(
                    "stacked replicas must be without dropout, whose masks could not be those of runs alone, "
                    f"got some in {where}; train them one by one, or in threads (stacked=False)"
                )
            if module._forward_hooks or module._forward_pre_hooks:
                raise ValueError(f"stacked replicas must be without hooks, got one on {where}")
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
    frame: dict[str, Any] = {k: v for k, v in vars(config).items() if k not in OWN_SETTINGS}
    frame["type of the task"] = type(task).__name__
    for name in ("name", "steps", "input_size", "output_size", "sizes"):
        frame[f"task.{name}"] = getattr(task, name)
    for name, value in task.arguments.items():
        if not name.endswith("seed"):
            frame[f"argument {name} of the task"] = value
    for name, module in model.named_modules():
        frame[f"type of {name or 'the model'}"] = type(module).__name__
        for setting, value in _settings(module).items():
            frame[f"{name}.{setting}".removeprefix(".")] = value
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        frame[f"shape of {name}"] = tuple(tensor.shape)
        frame[f"requires_grad of {name}"] = tensor.requires_grad
    return frame


def _settings(module: torch.nn.Module) -> Mapping[str, Any]:
    return {
        name: value
        for name, value in vars(module).items()
        if name != "training" and not name.startswith("_") and isinstance(value, int | float | str | None)
    }


def _refuse_differences(told: Sequence[Mapping[str, Any]]) -> None:
    for index, one in enumerate(told):
        for name in {**told[0], **one}:
            first, other = told[0].get(name, "nothing"), one.get(name, "nothing")
            if first != other:
                raise ValueError(
                    f"replicas must have the same {name}, got {first} for number 0 and {other} for {index}"
                )
