"""The model of a run, from its folder: the weights that it was judged by, and nothing damaged."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from bptt import experiments, tasks, train


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    spec = experiments.load("demo", profile="smoke", arms=["h-detach-0.25"])
    return experiments.run(spec, place, workers=1).folder


@pytest.fixture
def run(study, tmp_path):
    return shutil.copytree(study / "h-detach-0.25" / "seed-0", tmp_path / "run")


def test_it_scores_what_the_run_scored(run):
    found = experiments.trained(run)
    outcome = train.read_outcome(run)
    valid = train.evaluate(found.model, found.task, "valid")
    assert valid["loss"] == pytest.approx(outcome.best["valid"]["loss"], rel=1e-6)
    assert not found.model.training
    assert found.name == "h-detach-0.25, seed 0"
    assert found.weights == f"of the best epoch, {outcome.best['epoch']}"


def test_before_its_first_update(tmp_path):
    def ran(rate):
        settings = [f"train.lr={rate}"]
        spec = experiments.load("demo", profile="smoke", arms=["vanilla"], settings=settings)
        return experiments.run(spec, tmp_path / str(rate), workers=1).folder / "vanilla" / "seed-0"

    def same(one, other):
        return all(map(torch.equal, one.model.parameters(), other.model.parameters()))

    idle, moved = ran(1e-30), ran(1e-2)
    first = experiments.untrained(moved)
    assert first.weights == "as initialised"
    assert same(first, experiments.trained(idle))
    assert not same(first, experiments.trained(moved))


def test_a_run_that_goes_on_gives_what_it_saved_last(run):
    (run / "done.json").unlink()
    (run / "weights.safetensors").unlink()
    if not (run / "state.pt").exists():
        pytest.fail("the state of a run is gone")
    found = experiments.trained(run)
    assert found.weights.startswith("saved last, at step ")
    before = (run / "state.pt").read_bytes()
    damaged = bytearray(before)
    damaged[len(damaged) // 2] ^= 1
    (run / "state.pt").write_bytes(damaged)
    (run / "state.prev.pt").unlink(missing_ok=True)
    with pytest.raises(train.RunError, match=r"no weights that can be used; .*state\.pt is damaged"):
        experiments.trained(run)
    assert (run / "state.pt").read_bytes() == bytes(damaged)


def test_damage_and_strangers_are_named(run, tmp_path):
    weights = safetensors.torch.load_file(run / "weights.safetensors")
    safetensors.torch.save_file(
        {name: weight + 1 for name, weight in weights.items()}, run / "weights.safetensors"
    )
    with pytest.raises(train.RunError, match="weights"):
        experiments.trained(run)
    with pytest.raises(train.RunError, match="is not a run folder"):
        experiments.trained(tmp_path)
    page = json.loads((run / "spec.json").read_text())
    page["spec"] = {"mine": 1}
    page["hash"] = train.spec_hash(page["spec"])
    (run / "spec.json").write_text(json.dumps(page))
    with pytest.raises(train.RunError, match="must be a run that trained an experiment's model"):
        experiments.trained(run)


def test_other_data_is_refused(study, monkeypatch):
    monkeypatch.setattr(tasks.Task, "fingerprint", lambda _: "1" * 64)
    with pytest.raises(RuntimeError, match=r"the data of smnist-5k must have fingerprint .*, got 1111"):
        experiments.trained(study / "h-detach-0.25" / "seed-0")
