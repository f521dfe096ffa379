"""The report of a measurement."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest

from bptt import experiments, report

NAME = "gradient-flow-rnn-lstm"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A measurement of two seeds."""
    spec = experiments.load(NAME, profile="smoke", seeds=[0, 1])
    return experiments.run(spec, tmp_path_factory.mktemp("runs")).folder


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """Its report."""
    return report.write(folder, tmp_path_factory.mktemp("report")).index.parent


def test_the_same_measurement_gives_the_same_bytes_and_every_file(folder, written, tmp_path):
    paths = report.write(folder, tmp_path)
    assert paths.index == tmp_path / "index.html"
    assert contents(tmp_path) == contents(written)
    figures = {f"{name}.svg" for name in ("gradient-norms", "weight_hh", "first_h", "kept")}
    assert set(contents(tmp_path)) == figures | {
        "gradient-norms.png",
        "index.html",
        "norms.csv",
        "summary.csv",
    }


def test_medians_bands_and_ratios_are_those_of_the_rows(written):
    norms, summary = table(written / "norms.csv"), table(written / "summary.csv")
    assert len(norms) == 2 * 3 * (5 + 2 * 2)

    def seeds(arm, quantity):
        found = [
            [
                float(row[quantity])
                for row in norms
                if (row["arm"], row["seed"], row["steps"]) == (arm, seed, "10")
            ]
            for seed in ("0", "1")
        ]
        return np.array([np.mean(draws) for draws in found])

    for arm in ("rnn", "lstm", "h-detach-0.5"):
        expected = {
            "weight_hh": seeds(arm, "weight_hh"),
            "kept": seeds(arm, "first_h") / seeds(arm, "last_h"),
            "ratio": seeds(arm, "weight_hh") / seeds("rnn", "weight_hh"),
        }
        for quantity, values in expected.items():
            (row,) = (
                row for row in summary if (row["arm"], row["quantity"], row["steps"]) == (arm, quantity, "10")
            )
            got = [float(row[key]) for key in ("median", "low", "high")]
            assert got == pytest.approx([np.median(values), values.min(), values.max()], rel=1e-12)
            assert row["seeds"] == "2"
    assert {row["arm"] for row in summary if row["quantity"] == "first_c"} == {
        "lstm",
        "h-detach-0.25",
        "h-detach-0.5",
    }


def test_what_is_missing_or_damaged_is_named_and_in_no_number(folder, tmp_path):
    copy = tmp_path / "study"
    for name, data in contents(folder).items():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(data)
    (copy / "rnn/seed-1/measured.json").unlink()
    changed = copy / "gru/seed-0/measured.json"
    changed.write_text(re.sub(r'"weight_hh": \d', '"weight_hh": 9', changed.read_text()))
    found = report.measurement(*report.load(copy))
    assert found.missing == {
        "rnn/seed-1": "it has not been measured",
        "gru/seed-0": "measured.json has been changed: its sha256 is not that of its other keys",
    }
    page = report.write(copy).index.read_text(encoding="utf-8")
    assert "2 of 14 runs are in no number" in page
    assert {row["seeds"] for row in table(copy / "report/summary.csv") if row["arm"] == "gru"} == {"1"}


def test_what_another_run_measured_is_not_taken_for_this_ones(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    shutil.copy(copy / "rnn/seed-0/measured.json", copy / "lstm/seed-0/measured.json")
    missing = report.measurement(*report.load(copy)).missing
    assert missing == {"lstm/seed-0": "measured.json is another run's: rnn, seed 0"}


def test_a_measurement_beside_a_training_has_a_page_of_its_own(folder, make_study, tmp_path):
    paths = report.write([make_study(), folder], tmp_path / "both")
    both = contents(tmp_path / "both")
    assert {"index.html", "measurements.html", f"{NAME}-smoke/norms.csv", "demo-lite/runs.csv"} <= set(both)
    assert paths.index == tmp_path / "both" / "index.html"
    assert "‖∂L/∂W_hh‖" not in both["index.html"].decode()
    assert f'href="{NAME}-smoke/summary.csv"' in both["measurements.html"].decode()


def test_a_study_without_a_measured_run_says_so(folder, tmp_path):
    (tmp_path / "study.json").write_bytes((folder / "study.json").read_bytes())
    page = report.write(tmp_path).index.read_text(encoding="utf-8")
    assert "14 of 14 runs are in no number" in page
    assert "<figure>" not in page


def test_exact_zeros_stand_in_the_table_and_not_on_a_log_axis(tmp_path):
    settings = ["measure.precision=float32", "measure.steps=[5, 400]", "measure.hidden_size=8"]
    spec = experiments.load(NAME, arms=["rnn"], seeds=[0], settings=settings)
    study = experiments.run(spec, tmp_path).folder
    tables = dict(report.measurement_tables(report.measurement(*report.load(study))))
    (row,) = tables["‖∂L/∂h₀‖, hidden state before the first step"].rows
    assert row[2].text == "0"
    page = report.write(study).index.read_text(encoding="utf-8")
    plots = [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    (line,) = (trace for trace in plots[1]["data"] if trace["meta"]["role"] == "median")
    assert line["y"][0] > 0
    assert line["y"][1] is None
