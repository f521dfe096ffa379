"""`layer.detach`: which coins a layer tosses on its own, and when it tosses none."""

import pickle
import re
from dataclasses import replace

import pytest
import torch
from helpers.twins import KINDS, assert_same, gradients, leaf, tensors, twins
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
from bptt import Detach

T, B = 6, 4
KEYS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def build(kind, detach=None, **options):
    return twins(kind, 3, 5, 2, bidirectional=True, **options)[0], detach_for(kind, detach)


def detach_for(kind, detach):
    return replace(detach, c=0.0) if detach is not None and kind == "RNN" else detach


def drawn_gradients(layer, x, seed=0, **call):
    torch.manual_seed(seed)
    y = layer(x, **call)[0]
    grads = torch.autograd.grad(
        (y.data if hasattr(y, "batch_sizes") else y).pow(3).sum(), list(layer.parameters())
    )
    return dict(enumerate(grads))


@pytest.mark.parametrize("draw", ["step", "sequence", "mean"])
@pytest.mark.parametrize("kind", KINDS)
def test_coins_come_from_the_global_generator_in_the_order_of_the_weights(kind, draw):
    layer, detach = build(kind, Detach(h=0.3, c=0.6, draw=draw))
    x = leaf(T, B, 3)
    torch.manual_seed(0)
    drawn = {key: detach.sample((T, B), dtype=torch.float64) for key in KEYS}
    if kind == "RNN":
        drawn = {key: keeps.h for key, keeps in drawn.items()}
    expected = drawn_gradients(layer, x, keeps=drawn)
    open_paths = drawn_gradients(layer, x)
    layer.detach = detach
    assert_same(drawn_gradients(layer, x), expected, tolerance=0)
    assert any((expected[i] - open_paths[i]).abs().max() > 1e-6 for i in expected)


@pytest.mark.parametrize("kind", KINDS)
def test_shared_coins_are_one_draw_for_all_layers_and_directions(kind):
    layer, detach = build(kind, Detach(h=0.5, c=0.25, shared=True))
    x = leaf(T, B, 3)
    torch.manual_seed(0)
    once = detach.sample((T, B), dtype=torch.float64)
    left = torch.get_rng_state()
    expected = drawn_gradients(layer, x, keeps=dict.fromkeys(KEYS, once.h if kind == "RNN" else once))
    layer.detach = detach
    assert_same(drawn_gradients(layer, x), expected, tolerance=0)
    torch.manual_seed(0)
    layer(x)
    assert torch.equal(torch.get_rng_state(), left)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("detach", "training"),
    [
        (None, True),
        (Detach(), True),
        (Detach(draw="sequence"), True),
        (Detach(h=0.5, c=0.5, draw="mean"), True),
        (Detach(h=0.5, c=0.5), False),
        (Detach(h=1.0, c=1.0, draw="sequence"), False),
    ],
    ids=str,
)
def test_random_stream_is_untouched_without_coins(kind, detach, training):
    layer, layer.detach = build(kind, detach)
    layer.train(training)
    before = torch.get_rng_state()
    layer(leaf(T, B, 3))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("detach", "draws"), [(Detach(h=0.5), 1), (Detach(c=0.5), 1), (Detach(h=0.5, c=0.5), 2)], ids=str
)
def test_a_path_with_p_zero_tosses_nothing(detach, draws):
    layer, layer.detach = build("LSTM", detach)
    torch.manual_seed(0)
    for _ in range(draws * len(KEYS)):
        torch.rand(T)
    expected = torch.get_rng_state()
    torch.manual_seed(0)
    layer(leaf(T, B, 3))
    assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_eval_and_p_zero_give_the_gradients_of_torch(kind):
    for detach, training in ((Detach(), True), (Detach(h=1.0), False)):
        ours, theirs = twins(kind, 3, 5, 2, bidirectional=True)
        ours.detach = detach
        ours.train(training)
        x = leaf(T, B, 3)
        assert_same(gradients(ours(x), ours, (x,)), gradients(theirs(x), theirs, (x,)))


@pytest.mark.parametrize("kind", KINDS)
def test_coins_never_change_an_output(kind):
    layer, layer.detach = build(kind, Detach(h=0.5, c=0.5))
    x = leaf(T, B, 3)
    assert_same(tensors(layer(x)), tensors(layer.eval()(x)), tolerance=0)


def test_blocking_everything_always():
    """With p = 1 on both paths no gradient passes from a step to the one before."""
    layer = bptt.nn.LSTM(3, 5, detach=Detach(h=1.0, c=1.0))
    x = torch.randn(T, B, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(layer(x)[0][-1].sum(), x)
    assert (grad[:-1] == 0).all()
    assert (grad[-1] != 0).any()
    layer.detach = Detach(h=1.0)  # the carry is open
    (grad,) = torch.autograd.grad(layer(x)[0][-1].sum(), x)
    assert (grad != 0).any(-1).all()


def test_per_sequence_coins_of_packed_and_padded_input_are_the_same():
    layer, layer.detach = build("LSTM", Detach(h=0.5, c=0.5, draw="sequence"))
    x, lengths = leaf(T, B, 3), torch.tensor([4, 1, 6, 4])
    packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
    assert_same(drawn_gradients(layer, packed), drawn_gradients(layer, x, lengths=lengths))


def test_per_sequence_coins_of_a_single_sequence():
    layer, layer.detach = build("GRU", Detach(h=0.5, c=0.5, draw="sequence"))
    x = leaf(T, 3)
    assert_same(drawn_gradients(layer, x), drawn_gradients(layer, x[:, None]))


@pytest.mark.parametrize("kind", KINDS)
def test_may_be_set_at_any_time_and_given_at_construction(kind):
    detach = Detach(h=0.25)
    layer = getattr(bptt.nn, kind)(3, 5, detach=detach)
    assert layer.detach == detach
    for p in (0.5, 0.1, 0.0):  # annealing
        layer.detach = Detach(h=p)
        assert layer.detach.h == p
        layer(torch.randn(T, B, 3))
    assert pickle.loads(pickle.dumps(layer)).detach == layer.detach
    layer.detach = None
    assert "detach" not in repr(layer)


@pytest.mark.parametrize("kind", KINDS)
def test_anything_but_a_detach_is_refused(kind):
    for given, meant in ((0.5, 0.5), (True, 0.25), (2, 0.25)):
        rule = f"detach must be a Detach or None, such as bptt.Detach(h={meant}), got {given} of type"
        with pytest.raises(TypeError, match=re.escape(rule)):
            getattr(bptt.nn, kind)(3, 5, detach=given)
    layer = getattr(bptt.nn, kind)(3, 5, detach=Detach(h=0.1))
    with pytest.raises(TypeError, match=r"detach must be a Detach or None, .* of type dict"):
        layer.detach = {"h": 0.25}
    assert layer.detach == Detach(h=0.1)


def test_an_rnn_refuses_to_block_a_carry_it_has_not():
    with pytest.raises(
        ValueError, match=r"detach must have c = 0: RNN has no carry to block, got Detach\(.*c=0.5"
    ):
        bptt.nn.RNN(3, 5, detach=Detach(c=0.5))
    layer = bptt.nn.RNN(3, 5, detach=Detach(h=0.5))
    with pytest.raises(ValueError, match="detach must have c = 0"):
        layer.detach = Detach(h=0.5, c=0.5)
    assert layer.detach == Detach(h=0.5)
