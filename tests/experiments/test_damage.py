"""What goes wrong with one run is that run's alone, and is named."""

import multiprocessing
import shutil
import signal

import pytest
from helpers.experiments import FAILING, Watched, contents, small, trained

from bptt import train
from bptt.experiments import load, resume, run

ARMS = ("vanilla", "h-detach-0.5")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of two finished runs."""
    result = run(small(arms=ARMS), tmp_path_factory.mktemp("finished"))
    assert not result.failed
    return result.folder


@pytest.fixture
def study(finished, tmp_path):
    """A copy of it, to be spoiled."""
    return shutil.copytree(finished, tmp_path / finished.name)


def rewritten(path):
    path.write_text(path.read_text().replace("1", "2", 1))


DAMAGES = {
    "done.json is no JSON": ("done.json", lambda path: path.write_text("{")),
    "done.json is altered": ("done.json", rewritten),
    "done.json is a folder": ("done.json", lambda path: (path.unlink(), path.mkdir())),
    "metrics are altered": ("metrics.jsonl", rewritten),
    "metrics are gone": ("metrics.jsonl", lambda path: path.unlink()),
    "weights are cut": ("weights.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    "weights are gone": ("weights.safetensors", lambda path: path.unlink()),
    "the spec is altered": ("spec.json", rewritten),
    "the spec is gone": ("spec.json", lambda path: path.unlink()),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_finished_run_that_is_damaged_is_not_skipped(study, what):
    name, damage = DAMAGES[what]
    place = study / "vanilla" / "seed-0"
    damage(place / name)
    before = contents(place)
    for again in (lambda: run(small(arms=ARMS), study.parent), lambda: resume(study)):
        result = again()
        (failed,) = result.failed
        assert failed.run.arm == "vanilla"
        assert name in failed.text
        assert f"move {place} away and run again" in failed.text
        assert result.events["h-detach-0.5/seed-0"].kind == "skip"
    assert contents(place) == before


def test_beside_a_damaged_run_the_others_run_and_it_starts_anew_elsewhere(study):
    place, other = (study / arm / "seed-0" for arm in ARMS)
    expected = contents(other)["metrics.jsonl"]
    (place / "done.json").write_text("{")
    shutil.rmtree(other)
    result = run(small(arms=ARMS), study.parent)
    assert [event.run.arm for event in result.failed] == ["vanilla"]
    assert contents(other)["metrics.jsonl"] == expected
    place.rename(study.parent / "away")
    result = run(small(arms=ARMS), study.parent)
    assert {event.run.arm: event.kind for event in result.events.values()} == {
        "vanilla": "end",
        "h-detach-0.5": "skip",
    }


def test_a_run_killed_over_a_damaged_done_file_is_that_runs_failure(tmp_path):
    def spoil(event):
        (event.folder / "done.json").write_text("{")
        (child,) = multiprocessing.active_children()
        child.kill()

    spec = small(arms=ARMS, settings=["train.epochs=20"])
    result = run(spec, tmp_path, workers=1, observe=Watched(trained, spoil))
    (failed,) = result.failed
    assert failed.run.arm == "vanilla"
    assert "done.json is damaged" in failed.text
    assert result.events["h-detach-0.5/seed-0"].kind == "end"


def test_one_arm_fails_in_one_line_and_the_others_finish(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_SHOW_CPP_STACKTRACES", "1")
    (tmp_path / "failing.toml").write_text(FAILING)
    result = run(load(tmp_path / "failing.toml"), tmp_path, workers=1)
    (failed,) = result.failed
    assert failed.run.name == "greedy, seed 0"
    assert "memory" in failed.text
    assert "\n" not in failed.text
    assert "memory" in train.read_failure(failed.folder)["error"]
    assert train.read_outcome(result.folder / "modest" / "seed-0").status == "completed"


def test_data_that_vanish_before_a_run_are_its_recorded_failure(tmp_path, data_root):
    data = shutil.copytree(data_root / "mnist", tmp_path / "mnist")
    spec = load("smnist", profile="smoke", arms=["vanilla"])
    lost = Watched(lambda event: event.kind == "start", lambda _: shutil.rmtree(data))
    (failed,) = run(spec, tmp_path / "out", data=tmp_path, observe=lost).failed
    assert "bptt data fetch mnist" in failed.text
    assert "bptt data fetch mnist" in train.read_failure(failed.folder)["error"]
    assert not (failed.folder / "metrics.jsonl").exists()


def test_ctrl_c_forgets_no_failure(tmp_path):
    (tmp_path / "failing.toml").write_text(FAILING)
    spec = load(tmp_path / "failing.toml", settings=["train.epochs=400"])
    stop = Watched(trained, lambda _: signal.raise_signal(signal.SIGINT))
    result = run(spec, tmp_path, workers=1, observe=stop)
    assert result.interrupted
    (failed,) = result.failed
    assert failed.run.name == "greedy, seed 0"
    assert "memory" in failed.text
    assert result.events["modest/seed-0"].kind == "stopped"
