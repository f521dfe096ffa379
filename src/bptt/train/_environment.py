"""What decides, beside the spec, which bits a run computes."""

import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from .. import ops
from ._config import Config

Environment = dict[str, str | int]


def environment(config: Config, device: torch.device | str = "cpu") -> Environment:
    """Everything recorded of where a run computes; equal environments give equal bytes.

    Args:
        config: names the threads, the precision and the backend.
        device: where the model lives.

    Returns:
        bptt, torch and python (versions), machine (architecture), cpu (instruction set torch uses), device
        (`"cpu"`, or the GPU's name), threads, precision, backend (`"auto"` with those it can choose from,
        fastest first).
    """
    device = torch.device(device)
    return {
        "bptt": version("bptt"),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": config.threads,
        "precision": config.precision,
        "backend": config.backend if config.backend != "auto" else f"auto: {_available()}",
    }


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed, one line each."""
    return [
        f"{key}: {then.get(key, 'not recorded')} then, {now.get(key, 'not recorded')} now"
        for key in {**then, **now}
        if then.get(key) != now.get(key)
    ]


def _available() -> str:
    # "auto" computes other bits once a faster backend is installed.
    return ", ".join(name for name, missing in ops.backends() if missing is None)
