"""torch.compile: one graph of one node per layer and direction, whatever T, p and the keeps are."""

import time

import pytest
import torch
from helpers.problems import BACKENDS
from torch._dynamo.testing import CompileCounter

import bptt
from bptt.detach import Keeps

pytestmark = [
    pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch.*"),
]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def gradients(model, x, **options):
    y, _ = model(x, **options)
    return torch.autograd.grad(y.square().sum(), [x, *model.parameters()])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_forward_and_backward_through_inductor(kind):
    layer = getattr(bptt.nn, kind)(3, 5, num_layers=2, bidirectional=True)
    compiled = torch.compile(layer, fullgraph=True)
    x = torch.randn(6, 4, 3, requires_grad=True)
    lengths = torch.tensor([6, 1, 3, 5])
    y, last = compiled(x, lengths=lengths)
    expected, expected_last = layer(x, lengths=lengths)
    torch.testing.assert_close((y, last), (expected, expected_last))
    ours = torch.autograd.grad(y.square().sum(), [x, *layer.parameters()])
    for a, b in zip(
        ours, torch.autograd.grad(expected.square().sum(), [x, *layer.parameters()]), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_compile_time_does_not_grow_with_the_steps():
    layer = bptt.nn.LSTM(3, 4)

    def seconds(T):
        torch._dynamo.reset()
        compiled = torch.compile(layer, fullgraph=True)
        x = torch.randn(T, 2, 3, requires_grad=True)
        start = time.process_time()
        compiled(x)[0].sum().backward()
        return time.process_time() - start

    seconds(100)  # loads the compiler
    assert any(seconds(2000) < 1.5 * seconds(100) for _ in range(3))


def test_steps_and_batch_recompile_once_at_most():
    counter = CompileCounter()
    compiled = torch.compile(bptt.nn.GRU(3, 4), backend=counter, fullgraph=True)
    for T, B in ((10, 4), (20, 5), (35, 6), (50, 7)):
        compiled(torch.randn(T, B, 3))
    assert counter.frame_count <= 2


def test_keeps_are_data():
    layer, counter = bptt.nn.LSTM(3, 4), CompileCounter()
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    x = torch.randn(9, 2, 3, requires_grad=True)
    for p in (0.0, 0.5, 1.0):
        keeps = {(0, 0): Keeps((torch.rand(9) >= p).float(), None)}
        (ours,) = torch.autograd.grad(compiled(x, keeps=keeps)[0].square().sum(), x)
        (expected,) = torch.autograd.grad(layer(x, keeps=keeps)[0].square().sum(), x)
        torch.testing.assert_close(ours, expected)
    assert counter.frame_count == 1


@pytest.mark.parametrize("draw", ["step", "sequence", "mean"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_annealing_p_recompiles_nothing(kind, draw):
    layer, counter = getattr(bptt.nn, kind)(3, 4, detach=bptt.Detach(h=0.25, draw=draw)), CompileCounter()
    compiled = torch.compile(layer, backend=counter, fullgraph=True)
    x = torch.randn(9, 2, 3, requires_grad=True)
    for p in (0.25, 0.2, 0.15, 0.0, 1.0):
        layer.detach = bptt.Detach(h=p, draw=draw)
        (ours,) = torch.autograd.grad(compiled(x)[0].square().sum(), x)
        if draw == "mean" or p in (0, 1):  # no coin decides
            (expected,) = torch.autograd.grad(layer(x)[0].square().sum(), x)
            torch.testing.assert_close(ours, expected)
    assert counter.frame_count == 1


def test_compiled_coins_fall_as_often_as_p_says():
    layer = bptt.nn.LSTM(1, 2, detach=bptt.Detach(h=0.5, c=0.25, draw="sequence"))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    h_0, c_0 = (torch.ones(1, 20_000, 2, requires_grad=True) for _ in range(2))
    for h, c in ((0.5, 0.25), (0.1, 0.9), (0.0, 1.0)):
        layer.detach = bptt.Detach(h=h, c=c, draw="sequence")
        y, _ = compiled(torch.randn(1, 20_000, 1), (h_0, c_0))
        for grad, p in zip(torch.autograd.grad(y.sum(), (h_0, c_0)), (h, c), strict=True):
            blocked = (grad[0] == 0).all(-1).double().mean().item()
            assert abs(blocked - p) < 0.02


def test_compiled_transforms_give_the_right_values():
    layer, x, v = bptt.nn.GRU(2, 3), torch.randn(3, 2, 2), torch.randn(3, 2, 2)

    def slope(x):
        return torch.func.jvp(lambda x: layer(x)[0], (x,), (v,))[1]

    assert slope(x).abs().max() > 0
    torch.testing.assert_close(torch.compile(slope, backend="aot_eager")(x), slope(x))


def test_double_backward_is_refused():
    layer = bptt.nn.LSTM(2, 3)
    x = torch.randn(3, 2, 2, requires_grad=True)
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)[0]
    (grad,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="does not currently support double backward"):
        grad.sum().backward()


@pytest.mark.parametrize("draw", ["step", "sequence", "mean"])
def test_coins_are_tossed_in_the_graph_for_any_number_of_steps(draw):
    layer = bptt.nn.LSTM(3, 4, detach=bptt.Detach(h=0.5, draw=draw))
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    for T in (5, 6, 9):
        y, _ = compiled(torch.randn(T, 2, 3))
        y.sum().backward()
        assert y.shape == (T, 2, 4)
