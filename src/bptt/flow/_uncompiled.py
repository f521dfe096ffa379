"""Compiled code run as it was written, for it does not see that hooks come and go."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any

import torch

_lock = Lock()
_inside = 0  # of `uncompiled`: the stance is the process's, and other threads may be inside, too
_stance: Any = None


@contextmanager
def uncompiled() -> Iterator[None]:
    """Inside, whatever is compiled runs eagerly, in every thread: a model, a training step around it."""
    # The compiler takes a second to load: where nobody has, nothing is compiled.
    with _forced() if "torch._dynamo" in sys.modules else nullcontext():
        yield


@contextmanager
def _forced() -> Iterator[None]:
    global _inside, _stance
    with _lock:
        if _inside == 0:
            _stance = torch.compiler.set_stance("force_eager")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _stance.__exit__(None, None, None)
