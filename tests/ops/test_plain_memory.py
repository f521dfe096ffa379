"""The kernels read memory; a tensor that is more than that means what it means elsewhere."""

import os
import subprocess
import sys
import threading
from contextlib import nullcontext

import pytest
import torch
from helpers.forks import in_a_fork
from helpers.problems import BACKENDS, assert_same, constants, gradients, leaves, run
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils.flop_counter import FlopCounterMode

from bptt import ops
from bptt.ops import _pool

pytestmark = pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")
each_op = pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])


@each_op
def test_saved_tensors_may_come_back_with_other_strides(op):
    a = leaves(op)

    def turned(t):
        return t.mT if t.dim() > 1 else t

    with saved_tensors_hooks(lambda t: turned(t).contiguous(), turned):
        outputs = run(op, a)
    assert_same(gradients(outputs, a), gradients(run(op, a), a), tolerance=0)


def test_saved_tensors_may_come_back_expanded():
    a = leaves("lstm")
    a["h_0"], a["c_0"] = (torch.zeros(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def pack(t):
        return (t.shape, t.flatten()[0]) if t.numel() > 1 and t.unique().numel() == 1 else t

    def unpack(packed):
        return packed[1].expand(packed[0]) if isinstance(packed, tuple) else packed

    with saved_tensors_hooks(pack, unpack):
        outputs = run("lstm", a)
    assert_same(gradients(outputs, a), gradients(run("lstm", a), a), tolerance=0)


@each_op
def test_a_pending_negation(op):
    a = constants(op)
    minus = a["x"].neg()
    for negated in (torch._neg_view(minus), minus.mul(1j).conj().imag):
        assert negated.is_neg()
        assert_same(run(op, {**a, "x": negated}), run(op, a))


def test_zeros_without_memory():
    a = constants("gru")
    zeros = torch._efficientzerotensor(a["h_0"].shape, dtype=torch.float64)
    assert_same(run("gru", {**a, "h_0": zeros}), run("gru", {**a, "h_0": torch.zeros_like(a["h_0"])}))


def test_gradients_that_are_no_memory():
    a = leaves("gru")
    y, expected = (run("gru", a)["y"] for _ in range(2))
    cotangent = torch.randn_like(y)
    found = torch.autograd.grad(y, a["x"], torch._neg_view(cotangent.neg()))
    torch.testing.assert_close(found, torch.autograd.grad(expected, a["x"], cotangent))


def test_a_subclass_that_dispatches():
    a = constants("lstm")
    twice = {name: TwoTensor(tensor, 2 * tensor) for name, tensor in a.items()}
    both = run("lstm", twice)
    assert_same({name: tensor.a for name, tensor in both.items()}, run("lstm", a))
    doubled = {name: 2 * tensor for name, tensor in a.items()}
    assert_same({name: tensor.b for name, tensor in both.items()}, run("lstm", doubled))


def test_a_fake_tensor_outside_its_mode():
    with FakeTensorMode():
        a = {name: torch.empty_like(tensor) for name, tensor in constants("lstm").items()}
    assert run("lstm", a)["y"].shape == (7, 3, 4)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*torch.jit:DeprecationWarning")
@each_op
def test_the_tracer_of_torch_jit(op):
    a = constants(op)
    traced = torch.jit.trace(lambda x: run(op, {**a, "x": x})["y"], a["x"], check_trace=False)
    other = torch.randn_like(a["x"])
    torch.testing.assert_close(traced(other), run(op, {**a, "x": other})["y"])


@pytest.mark.parametrize("pair", [tuple, list])
@pytest.mark.parametrize("counted", [False, True])
def test_tangents_are_never_dropped(pair, counted):
    a = constants("lstm")
    weights = (a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])

    def tangent(backend):
        with forward_ad.dual_level(), FlopCounterMode(display=False) if counted else nullcontext():
            h_0 = forward_ad.make_dual(a["h_0"], torch.ones_like(a["h_0"]))
            y, _ = ops.lstm(a["x"], pair((h_0, a["c_0"])), *weights, backend=backend)
            return forward_ad.unpack_dual(y).tangent

    torch.testing.assert_close(tangent(None), tangent("reference"))


def test_functionalize_goes_through_the_reference():
    a = constants("gru")
    found = torch.func.functionalize(lambda x: run("gru", {**a, "x": x})["y"])(a["x"])
    torch.testing.assert_close(found, run("gru", a, backend="reference")["y"])


@pytest.mark.parametrize("length", [0, 8])
def test_lengths_are_looked_at_where_a_graph_or_a_transform_hid_them(length):
    a = constants("lstm")
    wrong = torch.full((3,), length)

    def call(lengths):
        return run("lstm", a, lengths=lengths, reverse=True)["y"]

    rule = "lengths must satisfy 1 <= length <= T = 7"
    with pytest.raises(ValueError, match=rule):
        torch.compile(call, backend="aot_eager", fullgraph=True)(wrong)
    with pytest.raises(ValueError, match=rule):
        torch.vmap(call)(wrong[None])


@each_op
def test_last_states_may_be_changed_in_place(op):
    a = leaves(op)
    outputs = run(op, a)
    for name in ("h_n", "c_n"):
        if name in outputs:
            outputs[name].zero_()
    assert_same(gradients(outputs, a, ["y"]), gradients(run(op, a), a, ["y"]), tolerance=0)


@pytest.mark.parametrize("T", [3, 300])  # 300: a leased buffer
def test_cells_are_a_tensor_like_any_other(T):
    a = constants("lstm", T=T, B=32, H=64)
    cells = run("lstm", a, return_cells=True)["c"]
    expected = cells / 2
    assert not cells._is_view()
    assert torch.equal(cells.mul_(0.5), expected)
    cells.detach_()


def test_a_child_of_a_fork_does_not_wait_for_a_lock_of_the_parent():
    held, done = threading.Event(), threading.Event()

    def hold():
        with _pool.pool._lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    try:
        in_a_fork(lambda: _pool.pool.lease((1024, 1024), torch.float32))
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("given", ["-1", "1e9", "much", ""])
def test_the_pool_is_capped_by_a_whole_number(given):
    done = subprocess.run(
        [sys.executable, "-c", "from bptt.ops import _pool; print(_pool.pool._capacity)"],
        env=os.environ | {"BPTT_POOL_BYTES": given},
        capture_output=True,
        text=True,
        check=True,
    )
    if given == "":
        assert not done.stderr
    else:
        assert f"BPTT_POOL_BYTES must be a whole number of bytes, 0 or more, got {given!r}" in done.stderr
    assert int(done.stdout) == 1 << 30
