"""Both sides must compute the same before anything is timed."""

import pytest
import torch

from bptt import bench, ops
from bptt.bench import Case, MismatchError, Request, Shape, check
from bptt.bench._rivals import WATCHED

SHAPE = Shape(12, 3, 2, 5)


class Wrong:
    """The reference with one output or gradient a little off."""

    name = "wrong"

    def __init__(self, spoil):
        self.spoil = spoil

    def missing(self):
        return None

    def refuses(self, _call):
        return None

    def run(self, call):
        y, states = getattr(ops, call.op)(**{**call.arguments, "backend": "reference"})
        return self.spoil(y, states)


def spoil_y(y, states):
    return y * 1.001, states


def spoil_state(y, states):
    return y, (states[0], states[1] + 0.001)


def spoil_gradient(y, states):
    return y * 1.001 - y.detach() * 0.001, states


def spoil_with_nan(y, states):
    return y + torch.full((), torch.nan), states


def lose_gradient(y, states):
    return y.detach(), tuple(state.detach() for state in states)


@pytest.fixture
def plant():
    undone = []
    yield lambda spoil: undone.append(ops.register_backend(Wrong(spoil)))
    for undo in undone:
        undo()


@pytest.mark.parametrize(
    "case",
    [
        Case("lstm", SHAPE),
        Case("lstm", SHAPE, p=0.5),
        Case("gru", SHAPE, p=0.5, packed=True, memory="low"),
        Case("rnn", SHAPE, layers=2, bidirectional=True),
        Case("lstm", SHAPE, mode="forward"),
    ],
    ids=str,
)
@pytest.mark.parametrize("rival", ["torch", "torch-no-onednn", "reference"])
def test_sides_that_agree(case, rival):
    assert check(case, rival) < bench.TOLERANCE


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_the_loop_detaches_where_we_do(p):
    assert check(Case("lstm", SHAPE, p=p), "loop") < bench.TOLERANCE


@pytest.mark.parametrize("rival", ["loop", "torch", "reference"])
def test_a_step_of_training_has_the_same_gradients(rival):
    assert check(Case("lstm", Shape(24, 3, 1, 5), p=0.5, mode="step"), rival) < bench.TOLERANCE


def test_low_memory_computes_what_fast_does():
    assert check(Case("lstm", SHAPE, p=0.5, memory="low"), "memory-fast") < bench.TOLERANCE


def test_the_compiled_loop_is_compiled(monkeypatch):
    from bptt.bench._rivals import Loop

    compiled = []
    monkeypatch.setattr(Loop, "compile", lambda loop: compiled.append(loop))
    assert check(Case("lstm", SHAPE), "compiled") < bench.TOLERANCE
    assert len(compiled) == 1


def test_onednn_is_off_for_its_rival_alone():
    from bptt.bench._rivals import without_onednn

    assert torch.backends.mkldnn.enabled
    with without_onednn():
        assert not torch.backends.mkldnn.enabled
    assert torch.backends.mkldnn.enabled


def test_low_memory_ends_with_its_context():
    from bptt.bench._low import low_memory

    before = ops.backends()
    with low_memory():
        assert ops.backends()[0] == ("memory-low", None)
    assert ops.backends() == before


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (spoil_y, "y must be that of torch"),
        (spoil_state, "c_n must be that of torch"),
        (spoil_gradient, "the gradient of weight_ih_l0 must be"),
        (spoil_with_nan, "y must be .*got a difference of nan"),
        (lose_gradient, "ours gives an output without a gradient"),
    ],
)
def test_a_wrong_backend_is_found(plant, spoil, what):
    plant(spoil)
    with pytest.raises(MismatchError, match=what):
        check(Case("lstm", SHAPE), "torch")


def test_nothing_is_timed_after_a_mismatch(plant, idle, monkeypatch, tmp_path):
    plant(spoil_y)
    monkeypatch.setattr("bptt.bench._run.measure", lambda *_, **__: pytest.fail("timed"))
    request = Request(shapes="12,3,2,5", threads=(1,), pairs=1)
    with pytest.raises(MismatchError, match="y must be that of reference"):
        bench.run(request, command="", meter=idle, out=tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("rival", WATCHED)
def test_a_watched_step_has_the_bits_of_a_plain_one(rival, monkeypatch):
    case = Case("lstm", Shape(24, 3, 1, 5), mode="step")
    assert check(case, rival) == 0
    from bptt.bench import _check

    compare = _check.compare

    def spoilt(case, name, ours, theirs, tolerance):
        theirs["the loss"] = theirs["the loss"] * (1 + 1e-6)
        return compare(case, name, ours, theirs, tolerance)

    monkeypatch.setattr(_check, "compare", spoilt)
    with pytest.raises(MismatchError, match=f"the loss must be that of {rival} to 0 of"):
        check(case, rival)


@pytest.mark.parametrize(
    ("rival", "looks", "splits"),
    [("watched", 100, 0), ("watched-100", 1, 0), ("watched-idle", 0, 0), ("watched-paths", 100, 100)],
)
def test_a_rival_looks_as_often_as_it_says(rival, looks, splits, monkeypatch):
    from bptt import flow
    from bptt.bench._rivals import contenders
    from bptt.bench._step import Step

    taken, split = [], []
    take, paths = flow.Watch.take, flow.paths
    monkeypatch.setattr(flow, "paths", lambda *given: split.append(paths(*given)) or split[-1])

    def noted(watch):
        reading = take(watch)
        taken.append(reading.layers[0].key)
        assert 0 < reading.after <= reading.before
        return reading

    monkeypatch.setattr(flow.Watch, "take", noted)
    plain, watched = (
        Step(case, side)
        for case in [Case("lstm", Shape(24, 3, 1, 5), mode="step")]
        for side in contenders(case, rival)
    )
    for _ in range(100):
        plain()
    assert not taken
    for _ in range(100):
        watched()
    assert taken == ["core:0:0"] * looks
    assert len(split) == splits
