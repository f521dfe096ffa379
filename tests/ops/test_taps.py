"""A tap's gradient is the total gradient of a state."""

import pytest
import torch
from helpers.problems import BACKENDS, assert_same, gradients, leaves, run, run_loop

from bptt.ops import _raw

T, B, H, P = 7, 3, 4, 2


def taps(op, projected=False):
    shapes = {"h_tap": (T, B, P if projected else H)} | ({"c_tap": (T, B, H)} if op == "lstm" else {})
    return {
        name: torch.zeros(shape, dtype=torch.float64, requires_grad=True) for name, shape in shapes.items()
    }


@pytest.mark.parametrize("kept", [False, True], ids=["open", "kept"])
@pytest.mark.parametrize("op", ["lstm", "lstm-projected", "gru", "rnn"])
def test_gradients_equal_those_of_the_states_of_an_unrolled_loop(op, kept):
    op, projected = op.removesuffix("-projected"), op.endswith("projected")
    a = leaves(op, P=P if projected else None)
    keeps = {"h_keep": torch.tensor([1, 0, 1, 1, 0, 1, 1.0], dtype=torch.float64)} if kept else {}
    if kept and op == "lstm":
        keeps["c_keep"] = torch.tensor([1, 1, 0, 1, 1, 1, 0.0], dtype=torch.float64)
    tapped = taps(op, projected)
    loop = run_loop(op, a, **keeps)
    outputs = run(op, a, **keeps, **tapped)
    names = list(outputs)
    ours = gradients(outputs, {**a, **tapped}, names)
    states = dict(enumerate(loop["hs"])) | {T + t: c for t, c in enumerate(loop.get("cs", []))}
    theirs = gradients({name: loop[name] for name in names}, states, names)
    assert_same({"h_tap": ours["h_tap"]}, {"h_tap": torch.stack([theirs[t] for t in range(T)])})
    if op == "lstm":
        assert_same({"c_tap": ours["c_tap"]}, {"c_tap": torch.stack([theirs[T + t] for t in range(T)])})


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_taps_are_really_added(op):
    a = leaves(op)
    zeros, nudged = taps(op), taps(op)
    step = 1e-3
    with torch.no_grad():
        for tap in nudged.values():
            tap[3] = step
    base, moved = run(op, a, **zeros), run(op, a, **nudged)
    assert torch.equal(base["y"][:3], moved["y"][:3])
    shift = moved["y"][3] - base["y"][3]
    if op == "lstm":
        assert (shift > step).all()  # the cell moved too
    else:
        torch.testing.assert_close(shift, torch.full_like(shift, step))
    assert (moved["y"][4] != base["y"][4]).all()


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("reverse", [False, True])
def test_taps_beyond_a_length_do_nothing(op, reverse):
    a, tapped = leaves(op), taps(op)
    lengths = torch.tensor([7, 4, 2])
    beyond = torch.arange(T)[:, None] >= lengths
    with torch.no_grad():
        for tap in tapped.values():
            tap[beyond] = torch.nan
    outputs = run(op, a, lengths=lengths, reverse=reverse, **tapped)
    assert_same(outputs, run(op, a, lengths=lengths, reverse=reverse), tolerance=0)
    for name, grad in gradients(outputs, {**a, **tapped}).items():
        assert grad.isfinite().all(), name
        if name in tapped:
            assert grad[beyond].count_nonzero() == 0
            assert (grad[~beyond] != 0).all()


@pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("numbers", [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.0, torch.nan)])
def test_native_kernels_do_not_read_zeros_that_are_one_number(numbers, memory, monkeypatch):
    given = []
    call = _raw.native.Call
    monkeypatch.setattr(_raw.native, "Call", lambda *fields: given.append(call(*fields)) or given[-1])
    a = leaves("lstm")
    one = {
        name: torch.tensor(number, dtype=torch.float64).expand(T, B, H)
        for name, number in zip(("h_tap", "c_tap"), numbers, strict=True)
    }
    dense = {name: tap.contiguous() for name, tap in one.items()}
    found, expected = (
        outputs | gradients(outputs, {**a, **taps})
        for taps in ({name: tap.requires_grad_() for name, tap in each.items()} for each in (one, dense))
        for outputs in [run("lstm", a, **taps, memory=memory, backend="native")]
    )
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, equal_nan=True)
    for each in given[:2]:
        assert [each.h_tap is None, each.c_tap is None] == [number == 0 for number in numbers]
    assert None not in [address for each in given[2:] for address in (each.h_tap, each.c_tap)]
    assert len(given) == 4


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("number", [0.0, -0.0, 0.25, torch.nan])
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_one_number_in_all_places_is_a_tap_like_any_other(op, memory, number, backend):
    def found(to_tap):
        a = leaves(op, dtype=torch.float32)
        tapped = {name: to_tap(tap.shape) for name, tap in taps(op).items()}
        lengths = torch.tensor([7, 4, 2])
        outputs = run(op, a, **tapped, lengths=lengths, memory=memory, backend=backend)
        return outputs | gradients(outputs, {**a, **tapped})

    expected = found(lambda shape: torch.full(shape, number).requires_grad_())
    one = found(lambda shape: torch.tensor(number).expand(shape).requires_grad_())
    for name, value in expected.items():
        torch.testing.assert_close(one[name], value, rtol=0, atol=0, equal_nan=True)
