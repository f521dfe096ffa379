"""What becomes of both gradient paths in training: the script tells what flow.jsonl holds."""

import csv
import importlib
import re
from pathlib import Path
from statistics import median

import pytest

from bptt import experiments, train

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "docs" / "figures")
        yield importlib.import_module("carry_suppression")


def rows(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_it_tells_what_the_runs_wrote(script, tmp_path):
    spec = experiments.load(
        "carry-suppression", profile="smoke", arms=["vanilla", "h-detach-0.5"], seeds=[0, 1]
    )
    study = experiments.run(spec, tmp_path, workers=2).folder
    with pytest.raises(SystemExit):
        script.main([str(tmp_path / "nothing")])
    script.main([str(study), "--out", str(tmp_path)])
    told = rows(tmp_path / "results/carry-suppression/summary.csv")
    assert [(row["arm"], row["step"]) for row in told] == [
        (arm, step) for arm in ("vanilla", "h-detach-0.5") for step in ("4", "8", "12")
    ]
    shares = []
    for seed in (0, 1):
        (line,) = (each for each in train.read_flow(study / "vanilla" / f"seed-{seed}") if each["step"] == 8)
        layer = line["layers"]["core:0:0"]
        carry, gates = (median(layer[path][:10]) for path in ("carry", "gates"))
        shares.append(carry / (carry + gates))
    (row,) = (row for row in told if (row["arm"], row["step"]) == ("vanilla", "8"))
    assert float(row["share"]) == pytest.approx(median(shares), rel=1e-5)
    assert float(row["share_low"]) == pytest.approx(min(shares), rel=1e-5)
    ended = rows(tmp_path / "results/carry-suppression/runs.csv")
    assert [(row["arm"], row["seed"]) for row in ended] == [
        (arm, seed) for arm in ("h-detach-0.5", "vanilla") for seed in ("0", "1")
    ]
    assert (tmp_path / "docs/images/carry-suppression.svg").read_text(encoding="utf-8").endswith("</svg>\n")


def test_quoted_shares_are_those_that_are_stored():
    page = (ROOT / "docs/where_gradients_go.md").read_text(encoding="utf-8")
    stored = {(row["arm"], row["step"]): row for row in rows(ROOT / "results/carry-suppression/summary.csv")}
    steps = re.findall(r"(\d+) updates", re.search(r"^\| share of the carry after .*$", page, re.M)[0])
    for arm in ("vanilla", "h-detach-0.25"):
        cells = re.search(rf"^\| {arm} \|(.*)\|$", page, re.M)[1].split("|")
        quoted = [tuple(map(float, re.findall(r"[\d.]+", cell))) for cell in cells]
        for step, told in zip(steps, quoted, strict=True):
            row = stored[arm, step]
            expected = [float(row[name]) for name in ("share", "share_low", "share_high")]
            assert told == pytest.approx(expected, abs=0.005)
            assert row["seeds"] == "5"
