"""Runs trained together end as each would alone: in threads bit for bit, stacked to rounding."""

import json
import os
import shutil
import signal
import threading
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from helpers import runs
from helpers.replicas import KINDS, LONG, alone, assert_equal_to_rounding, build, every, placed, together
from helpers.waits import Tape, Watch

from bptt import Detach, nn, tasks, train


@pytest.mark.parametrize("at_once", [1, 3, None])
@pytest.mark.parametrize("layers", [1, 2])  # two with dropout, from torch's one generator
def test_runs_in_threads_end_with_the_bytes_of_runs_alone(tmp_path, layers, at_once):
    alone(tmp_path / "alone", build(layers=layers))
    state = torch.get_rng_state()
    together(tmp_path / "together", build(layers=layers), at_once=at_once)
    assert torch.equal(torch.get_rng_state(), state)
    assert every(tmp_path / "alone", 5) == every(tmp_path / "together", 5)
    specs = [train.read_spec(tmp_path / way / "0") for way in ("alone", "together")]
    assert specs[0] == specs[1]


def test_threads_train_at_the_same_time(tmp_path, monkeypatch):
    from bptt.train import _loop

    meeting = threading.Barrier(2, timeout=20)  # one after the other they would wait in vain
    step = _loop.take_step

    def meet(*given, **more):
        meeting.wait()
        return step(*given, **more)

    monkeypatch.setattr(_loop, "take_step", meet)
    together(tmp_path, build(KINDS[:2], epochs=1, anneal_epochs=0), at_once=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "adam"},
        {"optimizer": "adamw"},
        {"optimizer": "rmsprop"},
        {"optimizer": "rmsprop", "momentum": 0.5},
        {"optimizer": "sgd"},
        {"optimizer": "sgd", "momentum": 0.5},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_a_stacked_run_is_the_run_alone_after_a_hundred_updates(tmp_path, settings):
    alone(tmp_path / "alone", build(**LONG, **settings))
    together(tmp_path / "stacked", build(**LONG, **settings), stacked=True)
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 5, 1e-10)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_stacked_run_in_float32_is_the_run_alone(tmp_path, cell):
    kinds = [kind for kind in KINDS if cell is nn.LSTM or kind["detach"] is None or not kind["detach"].c]
    kinds = kinds if cell is not nn.RNN else [*KINDS[:2], KINDS[4]]
    settings = {**LONG, "precision": "float32"}
    alone(tmp_path / "alone", build(kinds, cell=cell, **settings))
    together(tmp_path / "stacked", build(kinds, cell=cell, **settings), stacked=True)
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", len(kinds), 1e-5)
    assert train.read_spec(tmp_path / "stacked/0")["environment"]["replicas"] == "stacked"


def test_stacked_runs_may_have_data_of_their_own(tmp_path):
    of = [tasks.copying(3, train_size=20, valid_size=10, iterations=4, seed=seed) for seed in (0, 1, 0)]
    kinds = [{"seed": index, "detach": Detach(h=0.3), "task": task} for index, task in enumerate(of)]
    made = [replace(one, spec={"number": index}) for index, one in enumerate(build(kinds))]
    again = [replace(one, spec={"number": index}) for index, one in enumerate(build(kinds))]
    alone(tmp_path / "alone", made)
    together(tmp_path / "stacked", again, stacked=True)
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 3, 1e-5)


def test_bfloat16_has_float32_weights_and_other_numbers(tmp_path):
    settings = {"precision": "bf16-mixed", "epochs": 2}
    replicas = build(KINDS[:2], **settings)
    seen = set()
    replicas[0].model.core.register_forward_hook(lambda _, __, output: seen.add(output[0].dtype))
    alone(tmp_path / "alone", replicas)
    together(tmp_path / "threads", build(KINDS[:2], **settings))
    together(tmp_path / "stacked", build(KINDS[:2], **settings), stacked=True)
    alone(tmp_path / "exact", build(KINDS[:2], epochs=2))
    assert seen == {torch.bfloat16}
    assert every(tmp_path / "alone", 2) == every(tmp_path / "threads", 2)
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 2, 0.02)
    rounded, exact = (
        safetensors.torch.load_file(tmp_path / way / "0/weights.safetensors") for way in ("alone", "exact")
    )
    assert {tensor.dtype for tensor in rounded.values()} == {torch.float32}
    assert not torch.equal(rounded["core.weight_hh_l0"], exact["core.weight_hh_l0"])
    assert train.read_spec(tmp_path / "alone/0")["environment"]["precision"] == "bf16-mixed"


def test_one_that_is_solved_or_diverges_leaves_the_others_as_they_are(tmp_path):
    kinds = [
        {"seed": 1, "detach": Detach(h=0.5)},
        {"seed": 2, "lr": 1e37, "optimizer": "sgd"},
        {"seed": 3, "solved_at": 1e-9, "lr": 0.05},
        {"seed": 4, "detach": Detach(h=0.25)},
    ]
    shared = {"optimizer": "sgd", "precision": "float64", "epochs": 6, "clip_norm": "none"}
    expected = alone(tmp_path / "alone", build(kinds, **shared))
    statuses = [outcome.status for outcome in expected]
    assert statuses[0] == statuses[3] == "completed"
    assert statuses[1].startswith("non-finite")
    stacked = together(tmp_path / "stacked", build(kinds, **shared), stacked=True)
    for one, other in zip(expected, stacked, strict=True):
        assert (one.status, one.epoch, one.step) == (other.status, other.epoch, other.step)
        assert (one.best is None) == (other.best is None)
    finite = [index for index, outcome in enumerate(expected) if outcome.weights_sha256]
    for index in finite:
        for way in ("alone", "stacked"):
            shutil.copytree(tmp_path / way / str(index), tmp_path / "finite" / way / str(finite.index(index)))
    assert_equal_to_rounding(tmp_path / "finite/alone", tmp_path / "finite/stacked", len(finite), 1e-10)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("step", [1, 5, 8])
def test_stopped_runs_go_on_where_they_were(tmp_path, monkeypatch, stacked, step):
    monkeypatch.setattr("bptt.train._stacked._stack._AHEAD", 2)
    together(tmp_path / "undisturbed", build(), stacked=stacked, at_once=1)

    asked = []

    def stop(index, progress):
        if index == 1 and progress.step >= step and not asked:
            asked.append(progress)
            os.kill(os.getpid(), signal.SIGINT)

    folder = tmp_path / "stopped"
    endings = train.fit_replicas(placed(build(), folder), stacked=stacked, at_once=1, observe=stop)
    assert any(isinstance(ending, train.Interrupted) for ending in endings)
    assert not list(folder.rglob("failed.json"))
    together(folder, build(), stacked=stacked)
    assert every(tmp_path / "undisturbed", 5) == every(folder, 5)


@pytest.mark.parametrize("checkpoint_seconds", [0.0, 60.0])
def test_stacked_runs_that_are_behind_catch_up(tmp_path, monkeypatch, checkpoint_seconds):
    monkeypatch.setattr("bptt.train._stacked._stack._AHEAD", 3)
    shared = {"checkpoint_seconds": checkpoint_seconds}
    kinds = KINDS[:3]
    together(tmp_path / "undisturbed", build(kinds, **shared), stacked=True)
    folder = tmp_path / "killed"

    class Killed(BaseException):
        pass

    def kill(index, progress):
        if progress.step >= 4 + index:
            raise Killed

    with pytest.raises(Killed):
        train.fit_replicas(placed(build(kinds, **shared), folder), stacked=True, observe=kill)
    shutil.rmtree(folder / "1")
    together(folder, build(kinds, **shared), stacked=True)
    assert every(tmp_path / "undisturbed", 3) == every(folder, 3)


@pytest.mark.parametrize("stacked", [False, True])
def test_what_fails_of_one_stops_no_other(tmp_path, stacked):
    together(tmp_path / "whole", build(), stacked=stacked)
    folder = tmp_path / "broken"
    (folder / "2").mkdir(parents=True)
    (folder / "2/state.pt").write_bytes(b"damaged")
    told = {}
    endings = train.fit_replicas(
        placed(build(), folder), stacked=stacked, ended=lambda index, ending: told.update({index: ending})
    )
    assert isinstance(endings[2], train.RunError)
    assert told == dict(enumerate(endings))
    assert json.loads((folder / "2/failed.json").read_text())
    for index in (0, 1, 3, 4):
        assert runs.results(folder / str(index)) == runs.results(tmp_path / "whole" / str(index))
    shutil.rmtree(folder / "2")
    together(folder, build(), stacked=stacked)  # the four are verified, the fifth is trained
    assert runs.results(folder / "2") == runs.results(tmp_path / "whole/2")


@pytest.mark.parametrize("stacked", [False, True])
def test_progress_of_every_run_is_told(tmp_path, stacked):
    told = {}
    together(
        tmp_path, build(), stacked=stacked, observe=lambda index, now: told.setdefault(index, []).append(now)
    )
    assert sorted(told) == list(range(5))
    for index, seen in told.items():
        assert [now.step for now in seen] == sorted(now.step for now in seen)
        assert seen[-1].metrics["epoch"] == (2 if index == 3 else 3)
        assert seen[-1].steps_per_epoch == 4


def test_no_runs_are_no_runs():
    assert train.fit_replicas([]) == ()


class Model(torch.nn.Module):
    """Nobody knows what its forward pass draws."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def hooked(model):
    model.core.register_forward_hook(lambda *_: None)
    return model


class Noisy(tasks.Task):
    """Adding, by somebody who may draw numbers in the loss."""

    def __init__(self, of):
        self.__dict__ |= vars(of)
        self._of = of

    def _batch(self, split, indices):
        return self._of._batch(split, indices)

    def loss(self, output, batch):
        return self._of.loss(output + 0.1 * torch.rand(()), batch)

    def metrics(self, output, batch):
        return self._of.metrics(output, batch)

    def chance(self):
        return self._of.chance()


TASKS = {
    "adding": lambda iterations: tasks.adding(6, train_size=5 * iterations, valid_size=10, test_size=10),
    "copying": lambda iterations: tasks.copying(3, train_size=20, valid_size=10, iterations=iterations),
}


def copier():
    return build([{"task": TASKS["copying"](4)}])[0].model


def test_a_model_is_of_one_replica_alone(tmp_path):
    first, second = placed(build(KINDS[:2]), tmp_path / "new")
    for stacked in (False, True):
        with pytest.raises(ValueError, match="models of their own, got one for numbers 0 and 1"):
            train.fit_replicas([first, replace(second, model=first.model)], stacked=stacked)
    assert not (tmp_path / "new").exists()


def test_rnns_of_other_nonlinearities_are_not_one_model(tmp_path):
    first, second = placed(build([KINDS[0], {"seed": 2}], cell=nn.RNN), tmp_path / "new")
    core = nn.RNN(2, 4, nonlinearity="relu")
    other = nn.SequenceModel(core, second.task.output_size, readout=second.task.readout)
    with pytest.raises(ValueError, match=r"the same core\.mode, got RNN_TANH"):
        train.fit_replicas([first, replace(second, model=other)], stacked=True)


@pytest.mark.parametrize("stacked", [False, True])
def test_tasks_of_the_same_data_remain_what_they_are(tmp_path, stacked):
    kinds = [{"seed": seed, "task": TASKS["copying"](4 * (seed + 1))} for seed in range(2)]
    assert kinds[0]["task"].fingerprint() == kinds[1]["task"].fingerprint()
    if stacked:
        with pytest.raises(ValueError, match="the same argument iterations of the task, got 4"):
            together(tmp_path, build(kinds), stacked=True)
        return
    together(tmp_path, build(kinds))
    assert [train.read_outcome(tmp_path / str(i)).step for i in range(2)] == [12, 24]


def test_sequences_of_several_lengths_are_not_stacked(tmp_path, monkeypatch):
    batch = type(runs.TASK)._batch

    def ragged(self, split, indices):
        whole = batch(self, split, indices)
        return whole._replace(lengths=torch.arange(len(indices)) % 6 + 1)

    monkeypatch.setattr(type(runs.TASK), "_batch", ragged)
    with pytest.raises(ValueError, match="sequences of one length, got task adding"):
        together(tmp_path, build(KINDS[:2]), stacked=True)
    alone(tmp_path / "alone", build(KINDS[:2]))
    together(tmp_path / "threads", build(KINDS[:2]))
    assert every(tmp_path / "alone", 2) == every(tmp_path / "threads", 2)


@pytest.mark.parametrize("noise", ["hook", "task"])
def test_what_draws_beyond_the_modules_draws_by_the_seed(tmp_path, noise):
    def noisy():
        (one,) = build(KINDS[:1])
        if noise == "task":
            return replace(one, task=Noisy(one.task))
        one.model.core.register_forward_pre_hook(lambda _, given: (given[0] + torch.rand_like(given[0]),))
        return one

    for number in range(2):
        torch.manual_seed(number)
        alone(tmp_path / str(number), [noisy()])
    assert every(tmp_path / "0", 1) == every(tmp_path / "1", 1)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_a_parameter_without_a_gradient_stays_as_alone(tmp_path, weight_decay):
    def spare():
        made = build(KINDS[:3], precision="float64", weight_decay=weight_decay, epochs=4)
        for one in made:
            one.model.register_parameter("spare", torch.nn.Parameter(torch.ones(2, 3)))
        return made

    alone(tmp_path / "alone", spare())
    together(tmp_path / "stacked", spare(), stacked=True)
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 3, 1e-10)
    states = [
        torch.load(tmp_path / way / "0/state.pt", weights_only=True)["optimizer"]["state"].keys()
        for way in ("alone", "stacked")
    ]
    assert states[0] == states[1]


@pytest.mark.parametrize("stacked", [False, True])
def test_where_no_gradient_is_wanted_training_has_its_own(tmp_path, stacked):
    with torch.no_grad():
        together(tmp_path / "without", build(KINDS[:2]), stacked=stacked)
    together(tmp_path / "with", build(KINDS[:2]), stacked=stacked)
    assert every(tmp_path / "without", 2) == every(tmp_path / "with", 2)


@pytest.mark.parametrize("stacked", [False, True])
def test_an_observer_that_raises_fails_the_run_that_it_was_told_of(tmp_path, stacked):
    together(tmp_path / "whole", build(), stacked=stacked)
    told, ends = [], []

    def observe(index, progress):
        told.append(index)
        if index == 1 and progress.step >= 5:
            raise ZeroDivisionError

    folder = tmp_path / "watched"
    endings = train.fit_replicas(
        placed(build(), folder), stacked=stacked, observe=observe, ended=lambda *given: ends.append(given)
    )
    assert isinstance(endings[1], ZeroDivisionError)
    assert sorted(index for index, _ in ends) == list(range(5))
    assert json.loads((folder / "1/failed.json").read_text())["error"].startswith("ZeroDivisionError")
    assert not (folder / "1/done.json").exists()
    for index in (0, 2, 3, 4):
        assert runs.results(folder / str(index)) == runs.results(tmp_path / "whole" / str(index))
    together(folder, build(), stacked=stacked)
    assert runs.results(folder / "1") == runs.results(tmp_path / "whole/1")


@pytest.mark.parametrize("stacked", [False, True])
def test_a_listener_to_endings_that_raises_is_heard_when_all_have_ended(tmp_path, stacked):
    told = []

    def ended(index, _):
        told.append(index)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train.fit_replicas(placed(build(), tmp_path), stacked=stacked, ended=ended)
    assert sorted(told) == list(range(5))
    assert all(train.verify_outcome(tmp_path / str(index)) for index in range(5))


@pytest.mark.parametrize("stacked", [False, True])
def test_one_whose_folder_goes_away_is_the_only_one_that_fails(tmp_path, stacked):
    def lose(index, _):
        if index == 1:
            shutil.rmtree(tmp_path / "1", ignore_errors=True)

    kinds = [KINDS[0], {"seed": 2, "lr": 1e37, "optimizer": "sgd"}, KINDS[4]]
    endings = train.fit_replicas(
        placed(build(kinds, optimizer="sgd"), tmp_path), stacked=stacked, observe=lose
    )
    assert [isinstance(ending, BaseException) for ending in endings] == [False, True, False]


def test_runs_that_found_no_memory_go_on_in_any_way(tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr("bptt.train._stacked._train.available", lambda _: 1_000)
    with monkeypatch.context() as patch:
        patch.setattr("bptt.train._stacked._stack.Stack.train", full)
        endings = train.fit_replicas(placed(build(), tmp_path / "went on"), stacked=True)
    assert {type(ending) for ending in endings} == {train.ReplicasMemoryError}
    assert str(endings[0]) == (
        "5 replicas must fit into the 1,000 bytes that the GPU has free, and do not: take fewer (--replicas)"
    )
    # Nothing had been computed, so nothing was computed in another way.
    alone(tmp_path / "went on", build())
    alone(tmp_path / "alone", build())
    assert every(tmp_path / "went on", 5) == every(tmp_path / "alone", 5)
    assert "replicas" not in train.read_spec(tmp_path / "went on/0")["environment"]


def test_a_run_that_was_stacked_is_not_gone_on_with_alone_unasked(tmp_path):
    def fail(_, progress):
        if progress.step >= 8:
            raise ZeroDivisionError

    train.fit_replicas(placed(build(KINDS[:1]), tmp_path), stacked=True, observe=fail)
    with pytest.raises(train.EnvironmentChangedError, match="goes on stacked: --replicas"):
        alone(tmp_path, build(KINDS[:1]))


@pytest.mark.parametrize(
    ("change", "stacked", "message"),
    [
        (lambda one: {"config": replace(one.config, threads=2)}, False, "the same threads, got 1 .* and 2"),
        (lambda one: {"config": replace(one.config, precision="float64")}, False, "the same precision"),
        (lambda one: {"config": replace(one.config, backend="reference")}, False, "the same backend"),
        (lambda one: {"model": one.model.to("meta")}, False, "the same device, got cpu .* and meta"),
        (lambda one: {"folder": one.folder.parent / "0"}, False, "folders of their own"),
        (lambda one: {"config": replace(one.config, precision="tf32")}, False, "one that a CPU has"),
        (lambda one: {"config": replace(one.config, batch_size=5)}, True, "the same batch_size, got 6"),
        (lambda one: {"config": replace(one.config, optimizer="sgd")}, True, "the same optimizer"),
        (
            lambda _: {"task": tasks.adding(7, train_size=20, valid_size=10, test_size=10)},
            True,
            r"the same task\.steps, got 6 for number 0 and 7 for 1",
        ),
        (
            lambda _: {"model": build(KINDS[:1], cell=nn.GRU)[0].model},
            True,
            "the same type of core, got LSTM",
        ),
        (
            lambda _: {"model": build(KINDS[:1], layers=2)[0].model},
            True,
            "without dropout, .* got some in core",
        ),
        (lambda one: {"model": Model(one.model)}, True, "type of the model, got SequenceModel .* and Model"),
        (
            lambda one: {"config": replace(one.config, watch_every=3)},
            True,
            "watch_every = 0, .* got 3; train",
        ),
        (lambda one: {"model": hooked(one.model)}, True, "without hooks, got one on core, a LSTM"),
        (lambda one: {"task": Noisy(one.task)}, True, "type of the task, got _Adding .* and Noisy"),
        (lambda _: {"task": TASKS["copying"](8), "model": copier()}, True, "type of the task"),
    ],
)
def test_replicas_that_do_not_go_together_are_refused(tmp_path, change, stacked, message):
    first, second = placed(build(KINDS[:2]), tmp_path / "new")
    with pytest.raises(ValueError, match=message):
        train.fit_replicas([first, replace(second, **change(second))], stacked=stacked)
    assert not (tmp_path / "new").exists()


def test_anybody_s_model_can_be_stacked(tmp_path):
    def own():
        return [replace(one, model=Model(one.model)) for one in build(KINDS[:3], precision="float64")]

    alone(tmp_path / "alone", own())
    together(tmp_path / "stacked", own(), stacked=True)
    assert_equal_to_rounding(tmp_path / "alone", tmp_path / "stacked", 3, 1e-10)


def test_numbers_drawn_where_nobody_could_know_are_refused_as_they_are_drawn(tmp_path):
    noisy = [replace(one, task=Noisy(one.task)) for one in build(KINDS[:2])]
    endings = train.fit_replicas(placed(noisy, tmp_path), stacked=True)
    assert all("random operation" in str(ending) for ending in endings)


def test_folders_may_be_text_and_replicas_come_one_by_one(tmp_path):
    made = placed(build(KINDS[:2]), tmp_path)
    train.fit_replicas(replace(one, folder=str(one.folder)) for one in made)
    assert train.read_outcome(tmp_path / "1").status == "completed"
    with pytest.raises(TypeError, match="must be Replica objects, got str"):
        train.fit_replicas(["a"])


def test_an_unknown_model_is_trained_in_threads_one_at_a_time(tmp_path):
    def strange():
        return [replace(one, model=Model(one.model)) for one in build(KINDS[:3], layers=2)]

    alone(tmp_path / "alone", strange())
    together(tmp_path / "together", strange(), at_once=3)
    assert every(tmp_path / "alone", 3) == every(tmp_path / "together", 3)


def test_too_little_memory_is_told_in_bytes_and_runs():
    error = train.ReplicasMemoryError(25, needed=50_000, free=20_500, fit=10)
    assert str(error) == (
        "25 replicas must fit into the 20,500 bytes that the GPU has free, and need 50,000: "
        "10 fit (--replicas 10)"
    )
    assert "one alone does not" in str(train.ReplicasMemoryError(2, needed=None, free=9, fit=0))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_a_step_can_be_recorded_and_waits_for_nothing(tmp_path, monkeypatch, task, cell):
    """What a CUDA graph does: only launches are done again, on the same memory."""
    kinds = [{**kind, "task": TASKS[task](4)} for kind in KINDS]
    settings = {"backend": "reference", "epochs": 4, "cell": cell}
    together(tmp_path / "called", build(kinds, **settings), stacked=True)
    recordings = []

    def recorded(body, device, *, undo):
        del device
        body()  # what is made or tried out at a first time
        undo()
        with Watch() as watch, Tape() as tape:
            body()
        undo()  # a graph only notes what it would do
        recordings.append(tape)
        assert not watch.seen
        return tape.play

    monkeypatch.setattr("bptt.train._stacked._stack.recorded", recorded)
    # On a GPU indices are not looked at, for it would have to be waited for.
    monkeypatch.setattr(tasks.Task, "_checked", lambda *given: given[1])
    together(tmp_path / "recorded", build(kinds, **settings), stacked=True)
    assert len(recordings) >= 2  # for a run ends early, and the others are recorded anew
    assert every(tmp_path / "called", 5) == every(tmp_path / "recorded", 5)
