"""A machine whose load the test decides."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class Load:
    """A meter that tells shares from a list, then the last of them for ever."""

    shares: list[float] = field(default_factory=lambda: [0.0])
    mean: float = 0.0
    pause: float = 0.0
    watched: int = 0

    def average(self) -> float:
        return self.mean

    def watch(self) -> Callable[[], float]:
        self.watched += 1
        share = self.shares.pop(0) if len(self.shares) > 1 else self.shares[0]
        return lambda: share


@pytest.fixture
def idle() -> Load:
    return Load()


@pytest.fixture
def busy() -> Load:
    return Load([0.5], 2.0)


@pytest.fixture
def load() -> type[Load]:
    return Load
