"""A layer of ours beside torch's with the same weights, and the comparison of everything they return."""

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

import bptt

KINDS = ("LSTM", "GRU", "RNN")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 3e-5}


def twins(kind, *args, seed=0, dtype=torch.float64, **options):
    """(ours, theirs), each built from the same seed."""
    built = []
    for module in (bptt.nn, torch.nn):
        torch.manual_seed(seed)
        built.append(getattr(module, kind)(*args, dtype=dtype, **options))
    return tuple(built)


def leaf(*shape, dtype=torch.float64, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def initial_state(layer, B, dtype=torch.float64):
    """hx for `layer`, of leaves; B is None for a single sequence."""
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    batch = () if B is None else (B,)
    h = leaf(rows, *batch, layer.proj_size or layer.hidden_size, dtype=dtype, seed=8)
    return (h, leaf(rows, *batch, layer.hidden_size, dtype=dtype, seed=9)) if is_lstm(layer) else h


def is_lstm(layer):
    return layer.mode == "LSTM"


def tensors(result) -> dict[str, Tensor]:
    """What a layer returned, by name; packed output by its fields."""
    y, state, *cells = result
    named = dict(zip(("h_n", "c_n"), state if isinstance(state, tuple) else (state,), strict=False))
    for name, value in (("y", y), *zip(("c",), cells, strict=False)):
        if isinstance(value, PackedSequence):
            fields = value._asdict()
            named |= {f"{name}.{field}": tensor for field, tensor in fields.items() if tensor is not None}
        else:
            named[name] = value
    return named


def gradients(result, layer, leaves) -> dict[str, Tensor]:
    """Gradients of a random combination of all outputs to the leaves and the layer's parameters."""
    generator = torch.Generator().manual_seed(5)
    loss = torch.zeros((), dtype=torch.float64)
    for _, tensor in sorted(tensors(result).items()):
        if tensor.is_floating_point():
            cotangent = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            loss = loss + (tensor.double() * cotangent).sum()
    wanted = dict(layer.named_parameters()) | {f"input {i}": leaf for i, leaf in enumerate(leaves)}
    grads = torch.autograd.grad(
        loss, list(wanted.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(wanted, grads, strict=True))


def assert_same(actual, expected, tolerance=1e-12):
    """The same names, shapes and dtypes, and values within `tolerance` of the largest expected, or of 1."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert actual[name].shape == tensor.shape, name
        assert actual[name].dtype == tensor.dtype, name
        if tensor.numel():
            scale = max(1.0, tensor.abs().max().item())
            error = (actual[name] - tensor).abs().max().item()
            assert error <= tolerance * scale, f"{name}: error {error:.2e}"


def assert_twins_agree(ours, theirs, input, hx=None, leaves=(), *, tolerance=1e-12):
    """Outputs, states and all gradients of both layers on the same call."""
    mine, reference = ours(input, hx), theirs(input, hx)
    assert isinstance(mine[0], type(reference[0]))
    assert type(mine[1]) is type(reference[1])
    assert_same(tensors(mine), tensors(reference), tolerance)
    assert_same(gradients(mine, ours, leaves), gradients(reference, theirs, leaves), tolerance)


def error_of(call):
    """(type, text) of what `call` raises."""
    try:
        call()
    except Exception as error:
        return type(error), str(error)
    raise AssertionError("nothing was raised")
