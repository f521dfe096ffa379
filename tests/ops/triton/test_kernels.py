"""The Triton kernels in Triton's interpreter, against the reference."""

import pytest
import torch
from helpers.problems import INTERPRETED, assert_same, gradients, leaves, run

from bptt import ops

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
SIZES = [1, 7, 16, 33, 64, 100, 128]
# float32 is computed in one kernel where TF32 is allowed, which the interpreter does not round to.
WAYS = {
    "float64": (torch.float64, False, 1e-12),
    "float32": (torch.float32, False, 1e-5),
    "tf32": (torch.float32, True, 1e-5),
    "float16": (torch.float16, False, 4e-3),
    "bfloat16": (torch.bfloat16, False, 3e-2),
}
SERVED = [(way, H) for way in ("float32", "bfloat16") for H in SIZES]
SERVED += [("tf32", H) for H in SIZES if H <= 64] + [("float16", 33), ("float64", 33)]
# lengths, reverse, memory, keeps, taps, bias; T and B are odd, once more than one program's rows
CASES = [
    (False, False, "fast", None, False, True, 5, 3),
    (True, True, "fast", "T", True, True, 3, 5),
    (True, False, "low", "TB", True, False, 5, 17),
    (False, True, "low", "T", False, True, 1, 1),
    (True, False, "fast", "TB", False, True, 7, 2),
]


def problem(op, H, dtype, case, seed):
    """Arguments that the dtype holds exactly, of gradients that do not explode."""
    lengths, reverse, memory, keep, taps, bias, T, B = case
    generator = torch.Generator().manual_seed(seed)
    a = leaves(op, T, B, 3, H, bias=bias, seed=seed)
    options = {"reverse": reverse, "memory": memory}
    if taps:
        for name in ("h_tap", "c_tap") if op == "lstm" else ("h_tap",):
            a[name] = torch.randn(T, B, H, generator=generator, dtype=torch.float64)
    if lengths:
        options["lengths"] = torch.randint(1, T + 1, (B,), generator=generator)
    if keep:
        shape = (T,) if keep == "T" else (T, B)
        for name in ("h_keep", "c_keep") if op != "rnn" else ("h_keep",):
            coins = torch.rand(shape, generator=generator)
            options[name] = coins.where(coins > 0.4, 0)
    if op == "lstm":
        options["return_cells"] = True
    exact = {name: tensor.detach() / (H**0.5 if name.startswith("w") else 1) for name, tensor in a.items()}
    return {name: tensor.to(dtype) for name, tensor in exact.items()}, options


def answer(backend, op, a, options):
    a = {name: tensor.clone().requires_grad_() for name, tensor in a.items()}
    taps = {name: a[name] for name in ("h_tap", "c_tap") if name in a}
    state = {name: a[name].float() if name == "c_0" and a[name].itemsize == 2 else a[name] for name in a}
    rest = {name: tensor for name, tensor in state.items() if name not in taps}
    outputs = run(op, rest, backend=backend, **taps, **options)
    return outputs, gradients({n: t.double() for n, t in outputs.items()}, a)


@pytest.mark.parametrize(("way", "H"), SERVED)
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_equals_the_reference(op, H, way):
    dtype, tf32, tolerance = WAYS[way]
    for number, case in enumerate(CASES):
        a, options = problem(op, H, dtype, case, seed=number)
        with torch.backends.cudnn.flags(allow_tf32=tf32):
            found = answer("triton", op, a, options)
        expected = answer("reference", op, {name: tensor.double() for name, tensor in a.items()}, options)
        rounded = answer("reference", op, a, options) if dtype.itemsize == 2 else expected
        for ours, exact, theirs in zip(found, expected, rounded, strict=True):
            for name, tensor in exact.items():
                scale, error = tensor.abs().max().clamp(min=1), (ours[name] - tensor).abs().max()
                their_error = (theirs[name] - tensor).abs().max()
                assert error <= tolerance * scale + their_error, (case, name)


@pytest.mark.parametrize("way", ["float32", "tf32"])
def test_relu(way):
    dtype, tf32, tolerance = WAYS[way]
    for number, case in enumerate(CASES):
        a, options = problem("rnn", 33, dtype, case, seed=number)
        options["nonlinearity"] = "relu"
        with torch.backends.cudnn.flags(allow_tf32=tf32):
            ours = answer("triton", "rnn", a, options)
        theirs = answer("reference", "rnn", {n: t.double() for n, t in a.items()}, options)
        for found, expected in zip(ours, theirs, strict=True):
            assert_same({n: t.double() for n, t in found.items()}, expected, tolerance)


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
