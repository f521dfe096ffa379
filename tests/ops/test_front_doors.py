"""The native kernels as operators of torch.library, recomputed, and under batched gradients."""

import pytest
import torch
from helpers.problems import BACKENDS, assert_same, constants, gradients, leaves, run

pytestmark = pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_opcheck(op, everything):
    a = constants(op, T=3, B=2, H=5)
    more = (None,) * 5
    if everything:
        tap, keep = torch.randn(3, 2, 5, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        of_c = (tap, keep) if op == "lstm" else (None, keep if op == "gru" else None)
        more = (tap, of_c[0], torch.tensor([1, 3]), keep, of_c[1])
    for grad in (False, True):
        x = a["x"].clone().requires_grad_(grad)
        inputs = (x, a["h_0"], a.get("c_0"), a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"], *more)
        name = op if op != "rnn" else "rnn_tanh"
        for low in (False, True) if everything else (False,):
            arguments = (name, everything, low, "native", grad, False, *inputs)
            torch.library.opcheck(torch.ops.bptt.recurrence, arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "elman"}, "op must be one of lstm, gru, rnn_tanh, rnn_relu, got 'elman'"),
        ({"kernels": "cudnn"}, "kernels must be one of native, triton, got 'cudnn'"),
        ({"x": torch.zeros(7, 3, 2).half()}, "x must be float32 or float64, got torch.float16"),
        ({"h_0": torch.zeros(1, 4)}, r"h_0 must have shape \(B, H\) = \(3, 4\), got \(1, 4\)"),
        ({"h_keep": torch.ones(7, dtype=torch.float64)}, "h_keep must be torch.float32, got torch.float64"),
        ({"h_keep": torch.ones(6)}, r"h_keep must have shape \(T,\) .* = \(7,\) or \(7, 3\), got \(6,\)"),
        ({"lengths": torch.ones(3, dtype=torch.int32)}, "lengths must be torch.int64, got torch.int32"),
    ],
)
def test_the_operator_itself_refuses_what_does_not_fit(change, message):
    a = constants("rnn", dtype=torch.float32)
    options = {"op": "rnn_tanh", "reverse": False, "low": False, "kernels": "native"}
    options |= {"keep": True, "cells": False, "c_0": None}
    rest = dict.fromkeys(("h_tap", "c_tap", "lengths", "h_keep", "c_keep"))
    with pytest.raises((TypeError, ValueError), match=message):
        torch.ops.bptt.recurrence(**(options | a | rest | change))


def test_the_operator_s_backward_pass_refuses_what_its_forward_pass_did_not_give():
    a = constants("lstm", dtype=torch.float32)
    inputs = [*a.values(), *[None] * 5]
    y, h_n, _, cells, saved = torch.ops.bptt.recurrence("lstm", False, False, "native", True, True, *inputs)
    back = torch.ops.bptt.recurrence_backward

    def gradients_of(y, grad):
        grads = [grad, None, None, None]
        return back("lstm", False, False, "native", "w_hh", grads, inputs, [y, cells, saved])

    assert gradients_of(y, torch.ones_like(y))[0].shape == a["w_hh"].shape
    with pytest.raises(ValueError, match=r"y must be \(\(7, 3, 4\), torch.float32, "):
        gradients_of(h_n, torch.ones_like(y))
    with pytest.raises(ValueError, match=r"the gradient of y must be \(\(7, 3, 4\), torch.float32, "):
        gradients_of(y, torch.ones_like(h_n))


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_checkpointing_recomputes_the_same(op):
    a = leaves(op)
    outputs = run(op, a)
    again = torch.utils.checkpoint.checkpoint(lambda: run(op, a), use_reentrant=False)
    assert_same(gradients(again, a), gradients(outputs, a), tolerance=0)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_batched_gradients_can_be_differentiated(op):
    a = leaves(op)

    def second(backend):
        y = run(op, a, backend=backend)["y"]
        cotangents = torch.ones(3, *y.shape, dtype=y.dtype).cumsum(0)
        first = torch.autograd.grad(
            y, [a["x"], a["w_hh"]], cotangents, is_grads_batched=True, create_graph=True
        )
        return torch.autograd.grad(sum(g.pow(2).sum() for g in first), list(a.values()))

    for ours, expected in zip(second("native"), second("reference"), strict=True):
        torch.testing.assert_close(ours, expected)


def test_batched_gradients_of_one_call():
    a = leaves("gru")
    y = run("gru", a)["y"]
    cotangents = torch.randn(4, *y.shape, dtype=y.dtype)
    batched = torch.autograd.grad(y, a["w_hh"], cotangents, is_grads_batched=True, retain_graph=True)[0]
    for one, cotangent in zip(batched, cotangents, strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(y, a["w_hh"], cotangent, retain_graph=True)[0])
