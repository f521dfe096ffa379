"""The reference against torch.nn and against loops written from the equations."""

import pytest
import torch
from helpers.problems import BACKENDS, assert_same, gradients, leaves, run, run_loop, run_torch

SIZES = [(7, 3, 2, 4), (1, 1, 1, 3), (2, 1, 5, 3), (13, 5, 3, 7)]
VARIANTS = {
    "lstm": ("lstm", {}, {}),
    "lstm-projected": ("lstm", {"P": 2}, {}),
    "gru": ("gru", {}, {}),
    "rnn-tanh": ("rnn", {}, {"nonlinearity": "tanh"}),
    "rnn-relu": ("rnn", {}, {"nonlinearity": "relu"}),
}


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_torch_nn(variant, sizes, bias):
    op, sizing, options = VARIANTS[variant]
    a = leaves(op, *sizes, bias=bias, **sizing)
    ours, theirs = run(op, a, **options), run_torch(op, a, **options)
    assert_same(ours, theirs)
    assert_same(gradients(ours, a), gradients(theirs, a))


@pytest.mark.parametrize("variant", VARIANTS)
def test_reverse_is_a_run_over_the_flipped_sequence(variant):
    op, sizing, options = VARIANTS[variant]
    a = leaves(op, **sizing)
    flipped = {**a, "x": a["x"].detach().flip(0).requires_grad_()}
    backwards, forwards = run(op, a, reverse=True, **options), run(op, flipped, **options)
    assert_same(backwards, {**forwards, "y": forwards["y"].flip(0)})
    cotangents = {**forwards, "y": forwards["y"].flip(0)}
    expected = gradients(cotangents, flipped)
    assert_same(gradients(backwards, a), {**expected, "x": expected["x"].flip(0)})


def test_cells_of_every_step():
    a = leaves("lstm", P=2)
    ours, loop = run("lstm", a, return_cells=True), run_loop("lstm", a)
    expected = {name: loop[name] for name in ("y", "h_n", "c_n", "c")}
    assert_same(ours, expected)
    assert_same(gradients(ours, a), gradients(expected, a))
    torch.testing.assert_close(ours["c"][-1], ours["c_n"], rtol=0, atol=0)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_dtype(op, dtype):
    exact = leaves(op)
    a = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in exact.items()}
    outputs = run(op, a)
    assert all(tensor.dtype == dtype for tensor in outputs.values())
    tolerance = 40 * torch.finfo(dtype).eps
    assert_same({k: v.double() for k, v in outputs.items()}, run(op, exact), tolerance)
    for name, grad in gradients(outputs, a).items():
        assert grad.dtype == dtype, name
        assert grad.isfinite().all(), name


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_empty_batch(op):
    outputs = run(op, leaves(op, B=0))
    assert outputs["y"].shape == (7, 0, 4)
    assert outputs["h_n"].shape == (0, 4)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_low_memory_changes_no_bit_and_keeps_less(op, reverse, backend):
    a = leaves(op, T=50, B=4, H=8)
    keeps = {"h_keep": (torch.arange(50) % 3 > 0).double(), "lengths": torch.tensor([50, 1, 30, 7])}

    def kept_and_outputs(memory):
        kept = {}

        def pack(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = run(op, a, memory=memory, reverse=reverse, backend=backend, **keeps)
        return sum(kept.values()), outputs

    fast_bytes, fast = kept_and_outputs("fast")
    low_bytes, low = kept_and_outputs("low")
    assert_same(low, fast, tolerance=0)
    assert_same(gradients(low, a), gradients(fast, a))
    if op == "rnn" and backend != "reference":
        assert low_bytes == fast_bytes  # it keeps the states only, always
    else:
        assert low_bytes < fast_bytes / 2
