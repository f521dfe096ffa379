"""How runs end: completed, solved, or not finite; and what is kept."""

import copy
import json
import math

import pytest
import safetensors
import safetensors.torch
import torch
from helpers import runs

from bptt import Detach, nn, ops, train


def task_with(**methods):
    """The tiny task with methods replaced."""
    task = copy.copy(runs.TASK)
    for name, method in methods.items():
        setattr(task, name, method)
    return task


def scripted_validation(values, key="accuracy"):
    """The tiny task, its validation metric in each epoch given (accuracy, or loss and no accuracy)."""
    calls = iter(values)

    def metrics(output, batch):
        if len(batch.y) != 10:  # training batches have 6 or 2, and the split is evaluated at once
            return runs.TASK.metrics(output, batch)
        value = (torch.tensor(next(calls), dtype=torch.float64), 1)
        return {"loss": value} if key == "loss" else {"loss": (torch.tensor(1.0), 1), key: value}

    return task_with(metrics=metrics, sizes={"train": 20, "valid": 10})


def test_a_completed_run(tmp_path):
    model = runs.build()
    outcome = runs.fit(tmp_path, model=model)
    assert (outcome.status, outcome.epoch, outcome.step) == ("completed", 3, 12)
    assert outcome.test == train.evaluate(model, runs.TASK, "test", batch_size=7)
    assert outcome == train.read_outcome(tmp_path)
    assert not outcome.environment_changed
    assert outcome.non_finite is None
    with safetensors.safe_open(tmp_path / "weights.safetensors", "pt") as file:
        assert file.metadata() == {"spec": train.read_spec(tmp_path)["hash"]}
    assert {path.name for path in tmp_path.iterdir()} == {
        *("spec.json", "metrics.jsonl", "timing.jsonl", "weights.safetensors", "done.json"),
        *("state.pt", "state.prev.pt", ".lock"),
    }


@pytest.mark.parametrize(
    ("key", "values", "best"),
    [
        ("accuracy", [0.2, 0.7, 0.5], 2),
        ("accuracy", [0.2, 0.7, 0.7], 2),
        ("accuracy", [0.0, 0.0, 0.0], 1),
        ("loss", [3.0, 1.0, 2.0], 2),
        ("loss", [1.0, 1.0, 1.0], 1),
        ("loss", [float("nan"), 2.0, float("inf")], 2),
    ],
)
def test_the_best_epoch_by_validation_is_kept_and_of_equals_the_earlier(tmp_path, key, values, best):
    model, of_epoch = runs.build(), []

    def remember(progress):
        if progress.metrics is not None and len(of_epoch) < progress.metrics["epoch"]:
            of_epoch.append({name: value.clone() for name, value in model.state_dict().items()})

    outcome = runs.fit(
        tmp_path, model=model, task=scripted_validation(values, key), eval_batch_size=10, observe=remember
    )
    assert outcome.best["epoch"] == best
    assert outcome.best["valid"][key] == values[best - 1]
    exported = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert [same(exported, weights) for weights in of_epoch] == [epoch == best for epoch in (1, 2, 3)]
    assert same(exported, model.state_dict()), "and they are in the model"


def same(weights, others):
    return all(torch.equal(weights[name], others[name]) for name in weights | others)


def test_a_run_stops_when_it_is_solved(tmp_path):
    task = scripted_validation([0.2, 0.9, 0.5])
    outcome = runs.fit(tmp_path, task=task, eval_batch_size=10, solved_at=0.9)
    assert (outcome.status, outcome.epoch, outcome.step) == ("solved", 2, 8)
    assert len(train.read_metrics(tmp_path)) == 2


def poisoned(step, value):
    """The tiny task whose loss is multiplied by `value` at a step."""
    calls = iter(range(1, 1000))

    def loss(output, batch):
        factor = value if next(calls) == step else 1.0
        return runs.TASK.loss(output, batch) * factor

    return task_with(loss=loss)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_ends_the_run_with_the_good_weights_kept(tmp_path, value):
    model = runs.build()
    outcome = runs.fit(tmp_path, task=poisoned(6, value), model=model)
    assert (outcome.status, outcome.epoch, outcome.step) == ("non-finite loss", 2, 6)
    assert repr(outcome.non_finite["loss"]) == repr(value)
    assert outcome.best["epoch"] == 1
    assert outcome.test is not None
    assert all(value.isfinite().all() for value in model.state_dict().values())
    page = json.loads((tmp_path / "done.json").read_bytes(), parse_constant=pytest.fail)
    assert page["non_finite"]["loss"] == repr(value)
    assert len(train.read_metrics(tmp_path)) == 1


def test_a_gradient_that_is_not_finite_is_named_and_not_applied(tmp_path):
    calls = iter(range(1, 1000))

    def loss(output, batch):
        if next(calls) == 6:
            output.register_hook(lambda gradient: gradient * float("inf"))
        return runs.TASK.loss(output, batch)

    outcome = runs.fit(tmp_path, task=task_with(loss=loss))
    assert (outcome.status, outcome.epoch, outcome.step) == ("non-finite gradient", 2, 6)
    assert outcome.non_finite["loss"] < float("inf")


def test_a_gradient_whose_square_overflows_is_clipped_and_training_goes_on(tmp_path):
    outcome = runs.fit(tmp_path, task=poisoned(6, 1e30), clip_norm=1.0)
    assert outcome.status == "completed"
    assert train.read_metrics(tmp_path)[1]["grad_norm"]["max"] > 1e25


def test_without_a_good_epoch_there_are_no_weights_and_no_test(tmp_path):
    model = runs.build()
    outcome = runs.fit(tmp_path, task=poisoned(2, float("nan")), model=model)
    assert (outcome.status, outcome.epoch, outcome.step) == ("non-finite loss", 1, 2)
    assert all(value.isfinite().all() for value in model.state_dict().values()), "the step was not taken"
    assert outcome.best is outcome.test is outcome.weights_sha256 is None
    assert not (tmp_path / "weights.safetensors").exists()
    assert train.read_metrics(tmp_path) == []
    assert repr(runs.fit(tmp_path)) == repr(outcome)


def test_a_validation_that_is_not_finite_is_written_as_a_word(tmp_path):
    runs.fit(
        tmp_path, task=scripted_validation([float("nan"), float("inf"), 1.0], "loss"), eval_batch_size=10
    )
    lines = [
        json.loads(line, parse_constant=pytest.fail)
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
    ]
    assert [line["valid"]["loss"] for line in lines] == ["nan", "inf", 1.0]
    read = [line["valid"]["loss"] for line in train.read_metrics(tmp_path)]
    assert [repr(value) for value in read] == ["nan", "inf", "1.0"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    outcome = runs.fit(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir() if path.name != ".lock"}
    model = runs.build()
    again = runs.fit(tmp_path, model=model, observe=lambda progress: pytest.fail(str(progress)))
    assert again == outcome
    assert before == {path: path.stat().st_mtime_ns for path in before}
    kept = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in model.state_dict().items())


def test_an_exception_is_recorded_and_the_next_attempt_clears_it(tmp_path):
    def loss(output, batch):
        raise ZeroDivisionError("by design")

    with pytest.raises(ZeroDivisionError):
        runs.fit(tmp_path, task=task_with(loss=loss))
    failure = train.read_failure(tmp_path)
    assert failure is not None
    assert failure["error"] == "ZeroDivisionError: by design"
    assert "in loss" in failure["traceback"]
    assert (failure["epoch"], failure["step"]) == (1, 0)
    assert runs.fit(tmp_path).status == "completed"
    assert train.read_failure(tmp_path) is None


def test_a_failure_before_the_first_step_is_recorded_too(tmp_path):
    class Unreadable(type(runs.TASK)):
        def fingerprint(self):
            raise OSError("the data is gone")

    task = copy.copy(runs.TASK)
    task.__class__ = Unreadable
    with pytest.raises(OSError, match="the data is gone"):
        runs.fit(tmp_path, task=task)
    failure = train.read_failure(tmp_path)
    assert failure["error"] == "OSError: the data is gone"
    assert (failure["epoch"], failure["step"]) == (0, 0)

    outcome = runs.fit(tmp_path)
    assert train.read_failure(tmp_path) is None
    weights = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(weights[:-1])
    with pytest.raises(train.RunError):
        runs.fit(tmp_path)
    assert "weights.safetensors is damaged" in train.read_failure(tmp_path)["error"]
    (tmp_path / "weights.safetensors").write_bytes(weights)
    assert runs.fit(tmp_path) == outcome
    assert train.read_failure(tmp_path) is None


@pytest.mark.parametrize(
    "frames", ["Exception raised from f at f.cpp:1", "C++ CapturedTraceback:", "frame #0: f"]
)
def test_a_recorded_error_does_not_list_the_functions_of_torch(tmp_path, frames):
    error = RuntimeError(
        f"the rule\nand more of it\n{frames} (most recent call first):\n#4 std::_Function_handler"
    )
    train.record_failure(tmp_path, error)
    assert train.read_failure(tmp_path)["error"] == "RuntimeError: the rule\nand more of it"
    assert train.describe(error) == "RuntimeError: the rule\nand more of it"


def test_what_a_run_borrows_it_gives_back(tmp_path):
    model = runs.build()
    own = Detach(h=0.5, c=0.1)
    model.core.detach = own
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    threads = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        drawn = []

        def observe(progress):
            threads.append(torch.get_num_threads())
            if progress.step in (1, 2, 3) and len(drawn) < 3:
                drawn.append(torch.rand(()))

        runs.fit(tmp_path, model=model, detach=own, threads=1, observe=observe)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}
    assert torch.equal(torch.stack(drawn), expected), "the user's random stream goes on as if nothing had run"
    assert model.core.detach is own


def test_detachment_must_reach_a_layer_and_not_contradict_it(tmp_path):
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.core = torch.nn.LSTM(2, 4)
            self.readout = torch.nn.Linear(4, 1)

        def forward(self, x):
            return self.readout(self.core(x)[0][-1])

    with pytest.raises(
        ValueError, match=r"detach needs a model with a recurrent layer of bptt.nn, got none in Plain"
    ):
        runs.fit(tmp_path / "run", model=Plain())
    model = runs.build()
    model.core.detach = Detach(h=0.9)
    with pytest.raises(ValueError, match=r"detach of layer 'core' must be None or that of the run = Detach"):
        runs.fit(tmp_path / "run", model=model)
    assert not (tmp_path / "run").exists()
    assert runs.fit(tmp_path / "run", model=Plain(), detach=None).status == "completed"
    assert runs.fit(tmp_path / "converted", model=nn.convert(Plain())).status == "completed"


def test_a_model_must_have_something_to_train(tmp_path):
    model = runs.build().requires_grad_(False)
    with pytest.raises(ValueError, match="model must have parameters to train, got none in SequenceModel"):
        runs.fit(tmp_path / "run", model=model)
    assert not (tmp_path / "run").exists()


class Asked:
    """A backend that is faster than the reference, and refuses whatever it is asked."""

    name = "asked"
    calls = 0

    def missing(self):
        return None

    def refuses(self, _):
        self.calls += 1
        return "it never serves"

    def run(self, _):
        raise NotImplementedError


def test_the_backend_of_the_config_serves_every_call_or_the_run_fails(tmp_path):
    backend = Asked()
    remove = ops.register_backend(backend)
    try:
        runs.fit(tmp_path / "reference", backend="reference")
        assert backend.calls == 0
        runs.fit(tmp_path / "auto", backend="auto")
        assert backend.calls > 0
        with pytest.raises(RuntimeError, match="asked: it never serves"):
            runs.fit(tmp_path / "asked", backend="asked")
    finally:
        remove()
    assert train.read_failure(tmp_path / "asked")["error"].startswith("RuntimeError: lstm with (T, B, I, H)")
    assert train.read_spec(tmp_path / "auto")["environment"]["backend"].startswith("auto: asked, ")
    with pytest.raises(train.ConfigError, match=r'backend must be one of "auto", .*"reference", got .asked.'):
        runs.fit(tmp_path / "gone", backend="asked")


def test_progress_tells_where_the_run_stands(tmp_path):
    seen = []
    runs.fit(tmp_path, observe=seen.append)
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12, 12]
    assert {(progress.epochs, progress.steps_per_epoch, progress.resumed_at) for progress in seen} == {
        (3, 4, 0)
    }
    assert [progress.epoch for progress in seen] == [1] * 5 + [2] * 5 + [3] * 5
    assert [progress.metrics and progress.metrics["epoch"] for progress in seen[3:5]] == [None, 1]
    assert all(progress.loss > 0 and progress.seconds > 0 for progress in seen)
    halfway, end = seen[6], seen[-1]
    assert halfway.seconds_left == pytest.approx(halfway.seconds)
    assert end.seconds_left == 0


def test_a_model_that_blows_up_in_its_last_step_is_not_called_completed(tmp_path):
    outcome = runs.fit(tmp_path, epochs=1, batch_size=20, lr=1e37, anneal_epochs=0, clip_norm="none")
    assert train.read_metrics(tmp_path)[0]["train"]["loss"] < float("inf")
    assert (outcome.status, outcome.epoch) == ("non-finite loss", 1)
    assert not math.isfinite(outcome.non_finite["valid_loss"])
    assert train.verify_outcome(tmp_path) == outcome
