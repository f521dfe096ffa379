"""The callback of Lightning sees what a loop by hand with `flow.watch` sees."""

import csv
from math import isfinite, isnan

import pytest
import torch
from helpers.watched import Net, batches, by_hand, expected, hooks, weights
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy
from torch.utils.data import DataLoader

from bptt.integrations import LightningFlow

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),  # Lightning's use of torch 2.13
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # advice on large data
]
KEY = "net.core:0:0"


class Module(LightningModule):
    """The net of the tests, trained by SGD."""

    def __init__(self, net=None, **options):
        super().__init__()
        self.net = net or Net()
        self.options = options

    def training_step(self, batch):
        loss = self.net(*batch)
        self.log("loss", loss, batch_size=4)
        return loss

    def validation_step(self, batch):
        self.net(*batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, **self.options)


def train(tmp_path, module, given, *callbacks, **options):
    """Fit on ready batches, validating every third time: the trainer, and the lines of metrics.csv."""
    trainer = Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=CSVLogger(tmp_path),
        callbacks=list(callbacks),
        log_every_n_steps=1,
        val_check_interval=3,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, DataLoader(given, batch_size=None), DataLoader(batches(2), batch_size=None))
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open(newline="") as file:
        return trainer, list(csv.DictReader(file))


def logged(lines):
    """What there is of the flow in metrics.csv, by step."""
    found = {}
    for line in lines:
        values = {tag: float(value) for tag, value in line.items() if tag.startswith("flow/") and value}
        if values:
            found[int(line["step"])] = values
    return found


@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (1, 0.05), (2, 0.05)])
def test_logs_what_a_loop_by_hand_sees(tmp_path, accumulate, clip):
    module, given = Module(), batches(12)
    trainer, lines = train(
        tmp_path,
        module,
        given,
        LightningFlow(every=2),
        accumulate_grad_batches=accumulate,
        gradient_clip_val=clip,
    )
    rows, _ = by_hand(Net(), given, every=2, accumulate=accumulate, clip=clip)
    assert [row["step"] for row in rows] == list(range(0, 12 // accumulate, 2))
    assert logged(lines) == {row["step"]: pytest.approx(expected(row, KEY), rel=1e-6) for row in rows}
    assert (rows[0]["before"] > rows[0]["after"]) is (clip is not None)
    _, unwatched = by_hand(Net(), given, every=100, first=1, accumulate=accumulate, clip=clip)
    assert torch.equal(weights(module), unwatched)
    assert trainer.callback_metrics["flow/grad_norm/before_clip"].item() == pytest.approx(rows[-1]["before"])
    assert hooks(module) == 0
    assert not trainer.optimizers[0]._optimizer_step_post_hooks


def test_logs_at_the_steps_of_the_other_values(tmp_path):
    _, lines = train(tmp_path, Module(), batches(6), LightningFlow(every=2), accumulate_grad_batches=2)
    losses = {int(line["step"]) for line in lines if line["loss"]}
    assert logged(lines)
    assert logged(lines).keys() <= losses


def test_layers_of_torch(tmp_path):
    given = batches(3)
    _, lines = train(tmp_path, Module(Net(torch.nn.LSTM)), given, LightningFlow(every=1))
    rows, _ = by_hand(Net(), given, every=1)
    assert logged(lines) == {row["step"]: pytest.approx(expected(row, KEY), rel=1e-4) for row in rows}


@pytest.mark.parametrize("fused", [False, True])
def test_unscales_what_a_scaler_scaled(tmp_path, fused):
    def run(folder, scale):
        plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=scale))
        module = Module(fused=fused)
        _, lines = train(tmp_path / folder, module, batches(3), LightningFlow(every=1), plugins=[plugin])
        large = ("flow/grad_norm", "flow/h/last", "flow/c/last")  # where float16 has digits
        return {
            (step, tag): value
            for step, values in logged(lines).items()
            for tag, value in values.items()
            if tag.startswith(large)
        }

    plain = run("plain", 1.0)
    assert len(plain) == 3 * 4
    assert run("scaled", 64.0) == pytest.approx(plain, rel=0.02)
    for step in range(3):
        assert plain[step, "flow/grad_norm/after_clip"] == plain[step, "flow/grad_norm/before_clip"]


def test_a_step_that_a_scaler_leaves_out(tmp_path):
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**40))
    module = Module()
    before = weights(module)
    _, lines = train(tmp_path, module, batches(3), LightningFlow(every=4), plugins=[plugin])
    values = logged(lines)[0]
    assert not isfinite(values["flow/grad_norm/before_clip"])
    assert isnan(values["flow/grad_norm/after_clip"])
    assert torch.equal(weights(module), before)


class ByHand(Module):
    """Optimises by its own hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch):
        loss = self.net(*batch)
        self.optimizers().zero_grad()
        self.manual_backward(loss)
        self.optimizers().step()


def test_manual_optimisation_has_no_norms_of_clipping(tmp_path):
    given = batches(3)
    _, lines = train(tmp_path, ByHand(), given, LightningFlow(every=2))
    rows, _ = by_hand(Net(), given, every=2)
    without = [{**row, "before": None, "after": None} for row in rows]
    assert logged(lines) == {row["step"]: pytest.approx(expected(row, KEY), rel=1e-6) for row in without}


def test_goes_on_counting_in_a_second_fit(tmp_path):
    callback, module = LightningFlow(every=4), Module()
    trainer, _ = train(tmp_path, module, batches(6), callback)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, DataLoader(batches(6), batch_size=None), DataLoader(batches(2), batch_size=None))
    trainer.logger.save()
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open(newline="") as file:
        assert list(logged(csv.DictReader(file))) == [0, 4, 8]


class Breaks(Module):
    def training_step(self, batch):
        super().training_step(batch)
        raise RuntimeError("broken")


def test_leaves_no_hook_after_an_error(tmp_path):
    module = Breaks()
    with pytest.raises(RuntimeError, match="broken"):
        train(tmp_path, module, batches(3), LightningFlow())
    assert hooks(module) == 0


@pytest.mark.parametrize(
    ("make", "every", "message"),
    [
        (lambda: Module(torch.nn.Linear(2, 1)), 1, "model must have an LSTM, GRU or RNN"),
        (Module, 0, "every must be an integer ≥ 1, got 0"),
    ],
)
def test_refuses_what_cannot_be_watched(tmp_path, make, every, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path, make(), batches(3), LightningFlow(every=every))


def test_refuses_a_divided_model(tmp_path):
    trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    trainer._accelerator_connector.strategy = FSDPStrategy()
    with pytest.raises(TypeError, match="model whole in each process, got FSDPStrategy"):
        LightningFlow().on_fit_start(trainer, Module())


def test_refuses_the_trainer_of_another_package():
    import pytorch_lightning

    trainer = pytorch_lightning.Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    with pytest.raises(TypeError, match=r"must be of lightning.pytorch, got one of pytorch_lightning"):
        LightningFlow().on_fit_start(trainer, Module())
