"""Measurements: the gradients of layers as they are initialised, against the number of steps."""

import json

import pytest
import torch
from helpers.experiments import Watched, contents, refused, told
from torch.autograd import grad

from bptt import experiments
from bptt.cli import main
from bptt.streams import stream

NAME = "gradient-flow-rnn-lstm"
ARMS = experiments.load(NAME).arms


def small(**asked):
    """Runs of a few milliseconds."""
    return experiments.load(NAME, **({"profile": "smoke"} | asked))


def rows(folder, arm, seed=0):
    return json.loads((folder / arm / f"seed-{seed}" / "measured.json").read_text())["rows"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """The study folder of the smoke profile with two seeds."""
    return experiments.run(small(seeds=[0, 1]), tmp_path_factory.mktemp("runs")).folder


def twin(cell, H, T, *, seed=0, longest=10, orthogonal=False):
    """Norms of gradients by torch.nn and autograd alone, weights and data drawn again."""
    torch.manual_seed(stream(seed, "init").initial_seed())
    layer = {"rnn": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[cell](
        32, H, dtype=torch.float64
    )
    if orthogonal:
        torch.nn.init.orthogonal_(layer.weight_hh_l0)
    noise = stream(seed, "measure.data")
    target = torch.randn((1, H), generator=noise, dtype=torch.float64)
    x = torch.randn((longest, 1, 32), generator=noise, dtype=torch.float64)[-T:]
    first = [
        torch.zeros(1, 1, H, dtype=torch.float64, requires_grad=True) for _ in range(1 + (cell == "lstm"))
    ]
    y, _ = layer(x, tuple(first) if cell == "lstm" else first[0])
    last = y[-1].detach().requires_grad_()
    (at_last,) = grad(((last - target) ** 2).sum(), last)
    found = grad(((y[-1] - target) ** 2).sum(), [layer.weight_hh_l0, *first])
    norms = [each.norm().item() for each in found]
    return [norms[0], at_last.norm().item(), *norms[1:]]


@pytest.mark.parametrize("arm", ["rnn", "gru", "lstm", "orthogonal"])
def test_norms_are_those_of_autograd(measured, arm):
    cell = {"orthogonal": "rnn"}.get(arm, arm)
    for seed in (0, 1):
        for row in rows(measured, arm, seed):
            expected = twin(cell, 8, row["steps"], seed=seed, orthogonal=arm == "orthogonal")
            got = [row[key] for key in ("weight_hh", "last_h", "first_h", "first_c")[: len(expected)]]
            assert got == pytest.approx(expected, rel=1e-9)
            assert (row["first_c"] is None) == (cell != "lstm")


def lstm_twin(p, T, coin, H=8):
    """A loop over steps that detaches h by the coins of Algorithm 1."""
    torch.manual_seed(stream(0, "init").initial_seed())
    layer = torch.nn.LSTM(32, H, dtype=torch.float64)
    noise = stream(0, "measure.data")
    target = torch.randn((1, H), generator=noise, dtype=torch.float64)
    x = torch.randn((10, 1, 32), generator=noise, dtype=torch.float64)[-T:]
    kept = torch.rand(T, generator=stream(0, "measure.coins", coin)) >= p
    h0, c0 = (torch.zeros(1, H, dtype=torch.float64, requires_grad=True) for _ in range(2))
    h, c = h0, c0
    for t in range(T):
        read = h if kept[t] else h.detach()
        sums = x[t] @ layer.weight_ih_l0.T + layer.bias_ih_l0 + read @ layer.weight_hh_l0.T + layer.bias_hh_l0
        i, f, g, o = sums.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
    found = grad(((h - target) ** 2).sum(), [layer.weight_hh_l0, h0, c0], materialize_grads=True)
    return [each.norm().item() for each in found]


@pytest.mark.parametrize("p", [0.25, 0.5])
def test_detachment_is_that_of_a_loop_with_the_same_coins(measured, p):
    found = rows(measured, f"h-detach-{p}")
    assert [(row["steps"], row["coin"]) for row in found] == [
        (T, coin) for T in (2, 5, 10) for coin in (0, 1)
    ]
    for row in found:
        got = [row[key] for key in ("weight_hh", "first_h", "first_c")]
        assert got == pytest.approx(lstm_twin(p, row["steps"], row["coin"]), rel=1e-9)


def test_an_orthogonal_linear_rnn_preserves_the_gradient_and_nothing_else_does(measured):
    for arm in ARMS:
        shares = [row["first_h"] / row["last_h"] for row in rows(measured, arm.name) if row["steps"] == 10]
        if arm.name == "orthogonal-linear":
            assert shares == pytest.approx([1.0], rel=1e-12)
        else:
            assert max(shares) < 0.5


def test_a_gradient_whose_squares_vanish_is_no_zero(tmp_path):
    settings = ["measure.steps=[100, 400]", "measure.hidden_size=8"]
    spec = experiments.load(NAME, arms=["rnn"], seeds=[0], settings=settings)
    near, far = (row["first_h"] for row in rows(experiments.run(spec, tmp_path).folder, "rnn"))
    assert near > 1e-150
    assert 0 < far < 1e-170  # squares below 5e-324 are 0


def test_a_measurement_is_made_once_and_again_with_the_same_bytes(measured, tmp_path):
    result = experiments.run(small(seeds=[1]), tmp_path)
    watched = Watched()
    everything = experiments.run(small(seeds=[0, 1]), tmp_path, observe=watched)
    kinds = [event.kind for event in watched.events]
    assert [kinds.count(kind) for kind in ("skip", "queue", "end")] == [7, 7, 7]
    ours, theirs = (
        {name: data for name, data in contents(folder).items() if name.endswith("measured.json")}
        for folder in (everything.folder, measured)
    )
    assert ours.keys() == theirs.keys()
    for name in ours:
        mine, other = json.loads(ours[name]), json.loads(theirs[name])
        assert {**mine, "command": 0, "sha256": 0} == {**other, "command": 0, "sha256": 0}
    lost = result.folder / "gru" / "seed-1" / "measured.json"
    before = lost.read_bytes()
    lost.unlink()
    assert not experiments.resume(result.folder).failed
    assert json.loads(lost.read_bytes())["rows"] == json.loads(before)["rows"]


def test_damage_is_told_by_name_and_stops_nothing_else(tmp_path):
    spec = small(arms=["rnn", "gru"])
    folder = experiments.run(spec, tmp_path).folder
    one, two = (folder / arm / "seed-0" / "measured.json" for arm in ("rnn", "gru"))
    one.write_text(one.read_text().replace('"coin": 0', '"coin": 1', 1))
    two.write_text("{")
    (told_one, told_two) = experiments.run(spec, tmp_path).failed
    assert "sha256 is not that of its other keys" in told_one.text
    assert f"{two} is damaged" in told_two.text
    assert "measure it anew" in told_two.text


def test_another_run_s_measurement_is_refused(tmp_path):
    spec = small(arms=["rnn", "gru"])
    folder = experiments.run(spec, tmp_path).folder
    (folder / "gru" / "seed-0" / "measured.json").write_bytes(
        (folder / "rnn" / "seed-0" / "measured.json").read_bytes()
    )
    (failed,) = experiments.run(spec, tmp_path).failed
    assert "is another run's: its spec is not that of gru, seed 0" in failed.text


def test_stopping_leaves_the_rest_to_be_resumed(tmp_path):
    watched = Watched()
    measured = iter(range(3))
    result = experiments.run(small(), tmp_path, observe=watched, until=lambda: next(measured, None) is None)
    kinds = [event.kind for event in watched.events]
    assert (kinds.count("end"), kinds.count("stopped")) == (3, 4)
    assert not experiments.resume(result.folder).failed
    assert len(list(result.folder.glob("*/seed-0/measured.json"))) == 7


def test_other_values_are_refused_with_their_keys(tmp_path):
    experiments.run(small(arms=["rnn"]), tmp_path)
    with pytest.raises(experiments.StudyError, match=r"measure\.coins: 2 there, 3 asked for"):
        experiments.run(small(arms=["rnn"], settings=["measure.coins=3"]), tmp_path)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ({"workers": 2}, "workers: must be left out or 1"),
        ({"replicas": 2}, "replicas: must be left out or 1"),
        ({"data": "."}, "data: must be left out"),
    ],
)
def test_what_a_measurement_cannot_use_is_refused(tmp_path, asked, problem):
    with pytest.raises(experiments.SpecError, match=problem):
        experiments.run(small(), tmp_path, **asked)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("measure.steps=[]", "measure.steps"),
        ("measure.steps=[5, 2]", "measure.steps"),
        ("measure.steps=[0, 2]", "measure.steps"),
        ("measure.coins=0", "measure.coins"),
        ("measure.hidden_size=0", "measure.hidden_size"),
        ("measure.precision=bf16", "measure.precision"),
        ("arms.lstm.measure.nonlinearity=linear", "arms.lstm.measure.nonlinearity"),
        ("arms.gru.measure.recurrent=orthogonal", "arms.gru.measure.recurrent"),
        ("arms.rnn.detach.c=0.5", "arms.rnn.detach"),
        ("arms.orthogonal-linear.detach.h=0.5", "arms.orthogonal-linear.detach"),
        ("train.epochs=3", "train"),
    ],
)
def test_a_wrong_value_is_told_by_its_key(setting, key):
    assert key in told(refused(NAME, settings=[setting]))


def test_a_misspelt_key_has_a_nearest_one_and_a_gpu_is_refused():
    assert told(refused(NAME, settings=["measure.stepz=[1]"]))["measure.stepz"].nearest == "measure.steps"
    assert "must be 'cpu'" in told(refused(NAME, device="cuda"))["device"].message


def test_the_commands_know_measurements(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", NAME, "--profile", "smoke", "--seeds", "0", "1"]) == 0
    assert "ended: 14 of 14 runs" in capsys.readouterr().out
    assert main(["resume", "runs"]) == 0
    assert "rnn, seed 0: already measured" in capsys.readouterr().out
    assert main(["report", f"runs/{NAME}-smoke"]) == 0
    shown = capsys.readouterr().out
    assert "‖∂L/∂W_hh‖ as a multiple of that of RNN" in shown
    assert main(["show", NAME]) == 0
    assert 'measure.nonlinearity = "linear"' in capsys.readouterr().out
