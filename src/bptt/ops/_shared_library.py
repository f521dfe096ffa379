"""The C++ library: found, loaded, and its one struct (native/recurrence.h) filled from tensors."""

import ctypes
import os
import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from . import __path__ as _folders
from ._pool import pool
from ._problem import DIFFERENTIABLE, Inputs, Outputs

NAME = "libbptt_native.so"
OPS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
DTYPES = (torch.float32, torch.float64)
FORWARD, BACKWARD = 0, 1
_TOO_LITTLE = 2  # status of `bptt_run`

_NUMBERS = ("T", "B", "I", "H", "reverse", "threads", "part", "h_keep_stride", "c_keep_stride")
_TENSORS = (*Inputs._fields, *Outputs._fields)
_GRADS = ("grad_y", "grad_cells", *(f"grad_{name}" for name in DIFFERENTIABLE))


class Call(ctypes.Structure):
    """`struct bptt_call`, its pointers into dense tensors that must live until the call returns."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _NUMBERS),
        ("work", ctypes.c_void_p),
        ("work_bytes", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in (*_TENSORS, *_GRADS)),
    )

    def run(self, op: str, direction: int, dtype: torch.dtype) -> None:
        """Call the kernel."""
        which = OPS.index(op), direction, DTYPES.index(dtype)
        run, this = library().bptt_run, ctypes.byref(self)
        while (status := run(*which, this)) == _TOO_LITTLE:
            # More than once if another thread changes the instruction set in between.
            work = pool.lease((self.work_bytes,), torch.uint8)
            self.work = work.data_ptr()
        if status != 0:
            raise RuntimeError(f"the native library has no {op} in {dtype}, status {status}")


def instruction_set() -> str | None:
    """The instruction set of the native kernels: the best this CPU has, or what BPTT_ISA names.

    Returns:
        `"avx512"`, `"avx2"`, `"neon"` or `"scalar"`; None where the kernels are missing.
    """
    return None if MISSING else library().bptt_isa().decode()


def instruction_sets() -> list[str]:
    """Those this build and this CPU have, fastest first."""
    return library().bptt_isas().decode().split()


def use_instruction_set(name: str) -> None:
    """Compute with this one from now on, in the whole process.

    Raises:
        ValueError: if this build or this CPU does not have it.
    """
    if library().bptt_use_isa(name.encode()) != 0:
        raise ValueError(f"name must be one of {', '.join(instruction_sets())}, got {name!r}")


def activation(which: int, x: Tensor, result: Tensor | None = None) -> Tensor:
    """The kernels' sigmoid (0) or tanh (1) of a dense tensor."""
    result = torch.empty_like(x) if result is None else result
    library().bptt_activation(which, DTYPES.index(x.dtype), x.numel(), x.data_ptr(), result.data_ptr())
    return result


def busy(threads: int, rounds: int) -> int:
    """Multiply and add in registers on some threads; how many float32 operations that was."""
    return library().bptt_busy(threads, rounds)


def threaded() -> bool:
    """Whether the native kernels were built to use more than one thread."""
    return MISSING is None and bool(library().bptt_threaded())


@cache
def library() -> ctypes.CDLL:
    path = _path()
    if path is None:
        raise OSError(f"{NAME} is not installed")
    # torch is loaded by now, and with it the OpenMP runtime that the two of them share.
    loaded = ctypes.CDLL(str(path))
    loaded.bptt_run.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.POINTER(Call))
    loaded.bptt_busy.argtypes = (ctypes.c_int64,) * 2
    loaded.bptt_busy.restype = ctypes.c_int64
    loaded.bptt_isa.restype = loaded.bptt_isas.restype = ctypes.c_char_p
    loaded.bptt_activation.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, *(ctypes.c_void_p,) * 2)
    loaded.bptt_activation.restype = None
    return loaded


def _path() -> Path | None:
    # An editable install keeps it apart from the sources: the package then has two folders.
    return next((path for folder in _folders if (path := Path(folder) / NAME).exists()), None)


def _missing() -> str | None:
    wanted = os.environ.get("BPTT_ISA") or None
    if wanted == "none":
        return "BPTT_ISA=none turns it off"
    if _path() is None:
        reason = (
            "bptt was installed without its native kernels, for want of a C++ compiler; see `bptt doctor`"
        )
        _warn(reason)
        return reason
    try:
        available = instruction_sets()
    except OSError as error:
        return f"the native library could not be loaded: {error}"
    if wanted is not None and wanted not in available:
        reason = f"BPTT_ISA must be none, or one of {', '.join(available)} on this CPU, got {wanted!r}"
        _warn(reason)
        return reason
    return None


def _warn(reason: str) -> None:
    warnings.warn(f"{reason}. Recurrences run several times slower", RuntimeWarning, stacklevel=3)


MISSING = _missing()  # a constant: the compiler of torch.compile reads it
