"""What torch itself computes on a GPU is left to it where no path is blocked; tried on the CPU."""

import pytest
import torch
from helpers.problems import assert_same, constants, gradients, leaves, run
from torch.autograd import forward_ad

from bptt import ops
from bptt.ops import _cudnn


@pytest.fixture
def on_the_cpu(monkeypatch):
    monkeypatch.setattr(_cudnn.Cudnn, "refuses_device", lambda *_: None)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn", "relu"])
def test_it_computes_the_same(op, reverse, bias, on_the_cpu):
    op, more = (op, {}) if op != "relu" else ("rnn", {"nonlinearity": "relu"})
    a = leaves(op, bias=bias)
    outputs = run(op, a, backend="cudnn", reverse=reverse, **more)
    expected = run(op, a, backend="reference", reverse=reverse, **more)
    assert_same(outputs, expected)
    assert_same(gradients(outputs, a), gradients(expected, a))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"h_keep": torch.ones(7)}, "it has no h_keep"),
        ({"c_keep": torch.ones(7)}, "it has no c_keep"),
        ({"h_tap": torch.zeros(7, 3, 4)}, "it has no h_tap"),
        ({"c_tap": torch.zeros(7, 3, 4)}, "it has no c_tap"),
        ({"return_cells": True}, "it gives the cells of the last step only"),
        ({"lengths": torch.ones(3).long()}, "it wants lengths on the CPU, sorted and packed"),
        ({"memory": "low"}, "it keeps what it likes for the backward pass"),
    ],
)
def test_named_it_says_what_it_cannot(options, reason, on_the_cpu):
    with pytest.raises(RuntimeError, match=f"cannot be served: cudnn: {reason}"):
        run("lstm", leaves("lstm", dtype=torch.float32), backend="cudnn", **options)


def test_forward_mode_is_refused_by_name(on_the_cpu):
    a = constants("gru")
    with forward_ad.dual_level():
        a["x"] = forward_ad.make_dual(a["x"], torch.ones_like(a["x"]))
        with pytest.raises(RuntimeError, match="cudnn: forward-mode derivatives go through the reference"):
            run("gru", a, backend="cudnn")


def test_what_the_kernels_do_in_one_launch_is_left_to_them(on_the_cpu, monkeypatch):
    from bptt.ops import _dispatch

    monkeypatch.setattr(_dispatch._triton, "refuses", lambda _: None)
    monkeypatch.setattr(_dispatch._triton, "missing", lambda: None)
    monkeypatch.setattr(_dispatch, "_backends", [_dispatch._cudnn, _dispatch._triton])
    for fits, backend in ((True, "triton"), (False, "cudnn")):
        monkeypatch.setattr(_dispatch._triton, "in_one_kernel", lambda _, fits=fits: fits)
        monkeypatch.setattr(_dispatch._triton, "how", lambda _: "")
        a = leaves("rnn")
        explained = ops.explain("rnn", a["x"], a["h_0"], a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])
        assert explained.backend == backend
        monkeypatch.setattr(_dispatch._triton, "run", lambda _: "triton")
        served = ops.rnn(a["x"], a["h_0"], a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])
        assert (served == "triton") == fits
    assert explained.reasons["triton"] == "cudnn is preferred"
