"""Every rule of the ops' arguments, with what was expected and what came."""

import re

import pytest
import torch
from helpers.problems import constants, leaves, run

from bptt import ops

LONG = torch.tensor([7, 7, 7])
CASES = [
    ("x", lambda x: x[0], ValueError, "x must have shape (T, B, I), got (3, 2)"),
    ("x", lambda x: x[:0], ValueError, "x must have at least one step, got T = 0 in (0, 3, 2)"),
    ("x", lambda x: x.long(), TypeError, "x must have a floating dtype, got torch.int64"),
    ("x", lambda x: x.tolist(), TypeError, "x must be a tensor, got list"),
    ("w_ih", lambda w: w[:, :1], ValueError, "w_ih must have shape (4·H, I) = (16, 2), got (16, 1)"),
    ("w_ih", lambda w: w.float(), TypeError, "w_ih must have x's dtype torch.float64, got torch.float32"),
    ("w_ih", lambda w: w.to("meta"), ValueError, "w_ih must be on x's device cpu, got meta"),
    ("w_hh", lambda w: w[:15], ValueError, "w_hh must have shape (4·H, H), got (15, 4)"),
    ("w_hh", lambda w: w[:, :3], ValueError, "w_hh must have shape (4·H, H) = (16, 4), got (16, 3)"),
    ("b_ih", lambda b: b[:15], ValueError, "b_ih must have shape (4·H,) = (16,), got (15,)"),
    ("b_hh", lambda _: None, ValueError, "must both be given or both be None, got None for b_hh only"),
    ("h_0", lambda h: h[:2], ValueError, "h_0 must have shape (B, H) = (3, 4), got (2, 4)"),
    ("c_0", lambda c: c[:, :3], ValueError, "c_0 must have shape (B, H) = (3, 4), got (3, 3)"),
    (
        "c_0",
        lambda c: c.half(),
        TypeError,
        "c_0 must have x's dtype torch.float64, or float32 beside a 16-bit x",
    ),
]
OPTIONS = [
    (
        {"h_keep": torch.ones(100)},
        ValueError,
        "h_keep must have shape (T,) or (T, B) = (7,) or (7, 3), got (100,)",
    ),
    (
        {"c_keep": torch.ones(3, 7)},
        ValueError,
        "c_keep must have shape (T,) or (T, B) = (7,) or (7, 3), got (3, 7)",
    ),
    ({"h_keep": torch.ones(7, requires_grad=True)}, ValueError, "h_keep must not require a gradient"),
    ({"h_keep": torch.full((7,), 25.0)}, ValueError, "h_keep must be in [0, 1], got values from 25 to 25"),
    (
        {"c_keep": torch.full((7,), -0.5)},
        ValueError,
        "c_keep must be in [0, 1], got values from -0.5 to -0.5",
    ),
    (
        {"h_keep": torch.full((7,), torch.nan)},
        ValueError,
        "h_keep must be in [0, 1], got values from nan to nan",
    ),
    ({"h_keep": 0.5}, TypeError, "h_keep must be a tensor or None, got float"),
    (
        {"h_tap": torch.zeros(7, 3, 5)},
        ValueError,
        "h_tap must have shape (T, B, H) = (7, 3, 4), got (7, 3, 5)",
    ),
    ({"c_tap": torch.zeros(7, 4)}, ValueError, "c_tap must have shape (T, B, H) = (7, 3, 4), got (7, 4)"),
    (
        {"h_keep": torch.ones(7).long()},
        TypeError,
        "h_keep must have a floating dtype or bool, got torch.int64",
    ),
    ({"h_tap": torch.zeros(7, 3, 4).long()}, TypeError, "h_tap must have a floating dtype, got torch.int64"),
    ({"lengths": LONG[:2]}, ValueError, "lengths must have shape (B,) = (3,), got (2,)"),
    ({"lengths": LONG + 1}, ValueError, "1 <= length <= T = 7, got values from 8 to 8"),
    ({"lengths": LONG * 0}, ValueError, "1 <= length <= T = 7, got values from 0 to 0"),
    ({"lengths": LONG.double()}, TypeError, "lengths must have an integer dtype, got torch.float64"),
    ({"memory": "little"}, ValueError, "memory must be one of 'fast', 'low', got 'little'"),
    ({"reverse": 1}, TypeError, "reverse must be a bool, got int"),
    ({"w_hr": torch.zeros(2, 5).double()}, ValueError, "w_hr must have shape (P, H) = (P, 4), got (2, 5)"),
    (
        {"w_hr": torch.zeros(2, 4).double()},
        ValueError,
        "w_hh must have shape (4·H, P) = (16, 2), got (16, 4)",
    ),
]


@pytest.mark.parametrize(("name", "spoil", "error", "message"), CASES, ids=[c[3] for c in CASES])
def test_tensors(name, spoil, error, message):
    a = constants("lstm")
    with pytest.raises(error, match=re.escape(message)):
        run("lstm", {**a, name: spoil(a[name])})


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS, ids=[c[2] for c in OPTIONS])
def test_options(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        run("lstm", leaves("lstm"), **options)


@pytest.mark.parametrize("name", ["w_ih", "w_hh", "b_ih", "b_hh", "h_0", "c_0", "h_keep", "c_tap"])
def test_every_tensor_must_be_on_the_device_of_x(name):
    a = constants("lstm")
    options = {"h_keep": torch.ones(7), "c_tap": torch.zeros(7, 3, 4)}
    given = options if name in options else a
    given[name] = given[name].to("meta")
    with pytest.raises(ValueError, match=f"{name} must be on x's device cpu, got meta"):
        run("lstm", a, **options)


def test_nonlinearity_and_state():
    with pytest.raises(ValueError, match="nonlinearity must be one of 'tanh', 'relu', got 'gelu'"):
        run("rnn", leaves("rnn"), nonlinearity="gelu")
    a = leaves("lstm")
    with pytest.raises(TypeError, match=re.escape("hx must be a pair (h_0, c_0), got Tensor")):
        ops.lstm(a["x"], a["h_0"], a["w_ih"], a["w_hh"], None, None)
