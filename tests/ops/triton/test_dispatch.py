"""Which calls the Triton kernels take, on GPUs that are not there."""

import pytest
import torch
from helpers.problems import BACKENDS, GATES, INTERPRETED, gradients, leaves, run
from torch._subclasses.fake_tensor import FakeTensorMode

from bptt import ops

TRITON = dict(ops.backends())["triton"] is None
needs_triton = pytest.mark.skipif(not TRITON, reason="needs Triton")
FAKE = FakeTensorMode()
interpreted = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")


@pytest.fixture
def on(monkeypatch):
    """Pretends that every GPU has a compute capability, and torch no cuDNN."""

    def pretend(*capability):
        monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    return pretend


def arguments(op, dtype=torch.float32, H=8):
    """What an op takes, on a GPU, without numbers."""
    G = GATES[op]
    shapes = [(5, 3, 2), (3, H), (G * H, 2), (G * H, H), (G * H,), (G * H,)]
    with FAKE:
        x, h, *weights = (torch.empty(shape, dtype=dtype, device="cuda") for shape in shapes)
        c = h.float() if dtype.itemsize == 2 else h
        return x, (h, c) if op == "lstm" else h, *weights


@needs_triton
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_a_gpu_is_served_in_every_dtype(op, dtype, on):
    on(8, 0)
    explained = ops.explain(op, *arguments(op, dtype))
    assert explained.backend == "triton"
    if "native" in BACKENDS:
        assert explained.reasons["native"] == "it runs on the CPU, got cuda:0"


@needs_triton
def test_an_old_gpu_is_refused_by_name(on):
    on(7, 5)
    explained = ops.explain("gru", *arguments("gru"))
    assert explained.backend == "reference"
    told = "it needs a GPU of compute capability 8.0 or newer, got 7.5"
    assert explained.reasons["triton"] == told
    with torch.no_grad(), pytest.raises(RuntimeError, match=f"triton: {told}"):
        ops.gru(*arguments("gru"), backend="triton")


@needs_triton
def test_a_gpu_of_another_maker_is_refused_by_name(on, monkeypatch):
    on(9, 4)
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert ops.explain("gru", *arguments("gru")).reasons["triton"] == "it was made for NVIDIA GPUs"


@pytest.mark.skipif("triton" in BACKENDS, reason="the interpreter takes the CPU")
def test_the_cpu_is_refused_by_name():
    a = leaves("rnn")
    told = "it runs on NVIDIA GPUs, got cpu" if TRITON else "Triton is not installed"
    with pytest.raises(RuntimeError, match=f"triton: {told}"):
        run("rnn", a, backend="triton")


@needs_triton
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_a_graph_sees_the_shapes_and_dtypes(op, on):
    on(9, 0)
    x, state, *weights = arguments(op, torch.bfloat16)
    more = {"return_cells": True} if op == "lstm" else {}
    with torch.no_grad(), FAKE:
        y, last, *cells = getattr(ops, op)(x, state, *weights, **more)
    assert (y.shape, y.dtype, y.device.type) == ((5, 3, 8), torch.bfloat16, "cuda")
    h_n, c_n = last if op == "lstm" else (last, None)
    assert (h_n.shape, h_n.dtype) == ((3, 8), torch.bfloat16)
    if op == "lstm":
        assert (c_n.dtype, cells[0].shape, cells[0].dtype) == (torch.float32, (5, 3, 8), torch.float32)


@interpreted
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_compiled_graphs_give_the_same(op):
    a = leaves(op, dtype=torch.float32)
    lengths, keep = torch.tensor([7, 2, 5]), torch.tensor([1.0, 0, 1, 0.5, 1, 0, 1])

    def call(lengths, keep):
        return run(op, a, backend="triton", lengths=lengths, h_keep=keep)

    expected = gradients(call(lengths, keep), a)
    found = gradients(torch.compile(call, fullgraph=True, backend="aot_eager")(lengths, keep), a)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=0)


@interpreted
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn_tanh"])
def test_opcheck(op):
    from helpers.gpu_code import inputs

    a = inputs(op, torch.bfloat16, 5, everything=True, keep="TB", R=1, T=3, B=2)
    one = [None if tensor is None else tensor[0] for tensor in a]
    one[0].requires_grad_()
    torch.library.opcheck(torch.ops.bptt.recurrence, (op, False, False, "triton", True, True, *one))


@needs_triton
@pytest.mark.parametrize(
    ("capability", "resident"), [((8, 0), True), ((8, 6), False), ((8, 9), False), ((9, 0), True)]
)
def test_a_gpu_with_less_shared_memory_keeps_less_on_chip(capability, resident, on):
    on(*capability)
    explained = ops.explain("gru", *arguments("gru", torch.bfloat16, H=128))
    assert ("one kernel" in explained.how) == resident
    assert "one kernel" in ops.explain("gru", *arguments("gru", torch.bfloat16, H=64)).how


@needs_triton
def test_the_newer_switches_of_tf32_are_obeyed(on):
    on(9, 0)
    rnn = torch.backends.cudnn.rnn
    before = rnn.fp32_precision
    try:
        for precision, words in (("ieee", "every step"), ("tf32", "whole sequence")):
            rnn.fp32_precision = precision
            assert words in ops.explain("rnn", *arguments("rnn")).how
    finally:
        rnn.fp32_precision = before


@needs_triton
def test_too_many_numbers_for_its_counters_are_refused(on):
    on(9, 0)
    with FAKE:
        x, h = torch.empty(1, 2**20, 1, device="cuda"), torch.empty(2**20, 512, device="cuda")
        weights = [torch.empty(shape, device="cuda") for shape in ((512, 1), (512, 512))]
    explained = ops.explain("rnn", x, h, *weights, None, None)
    assert explained.reasons["triton"] == (
        "it counts the numbers of a step in 32 bits, got 1048576 sequences of 512 hidden units"
    )
