"""Keeps given to a layer: the same as a loop over layers and directions with explicit `.detach()`."""

import pytest
import torch
from helpers.loops import gru_loop, lstm_loop, rnn_loop
from helpers.twins import assert_same, gradients, initial_state, is_lstm, leaf, tensors, twins
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
from bptt import Keeps

T, B = 6, 4
VARIANTS = {
    "LSTM": ("LSTM", {}),
    "LSTM projected": ("LSTM", {"proj_size": 2}),
    "GRU": ("GRU", {}),
    "RNN": ("RNN", {"nonlinearity": "relu"}),
}
LOOPS = {"LSTM": lstm_loop, "GRU": gru_loop, "RNN": rnn_loop}
KEYS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def build(variant, **options):
    kind, more = VARIANTS[variant]
    return kind, twins(kind, 3, 5, 2, bidirectional=True, **options, **more)[0]


def coins(kind, shape=(T, B), seed=3):
    """A different keep for every key and path."""
    generator = torch.Generator().manual_seed(seed)

    def toss():
        return torch.randint(2, shape, generator=generator).double()

    return {key: Keeps(toss(), toss() if kind != "RNN" else None) for key in KEYS}


def stacked_loop(kind, layer, x, hx, keeps):
    """What `layer` computes, by the loops of the helpers, which share no code with it."""
    finals = []
    for number in range(2):
        outputs = []
        for direction in range(2):
            suffix = f"l{number}" + ("_reverse" if direction else "")
            names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            weights = [getattr(layer, f"{name}_{suffix}") for name in names]
            options = {"nonlinearity": layer.nonlinearity} if kind == "RNN" else {}
            if layer.proj_size:
                options["w_hr"] = getattr(layer, f"weight_hr_{suffix}")
            pair = dict(zip(("h_keep", "c_keep"), keeps.get((number, direction), Keeps()), strict=True))
            if kind == "RNN":
                del pair["c_keep"]
            turned = {n: k.flip(0) if direction and k is not None else k for n, k in pair.items()}
            index = 2 * number + direction
            initial = (hx[0][index], hx[1][index]) if kind == "LSTM" else hx[index]
            run = LOOPS[kind](x.flip(0) if direction else x, initial, *weights, **options, **turned)
            hs, cs = run if kind == "LSTM" else (run, None)
            finals.append((hs[-1], cs[-1]) if cs else (hs[-1],))
            y = torch.stack(hs)
            outputs.append(y.flip(0) if direction else y)
        x = torch.cat(outputs, -1)
    last = tuple(map(torch.stack, zip(*finals, strict=True)))
    return x, (last if kind == "LSTM" else last[0])


@pytest.mark.parametrize("shape", [(T,), (T, B)], ids=["(T,)", "(T, B)"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equal_a_loop_with_explicit_detach(variant, shape):
    kind, layer = build(variant)
    x, hx, keeps = leaf(T, B, 3), initial_state(layer, B), coins(kind, shape)
    leaves = (x, *(hx if is_lstm(layer) else (hx,)))
    ours, loop = layer(x, hx, keeps=keeps), stacked_loop(kind, layer, x, hx, keeps)
    assert_same(tensors(ours), tensors(loop))
    grads = gradients(ours, layer, leaves)
    assert_same(grads, gradients(loop, layer, leaves))
    everything_open = gradients(layer(x, hx), layer, leaves)
    assert (grads["weight_hh_l0"] - everything_open["weight_hh_l0"]).abs().max() > 1e-3


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_forward_pass_is_bitwise_unchanged(variant):
    kind, layer = build(variant)
    x = leaf(T, B, 3)
    for shape in ((T,), (T, B)):
        assert_same(tensors(layer(x, keeps=coins(kind, shape))), tensors(layer(x)), tolerance=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tensor_alone_is_the_keep_of_h(variant):
    kind, layer = build(variant)
    x, keeps = leaf(T, B, 3), coins(kind)
    alone = {key: keep.h for key, keep in keeps.items()}
    pairs = {key: (keep.h, None) for key, keep in keeps.items()}
    expected = gradients(layer(x, keeps=pairs), layer, (x,))
    assert_same(gradients(layer(x, keeps=alone), layer, (x,)), expected, tolerance=0)


def test_each_key_concerns_its_layer_and_direction_only():
    """Blocking everything in one part leaves a path only through the others."""
    blocked = Keeps(torch.zeros(T), torch.zeros(T))
    layer = build("LSTM")[1]
    for number, direction in KEYS:
        x, hx = leaf(T, B, 3), initial_state(layer, B)
        y, _ = layer(x, hx, keeps={(number, direction): blocked})
        grads = torch.autograd.grad(y.square().sum(), hx)
        for grad in grads:
            reached = grad.abs().amax((1, 2)) > 0
            assert reached.tolist() == [key != (number, direction) for key in KEYS]


@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_first_does_not_turn_the_keeps(variant):
    kind, layer = build(variant)
    _, turned = build(variant, batch_first=True)
    x, keeps = leaf(T, B, 3), coins(kind)
    actual = gradients_of_sum(turned, turned(x.transpose(0, 1), keeps=keeps))
    assert_same(actual, gradients_of_sum(layer, layer(x, keeps=keeps)))


def gradients_of_sum(layer, result):
    y = tensors(result)
    loss = (y["y"] if "y" in y else y["y.data"]).pow(3).sum()
    return dict(enumerate(torch.autograd.grad(loss, list(layer.parameters()))))


@pytest.mark.parametrize("variant", VARIANTS)
def test_columns_are_in_the_users_order_for_packed_input(variant):
    kind, layer = build(variant)
    x, keeps, lengths = leaf(T, B, 3), coins(kind), torch.tensor([4, 1, 6, 4])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    expected = gradients_of_sum(layer, layer(x, lengths=lengths, keeps=keeps))
    assert_same(gradients_of_sum(layer, layer(packed, keeps=keeps)), expected)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_single_sequence_is_a_batch_of_one(variant):
    kind, layer = build(variant)
    x = leaf(T, 3)
    keeps = coins(kind, (T, 1))
    expected = gradients_of_sum(layer, layer(x[:, None], keeps=keeps))
    assert_same(gradients_of_sum(layer, layer(x, keeps=keeps)), expected)
    flat = {key: tuple(None if keep is None else keep[:, 0] for keep in pair) for key, pair in keeps.items()}
    assert_same(gradients_of_sum(layer, layer(x, keeps=flat)), expected)


@pytest.mark.parametrize("training", [True, False])
def test_keeps_win_over_detach_in_training_and_eval(training):
    layer = build("LSTM")[1]
    x, keeps = leaf(T, B, 3), coins("LSTM")
    expected = gradients(layer(x, keeps=keeps), layer, (x,))
    layer.detach = bptt.Detach(h=1.0, c=1.0)
    layer.train(training)
    before = torch.get_rng_state()
    assert_same(gradients(layer(x, keeps=keeps), layer, (x,)), expected, tolerance=0)
    some = {(0, 1): keeps[0, 1]}
    without = build("LSTM")[1]
    expected = gradients(without(x, keeps=some), without, (x,))
    assert_same(gradients(layer(x, keeps=some), layer, (x,)), expected, tolerance=0)  # the others are open
    assert torch.equal(torch.get_rng_state(), before)


BAD_KEEPS = {
    "no map": ([torch.ones(T)], TypeError, r"keeps must map \(layer, direction\) to tensors, got list"),
    "no such layer": ({(2, 0): torch.ones(T)}, ValueError, r"among \(0, 0\), \(0, 1\).*got \(2, 0\)"),
    "no such direction": ({(0, 2): torch.ones(T)}, ValueError, r"keeps of LSTM must have keys among"),
    "no pair": (
        {(0, 0): 0.5},
        TypeError,
        r"keeps\[\(0, 0\)\] must be a tensor, for h, or a pair .* float",
    ),
    "three": ({(0, 0): (None,) * 3}, TypeError, r"got a tuple of NoneType, NoneType, NoneType"),
    "shape of h": (
        {(1, 0): torch.ones(B)},
        ValueError,
        r"keeps\[\(1, 0\)\].h must have shape \(T,\) or \(T, B\) = \(6,\) or \(6, 4\), got \(4,\)",
    ),
    "shape of c": ({(0, 1): (None, torch.ones(B, T))}, ValueError, r"keeps\[\(0, 1\)\].c .* got \(4, 6\)"),
    "outside [0, 1]": (
        {(0, 1): (torch.ones(T), torch.arange(T) - 1.0)},
        ValueError,
        r"keeps\[\(0, 1\)\].c must be in \[0, 1\], got values from -1 to 4",
    ),
    "dtype": (
        {(1, 1): torch.ones(T).int()},
        TypeError,
        r"keeps\[\(1, 1\)\].h must have a floating dtype or bool",
    ),
    "gradient": (
        {(1, 0): torch.ones(T, requires_grad=True)},
        ValueError,
        r"keeps\[\(1, 0\)\].h must not require a gradient",
    ),
}


@pytest.mark.parametrize("bad", BAD_KEEPS)
def test_bad_keeps_are_refused(bad):
    keeps, kind, text = BAD_KEEPS[bad]
    with pytest.raises(kind, match=text):
        build("LSTM")[1](leaf(T, B, 3), keeps=keeps)


def test_an_rnn_has_no_carry_to_keep():
    layer = build("RNN")[1]
    with pytest.raises(ValueError, match=r"keeps\[\(0, 0\)\].c must be None: RNN takes keeps of h only"):
        layer(leaf(T, B, 3), keeps={(0, 0): (None, torch.ones(T))})
