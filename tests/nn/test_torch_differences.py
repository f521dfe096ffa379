"""Every difference from torch.nn that docs/torch_differences.md lists is shown here (or where it says)."""

import copy
import re
from pathlib import Path

import pytest
import torch
from helpers.problems import BACKENDS
from helpers.twins import KINDS, assert_same, error_of, leaf, tensors, twins
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.rnn import pack_sequence

import bptt

needs_native = pytest.mark.skipif(
    "native" not in BACKENDS, reason="the reference's loop is unrolled in graphs"
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_names_tests_that_exist():
    page = (ROOT / "docs" / "torch_differences.md").read_text(encoding="utf-8")
    named = re.findall(r"`(test_\w+)::(test_\w+)`", page)
    assert len(named) > 15
    for file, test in named:
        source = (ROOT / "tests" / "nn" / f"{file}.py").read_text(encoding="utf-8")
        assert f"def {test}(" in source, f"{file}::{test}"
    # And the other way round: no difference is shown here without being told there.
    here = re.findall(r"^def (test_\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE)
    told = {test for file, test in named if file == "test_torch_differences"}
    assert set(here) - {"test_the_page_names_tests_that_exist"} == told


def packed(width=3, dtype=torch.float64):
    return pack_sequence([leaf(3, width, dtype=dtype), leaf(2, width, dtype=dtype)])


@pytest.mark.parametrize("wrong", ["width", "dtype", "batch of h_0", "dimensions of h_0"])
def test_packed_input_of_an_lstm_is_checked_like_that_of_a_gru(wrong):
    lstm, theirs = twins("LSTM", 3, 5)
    gru, _ = twins("GRU", 3, 5)
    x = {"width": packed(width=4), "dtype": packed(dtype=torch.float32)}.get(wrong, packed())
    shape = {"batch of h_0": (1, 3, 5), "dimensions of h_0": (2, 5)}.get(wrong, (1, 2, 5))
    state = torch.zeros(shape, dtype=torch.float64)
    kind, text = error_of(lambda: lstm(x, (state, state)))
    expected_kind, expected = error_of(lambda: gru(x, state))
    assert kind is expected_kind
    assert text == expected.replace("Expected hidden size", "Expected hidden[0] size")
    assert error_of(lambda: theirs(x, (state, state)))[1] != text


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_a_projection_by_position_is_refused_at_construction(kind):
    before = (["tanh"] if kind == "RNN" else []) + [True, False, 0.0, False]
    x = leaf(6, 4, 3, dtype=torch.float32)
    theirs = getattr(nn, kind)(3, 5, 1, *before, 2)
    assert error_of(lambda: theirs(x))[0] is RuntimeError
    with pytest.raises(ValueError, match="proj_size argument is only supported for LSTM"):
        getattr(bptt.nn, kind)(3, 5, 1, *before, 2)
    assert error_of(lambda: getattr(nn, kind)(3, 5, proj_size=0))[0] is ValueError
    getattr(bptt.nn, kind)(3, 5, proj_size=0)


@pytest.mark.parametrize("kind", KINDS)
def test_complex_layers_are_refused(kind):
    ours, theirs = twins(kind, 3, 5, dtype=torch.complex64)
    x = torch.zeros(6, 4, 3, dtype=torch.complex64)
    theirs(x)
    with pytest.raises(TypeError, match=r"x must have a floating dtype, got torch.complex64"):
        ours(x)


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_another_dtype(kind):
    """torch's text depends on the kernel that finds the mistake; the type of the error is the same."""
    ours, theirs = twins(kind, 3, 5, dtype=torch.float32)
    state = torch.zeros(1, 4, 5, dtype=torch.float64)
    hx = (state, state) if kind == "LSTM" else state
    x = torch.zeros(6, 4, 3)
    assert error_of(lambda: theirs(x, hx))[0] is RuntimeError
    with pytest.raises(RuntimeError, match="Input and hidden tensors are not the same dtype, found input"):
        ours(x, hx)
    with torch.no_grad():
        ours.weight_hh_l0 = nn.Parameter(ours.weight_hh_l0.double())
    with pytest.raises(RuntimeError, match="Input and parameter tensors are not the same dtype"):
        ours(x)


def test_a_missing_argument_is_named_by_our_constructor():
    with pytest.raises(TypeError, match=r"^LSTM.__init__\(\) missing 1 required positional argument"):
        bptt.nn.LSTM(3)
    with pytest.raises(TypeError, match=r"^RNNBase.__init__\(\) missing 1 required positional argument"):
        nn.LSTM(3)


@pytest.mark.parametrize("kind", KINDS)
def test_double_precision_under_autocast(kind):
    """torch's text depends on the kernel; the type of the error is the same."""
    layers = twins(kind, 3, 5, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kinds = {error_of(lambda layer=layer: layer(leaf(6, 4, 3)))[0] for layer in layers}
    assert kinds == {RuntimeError}


@pytest.mark.parametrize("kind", KINDS)
def test_parametrized_layers_can_be_copied(kind):
    ours, theirs = twins(kind, 3, 5)
    x = leaf(6, 4, 3)
    for layer in (ours, theirs):
        parametrizations.weight_norm(layer, "weight_hh_l0")
        layer(x)
    assert error_of(lambda: copy.deepcopy(theirs))[0] is RuntimeError
    assert_same(tensors(copy.deepcopy(ours)(x)), tensors(theirs(x)))


def stacked_weights(layer):
    return {name: torch.stack([p, 2 * p]).detach() for name, p in layer.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_vmap_over_weights_works(kind):
    ours, theirs = twins(kind, 3, 5)
    x = leaf(6, 4, 3)

    def run(layer):
        return torch.func.vmap(lambda weights: torch.func.functional_call(layer, weights, (x,))[0])

    y = run(ours)(stacked_weights(ours))
    for index in range(2):
        weights = {name: stack[index] for name, stack in stacked_weights(theirs).items()}
        alone = torch.func.functional_call(theirs, weights, (x,))[0]
        torch.testing.assert_close(y[index], alone, rtol=0, atol=1e-12)


def test_forward_mode_derivatives_work():
    ours, theirs = twins("LSTM", 3, 5, dtype=torch.float32)
    x, v = torch.randn(6, 4, 3), torch.randn(6, 4, 3)
    y, slope = torch.func.jvp(lambda x: ours(x)[0], (x,), (v,))
    step = 1e-2
    measured = (theirs(x + step * v)[0] - theirs(x - step * v)[0]) / (2 * step)
    torch.testing.assert_close(slope, measured, rtol=0, atol=1e-3)
    torch.testing.assert_close(y, theirs(x)[0])


def test_one_graph_when_compiled():
    ours, theirs = twins("LSTM", 2, 2)
    x = leaf(3, 2, 2)
    kind, text = error_of(lambda: torch.compile(theirs, backend="eager", fullgraph=True)(x))
    assert "does not support RNN, GRU, or LSTM" in text
    assert issubclass(kind, RuntimeError)
    compiled = torch.compile(ours, backend="eager", fullgraph=True)
    assert_same(tensors(compiled(x)), tensors(theirs(x)))


@needs_native
def test_a_compiled_graph_checks_the_values_of_no_keeps():
    layer, x, keep = bptt.nn.GRU(2, 3), torch.randn(4, 3, 2), torch.full((4,), 2.0)
    with pytest.raises(ValueError, match="must be in"):
        layer(x, keeps={(0, 0): keep})
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    assert compiled(x, keeps={(0, 0): keep})[0].shape == (4, 3, 3)
    with pytest.raises(Exception, match="must have shape"):
        compiled(x, keeps={(0, 0): keep[:2]})


@needs_native
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("detach", [None, bptt.Detach(h=1.0)], ids=str)
def test_exports_are_dynamic_in_time_and_batch(kind, detach):
    layer, x = getattr(bptt.nn, kind)(2, 3, detach=detach), torch.randn(4, 3, 2)
    T, B = torch.export.Dim("T", min=2, max=64), torch.export.Dim("B", min=2, max=64)
    exported = torch.export.export(layer, (x,), dynamic_shapes=({0: T, 1: B},))
    other = torch.randn(9, 7, 2, requires_grad=True)
    ours, theirs = exported.module()(other)[0], layer(other)[0]
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(y[-1].sum(), other)[0] for y in (ours, theirs)))


def test_with_a_projection_exported_graphs_have_every_step():
    layer = bptt.nn.LSTM(2, 3, proj_size=1)
    short, longer = (torch.export.export(layer, (torch.randn(T, 3, 2),)) for T in (4, 8))
    assert len(longer.graph.nodes) > 1.5 * len(short.graph.nodes)
    size = torch.export.Dim("size", min=2, max=64)
    with pytest.raises(RuntimeError, match="specialized it to be a constant"):
        torch.export.export(layer, (torch.randn(4, 3, 2),), dynamic_shapes=({0: size},))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_no_torchscript():
    torch.jit.script(nn.GRU(3, 5))
    with pytest.raises(OSError, match="Failed to get source for <function Detach"):
        torch.jit.script(bptt.nn.GRU(3, 5))


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
def test_quantization_passes_ours_by():
    model = nn.Sequential(bptt.nn.LSTM(3, 5))
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.LSTM})
    assert type(quantized[0]) is bptt.nn.LSTM


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: cuDNN's refusals exist only there")
@pytest.mark.parametrize("kind", KINDS)
def test_what_cudnn_refuses_works(kind):
    ours, theirs = (layer.cuda().eval() for layer in twins(kind, 3, 5, dtype=torch.float32))
    x = leaf(6, 4, 3, dtype=torch.float32).detach().cuda().requires_grad_()
    assert error_of(lambda: theirs(x)[0].sum().backward())[0] is RuntimeError  # backward in eval()
    (grad,) = torch.autograd.grad(ours(x)[0].square().sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert x.grad.abs().max() > 0
