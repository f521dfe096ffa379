"""Runs that share a process are the runs that have one each."""

import json
import multiprocessing
import signal

import pytest
from helpers.experiments import RESULTS, Watched, load, small, trained

from bptt import train
from bptt.experiments import SpecError, resume, run

ARMS = ["vanilla", "h-detach-0.25", "h-detach-0.5"]


def every(study):
    return {str(p.relative_to(study)): p.read_bytes() for p in study.rglob("*") if p.name in RESULTS}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(small(arms=ARMS, seeds=[0, 1]), tmp_path_factory.mktemp("alone")).folder


@pytest.mark.parametrize("replicas", [2, 4, 100])
def test_they_end_with_the_same_bytes(tmp_path, alone, replicas):
    watched = Watched()
    result = run(small(arms=ARMS, seeds=[0, 1]), tmp_path, replicas=replicas, observe=watched)
    assert not result.failed
    assert every(result.folder) == every(alone)
    assert {event.kind for event in result.events.values()} == {"end"}
    assert sum(kind == "start" for kind, _ in watched.kinds()) == 6
    progress = {event.run.folder for event in watched.events if event.kind == "progress"}
    assert len(progress) == 6


def test_stopped_together_they_go_on_apart_and_the_other_way_round(tmp_path, alone):
    spec = small(arms=ARMS, seeds=[0, 1])
    stop = Watched(at=trained, act=lambda _: signal.raise_signal(signal.SIGINT))
    result = run(spec, tmp_path, replicas=6, observe=stop)
    assert result.interrupted
    assert any(event.kind == "stopped" for event in result.events.values())
    stop = Watched(at=trained, act=lambda _: signal.raise_signal(signal.SIGINT))
    resume(result.folder, workers=1, observe=stop)
    assert not resume(result.folder, replicas=3).failed
    assert every(result.folder) == every(alone)


def test_what_one_cannot_do_is_that_ones_failure(tmp_path, alone):
    spec = small(arms=ARMS, seeds=[0, 1])
    broken = tmp_path / spec.folder / "h-detach-0.25/seed-1"
    broken.mkdir(parents=True)
    (broken / "state.pt").write_bytes(b"damaged")
    result = run(spec, tmp_path, replicas=6)
    (failed,) = result.failed
    assert failed.run.folder == "h-detach-0.25/seed-1"
    assert "state.pt" in json.loads((broken / "failed.json").read_text())["error"]
    others = {
        name: data for name, data in every(alone).items() if not name.startswith("h-detach-0.25/seed-1")
    }
    assert every(result.folder) == others


def test_runs_that_are_not_alike_have_processes_of_their_own(tmp_path):
    spec = small(arms=ARMS, settings=["arms.vanilla.model.hidden_size=5", 'arms."h-detach-0.5".train.lr=0.1'])
    result = run(spec, tmp_path, replicas=3)
    assert not result.failed
    assert len({train.read_spec(e.folder)["spec"]["train"]["lr"] for e in result.events.values()}) == 2


def test_a_process_that_dies_is_the_end_of_all_its_runs(tmp_path):
    def kill(_):
        (child,) = multiprocessing.active_children()
        child.kill()

    spec = small(arms=ARMS[:2])
    result = run(spec, tmp_path, replicas=2, observe=Watched(at=trained, act=kill))
    assert {event.kind for event in result.events.values()} == {"failed"}
    assert all("SIGKILL" in event.text for event in result.failed)
    assert not run(spec, tmp_path, replicas=2).failed


@pytest.mark.parametrize(
    ("given", "message"), [(0, "replicas: must be an integer ≥ 1, got 0"), (-3, "got -3")]
)
def test_fewer_than_one_are_refused(tmp_path, given, message):
    with pytest.raises(SpecError, match=message):
        run(small(), tmp_path, replicas=given)
    assert not list(tmp_path.iterdir())


def test_precision_that_the_device_lacks_is_refused():
    with pytest.raises(SpecError, match=r'train.precision: must be one that a CPU has, got "tf32"'):
        load("copying", profile="smoke", settings=["train.precision=tf32"])
