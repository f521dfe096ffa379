"""flow.jsonl: what a run was seen to do, without a byte of anything else being other."""

import io
import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from helpers import runs
from helpers.replicas import KINDS, build, placed, together

from bptt import Detach, flow, nn, tasks, train
from bptt.train import _state

LOOKED = {"watch_every": 2, "paths_every": 4}
SAME = ("metrics.jsonl", "weights.safetensors")


def files(folder, names=(*SAME, "flow.jsonl")):
    return {name: (folder / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    runs.fit(folder, **LOOKED)
    return runs.results(folder)


def model_of_torch():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.SequenceModel(torch.nn.LSTM(2, 4, num_layers=2, dropout=0.2), 1, readout="last")


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"precision": "bf16-mixed"},
        {"detach": None, "model": model_of_torch},
        {
            "task": tasks.copying(2, train_size=8, valid_size=4, iterations=4),
            "batch_size": 4,
            "clip_norm": "none",
        },
    ],
    ids=["detach and dropout", "bf16", "torch", "copying"],
)
def test_a_run_that_is_looked_at_ends_with_the_bytes_of_one_that_is_not(tmp_path, given):
    def fit(name, **more):
        model = {"model": given["model"]()} if "model" in given else {}
        state = torch.get_rng_state()
        runs.fit(tmp_path / name, **{**given, **model, **more}, spec={})
        assert torch.equal(torch.get_rng_state(), state)

    for name, more in {"plain": {}, "watched": {"watch_every": 1}, "split": LOOKED}.items():
        fit(name, **more)
        assert files(tmp_path / name, SAME) == files(tmp_path / "plain", SAME)
        assert (tmp_path / name / "flow.jsonl").exists() == (name != "plain")
    assert train.read_flow(tmp_path / "plain") == []
    lines = train.read_flow(tmp_path / "split")
    last = train.read_outcome(tmp_path / "split").step
    assert [line["step"] for line in lines] == list(range(2, last + 1, 2))
    for line in lines:
        for layer in line["layers"].values():
            assert ("carry" in layer) == ("gates" in layer) == (line["step"] % 4 == 0)
            if "carry" in layer and "detach" in given:  # without coins, but with the dropout of the step
                assert layer["carry"][-1] == pytest.approx(layer["c"][-1])


def test_a_line_is_what_a_recording_sees_of_the_step(tmp_path):
    config = replace(runs.CONFIG, epochs=1, anneal_epochs=0, watch_every=1, paths_every=1, clip_norm=1e-3)
    runs.fit(tmp_path, detach=None, model=runs.build(layers=1), spec={}, **vars(config))
    line = train.read_flow(tmp_path)[0]
    model, task = runs.build(layers=1), runs.TASK
    (indices, *_) = task.train_indices(1, config.batch_size, config.seed)
    batch = task.batch("train", indices)
    with flow.record(model) as recording:
        task.loss(model(batch.x), batch).backward()
    (seen,), (told,) = recording.flows, line["layers"].values()
    norm = torch.cat([weight.grad.flatten() for weight in model.parameters()]).norm().item()
    assert (line["before"], line["after"]) == (pytest.approx(norm), 1e-3)
    assert told["t"] == list(range(6))
    (split,) = flow.paths(model, batch, task.loss)
    expected = {
        "h": seen.h,
        "c": seen.c,
        "carry": split.carry.norm(dim=-1),
        "gates": split.gates.norm(dim=-1),
    }
    for name, norms in expected.items():
        torch.testing.assert_close(torch.tensor(told[name]), norms.quantile(0.5, dim=1).float())
    assert set(told) == {"t", "half_life", *expected}


def test_interrupted_at_every_step_a_run_is_seen_the_same(tmp_path, undisturbed):
    stops = 0
    while train.read_outcome(tmp_path) is None:
        try:
            runs.fit(tmp_path, observe=lambda _: os.kill(os.getpid(), signal.SIGINT), **LOOKED)
        except train.Interrupted:
            stops += 1
    assert stops >= 12
    assert runs.results(tmp_path) == undisturbed


def test_what_was_seen_after_the_last_checkpoint_is_cut_off(tmp_path, undisturbed):
    def observe(progress):
        if progress.step == 7:
            raise ZeroDivisionError("by design")

    with pytest.raises(ZeroDivisionError):
        runs.fit(tmp_path, observe=observe, **LOOKED)
    assert [line["step"] for line in train.read_flow(tmp_path)] == [2, 4, 6]  # the checkpoint is of step 4
    with (tmp_path / "flow.jsonl").open("ab") as file:
        file.write(b'{"step": 8, "be')
    assert [line["step"] for line in train.read_flow(tmp_path)] == [2, 4, 6]
    runs.fit(tmp_path, **LOOKED)
    assert runs.results(tmp_path) == undisturbed


def test_damage_is_named(tmp_path):
    def stop(progress):
        if progress.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, observe=stop, **LOOKED)
    path, whole = tmp_path / "flow.jsonl", (tmp_path / "flow.jsonl").read_bytes()
    path.write_bytes(whole.replace(b"2", b"3", 1))
    with pytest.raises(train.RunError, match=r"flow\.jsonl is damaged: its first \d+ bytes must be those"):
        runs.fit(tmp_path, **LOOKED)
    path.write_bytes(b"{\n")
    with pytest.raises(train.RunError, match=r"flow\.jsonl is damaged"):
        train.read_flow(tmp_path)
    path.write_bytes(whole)
    outcome = runs.fit(tmp_path, **LOOKED)
    assert train.verify_outcome(tmp_path) == outcome
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"\n"):
        path.write_bytes(damaged)
        with pytest.raises(train.RunError, match=r"flow\.jsonl is damaged: its sha256"):
            train.verify_outcome(tmp_path)
    path.unlink()
    with pytest.raises(train.RunError, match=r"flow\.jsonl is missing"):
        runs.fit(tmp_path, **LOOKED)


def test_a_step_that_ends_a_run_is_told_with_its_numbers(tmp_path):
    outcome = runs.fit(tmp_path, lr=1e37, clip_norm="none", optimizer="sgd", watch_every=1)
    assert outcome.status.startswith("non-finite")
    last = train.read_flow(tmp_path)[-1]
    assert last["step"] == outcome.step
    assert not torch.tensor(last["before"]).isfinite()
    assert str(last["after"]) == str(last["before"])  # nothing was clipped
    (tmp_path / "flow.jsonl").write_text('{"a": ["nan", 1.5, "-inf"]}\n')
    assert str(train.read_flow(tmp_path)) == "[{'a': [nan, 1.5, -inf]}]"


def test_a_run_from_before_there_were_looks_goes_on(tmp_path, monkeypatch):
    def stop(progress):
        if progress.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, observe=stop)
    state = torch.load(io.BytesIO((tmp_path / "state.pt").read_bytes()), weights_only=True)
    del state["flow"], state["format"]
    assert not {"watch_every", "paths_every"} & state["inputs"].keys()
    (tmp_path / "state.pt").write_bytes(_state.encode(state))
    runs.fit(tmp_path)
    runs.fit(tmp_path.with_name("whole"))
    assert runs.results(tmp_path) == runs.results(tmp_path.with_name("whole"))


def test_other_looks_under_the_same_spec_are_refused(tmp_path):
    def stop(progress):
        if progress.step == 6:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, observe=stop, spec={}, watch_every=2)
    for now in ({"watch_every": 3}, {}, LOOKED):
        with pytest.raises(train.RunError, match=r"other inputs under the same spec: (watch|paths)_every"):
            runs.fit(tmp_path, spec={}, **now)


@pytest.mark.parametrize("layers", [1, 2])  # two with dropout, from torch's one generator
def test_runs_in_threads_are_seen_as_alone(tmp_path, layers):
    def looked():
        made = build(KINDS, layers=layers, **LOOKED)
        return [*made[:-1], replace(made[-1], detach=None, model=model_of_torch())]

    for one in placed(looked(), tmp_path / "alone"):
        train.fit(**vars(one))
    together(tmp_path / "together", looked(), at_once=3)
    for index in range(5):
        alone, beside = (files(tmp_path / way / str(index)) for way in ("alone", "together"))
        assert alone == beside
        assert json.loads(alone["flow.jsonl"].splitlines()[0])["step"] == 2


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            torch.nn.Linear(2, 1),
            {"watch_every": 5},
            "watch_every must be 0 without .* got 5 for Linear",
        ),
        (
            nn.SequenceModel(nn.RNN(2, 4), 1),
            {"watch_every": 5, "paths_every": 5},
            "an RNN has no carry, got 5",
        ),
    ],
)
def test_what_cannot_be_seen_is_refused(tmp_path, model, settings, message):
    with pytest.raises(ValueError, match=message):
        runs.fit(tmp_path / "new", model=model, detach=None, **settings)
    assert not (tmp_path / "new").exists()


def test_a_gru_is_split_and_an_rnn_is_watched(tmp_path):
    for cell, more in ((nn.GRU, LOOKED), (nn.RNN, {"watch_every": 2})):
        model = nn.SequenceModel(cell(2, 4), 1, readout="last")
        runs.fit(tmp_path / cell.__name__, model=model, detach=Detach(h=0.5), **more)
        told = train.read_flow(tmp_path / cell.__name__)[1]["layers"]["core:0:0"]
        assert ("carry" in told) == (cell is nn.GRU)
        assert "c" not in told
