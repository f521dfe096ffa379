"""What this machine computes, told by computing it."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from math import prod

import torch
from torch import Tensor

from .. import ops


def fingerprint(dtype: torch.dtype, device: torch.device) -> str:
    """The sha256 of the bytes of a small fixed computation, under the threads and the backend in force.

    A matrix product large enough for the tuned kernels, exp and tanh with their vector tails, a product that
    is subnormal, and two LSTM steps there and back. No random stream is touched.
    """
    digest = hashlib.sha256()
    with torch.inference_mode(False), torch.enable_grad():
        for result in _results(dtype, device):
            digest.update(result.detach().cpu().double().numpy().tobytes())
    return digest.hexdigest()


def _results(dtype: torch.dtype, device: torch.device) -> Iterator[Tensor]:
    def numbers(*shape: int) -> Tensor:
        index = torch.arange(prod(shape), dtype=torch.float64, device="cpu")
        return ((index * 7919 % 1009) / 1009 - 0.5).reshape(shape).to(device, dtype)

    yield numbers(256, 256) @ numbers(256, 256)
    yield (16 * numbers(1009)).exp()
    yield (16 * numbers(1009)).tanh()
    yield numbers(8) * torch.finfo(dtype).tiny

    x, state = numbers(2, 16, 24), numbers(16, 32)
    weights = [numbers(*shape).requires_grad_() for shape in ((128, 24), (128, 32), (128,), (128,))]
    # A backend that was asked for and does not serve this call may still serve the run's own.
    with suppress(RuntimeError):
        y, _ = ops.lstm(x, (state, state), *weights)
        yield y
        yield from torch.autograd.grad((y * y).sum(), weights)
