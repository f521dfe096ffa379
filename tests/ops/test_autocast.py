"""Autocast casts inputs and weights; never keeps, taps or the cell state."""

import pytest
import torch
from helpers.problems import assert_same, gradients, leaves, run


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_dtypes_and_values(op, low):
    a = leaves(op, dtype=torch.float32)
    exact = run(op, a)
    with torch.autocast("cpu", low):
        outputs = run(op, a)
    dtypes = dict.fromkeys(outputs, low) | ({"c_n": torch.float32} if op == "lstm" else {})
    assert {name: tensor.dtype for name, tensor in outputs.items()} == dtypes
    assert_same({name: t.float() for name, t in outputs.items()}, exact, 30 * torch.finfo(low).eps)
    for name, grad in gradients(outputs, a).items():
        assert grad.dtype == torch.float32
        assert grad.isfinite().all(), name


@pytest.mark.parametrize("given", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_a_16_bit_cell_becomes_float32(given, low):
    a = leaves("lstm", dtype=given)
    with torch.autocast("cpu", low):
        outputs = run("lstm", a)
    assert (outputs["y"].dtype, outputs["c_n"].dtype) == (low, torch.float32)


def test_the_cell_is_float32_inside():
    a = leaves("lstm", T=200, B=1, dtype=torch.float32)
    with torch.no_grad():
        # Open gates and tiny increments: a bfloat16 cell would stop growing at about 256 increments' size.
        for name in ("w_ih", "w_hh", "b_ih", "b_hh", "h_0"):
            a[name].zero_()
        a["b_ih"][:8], a["b_ih"][8:12] = 20.0, 0.01
        a["c_0"].fill_(4.0)
    with torch.autocast("cpu", torch.bfloat16):
        cells = run("lstm", a, return_cells=True)["c"]
    assert cells.dtype == torch.float32
    torch.testing.assert_close(cells[-1], torch.full((1, 4), 6.0), rtol=0.01, atol=0)


def test_keeps_taps_and_float64_are_left_alone():
    a = leaves("lstm", dtype=torch.float32)
    # 1/3 is not a bfloat16: rounding the keep would show in the gradient of h_0 at one step.
    one_step = {n: t[:1] if n == "x" else t for n, t in a.items()}
    with torch.autocast("cpu", torch.bfloat16):
        full = gradients(run("lstm", one_step, backend="reference"), a)["h_0"]
        options = {"h_keep": torch.tensor([1 / 3]), "backend": "reference"}
        third = gradients(run("lstm", one_step, **options), a)["h_0"]
        tap = torch.zeros(7, 3, 4, requires_grad=True)
        tapped = gradients(run("lstm", a, h_tap=tap, c_tap=tap), {"tap": tap})["tap"]
        assert run("lstm", leaves("lstm"))["y"].dtype == torch.float64
    torch.testing.assert_close(third, (full.double() / 3).to(torch.bfloat16).float(), rtol=2**-8, atol=0)
    assert tapped.dtype == torch.float32
