"""What becomes of both gradient paths in training: the script tells what flow.jsonl holds."""

import csv
import importlib
import re
from pathlib import Path
from statistics import median

import pytest
import scipy.stats

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
        (arm, step) for arm in ("vanilla", "h-detach-0.5") for step in ("1", "4", "8", "12")
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
    head, _, *lines = page.split("| share of the carry at")[1].split("\n\n")[0].splitlines()
    steps = re.findall(r"step (\d+)", head)
    quoted = {arm.strip(): cells for arm, *cells in (line.strip("|").split("|") for line in lines)}
    assert quoted.keys() == {arm for arm, _ in stored}
    for arm, cells in quoted.items():
        for step, cell in zip(steps, cells, strict=True):
            row = stored[arm, step]
            expected = [float(row[name]) for name in ("share", "share_low", "share_high")]
            assert tuple(map(float, re.findall(r"[\d.]+", cell))) == pytest.approx(expected, abs=0.005)
            assert row["seeds"] == "5"


def test_quoted_numbers_of_runs_are_those_that_are_stored():
    words = " ".join((ROOT / "docs/where_gradients_go.md").read_text(encoding="utf-8").split())
    runs = [
        {name: value if name == "arm" else float(value) for name, value in row.items()}
        for row in rows(ROOT / "results/carry-suppression/runs.csv")
    ]
    norms, shares = ([run[name] for run in runs] for name in ("w_hh_norm_best", "share_last"))
    assert f"Over the {len(runs)} runs" in words
    assert (
        f"(rank correlation {scipy.stats.spearmanr(norms, shares).statistic:.2f}; 13.1 at the start)" in words
    )
    steps = {(row["arm"], row["step"]): row for row in rows(ROOT / "results/carry-suppression/summary.csv")}
    first, early, last = (
        [float(steps["vanilla", step][part]) for part in ("carry", "gates")] for step in ("1", "100", "9000")
    )
    fallen, grown = ([b / a for a, b in zip(*each, strict=True)] for each in ((first, early), (early, last)))
    assert "the carry's to {:.3f} of what it was, the gates' to {:.3f})".format(*fallen) in words
    assert "the carry's {:.0f} times and the gates' {:.0f} times".format(*grown) in words
    learnt = [run for run in runs if run["arm"] == "vanilla" and run["w_hh_norm_best"] > 20]
    (odd,) = (run for run in learnt if run["share_last"] > run["share_first"])
    assert f"with {odd['w_hh_norm_best']:.1f}, keeps {odd['share_last']:.2f}." in words
    small = [run for run in runs if run["w_hh_norm_best"] < 20]
    assert sorted(run["arm"] for run in small) == ["h-detach-0.5", "h-detach-0.5", "vanilla"]
    kept, recalled = (sorted(run[name] for run in small) for name in ("share_last", "best_accuracy"))
    assert f"keep {kept[0]:.2f} to {kept[-1]:.2f}," in words
    assert f"({100 * recalled[0]:.0f} to {100 * recalled[-1]:.0f} % of the symbols recalled" in words
    best = {arm: max(run["best_accuracy"] for run in runs if run["arm"] == arm) for arm, _ in steps}
    assert f"the best recall is {100 * best['vanilla']:.0f} % of the symbols in vanilla" in words
    assert (
        f"{100 * best['h-detach-0.25']:.0f} % with p = 0.25 and {100 * best['h-detach-0.5']:.0f} %" in words
    )
