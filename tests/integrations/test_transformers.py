"""The callback of transformers sees what a loop by hand with `flow.watch` sees."""

import pytest
import torch
from accelerate import DistributedType
from helpers.watched import Net, batches, by_hand, expected, hooks, weights
from transformers import Trainer, TrainerCallback, TrainingArguments

from bptt.integrations import TransformersFlow

KEY = "net.core:0:0"


class Model(torch.nn.Module):
    """The net of the tests as the trainer calls it."""

    def __init__(self, net=None):
        super().__init__()
        self.net = net or Net()

    def forward(self, x, labels):
        return {"loss": self.net(x, labels), "logits": labels}


def trainer(tmp_path, model, given=None, every=2, **options):
    """One that trains by SGD, evaluates after every step, and reports to nobody."""
    given = given or batches(6)
    examples = [{"x": x, "labels": y} for batch in given for x, y in zip(*batch, strict=True)]
    arguments = TrainingArguments(
        tmp_path,
        per_device_train_batch_size=4,
        num_train_epochs=1,
        learning_rate=0.1,
        lr_scheduler_type="constant",
        optim="sgd",
        eval_strategy="steps",
        eval_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "no", **options},
    )
    trainer = Trainer(model, arguments, train_dataset=examples, eval_dataset=examples[:4])
    trainer.add_callback(TransformersFlow(trainer, every=every))
    return trainer


def logged(trainer):
    """The flow in the history, by step."""
    return {
        row["step"]: {tag: value for tag, value in row.items() if tag.startswith("flow/")}
        for row in trainer.state.log_history
        if any(tag.startswith("flow/") for tag in row)
    }


@pytest.mark.parametrize(("accumulate", "clip"), [(1, 0), (1, 0.05), (2, 0.05)])
def test_logs_what_a_loop_by_hand_sees(tmp_path, accumulate, clip):
    model = Model()
    hf = trainer(
        tmp_path,
        model,
        batches(12),
        gradient_accumulation_steps=accumulate,
        max_grad_norm=clip,
        logging_steps=2,
    )
    hf.train()
    given = model.net.seen
    assert len(given) == 12
    rows, _ = by_hand(Net(), given, every=2, accumulate=accumulate, clip=clip or None, first=1)
    assert [row["step"] for row in rows] == list(range(2, 12 // accumulate + 1, 2))
    assert logged(hf) == {row["step"]: pytest.approx(expected(row, KEY), rel=1e-5) for row in rows}
    assert (rows[0]["before"] > 1.01 * rows[0]["after"]) is bool(clip)
    _, unwatched = by_hand(Net(), given, every=100, first=1, accumulate=accumulate, clip=clip or None)
    assert torch.equal(weights(model), unwatched)
    theirs = {row["step"]: row["grad_norm"] for row in hf.state.log_history if "grad_norm" in row}
    assert theirs == {row["step"]: pytest.approx(row["before"], rel=1e-5) for row in rows}
    assert hooks(model) == 0
    assert "clip_grad_norm_" not in vars(hf.accelerator)


def test_reports_where_the_trainer_reports(tmp_path):
    told = []

    class Reporter(TrainerCallback):
        def on_log(self, *_, logs, **__):
            told.extend((hf.state.global_step, tag) for tag in logs if tag.startswith("flow/grad_norm"))

        def on_optimizer_step(self, *_, **__):
            assert "clip_grad_norm_" not in vars(hf.accelerator)

    hf = trainer(tmp_path, Model(), every=5)
    hf.add_callback(Reporter())
    hf.train()
    assert told == [(5, "flow/grad_norm/before_clip"), (5, "flow/grad_norm/after_clip")]


def test_layers_of_torch(tmp_path):
    model = Model(Net(torch.nn.LSTM))
    hf = trainer(tmp_path, model, every=1, max_grad_norm=0)
    hf.train()
    rows, _ = by_hand(Net(), model.net.seen, every=1, first=1)
    assert logged(hf) == {row["step"]: pytest.approx(expected(row, KEY), rel=1e-4) for row in rows}


def test_unscales_what_a_scaler_scaled(tmp_path):
    def run(scale):
        hf = trainer(tmp_path, Model(), every=1)
        accelerator = hf.accelerator  # float16 as on a GPU, which transformers refuses on a CPU
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        accelerator.native_amp, accelerator.state._mixed_precision = True, "fp16"
        hf.train()
        large = ("flow/grad_norm", "flow/h/last", "flow/c/last")  # where float16 has digits
        return {
            (step, tag): value
            for step, values in logged(hf).items()
            for tag, value in values.items()
            if tag.startswith(large)
        }

    plain = run(1.0)
    assert len(plain) == 6 * 4
    assert run(64.0) == pytest.approx(plain, rel=0.02)


def test_goes_on_counting_after_a_checkpoint(tmp_path):
    options = {"save_strategy": "steps", "save_steps": 3, "every": 4}
    trainer(tmp_path, Model(), **options).train()
    resumed = trainer(tmp_path, Model(), **options)
    resumed.state.log_history.clear()
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    assert list(logged(resumed)) == [4]


def test_recovers_from_an_error(tmp_path):
    hf = trainer(tmp_path, Model(), every=1)
    whole, hf.model.net.readout.forward = hf.model.net.readout.forward, None
    with pytest.raises(TypeError, match="not callable"):
        hf.train()
    assert hooks(hf.model) == 0  # at once, for nobody may ever train it again
    assert not {"clip_grad_norm_", "training_step"} & (vars(hf.accelerator).keys() | vars(hf).keys())
    hf.model.net.readout.forward = whole
    hf.train()
    assert len(logged(hf)) == 6
    assert hooks(hf.model) == 0
    assert "clip_grad_norm_" not in vars(hf.accelerator)


@pytest.mark.parametrize(
    ("make", "every", "message"),
    [
        (lambda: Model(torch.nn.Linear(2, 1)), 1, "model must have an LSTM, GRU or RNN"),
        (Model, 0, "every must be an integer ≥ 1, got 0"),
    ],
)
def test_refuses_what_cannot_be_watched(tmp_path, make, every, message):
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, make(), every=every).train()


def test_refuses_a_divided_model(tmp_path, monkeypatch):
    hf = trainer(tmp_path, Model())
    monkeypatch.setattr(hf.accelerator.state, "distributed_type", DistributedType.FSDP)
    with pytest.raises(ValueError, match="model must be whole in each process, got FSDP"):
        hf.callback_handler.on_train_begin(hf.args, hf.state, hf.control)
