"""An examination: every array is what its own measure says, and what is not measured is said."""

import json
import re
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

import bptt
from bptt import flow

T, B, I, H = 12, 5, 2, 6


def model(**more):
    torch.manual_seed(0)
    return bptt.nn.SequenceModel(bptt.nn.LSTM(I, H, **more), 3)


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def squares(y, _):
    return y.square().sum(-1)


@pytest.fixture(scope="module")
def examined():
    of = model().eval()
    return of, flow.examine(of, normal(T, B, I), squares, lag=9, name="mine", about={"data": "normal noise"})


def test_arrays_are_what_the_measures_say(examined):
    of, found = examined
    x, key = normal(T, B, I), "core:0:0"
    (profile,) = flow.lag_profile(of, x, squares)
    arrays = found.arrays
    np.testing.assert_allclose(arrays[f"lag/{key}/c"], profile.median("c"))
    np.testing.assert_allclose(arrays[f"lag/{key}/h_high"], profile.band("h")[1])
    (split,) = flow.paths(of, x, lambda y, b: squares(y, b)[-1].sum())
    for path in ("carry", "gates"):
        expected = getattr(split, path).double().norm(dim=-1).flip(0).median(1).values
        np.testing.assert_allclose(arrays[f"lag/{key}/{path}"], expected, rtol=1e-6)
    with flow.record(of, full=True) as recording:
        squares(of(x), None).mean().backward()
    np.testing.assert_allclose(arrays[f"time/{key}/h"], recording.flows[0].h.median(1).values, rtol=1e-6)
    np.testing.assert_allclose(arrays[f"unit/{key}"], recording.flows[0].dc.double().abs().mean(1), rtol=1e-6)
    (opened,) = flow.gates(of, x, full=True)
    np.testing.assert_allclose(arrays[f"gates/{key}/saturated/f"], opened.saturated["f"])
    np.testing.assert_allclose(arrays[f"gates/{key}/memory"][:, 1], opened.median("memory"))
    np.testing.assert_allclose(sorted(arrays[f"gates/{key}/forget"]), sorted(opened.values["f"].flatten()))
    (jacobians,) = flow.spectrum(of, x, sequences=[0])
    np.testing.assert_allclose(arrays[f"spectrum/{key}/singular"], jacobians.singular[:, 0])
    np.testing.assert_allclose(arrays[f"spectrum/{key}/products"], jacobians.products[:, 0])
    (exponents,) = flow.lyapunov(of, x[:, :1], H)
    np.testing.assert_allclose(arrays[f"lyapunov/{key}/exponents"], exponents.mean, rtol=1e-6)
    reached = flow.reach(of, x[:, :1], at=arrays["reach/at"].tolist())
    np.testing.assert_allclose(arrays["reach/norms"], reached.norms[..., 0])


def test_the_document_says_what_was_asked_and_found(examined):
    of, found = examined
    document = json.loads(json.dumps(found.document, allow_nan=False))
    (verdict,) = flow.diagnose(of, normal(T, B, I), squares, lag=9).verdicts
    (layer,) = document["layers"]
    assert (document["name"], document["wanted_lag"]) == ("mine", 9)
    assert layer["verdict"]["sentence"] == verdict.sentence
    assert layer["verdict"]["rate"] == verdict.decay.rate
    first, last, value = layer["verdict"]["fit"]
    middle = (first + last) // 2
    fitted = np.exp(value + (middle - first) * np.log(verdict.decay.rate))
    arrays = found.arrays
    measured = np.hypot(arrays["lag/core:0:0/h"][middle], arrays["lag/core:0:0/c"][middle])
    assert fitted == pytest.approx(measured, rel=0.5)  # the line runs through what is drawn
    frame = dict(document["frame"])
    assert frame["batch"] == f"{B} sequences of up to {T} steps"
    assert frame["mode"] == "evaluation"
    assert frame["data"] == "normal noise"
    assert re.fullmatch(r"[\d.e+]+ s, as much as \d+ forward and backward passes of the batch", frame["cost"])
    assert frame["versions"].startswith(
        f"bptt {metadata.version('bptt')}, torch {torch.__version__}, Python 3."
    )
    assert not [key for key in frame if key.startswith("not measured")]
    with torch.no_grad():
        of.output.weight[0, 0] += 1
        other = flow.examine(of, normal(T, B, I), squares).document
        of.output.weight[0, 0] -= 1
    assert dict(other["frame"])["weights"] != frame["weights"]


def test_it_is_saved_and_read_again(examined, tmp_path):
    _, found = examined
    found.save(tmp_path / "new")
    assert json.loads((tmp_path / "new/flow.json").read_text()) == found.document
    with np.load(tmp_path / "new/flow.npz") as arrays:
        assert arrays.keys() == found.arrays.keys()
        np.testing.assert_array_equal(arrays["reach/norms"], found.arrays["reach/norms"])
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["flow.json", "flow.npz"]


def test_what_a_watch_saw_becomes_maps(examined):
    of, found = examined
    watch, rows = flow.watch(of, every=2), []
    for step in range(1, 7):
        with watch.step(step):
            squares(of(normal(T, B, I)), None).mean().backward()
        watch.clipped(step, step / 2)
        if (reading := watch.take()) is not None:
            rows.append(reading.row())
    arrays = found.with_training(rows).arrays
    assert arrays["training/steps"].tolist() == [2, 4, 6]
    assert arrays["training/before"].tolist() == [2, 4, 6]
    assert arrays["training/core:0:0/c"].shape == (3, T)
    np.testing.assert_array_equal(arrays["training/core:0:0/h"][1], rows[1]["layers"]["core:0:0"]["h"])
    assert "training/core:0:0/carry" not in arrays
    assert "lag/core:0:0/h" in arrays


def seen(step, t=(0, 1, 2), before=1.0, half_life=None, **paths):
    layer = {"t": list(t), "h": [float(step)] * len(t), "half_life": half_life}
    layer |= {path: [value] * len(t) for path, value in paths.items()}
    return {"step": step, "before": before, "after": before, "layers": {"core:0:0": layer}}


def test_only_what_was_measured_at_a_step_is_told_of_it(examined):
    _, found = examined
    rows = [
        seen(2),
        seen(4, carry=0.5, gates=torch.nan, half_life=3.0),
        seen(6, t=(0, 1)),
        seen(8, before=None),
        seen(10, carry=0.25, gates=0.125, before=torch.nan) | {"layers": {}},
    ]
    rows.append(seen(12, carry=0.25, gates=0.125))
    arrays = found.with_training(rows).arrays
    told = {name: each.tolist() for name, each in arrays.items() if name.startswith("training/")}
    assert told["training/steps"] == [2, 4, 6, 8, 10, 12]
    assert told["training/clip_steps"] == [2, 4, 6, 10, 12]
    assert told["training/before"] == pytest.approx([1, 1, 1, np.nan, 1], nan_ok=True)
    assert told["training/core:0:0/steps"] == [2, 4, 8, 12]
    assert told["training/core:0:0/h"] == [[step] * 3 for step in (2, 4, 8, 12)]
    assert told["training/core:0:0/half_life"] == pytest.approx([np.nan, 3, np.nan, np.nan], nan_ok=True)
    assert told["training/core:0:0/split_steps"] == [4, 12]
    assert told["training/core:0:0/carry"] == [[0.5] * 3, [0.25] * 3]
    assert np.isnan(told["training/core:0:0/gates"]).tolist() == [[True] * 3, [False] * 3]
    untold = found.with_training([seen(2, before=None)]).arrays
    assert not {"training/clip_steps", "training/before", "training/after"} & untold.keys()
    assert found.with_training([]).arrays.keys() == found.arrays.keys()


def test_other_models_give_what_there_is():
    gru = flow.examine(nn.GRU(I, H, bidirectional=True), normal(T, B, I), squares).arrays
    assert {"lag/model:0:1/carry", "gates/model:0:1/saturated/z", "spectrum/model:0:0/radius"} <= gru.keys()
    plain = flow.examine(nn.RNN(I, H), normal(T, B, I), squares)
    assert "not measured: both paths" in dict(plain.document["frame"])
    convolution = nn.Sequential(nn.Linear(I, H), nn.Tanh())
    pointwise = flow.examine(convolution, normal(T, B, I), squares)
    assert pointwise.document["layers"][0]["kind"] == "input"
    assert not [key for key in pointwise.arrays if key.startswith(("gates", "spectrum", "unit"))]


def test_text_and_images_must_fit_their_steps():
    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.core = nn.Embedding(7, I), nn.LSTM(I, H)

        def forward(self, tokens):
            return self.core(self.embed(tokens))[0]

    tokens = torch.arange(T * B).reshape(T, B) % 7
    found = flow.examine(Text(), tokens, squares, text="abcdefghijkl")
    assert found.document["input"] == {"kind": "text", "text": "abcdefghijkl", "shape": None}
    assert found.arrays["reach/norms"].shape == (T, T)
    assert found.arrays["reach/input"].tolist() == tokens[:, 0].tolist()
    with pytest.raises(ValueError, match=f"as many parts as the sample has steps, {T}, got 3"):
        flow.examine(Text(), tokens, squares, text="abc")
    image = flow.examine(model(), normal(T, B, I), squares, image=(3, 4))
    assert image.document["input"]["shape"] == [3, 4]


def test_values_that_are_not_finite_are_told_and_not_drawn():
    x = normal(T, B, I)
    x[4, 1] = torch.nan
    found = flow.examine(model(), x, squares)
    assert not found.diagnosis.within_reach
    assert "step 4" in found.document["nonfinite"]["sentence"]
    assert np.isnan(found.arrays["lag/core:0:0/h"]).any()
    assert "not measured: gates" in dict(found.document["frame"])


def test_nothing_of_the_model_changes(examined):
    of = model()
    before = {name: value.clone() for name, value in of.state_dict().items()}
    state = torch.get_rng_state()
    told = []
    flow.examine(of, normal(T, B, I), squares, observe=told.append)
    assert told[0] == "the verdict"
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in of.state_dict().items())
    assert all(weight.grad is None for weight in of.parameters())


@pytest.mark.parametrize("at", [None, [-1], [4, 8, 11]])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_both_paths_add_up_at_the_position_that_lags_count_from(kind, at):
    torch.manual_seed(0)
    layer = getattr(nn, kind)(I, H, bidirectional=at is None)
    arrays = flow.examine(layer, normal(T, 1, I), squares, at=at).arrays
    for direction in (0, 1) if at is None else (0,):
        place = f"lag/model:0:{direction}"
        parts = flow.paths(
            layer, normal(T, 1, I), lambda y, _, j=0 if direction else -1: squares(y, _)[j].sum()
        )[direction]
        whole = parts.whole.double().norm(dim=-1)[:, 0].flip(0 if not direction else ())
        carry, gates = arrays[f"{place}/carry"], arrays[f"{place}/gates"]
        assert (np.abs(carry - gates) <= whole.numpy() * (1 + 1e-6)).all()
        assert (carry + gates >= whole.numpy() * (1 - 1e-6)).all()


def test_what_is_outside_the_model_gets_no_gradient():
    x, head = normal(T, B, I).requires_grad_(), nn.Linear(3, 1)
    flow.examine(model(), x, lambda y, _: head(y).squeeze(-1).square())
    assert x.grad is None
    assert head.weight.grad is None


@pytest.mark.parametrize("kind", ["batch_first", "packed", "alone"])
def test_inputs_of_every_layout_are_examined(kind):
    torch.manual_seed(0)
    layer = nn.LSTM(I, H, batch_first=kind == "batch_first")
    batch, loss = normal(T, B, I), squares
    if kind == "batch_first":
        batch, loss = batch.transpose(0, 1), lambda y, b: squares(y, b).T
    if kind == "packed":
        batch = nn.utils.rnn.pack_padded_sequence(batch, torch.tensor([12, 7, 9, 5, 3]), enforce_sorted=False)

        def loss(y, _):
            return squares(nn.utils.rnn.pad_packed_sequence(y)[0], None)[-1]

    if kind == "alone":
        batch, loss = batch[:, 0], lambda y, b: squares(y, b).unsqueeze(1)
    found = flow.examine(layer, batch, loss)
    assert found.arrays["spectrum/model:0:0/radius"].shape == (T,)
    missing = {key for key, _ in found.document["frame"] if key.startswith("not measured")}
    assert missing == ({"not measured: reach"} if kind != "batch_first" else set())


def test_detachment_is_told_as_it_acts_here():
    of = bptt.nn.LSTM(I, H, detach=bptt.Detach(h=0.5))
    told = [
        dict(flow.examine(of.train(mode), normal(T, B, I), squares).document["frame"])["detachment"]
        for mode in (True, False)
    ]
    assert told == ["model: Detach(h=0.5, c=0.0, draw='step', shared=False)", "none, in evaluation mode"]


def test_medians_of_even_batches_lie_in_the_middle_and_show_nan():
    of, x = model(), normal(T, 2, I)
    arrays = flow.examine(of, x, squares).arrays
    (split,) = flow.paths(of, x, lambda y, b: squares(y, b)[-1].sum())
    norms = split.carry.double().norm(dim=-1).flip(0)
    np.testing.assert_allclose(arrays["lag/core:0:0/carry"], norms.mean(1), rtol=1e-6)
    assert arrays["lag/core:0:0/carry"][0] == pytest.approx(arrays["lag/core:0:0/c"][0])
    bad = torch.tensor([1.0, torch.nan])
    arrays = flow.examine(of, x, lambda y, b: squares(y, b) * bad).arrays
    assert np.isnan(arrays["time/core:0:0/h"]).all()


def test_absent_steps_make_nothing_fade():
    lengths = torch.tensor([12, 6, 6, 6, 6])
    batch = bptt.tasks.Batch(normal(T, 1, I).expand(T, B, I), torch.zeros(B), lengths)
    one = bptt.nn.SequenceModel(bptt.nn.LSTM(I, H), 3, readout="last")
    arrays = flow.examine(one, batch, squares).arrays
    alone = flow.examine(one, bptt.tasks.Batch(normal(T, 1, I), torch.zeros(1), lengths[:1]), squares).arrays
    key = "unit/core:0:0"
    np.testing.assert_allclose(arrays[key][6:], alone[key][6:] / B, rtol=1e-5)  # of the mean loss over B


def test_the_sample_of_the_forget_gate_is_of_all_units():
    layer = bptt.nn.LSTM(1, 64)
    with torch.no_grad():
        layer.bias_ih_l0[64:65] = -20
        layer.bias_ih_l0[65:128] = 20
    values = flow.examine(layer, normal(64, 32, 1), squares).arrays["gates/model:0:0/forget"]
    assert len(values) == 4000
    assert 0.005 < (values < 0.5).mean() < 0.03


def test_lags_that_count_from_elsewhere_are_drawn_there():
    found = flow.examine(model(), normal(T, B, I), lambda y, _: squares(y.roll(3, 0), _), lag=5)
    (layer,) = found.document["layers"]
    assert layer["verdict"]["start"] == 3
    first, last, _ = layer["verdict"]["fit"]
    assert (first, last) == (4, 8)
