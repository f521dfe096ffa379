"""Taps given to a layer: their gradients are the total gradients of the states."""

import pytest
import torch
from helpers.twins import assert_same, gradients, leaf, tensors, twins
from torch.nn.utils.rnn import pack_padded_sequence

from bptt.nn import Taps

T, B, H = 6, 4, 5
KEYS = [(0, 0), (0, 1), (1, 0), (1, 1)]
VARIANTS = {
    "LSTM": ("LSTM", {}),
    "LSTM projected": ("LSTM", {"proj_size": 2}),
    "GRU": ("GRU", {}),
    "RNN": ("RNN", {}),
}


def build(variant, **options):
    kind, more = VARIANTS[variant]
    return twins(kind, 3, H, 2, bidirectional=True, **options, **more)[0]


def zeros(layer):
    def tap(width):
        return torch.zeros(T, B, width, dtype=torch.float64, requires_grad=True)

    with_c = layer.mode == "LSTM"
    return {key: Taps(tap(layer.proj_size or H), tap(H) if with_c else None) for key in KEYS}


@pytest.mark.parametrize("variant", VARIANTS)
def test_taps_of_zeros_change_nothing(variant):
    layer, x = build(variant), leaf(T, B, 3)
    plain, tapped = layer(x), layer(x, taps=zeros(layer))
    assert_same(tensors(tapped), tensors(plain), tolerance=0)
    assert_same(gradients(tapped, layer, (x,)), gradients(plain, layer, (x,)))


def loss_of(result):
    return sum(tensor.pow(3).sum() for tensor in tensors(result).values() if tensor.is_floating_point())


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_the_slope_of_the_loss_along_the_state(variant):
    """A tap really is added to the state, so its gradient can be measured by finite differences."""
    layer, x = build(variant), leaf(T, B, 3)
    taps = zeros(layer)
    flat = [tap for pair in taps.values() for tap in pair if tap is not None]
    grads = torch.autograd.grad(loss_of(layer(x, taps=taps)), flat)
    step = 1e-5
    for tap, grad in zip(flat, grads, strict=True):
        direction = leaf(*tap.shape, seed=2).detach()
        slopes = []
        for sign in (1, -1):
            with torch.no_grad():
                tap.copy_(sign * step * direction)
                slopes.append(loss_of(layer(x, taps=taps)))
                tap.zero_()
        torch.testing.assert_close(
            (slopes[0] - slopes[1]) / (2 * step), (grad * direction).sum(), rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_top_layer_taps_without_recurrence_see_the_gradient_of_the_output(variant):
    layer, x = build(variant), leaf(T, B, 3)
    taps = zeros(layer)
    blocked = torch.zeros(T)
    pair = blocked if variant == "RNN" else (blocked, blocked)
    y, _ = layer(x, taps=taps, keeps={(1, 0): pair, (1, 1): pair})
    expected = leaf(*y.shape, seed=4).detach()
    grads = torch.autograd.grad((y * expected).sum(), [taps[1, 0].h, taps[1, 1].h])
    torch.testing.assert_close(torch.cat(grads, -1), expected, rtol=0, atol=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_columns_are_in_the_users_order_for_packed_input(variant):
    layer, x, lengths = build(variant), leaf(T, B, 3), torch.tensor([4, 1, 6, 4])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    results = []
    for taps, call in ((zeros(layer), {"lengths": lengths}), (zeros(layer), {})):
        y = layer(x if call else packed, taps=taps, **call)[0]
        flat = [tap for pair in taps.values() for tap in pair if tap is not None]
        loss = (y if call else y.data).pow(3).sum()
        results.append(dict(enumerate(torch.autograd.grad(loss, flat, materialize_grads=True))))
    assert_same(results[1], results[0])
    beyond = torch.arange(T)[:, None] >= lengths
    assert all((grad[beyond] == 0).all() for grad in results[0].values())


def test_taps_apply_in_eval_and_for_a_single_sequence():
    layer = build("GRU").eval()
    x = leaf(T, 3)
    tap = torch.zeros(T, 1, H, dtype=torch.float64, requires_grad=True)
    y, _ = layer(x, taps={(0, 1): tap})
    assert torch.autograd.grad(y.sum(), tap)[0].abs().min() > 0


BAD_TAPS = {
    "no map": ("LSTM", torch.zeros(T, B, H), TypeError, r"taps must map \(layer, direction\)"),
    "no such key": ("LSTM", {(0, 2): torch.zeros(T, B, H)}, ValueError, r"taps of LSTM must have keys among"),
    "shape of h": (
        "LSTM",
        {(0, 1): torch.zeros(T, B, H + 1)},
        ValueError,
        r"taps\[\(0, 1\)\].h must have shape \(T, B, H\) = \(6, 4, 5\), got \(6, 4, 6\)",
    ),
    "shape of a projected h": (
        "LSTM projected",
        {(0, 1): torch.zeros(T, B, H)},
        ValueError,
        r"taps\[\(0, 1\)\].h must have shape \(T, B, P\) = \(6, 4, 2\), got \(6, 4, 5\)",
    ),
    "shape of c": (
        "LSTM projected",
        {(0, 0): (None, torch.zeros(T, B, 2))},
        ValueError,
        r"\.c .* \(T, B, H\)",
    ),
    "c of a GRU": ("GRU", {(0, 0): (None, torch.zeros(T, B, H))}, ValueError, r"GRU takes taps of h only"),
    "c of an RNN": ("RNN", {(0, 0): (None, torch.zeros(T, B, H))}, ValueError, r"RNN takes taps of h only"),
    "no tensor": ("GRU", {(0, 0): "h"}, TypeError, r"taps\[\(0, 0\)\] must be a tensor, .* got str"),
}


@pytest.mark.parametrize("bad", BAD_TAPS)
def test_bad_taps_are_refused(bad):
    variant, taps, kind, text = BAD_TAPS[bad]
    with pytest.raises(kind, match=text):
        build(variant)(leaf(T, B, 3), taps=taps)
