"""Sequences of different lengths: what lies beyond the end reaches nothing."""

import pytest
import torch
from helpers.problems import assert_same, gradients, leaves, run, run_torch

T, B = 7, 4
LENGTHS = torch.tensor([3, 7, 1, 5])
BEYOND = torch.arange(T)[:, None] >= LENGTHS
OPS = ["lstm", "lstm-projected", "gru", "rnn"]


def problem(variant):
    op, projected = variant.removesuffix("-projected"), variant.endswith("projected")
    return op, leaves(op, T=T, B=B, P=2 if projected else None)


@pytest.mark.parametrize("variant", OPS)
def test_equals_packed_torch_nn(variant):
    op, a = problem(variant)
    ours, theirs = run(op, a, lengths=LENGTHS), run_torch(op, a, lengths=LENGTHS)
    assert_same(ours, theirs)
    assert_same(gradients(ours, a), gradients(theirs, a))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("variant", OPS)
def test_every_sequence_runs_as_if_alone(variant, reverse):
    op, a = problem(variant)
    together = run(op, a, lengths=LENGTHS, reverse=reverse)
    for b, length in enumerate(LENGTHS.tolist()):
        alone = {
            name: tensor[:length, b : b + 1] if name == "x" else tensor[b : b + 1]
            for name, tensor in a.items()
            if name in ("x", "h_0", "c_0")
        }
        expected = run(op, {**a, **alone}, reverse=reverse)
        ours = {n: t[:length, b : b + 1] if n == "y" else t[b : b + 1] for n, t in together.items()}
        assert_same(ours, expected)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("variant", OPS)
def test_nan_beyond_the_end_reaches_nothing(variant, memory, reverse):
    op, a = problem(variant)
    options = {"lengths": LENGTHS, "reverse": reverse, "memory": memory}
    if op == "lstm":
        options["return_cells"] = True
    clean = run(op, a, **options)
    with torch.no_grad():
        poisoned = a["x"].masked_fill(BEYOND[..., None], torch.nan).requires_grad_()
    dirty = run(op, {**a, "x": poisoned}, **options)
    assert_same(dirty, clean, tolerance=0)
    grads = gradients(dirty, {**a, "x": poisoned})
    assert_same(grads, gradients(clean, a), tolerance=0)
    assert grads["x"][BEYOND].count_nonzero() == 0
    assert dirty["y"][BEYOND].count_nonzero() == 0
    assert op != "lstm" or dirty["c"][BEYOND].count_nonzero() == 0


def test_an_infinite_last_state_does_not_spoil_other_gradients():
    a = leaves("rnn", B=2)
    lengths = torch.tensor([2, 7])
    with torch.no_grad():
        a["x"][1, 0] = torch.inf
        a["w_ih"].abs_()
    out = run("rnn", a, lengths=lengths, nonlinearity="relu")
    assert out["h_n"][0].isinf().any()
    assert gradients({"y": out["y"][:, 1]}, a)["w_hh"].isfinite().all()


def test_keeps_beyond_the_end_do_nothing():
    a = leaves("lstm", B=B)
    keep = torch.ones(T, B).masked_fill(BEYOND, 0)
    kept = gradients(run("lstm", a, lengths=LENGTHS, h_keep=keep, c_keep=keep), a)
    assert_same(kept, gradients(run("lstm", a, lengths=LENGTHS), a), tolerance=0)


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64]
)
def test_any_integer_dtype(dtype):
    a = leaves("gru", B=B)
    assert_same(run("gru", a, lengths=LENGTHS.to(dtype)), run("gru", a, lengths=LENGTHS), tolerance=0)
