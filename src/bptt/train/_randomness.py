"""Torch's global generators, borrowed and given back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded_by(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Inside, what draws from torch's global generators (dropout) depends on `generator`'s seed alone.

    Covers the CPU and `device`; on exit both are as they were.
    """
    borrowed = [torch.default_generator]
    if device.type == "cuda":
        borrowed.append(torch.cuda.default_generators[device.index])
    before = [each.get_state() for each in borrowed]
    try:
        for each in borrowed:
            each.manual_seed(generator.initial_seed())
        yield
    finally:
        for each, state in zip(borrowed, before, strict=True):
            each.set_state(state)
