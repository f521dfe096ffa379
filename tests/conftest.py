"""Every test runs with uninitialised memory filled with NaN, one thread, and no network."""

from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.utils.deterministic.fill_uninitialized_memory = True


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The real data beside the checkout (MNIST, sentences, text)."""
    root = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip("real data is not beside the checkout: ../shared/data not found")
    return root
