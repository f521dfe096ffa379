"""What decides, beside the spec, which bits a run computes."""

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch

from .. import ops
from .._threads import threads
from .._versions import installed
from ._config import Config
from ._fingerprint import fingerprint
from ._tf32 import tf32

Environment = dict[str, str | int]

_VARIABLES = ("ATEN_", "DNNL_", "MKL_", "OMP_", "ONEDNN_", "OPENBLAS_")
_CUDA_VARIABLES = ("CUBLAS_", "CUDNN_", "NVIDIA_TF32_OVERRIDE")
_NUMBER_OF_THREADS = "_NUM_THREADS"  # the run sets its own number, which is recorded
_CPU_KEYS = ("vendor_id", "cpu family", "model", "model name", "CPU implementer", "CPU part", "CPU variant")


def environment(config: Config, device: torch.device | str = "cpu") -> Environment:
    """Everything recorded of where a run computes; equal environments give equal bytes.

    Args:
        config: names the threads, the precision and the backend, all set while this looks.
        device: where the model lives.

    Returns:
        bptt, torch and python (versions), machine (architecture), device (`"cpu"`, or the GPU's name),
        threads, precision, backend (`"auto"` with those it can choose from, fastest first), float32_products
        and deterministic (torch's global settings), fingerprint (of a small fixed computation), and every set
        environment variable that the numeric libraries read, under its own name. On a CPU also cpu
        (instruction set torch uses), cpu_model and instruction_set (of the native kernels), on CUDA cuda and
        cudnn (versions).
    """
    device = torch.device(device)
    with as_configured(config):
        return {
            "bptt": installed("bptt") or "from its sources",
            "torch": str(torch.__version__),
            "python": platform.python_version(),
            "machine": platform.machine(),
            **(_cuda() if device.type == "cuda" else _cpu()),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "threads": torch.get_num_threads(),
            "precision": config.precision,
            "backend": config.backend if config.backend != "auto" else f"auto: {_available()}",
            "float32_products": _float32_products(device),
            "deterministic": str(torch.are_deterministic_algorithms_enabled()),
            "fingerprint": fingerprint(config.dtype, device),
            **_variables(device),
        }


def served_by(environment: Mapping[str, str]) -> str:
    """What computed the recurrences of a run, in words: `"the native kernels (avx2)"`.

    Args:
        environment: of the run, as `environment` gives it and spec.json keeps it.
    """
    offered = environment["backend"].removeprefix("auto: ").split(", ")
    on_cpu = environment["device"] == "cpu"
    if on_cpu and "native" in offered and environment["precision"] != "bf16-mixed":
        return f"the native kernels ({environment['instruction_set']})"
    of_gpu = [] if on_cpu else [name for name in offered if name in ("cudnn", "triton")]
    return " or ".join(of_gpu) or "reference"


@contextmanager
def as_configured(config: Config) -> Iterator[None]:
    """Inside, torch computes with the config's threads and products, and the ops on its backend."""
    backend = None if config.backend == "auto" else config.backend
    with threads(config.threads), ops.use_backend(backend), tf32(config.precision == "tf32"):
        yield


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


def _cpu_model() -> str:
    try:
        first = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        first = ""
    said = [[part.strip() for part in line.split(":", 1)] for line in first.splitlines() if ":" in line]
    return ", ".join(f"{key} {value}" for key, value in said if key in _CPU_KEYS) or platform.processor()


def _cpu() -> Environment:
    return {
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpu_model": _cpu_model(),
        "instruction_set": ops.instruction_set() or "none",
    }


def _cuda() -> Environment:
    return {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}


def _float32_products(device: torch.device) -> str:
    # Not torch.get_float32_matmul_precision(): it raises once these have been set one by one.
    told = ("cuda.matmul", "cudnn.rnn", "cudnn.conv") if device.type == "cuda" else ("mkldnn.matmul",)
    return ", ".join(f"{name} {attrgetter(f'{name}.fp32_precision')(torch.backends)}" for name in told)


def _variables(device: torch.device) -> Environment:
    prefixes = _VARIABLES + (_CUDA_VARIABLES if device.type == "cuda" else ())
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(prefixes) and not name.endswith(_NUMBER_OF_THREADS)
    }
