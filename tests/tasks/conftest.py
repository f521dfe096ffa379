"""Shared by the task tests: the real digits, read once, and proof that no global generator moves."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bptt import tasks


@pytest.fixture(autouse=True)
def global_generators_rest() -> Iterator[None]:
    """Whatever a task does, the global random states are the same afterwards."""
    torch.manual_seed(7)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    yield
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]


@pytest.fixture(scope="session")
def mnist_folder(data_root: Path) -> Path:
    """The folder with the four real files of MNIST."""
    folder = data_root / "mnist"
    if not folder.is_dir():
        pytest.skip("real data is not beside the checkout: mnist/ not found")
    return folder


@pytest.fixture(scope="session")
def mnist(mnist_folder: Path) -> tasks.data.MNIST:
    """All of MNIST, as read."""
    return tasks.data.load_mnist(mnist_folder)


@pytest.fixture(scope="session")
def smnist(mnist_folder: Path) -> tasks.DigitTask:
    """Sequential MNIST at full size."""
    return tasks.smnist(data=mnist_folder)
