"""Pages of gradient flow without measuring anything, and a browser to look at them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import flows
from helpers.browser import CHROMIUM, Browser

from bptt import report

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes the page of measurements given as (flow.json, flow.npz)."""

    def made(*measurements, out: str = "page.html") -> Path:
        folders = [
            flows.measurement(tmp_path / f"measured-{n}", page, content)
            for n, (page, content) in enumerate(measurements)
        ]
        return report.write_flow(folders, tmp_path / out)

    return made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests."""
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    found = Browser(tmp_path_factory.mktemp("chromium"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with all that there can be, of two layers; with cells of 0, Inf, NaN and 1."""
    folder = tmp_path_factory.mktemp("everything")
    content = flows.arrays() | flows.layer_arrays("core:1:0", "GRU", rate=0.8)
    over = content[f"training/{flows.KEY}/h"]
    over[3, 4], over[5, 10], over[7, 20], over[8, 8] = 0, np.inf, np.nan, 1
    content[f"lag/{flows.KEY}/c"][50:] = 0
    layers = [
        flows.layer(),
        flows.layer("core:1:0", "GRU", "GRU core, layer 2", rate=0.8, within_reach=False),
    ]
    return report.write_flow(
        [flows.measurement(folder / "measured", flows.document(layers=layers), content)], folder / "page.html"
    )
