"""Torch's switches for TF32 on a GPU, set for a while."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

_BACKENDS: Any = torch.backends


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, float32 products on a GPU are rounded to TF32, or exact: those of cuBLAS and of cuDNN.

    Left alone, cuDNN's recurrent layers round, and with them the kernels that follow its switch.
    """
    cuda, cudnn = _BACKENDS.cuda, _BACKENDS.cudnn
    with ExitStack() as stack:
        stack.enter_context(_words_kept())
        stack.enter_context(_switched(cuda.matmul, [cuda.matmul], allowed))
        stack.enter_context(_switched(cudnn, [cudnn.rnn, cudnn.conv], allowed))
        yield


@contextmanager
def _switched(owner: Any, newer: Sequence[Any], allowed: bool) -> Iterator[None]:
    """The older switch and the newer ones set alike, for torch refuses to read them if they differ."""
    before = [switch.fp32_precision for switch in newer]
    older = None
    with suppress(RuntimeError):  # they differ already, by somebody's wish
        older = owner.allow_tf32
    try:
        if older is not None:
            owner.allow_tf32 = allowed
        for switch in newer:
            switch.fp32_precision = "tf32" if allowed else "ieee"
        yield
    finally:
        if older is not None:
            owner.allow_tf32 = older
        for switch, own in zip(newer, before, strict=True):
            switch.fp32_precision = own


@contextmanager
def _words_kept() -> Iterator[None]:
    # Only torch.set_float32_matmul_precision knows "medium", and it sets oneDNN's switch, too.
    medium = False
    with suppress(RuntimeError):
        medium = torch.get_float32_matmul_precision() == "medium"
    try:
        yield
    finally:
        if medium:
            matmul, mkldnn = (of.matmul.fp32_precision for of in (_BACKENDS.cuda, _BACKENDS.mkldnn))
            torch.set_float32_matmul_precision("medium")
            _BACKENDS.cuda.matmul.fp32_precision, _BACKENDS.mkldnn.matmul.fp32_precision = matmul, mkldnn
