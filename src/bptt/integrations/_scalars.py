"""What every integration logs: a handful of numbers, the total first."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a reading's row that are logged, by tag; those that there are not are left out.

    For the model `flow/grad_norm/before_clip` and `flow/grad_norm/after_clip`. For each layer and direction,
    of which `core:0:0` is one, `flow/half_life/core:0:0`, and ‖dL/dh_t‖ at the first and the last of the time
    steps kept that it runs through, `flow/h/first/core:0:0` and `flow/h/last/core:0:0`; for an LSTM also
    `flow/c/…`.
    """
    found = {"flow/grad_norm/before_clip": row["before"], "flow/grad_norm/after_clip": row["after"]}
    for key, layer in row["layers"].items():
        found[f"flow/half_life/{key}"] = layer["half_life"]
        first, last = (-1, 0) if reverse(key) else (0, -1)
        for state in [state for state in ("h", "c") if state in layer]:
            found[f"flow/{state}/first/{key}"] = layer[state][first]
            found[f"flow/{state}/last/{key}"] = layer[state][last]
    return {tag: value for tag, value in found.items() if value is not None}


def reverse(key: str) -> bool:
    """Whether a layer runs from the last time step to the first: `core:0:1`."""
    return key.endswith(":1")


def gradient_norm(parameters: Iterable[Tensor]) -> float:
    """Of all parameters as one vector, as clipping takes it."""
    return torch.nn.utils.get_total_norm([each.grad for each in parameters if each.grad is not None]).item()
