"""A machine whose load the test decides."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest


@dataclass
class Load:
    """A meter that tells shares from a list, then the last for ever; so of threads stacked on one core."""

    shares: list[float] = field(default_factory=lambda: [0.0])
    mean: float = 0.0
    pause: float = 0.0
    watched: int = 0
    stacked: list[bool] = field(default_factory=lambda: [False])

    def average(self) -> float:
        return self.mean

    def watch(self) -> Callable[[], float]:
        self.watched += 1
        share = self.shares.pop(0) if len(self.shares) > 1 else self.shares[0]
        return lambda: share

    def cores(self, threads: int) -> float:
        together = self.stacked.pop(0) if len(self.stacked) > 1 else self.stacked[0]
        return 1.0 if together else float(threads)


@pytest.fixture
def idle() -> Load:
    return Load()


@pytest.fixture
def busy() -> Load:
    return Load([0.5], 2.0)


@pytest.fixture
def load() -> type[Load]:
    return Load
