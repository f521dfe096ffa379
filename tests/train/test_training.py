"""What the loop computes: checked against a loop written out by hand, and against its own log."""

import json

import pytest
import safetensors.torch
import torch
from helpers import runs

from bptt import Detach, nn, tasks, train
from bptt.streams import stream


def log(folder):
    return train.read_metrics(folder)


def weights(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("clip_norm", ["none", 0.05])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("adam", lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1)),
        ("adamw", lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.1, momentum=0.5)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.01, weight_decay=0.1, momentum=0.5)),
    ],
)
def test_weights_and_norms_equal_those_of_a_loop_by_hand(tmp_path, name, make, clip_norm):
    momentum = 0.5 if name in ("rmsprop", "sgd") else 0.0
    settings = {"epochs": 1, "anneal_epochs": 0, "precision": "float64", "clip_norm": clip_norm}
    detach = Detach(h=0.5)
    model = runs.build(layers=1)
    runs.fit(
        tmp_path,
        model=runs.build(layers=1),
        detach=detach,
        optimizer=name,
        weight_decay=0.1,
        momentum=momentum,
        **settings,
    )

    model.double()
    model.core.detach = detach
    optimizer = make(model.parameters())
    norms = []
    for number, indices in enumerate(runs.TASK.train_indices(1, 6, seed=7), start=1):
        batch = runs.TASK.batch("train", indices)
        keeps = nn.draw_keeps(model, batch.x.shape[:2], generator=stream(7, "detach", number))
        with nn.steer(model, keeps=keeps):
            output = model(batch.x.double())
        optimizer.zero_grad()
        runs.TASK.loss(output, batch._replace(y=batch.y.double())).backward()
        limit = float("inf") if clip_norm == "none" else clip_norm
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), limit)))
        optimizer.step()

    for key, value in weights(tmp_path).items():
        torch.testing.assert_close(value, model.state_dict()[key], rtol=1e-12, atol=1e-12)
    (line,) = log(tmp_path)
    assert line["grad_norm"]["max"] == pytest.approx(max(norms), rel=1e-12)
    assert line["grad_norm"]["mean"] == pytest.approx(sum(norms) / 4, rel=1e-12)
    assert line["grad_norm"]["median"] == pytest.approx(sum(sorted(norms)[1:3]) / 2, rel=1e-12)
    assert line["clipped"] == (sum(norm > clip_norm for norm in norms) / 4 if clip_norm != "none" else 0)
    assert clip_norm == "none" or line["clipped"] > 0


def test_a_line_says_what_its_epoch_was(tmp_path):
    runs.fit(tmp_path, anneal_epochs=0)
    first, *_, last = log(tmp_path)
    assert list(first) == ["epoch", "step", "p", "train", "valid", "grad_norm", "clipped"]
    assert [line["step"] for line in log(tmp_path)] == [4, 8, 12]
    assert first["p"] == {"h": 0.5, "c": 0.1}
    assert set(first["train"]) == set(first["valid"]) == {"loss", "accuracy"}
    model = runs.build()
    model.load_state_dict(weights(tmp_path))
    best = json.loads((tmp_path / "done.json").read_bytes())["best"]
    assert train.evaluate(model, runs.TASK, "valid", batch_size=7) == best["valid"]
    assert last["epoch"] == 3


def test_training_metrics_are_those_of_the_weights_before_each_update(tmp_path):
    # A step of 1e-300 moves no float32 weight, so the epoch's mean is that of the untrained model.
    model = runs.build(layers=1)
    runs.fit(tmp_path, model=runs.build(layers=1), optimizer="sgd", lr=1e-300, epochs=2)
    untrained = train.evaluate(model, runs.TASK, "train")
    for line in log(tmp_path):
        assert line["train"] == pytest.approx(untrained, rel=1e-6)


@pytest.mark.parametrize("last", [0, 1, 2])
def test_p_is_zero_in_exactly_the_last_epochs(tmp_path, last):
    runs.fit(tmp_path, anneal_epochs=last)
    assert [line["p"]["h"] for line in log(tmp_path)] == [0.5] * (3 - last) + [0.0] * last
    assert [line["p"]["c"] for line in log(tmp_path)] == [0.1] * (3 - last) + [0.0] * last


def test_an_annealed_epoch_trains_like_one_without_detachment(tmp_path):
    both = {"optimizer": "sgd", "lr": 1e-300, "epochs": 2, "anneal_epochs": 1}
    runs.fit(tmp_path / "vanilla", detach=None, **both)
    runs.fit(tmp_path / "detached", detach=Detach(h=1.0, c=1.0), **both)
    vanilla, detached = log(tmp_path / "vanilla"), log(tmp_path / "detached")
    assert vanilla[0]["grad_norm"] != detached[0]["grad_norm"]
    assert vanilla[1]["grad_norm"] == detached[1]["grad_norm"]


def test_arms_that_differ_in_p_see_the_same_batches_and_the_same_dropout(tmp_path):
    # The forward pass does not know p, and the weights do not move: any difference would be data or dropout.
    arms = {"none": None, "zero": Detach(), "half": Detach(h=0.5), "both": Detach(h=0.3, c=0.3)}
    for name, detach in arms.items():
        runs.fit(tmp_path / name, detach=detach, optimizer="sgd", lr=1e-300, anneal_epochs=0)
    runs.fit(tmp_path / "other seed", detach=None, optimizer="sgd", lr=1e-300, anneal_epochs=0, seed=8)
    losses = {name: [line["train"] for line in log(tmp_path / name)] for name in [*arms, "other seed"]}
    assert losses["none"] == losses["zero"] == losses["half"] == losses["both"] != losses["other seed"]
    norms = {name: log(tmp_path / name)[0]["grad_norm"] for name in arms}
    assert norms["none"] == norms["zero"]
    assert norms["zero"] != norms["half"] != norms["both"]


def test_each_step_has_its_own_dropout(tmp_path):
    task = tasks.adding(6, train_size=1, valid_size=1, test_size=1)
    for dropout, distinct in ((0.2, 3), (0.0, 1)):
        folder = tmp_path / str(dropout)
        model = runs.build(task, dropout=dropout)
        runs.fit(folder, task=task, model=model, optimizer="sgd", lr=1e-300)
        assert len({line["train"]["loss"] for line in log(folder)}) == distinct


def test_an_evaluation_leaves_the_models_mode_as_it_was():
    model = runs.build()
    for training in (True, False):
        train.evaluate(model.train(training), runs.TASK, "valid")
        assert model.training is training


def test_each_epoch_tosses_new_coins(tmp_path):
    settings = {"optimizer": "sgd", "lr": 1e-300, "batch_size": 20, "anneal_epochs": 0}
    runs.fit(tmp_path, model=runs.build(layers=1), detach=Detach(h=0.5), **settings)
    assert len({line["grad_norm"]["mean"] for line in log(tmp_path)}) > 1


def test_float64_is_carried_through_weights_data_and_targets(tmp_path):
    seen = []
    model = runs.build()
    model.register_forward_hook(lambda _, inputs, output: seen.extend((inputs[0].dtype, output.dtype)))
    runs.fit(tmp_path, model=model, precision="float64", epochs=1, anneal_epochs=0)
    assert set(seen) == {torch.float64}
    assert {value.dtype for value in weights(tmp_path).values()} == {torch.float64}


def test_training_and_evaluation_set_the_models_mode(tmp_path):
    modes = []
    model = runs.build().eval()
    model.register_forward_hook(lambda module, *_: modes.append(module.training))
    runs.fit(tmp_path, model=model, epochs=1, anneal_epochs=0)
    assert modes == [True] * 4 + [False] * 4  # four steps; two batches of validation, two of the test
    assert not model.training


class Counting(tasks.Task):
    """Name the first of five tokens, of which four count."""

    def __init__(self):
        tokens = torch.randint(0, 3, (5, 12), generator=torch.Generator().manual_seed(0))
        super().__init__(
            name="counting",
            description="",
            source="",
            arguments={},
            steps=5,
            input_size=1,
            output_size=3,
            readout="last",
            sizes={"train": 12, "valid": 12},
            tensors={"tokens": tokens},
            vocabulary=3,
        )

    def _batch(self, _, indices):
        x = self._tensors["tokens"][:, indices]
        return tasks.Batch(x, x[0], torch.full((len(indices),), 4))

    def loss(self, output, batch):
        return torch.nn.functional.cross_entropy(output, batch.y)

    def metrics(self, output, batch):
        return {"loss": (self.loss(output, batch) * len(batch.y), len(batch.y))}

    def chance(self):
        return {"loss": 1.0986}


def test_tokens_and_lengths_reach_the_model(tmp_path):
    task = Counting()
    core = nn.LSTM(2, 4)
    model = nn.SequenceModel(core, 3, embed=torch.nn.Embedding(3, 2), readout="last")
    outcome = runs.fit(tmp_path, task=task, model=model)
    assert outcome.status == "completed"
    assert outcome.test is None
    assert set(log(tmp_path)[-1]["valid"]) == {"loss"}
    with pytest.raises(
        ValueError, match=r'solved_at must be "none" for counting, which has no accuracy, got 0.5'
    ):
        runs.fit(tmp_path / "new", task=task, model=model, solved_at=0.5)
    assert not (tmp_path / "new").exists()
