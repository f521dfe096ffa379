"""Studies run, are skipped, resumed, refused and interrupted; every run is a process of its own."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from helpers.experiments import Watched, contents, results, small, trained
from safetensors.torch import load_file

from bptt import train
from bptt.experiments import SpecError, StudyError, _child, load, resume, run


def test_a_study_is_run_skipped_widened_and_refused(tmp_path):
    spec = small(arms=["vanilla"])
    watched = Watched()
    result = run(spec, tmp_path, command="bptt run copying", observe=watched)
    study = tmp_path / "copying-smoke"
    assert result.folder == study
    assert not result.failed
    assert not result.interrupted
    assert watched.kinds() == [(kind, "vanilla/seed-0") for kind in ("queue", "start", "end")]
    epochs = [e.progress.metrics["epoch"] for e in watched.events if e.progress and e.progress.metrics]
    assert set(epochs) == {1, 2, 3}
    outcome = train.read_outcome(study / "vanilla" / "seed-0")
    assert watched.events[-1].outcome == outcome
    assert (outcome.status, outcome.epoch) == ("completed", 3)

    written = json.loads((study / "study.json").read_text())
    assert written["commands"] == ["bptt run copying"]
    assert (written["experiment"], written["profile"], written["seeds"]) == ("copying", "smoke", [0])
    assert written["arms"] == [{"name": "vanilla", "label": "vanilla"}]
    assert written["runs"] == [{"arm": "vanilla", "seed": 0, "folder": "vanilla/seed-0"}]
    page = train.read_spec(study / "vanilla" / "seed-0")
    assert page["command"] == "bptt run copying"
    identity = page["spec"]
    assert identity["task"]["fingerprint"] == written["task"]["fingerprint"]
    assert (identity["train"]["seed"], identity["device"], identity["detach"]) == (0, "cpu", None)

    before = results(study / "vanilla" / "seed-0")
    watched = Watched()
    wider = small(arms=["vanilla", "h-detach-0.25"], settings=["arms.vanilla.label=plain"])
    run(wider, tmp_path, observe=watched)
    assert ("skip", "vanilla/seed-0") in watched.kinds()
    assert ("end", "h-detach-0.25/seed-0") in watched.kinds()
    assert results(study / "vanilla" / "seed-0") == before
    written = json.loads((study / "study.json").read_text())
    assert [arm["name"] for arm in written["arms"]] == ["vanilla", "h-detach-0.25"]
    assert written["arms"][1]["detach"]["h"] == 0.25
    assert written["arms"][0]["label"] == "plain"
    assert [len(written[key]) for key in ("arms", "seeds", "runs")] == [2, 1, 2]

    before = contents(study)
    with pytest.raises(StudyError, match=r"task\.delay: 3 there, 4 asked for") as refusal:
        run(small(arms=["vanilla"], settings=["task.delay=4"]), tmp_path)
    assert "--out" in str(refusal.value)
    (study / "study.json").unlink()
    with pytest.raises(StudyError, match=r"train\.lr: 0\.001 there, 0\.5 asked for"):
        run(small(arms=["vanilla"], settings=["train.lr=0.5"]), tmp_path)
    assert contents(study) == {key: value for key, value in before.items() if key != "study.json"}


def test_a_killed_run_is_named_and_ends_as_if_it_had_not_been(tmp_path):
    def kill(event):
        (child,) = multiprocessing.active_children()
        assert child.name == event.run.name
        child.kill()

    spec = small(settings=["train.epochs=20", "train.checkpoint_seconds=0"])
    result = run(spec, tmp_path / "killed", observe=Watched(trained, kill))
    (failed,) = result.failed
    assert "killed by SIGKILL" in failed.text
    assert "memory runs out" in failed.text
    assert "SIGKILL" in train.read_failure(failed.folder)["error"]
    assert train.read_outcome(failed.folder) is None

    again = resume(failed.folder)
    assert not again.failed
    assert train.read_failure(failed.folder) is None
    undisturbed = run(spec, tmp_path / "undisturbed")
    assert results(failed.folder) == results(undisturbed.folder / "h-detach-0.5" / "seed-0")


def test_ctrl_c_saves_and_a_study_goes_on_from_there(tmp_path):
    watched = Watched(trained, lambda _: signal.raise_signal(signal.SIGINT))
    spec = small(seeds=[0, 1], settings=["train.epochs=40"])
    before = signal.getsignal(signal.SIGINT)
    result = run(spec, tmp_path, workers=1, observe=watched)
    assert signal.getsignal(signal.SIGINT) == before
    assert result.interrupted
    assert not result.failed
    assert watched.kinds()[-1] == ("stopped", "h-detach-0.5/seed-0")
    assert not (result.folder / "h-detach-0.5" / "seed-1").exists()
    assert (result.folder / "h-detach-0.5" / "seed-0" / "state.pt").exists()

    watched = Watched()
    assert not resume(result.folder, workers=2, observe=watched).interrupted
    assert {name for kind, name in watched.kinds() if kind == "end"} == {
        "h-detach-0.5/seed-0",
        "h-detach-0.5/seed-1",
    }
    first = next(event for event in watched.events if event.progress and event.run.seed == 0)
    assert first.progress.resumed_at > 0


def test_a_stop_before_the_run_is_set_up_is_no_traceback(monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    class Pipe:
        said: ClassVar = []
        send = said.append

    monkeypatch.setattr(_child.signal, "signal", lambda *_: None)
    monkeypatch.setattr(_child.threading, "Thread", stopped)
    part = _child.Part("a run", tmp_path, {})
    _child.main(_child.Job((part,), None, "", False), Pipe())
    assert Pipe.said == [_child.Message("a run", "stopped")]


def descendants(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [*children, *(each for child in children for each in descendants(child))]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_no_run_outlives_its_parent(tmp_path):
    command = [
        "run",
        "copying",
        "--profile",
        "smoke",
        "--arms",
        "vanilla",
        "--set",
        "train.epochs=1000000",
        "--out",
    ]
    parent = subprocess.Popen(
        [sys.executable, "-m", "bptt.cli", *command, tmp_path], stdout=subprocess.DEVNULL
    )
    try:
        assert until((tmp_path / "copying-smoke" / "vanilla" / "seed-0" / "metrics.jsonl").exists)
        runs = descendants(parent.pid)
        assert runs
    finally:
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
    assert until(lambda: not any(map(alive, runs)), seconds=20)


def test_nothing_is_written_for_a_spec_that_cannot_be_run(tmp_path):
    missing = tmp_path / "nowhere"
    with pytest.raises(SpecError) as caught:
        run(load("smnist", profile="smoke"), tmp_path / "out", data=missing)
    assert "bptt data fetch mnist" in str(caught.value)
    assert str(missing) in str(caught.value)
    with pytest.raises(SpecError, match="workers: must be an integer ≥ 1, got 0"):
        run(small(), tmp_path / "out", workers=0)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_fit_is_found_with_the_data_that_was_named(tmp_path, monkeypatch, data_root):
    monkeypatch.setenv("BPTT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    spec = load("smnist", profile="smoke", settings=["model.readout=each", "task.resize=14"])
    with pytest.raises(SpecError, match=r'model\.readout: must be "last", "mean" or "max"'):
        run(spec, tmp_path / "out", data=data_root)
    assert list(tmp_path.iterdir()) == []


def test_threads_folders_and_variables_are_those_of_the_moment(tmp_path, monkeypatch, data_root):
    run(small(), tmp_path / "earlier")  # starts the server that runs are forked from
    monkeypatch.setenv("BPTT_DATA", os.path.relpath(data_root, tmp_path))
    monkeypatch.chdir(tmp_path)
    settings = ["train.threads=2", "train.epochs=1", "train.anneal_epochs=0"]
    result = run(load("smnist", profile="smoke", arms=["vanilla"], settings=settings), "runs")
    assert not result.failed, result.failed[0].text
    page = train.read_spec(tmp_path / "runs" / "smnist-smoke" / "vanilla" / "seed-0")
    assert page["environment"]["threads"] == 2


def test_as_many_run_at_once_as_there_are_cores_for_their_threads(tmp_path, monkeypatch):
    def begun(usable, threads):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)
        settings = [f"train.threads={threads}", "train.epochs=1", "train.anneal_epochs=0"]
        watched = Watched()
        run(small(seeds=[0, 1, 2, 3], settings=settings), tmp_path / f"{usable}-{threads}", observe=watched)
        kinds = [kind for kind, _ in watched.kinds() if kind != "queue"]
        assert kinds.count("end") == 4
        return kinds.index("end")

    assert [begun(3, 1), begun(3, 2), begun(1, 2)] == [3, 1, 1]
    monkeypatch.delattr(os, "sched_getaffinity")


def test_a_run_goes_on_elsewhere_only_if_told_to_and_says_so(tmp_path, monkeypatch):
    stopped = run(
        small(settings=["train.epochs=40"]),
        tmp_path,
        observe=Watched(trained, lambda _: signal.raise_signal(signal.SIGINT)),
    )
    assert stopped.interrupted
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    (failed,) = resume(stopped.folder).failed
    assert "cpu: " in failed.text
    watched = Watched()
    assert not resume(stopped.folder, accept_environment=True, observe=watched).failed
    assert watched.events[-1].outcome.environment_changed
    spec = small(settings=["train.epochs=40"])
    assert not run(spec, tmp_path, accept_environment=True).failed


def test_data_for_a_task_that_reads_none_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"data: must be left out, for copying reads no files") as refusal:
        run(small(), tmp_path / "out", data=tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


def test_arms_of_a_seed_start_from_the_same_weights_and_seeds_do_not(tmp_path):
    settings = ["task.iterations=1", "train.epochs=1", "train.anneal_epochs=0", "train.lr=1e-30"]
    spec = small(arms=["vanilla", "h-detach-0.5"], seeds=[0, 1], settings=settings)
    folder = run(spec, tmp_path).folder
    weights = {one.folder: load_file(folder / one.folder / "weights.safetensors") for one in spec.runs}

    def same(one, other):
        return all(torch.equal(weights[one][name], weights[other][name]) for name in weights[one])

    assert same("vanilla/seed-0", "h-detach-0.5/seed-0")
    assert same("vanilla/seed-1", "h-detach-0.5/seed-1")
    assert not same("vanilla/seed-0", "vanilla/seed-1")
