"""The report against what training really writes."""

import math
import shutil

import pytest
from helpers import runs

from bptt import report, train
from bptt.report import Status


def test_a_trained_run_is_read_with_every_check(tmp_path):
    folder = tmp_path / "tiny/seed-7"
    outcome = runs.fit(folder)
    (study,) = report.load([folder])
    (run,) = study.runs
    assert (run.status, run.reason, run.timing_damage) == (Status.COMPLETED, "", "")
    assert (run.best, run.test) == (outcome.best and outcome.best["valid"], outcome.test)


@pytest.mark.parametrize(
    ("cut", "status"), [(0, Status.UNFINISHED), (1, Status.UNFINISHED), (2, Status.DAMAGED)]
)
def test_the_checkpoints_of_training_are_told_from_junk(tmp_path, cut, status):
    folder = tmp_path / "tiny/seed-7"
    runs.fit(folder)
    (folder / "done.json").unlink()
    for name in ("state.pt", "state.prev.pt")[:cut]:
        state = folder / name
        state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    (study,) = report.load([folder])
    assert study.runs[0].status is status


def test_the_end_of_another_run_is_damage(tmp_path):
    ours, other = tmp_path / "tiny/seed-7", tmp_path / "other/seed-7"
    runs.fit(ours)
    runs.fit(other, lr=0.02)
    for name in ("done.json", "metrics.jsonl", "weights.safetensors"):
        shutil.copy(other / name, ours / name)
    (study,) = report.load([ours])
    assert study.runs[0].status is Status.DAMAGED
    assert "another run's" in study.runs[0].reason


def test_what_a_trained_run_saw_of_its_gradients_is_read(tmp_path):
    folder = tmp_path / "tiny/seed-7"
    runs.fit(folder, watch_every=1, paths_every=2)
    (study,) = report.load([folder])
    (run,) = study.runs
    lines = train.read_flow(folder)
    found = [(seen.step, seen.layer, "carry_share" in seen.values) for seen in run.seen]
    assert (run.status, run.flow_damage) == (Status.COMPLETED, "")
    assert found == [(line["step"], key, line["step"] % 2 == 0) for line in lines for key in line["layers"]]
    for seen in run.seen:
        layer = lines[seen.step - 1]["layers"][seen.layer]
        half_life = seen.values["half_life"]
        assert half_life == layer["half_life"] if layer["half_life"] else not math.isfinite(half_life)
        if "carry" in layer:  # of six time steps the first one is early
            assert (seen.early, seen.end, seen.values["carry"]) == ((0, 0), 5, layer["carry"][0])
