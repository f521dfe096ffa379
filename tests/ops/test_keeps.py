"""A keep scales the gradient on one path, exactly, and never a value."""

from itertools import product

import pytest
import torch
from helpers.problems import assert_same, constants, gradients, leaves, run, run_loop

from bptt import Detach

T, B = 7, 3
PATHS = [("lstm", "h_keep"), ("lstm", "c_keep"), ("gru", "h_keep"), ("gru", "c_keep"), ("rnn", "h_keep")]


def mask(shape, seed=0):
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("shape", [(T,), (T, B)], ids=["per-step", "per-sequence"])
@pytest.mark.parametrize(
    ("op", "path", "projection"),
    [(*path, None) for path in PATHS] + [("lstm", "h_keep", 2), ("lstm", "c_keep", 2)],
)
def test_equals_a_loop_that_detaches(op, path, projection, shape):
    a = leaves(op, P=projection)
    keep = mask(shape)
    ours, loop = run(op, a, **{path: keep}), run_loop(op, a, **{path: keep})
    expected = {name: loop[name] for name in ours}
    assert_same(ours, expected)
    assert_same(gradients(ours, a), gradients(expected, a))


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_both_paths_at_once(op):
    a = leaves(op)
    keeps = {"h_keep": mask((T,)), "c_keep": mask((T, B), seed=1)}
    ours, loop = run(op, a, **keeps), run_loop(op, a, **keeps)
    expected = {name: loop[name] for name in ours}
    assert_same(gradients(ours, a), gradients(expected, a))


@pytest.mark.parametrize(("op", "path"), PATHS)
def test_average_over_all_masks_is_the_mean_draw(op, path):
    a = leaves(op)
    masks = [torch.tensor(bits, dtype=torch.float64) for bits in product((0, 1), repeat=T)]
    assert len(masks) == 2**T
    by_mask = [gradients(run(op, a, **{path: keep}), a) for keep in masks]
    for p in (0.25, 0.5):
        weights = [p ** (T - keep.sum().item()) * (1 - p) ** keep.sum().item() for keep in masks]
        average = {
            name: sum(w * grads[name] for w, grads in zip(weights, by_mask, strict=True)) for name in a
        }
        detach = Detach(h=p, c=p, draw="mean")
        keep = detach.sample((T, B), dtype=torch.float64)
        mean = gradients(run(op, a, **{path: keep.h if path == "h_keep" else keep.c}), a)
        assert_same(mean, average)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_first_keep_cuts_the_initial_state(op, reverse):
    a = leaves(op)
    lengths = torch.tensor([7, 4, 2])
    keep = torch.ones(T, B, dtype=torch.float64)
    first = (lengths - 1) if reverse else torch.zeros(B, dtype=torch.long)
    keep[first, torch.arange(B)] = 0
    both = {"h_keep": keep} | ({} if op == "rnn" else {"c_keep": keep})
    grads = gradients(run(op, a, lengths=lengths, reverse=reverse, **both), a)
    assert grads["h_0"].count_nonzero() == 0
    assert "c_0" not in grads or grads["c_0"].count_nonzero() == 0
    assert grads["x"].count_nonzero() > 0
    open_grads = gradients(run(op, a, lengths=lengths, reverse=reverse), a)
    assert (open_grads["h_0"] != 0).all()


@pytest.mark.parametrize("value", [None, torch.inf, -torch.inf, torch.nan], ids=str)
@pytest.mark.parametrize(("op", "path"), PATHS)
@pytest.mark.parametrize("keep", [mask((T,)), mask((T, B)), torch.full((T,), 0.3)], ids=["T", "TB", "mean"])
def test_forward_is_bitwise_unchanged(op, path, keep, value):
    a = leaves(op, dtype=torch.float32)
    if value is not None:
        with torch.no_grad():
            a["x"][2, 1, 0] = value
            a["h_0"][0, 0] = value
    plain, kept = run(op, a), run(op, a, **{path: keep})
    for name in plain:
        bits = [tensor.detach().contiguous().view(torch.int32) for tensor in (plain[name], kept[name])]
        assert torch.equal(*bits), name


@pytest.mark.parametrize("shape", [(T,), (T, B)], ids=["per-step", "per-sequence"])
@pytest.mark.parametrize("value", [torch.inf, torch.nan], ids=str)
def test_a_blocked_path_stops_an_infinite_gradient(value, shape):
    a = leaves("rnn")
    keep = torch.ones(shape)
    keep[3] = 0
    y = run("rnn", a, h_keep=keep)["y"]
    cotangent = torch.zeros_like(y)
    cotangent[5] = value
    before, after = torch.autograd.grad(y, [a["h_0"], a["x"]], cotangent)
    assert before.count_nonzero() == 0
    assert not after[4].isfinite().all()


def test_a_keep_between_scales():
    a = leaves("rnn", T=1)
    full = gradients(run("rnn", a), a)["h_0"]
    for keep in (torch.tensor([0.25]), torch.tensor([[0.25, 0.5, 1.0]])):
        scaled = gradients(run("rnn", a, h_keep=keep), a)["h_0"]
        assert_same({"h_0": scaled}, {"h_0": full * keep.reshape(-1, 1)})


def test_forward_mode_keeps_the_dtype_of_the_state():
    a = constants("gru", dtype=torch.float32)
    keep = mask((T, B))  # float64
    _, tangent = torch.func.jvp(
        lambda h_0: run("gru", {**a, "h_0": h_0}, h_keep=keep)["y"], (a["h_0"],), (a["h_0"],)
    )
    assert tangent.dtype == torch.float32


def test_keeps_of_other_dtypes():
    a = leaves("lstm", dtype=torch.float32)
    keep = mask((T,))
    expected = gradients(run("lstm", a, h_keep=keep.float()), a)
    for dtype in (torch.bool, torch.float64, torch.bfloat16):
        grads = gradients(run("lstm", a, h_keep=keep.to(dtype)), a)
        assert_same(grads, expected, tolerance=0)
