"""The Triton kernels in Triton's interpreter, against the reference."""

import pytest
import torch
from helpers.problems import INTERPRETED, leaves, run
from helpers.triton_problems import CASES, WAYS, answer, assert_near_the_reference, problem

from bptt import ops

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
SIZES = [1, 7, 16, 33, 64, 100, 128]
SERVED = [(way, H) for way in ("float32", "bfloat16") for H in SIZES]
SERVED += [("tf32", H) for H in SIZES if H <= 64] + [("float16", 33), ("float64", 33)]


@pytest.mark.parametrize(("way", "H"), SERVED)
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_equals_the_reference(op, H, way):
    dtype, tf32, tolerance = WAYS[way]
    for number, case in enumerate(CASES):
        a, options = problem(op, H, dtype, case, seed=number)
        with torch.backends.cudnn.flags(allow_tf32=tf32):
            assert_near_the_reference(answer("triton", op, a, options), op, a, options, tolerance)


@pytest.mark.parametrize("way", ["float32", "tf32"])
def test_relu(way):
    dtype, tf32, tolerance = WAYS[way]
    for number, case in enumerate(CASES):
        a, options = problem("rnn", 33, dtype, case, seed=number)
        options["nonlinearity"] = "relu"
        with torch.backends.cudnn.flags(allow_tf32=tf32):
            assert_near_the_reference(answer("triton", "rnn", a, options), "rnn", a, options, tolerance)


@pytest.mark.parametrize(
    ("op", "dtype", "H", "how"),
    [
        ("lstm", torch.bfloat16, 128, "one kernel for the whole sequence, 128 KiB of W_hh on chip"),
        ("lstm", torch.bfloat16, 129, "a product and a pointwise kernel for every step, 512 KiB of W_hh"),
        ("lstm", torch.float32, 64, "one kernel for the whole sequence, 64 KiB of W_hh on chip"),
        ("lstm", torch.float32, 65, "a product and a pointwise kernel for every step, 256 KiB of W_hh"),
        ("gru", torch.float16, 100, "one kernel for the whole sequence, 96 KiB of W_hh on chip"),
        ("rnn", torch.float64, 16, "a product and a pointwise kernel for every step, 2 KiB of W_hh"),
    ],
)
def test_explain_says_which_way_it_takes(op, dtype, H, how):
    a = leaves(op, H=H, dtype=dtype)
    state = (a["h_0"], a["c_0"]) if op == "lstm" else a["h_0"]
    with ops.use_backend("triton"), torch.backends.cudnn.flags(allow_tf32=True):
        explained = ops.explain(op, a["x"], state, a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])
    assert (explained.backend, explained.how) == ("triton", how)
    assert f"served by triton\n  {how}\n" in str(explained)


def test_exact_float32_goes_step_by_step():
    a = leaves("gru", dtype=torch.float32)
    with ops.use_backend("triton"), torch.backends.cudnn.flags(allow_tf32=False):
        explained = ops.explain("gru", a["x"], a["h_0"], a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])
    assert explained.how == "a product and a pointwise kernel for every step, 3 KiB of W_hh"


def test_the_tanh_of_exact_kernels_keeps_small_numbers():
    """Computed as 1 - 2 / (1 + exp 2x), half of its digits would cancel."""
    x = torch.tensor([1e-30, -1e-9, 1e-4, -0.2, 0.24, -0.3, 5.0, -40.0, torch.inf, -torch.inf, torch.nan])
    one, zero = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    for column in x.double():
        y, _ = ops.rnn(column.view(1, 1, 1), zero, one, one, None, None, backend="triton")
        torch.testing.assert_close(y.flatten()[0], column.tanh(), rtol=1e-14, atol=0, equal_nan=True)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_padding_of_an_infinite_state_reaches_nothing(reverse):
    a = {name: tensor.detach() for name, tensor in leaves("rnn", T=3, B=1, I=1, H=1).items()}
    a["x"][:] = torch.tensor([1.0, torch.inf, 1.0])[:, None, None]
    a["w_ih"][:] = a["w_hh"][:] = 1
    w_hh = a["w_hh"].requires_grad_()
    first = 1 if reverse else 0  # with a loss before the infinite state and one length
    options = {"lengths": torch.tensor([2]), "nonlinearity": "relu", "reverse": reverse}
    answers = [run("rnn", a, backend=name, **options)["y"][first] for name in ("triton", "reference")]
    found, expected = (torch.autograd.grad(y.sum(), w_hh)[0] for y in answers)
    torch.testing.assert_close(found, expected, equal_nan=True)
