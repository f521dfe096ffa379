"""`steer` and `draw_keeps`: keeps and taps for the layers inside a model, and nothing left behind."""

import copy

import pytest
import torch
from helpers.twins import assert_same, leaf
from torch import nn
from torch.utils.checkpoint import checkpoint

import bptt
from bptt import Detach, Keeps
from bptt.nn import Taps, draw_keeps, steer
from bptt.streams import stream

T, B = 6, 4


class Two(nn.Module):
    """Two recurrent layers, one of them deeper inside."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential()
        self.encoder.lstm = bptt.nn.LSTM(3, 5, dtype=torch.float64)
        self.decoder = bptt.nn.GRU(5, 5, dtype=torch.float64)
        self.call = {}  # what the model's own code passes to the decoder

    def forward(self, x):
        y, _ = self.encoder.lstm(x)
        return self.decoder(y, **self.call)[0]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Two()


@pytest.fixture
def x():
    return leaf(T, B, 3)


def coins(seed):
    generator = torch.Generator().manual_seed(seed)
    return Keeps(*(torch.randint(2, (T, B), generator=generator).double() for _ in range(2)))


def grads(model, x):
    loss = model(x).pow(3).sum()
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


def by_hand(model, x, encoder=None, decoder=None):
    """The gradients with keeps passed to the layers directly."""
    y, _ = model.encoder.lstm(x, keeps=encoder)
    y, _ = model.decoder(y, keeps=decoder)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(y.pow(3).sum(), parameters), strict=True))


def differ(a, b):
    return any((a[name] - b[name]).abs().max() > 1e-6 for name in a)


def test_one_map_for_every_layer(model, x):
    keeps = {(0, 0): coins(1)}
    expected = by_hand(model, x, keeps, keeps)
    assert differ(expected, grads(model, x))
    with steer(model, keeps=keeps):
        assert_same(grads(model, x), expected, tolerance=0)


def test_maps_by_module_name(model, x):
    first, second = {(0, 0): coins(1)}, {(0, 0): coins(2)}
    with steer(model, keeps={"encoder.lstm": first, "decoder": second}):
        assert_same(grads(model, x), by_hand(model, x, first, second), tolerance=0)
    with steer(model, keeps={"decoder": second}):
        assert_same(grads(model, x), by_hand(model, x, None, second), tolerance=0)


def test_taps(model, x):
    tap = torch.zeros(T, B, 5, dtype=torch.float64, requires_grad=True)
    taps = {"encoder.lstm": {(0, 0): Taps(c=tap)}}
    with steer(model, taps=taps):
        (grad,) = torch.autograd.grad(model(x).pow(3).sum(), tap)
    y, _ = model.encoder.lstm(x, taps=taps["encoder.lstm"])
    (expected,) = torch.autograd.grad(model.decoder(y)[0].pow(3).sum(), tap)
    assert torch.equal(grad, expected)


def test_a_layer_by_itself_has_the_empty_name(x):
    layer = bptt.nn.LSTM(3, 5, dtype=torch.float64)
    keeps = {(0, 0): coins(1)}
    for form in (keeps, {"": keeps}):
        with steer(layer, keeps=form):
            steered = torch.autograd.grad(layer(x)[0].sum(), layer.weight_hh_l0)
        assert torch.equal(*steered, *torch.autograd.grad(layer(x, keeps=keeps)[0].sum(), layer.weight_hh_l0))


def test_gone_on_exit_and_on_error(model, x):
    plain = grads(model, x)
    with steer(model, keeps={(0, 0): coins(1)}):
        pass
    assert_same(grads(model, x), plain, tolerance=0)
    with pytest.raises(KeyError), steer(model, keeps={(0, 0): coins(1)}):
        raise KeyError
    assert_same(grads(model, x), plain, tolerance=0)
    # A map that is refused leaves nothing behind either, whatever was accepted before it.
    with (
        pytest.raises(ValueError, match="taps of GRU 'decoder'"),
        steer(model, keeps={(0, 0): coins(1)}, taps={"decoder": {(3, 0): torch.zeros(T, B, 5)}}),
    ):
        raise AssertionError("the body must not run")
    assert_same(grads(model, x), plain, tolerance=0)


def test_nested_contexts(model, x):
    outer, inner = {(0, 0): coins(1)}, {(0, 0): coins(2)}
    tap = torch.zeros(T, B, 5, dtype=torch.float64, requires_grad=True)
    with steer(model, keeps=outer, taps={"decoder": {(0, 0): tap}}):
        with steer(model, keeps={"decoder": inner}):
            # The inner one wins for the decoder; the encoder, and the taps, are still the outer one's.
            assert_same(grads(model, x), by_hand(model, x, outer, inner), tolerance=0)
            torch.autograd.grad(model(x).sum(), tap)
        assert_same(grads(model, x), by_hand(model, x, outer, outer), tolerance=0)


def test_what_the_model_passes_itself_wins(model, x):
    own, steered = {(0, 0): coins(1)}, {(0, 0): coins(2)}
    model.call = {"keeps": own}
    with steer(model, keeps=steered):
        assert_same(grads(model, x), by_hand(model, x, steered, own), tolerance=0)
    model.call = {"keeps": {}}  # everything open
    with steer(model, keeps=steered):
        assert_same(grads(model, x), by_hand(model, x, steered, {}), tolerance=0)
    model.call = {"keeps": None}
    with steer(model, keeps=steered):
        assert_same(grads(model, x), by_hand(model, x, steered, steered), tolerance=0)


def test_keeps_replace_detach_and_apply_in_eval(model, x):
    keeps = {(0, 0): coins(1)}
    expected = by_hand(model, x, keeps, keeps)
    model.encoder.lstm.detach = model.decoder.detach = Detach(h=1.0, c=1.0)
    before = torch.get_rng_state()
    for training in (True, False):
        model.train(training)
        with steer(model, keeps=keeps):
            assert_same(grads(model, x), expected, tolerance=0)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_copy_made_inside_is_not_steered(model, x):
    plain = grads(model, x)
    with steer(model, keeps={(0, 0): coins(1)}):
        copied = copy.deepcopy(model)
    assert_same(grads(copied, x), plain, tolerance=0)


def test_checkpointed_models_need_the_backward_pass_inside(model, x):
    keeps = {(0, 0): coins(1)}
    expected = by_hand(model, x, keeps, keeps)
    names, parameters = zip(*model.named_parameters(), strict=True)
    with steer(model, keeps=keeps):
        loss = checkpoint(model, x, use_reentrant=False).pow(3).sum()
        inside = torch.autograd.grad(loss, parameters)
    assert_same(dict(zip(names, inside, strict=True)), expected, tolerance=0)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:torch", "ignore::UserWarning:torch"
)  # while it traces
def test_a_compiled_model_obeys():
    """Dynamo does not guard on hooks: steering by hooks would be ignored by a graph compiled before."""
    torch.manual_seed(0)
    layer = bptt.nn.LSTM(2, 2, dtype=torch.float64)
    compiled = torch.compile(layer, backend="eager")
    x = leaf(2, 1, 2)

    def grad():
        return torch.autograd.grad(compiled(x)[0][-1].sum(), x)[0]

    plain = grad()
    with steer(layer, keeps={(0, 0): Keeps(torch.zeros(2), torch.zeros(2))}):
        blocked = grad()
    assert plain[0].abs().max() > 0
    assert blocked[0].abs().max() == 0
    assert torch.equal(grad(), plain)


BAD = {
    "no map": ([1], TypeError, "keeps must be a map, got list"),
    "mixed keys": ({"decoder": {}, (0, 0): torch.ones(T)}, TypeError, "must have either module names or"),
    "other keys": ({0: torch.ones(T)}, TypeError, r"got int"),
    "misspelt": ({"encodr.lstm": {}}, ValueError, "got 'encodr.lstm'; the nearest is 'encoder.lstm'"),
    "not recurrent": ({"encoder": {}}, ValueError, "must name recurrent layers .*, got 'encoder'"),
    "no such layer": ({(1, 0): torch.ones(T)}, ValueError, r"keeps of LSTM 'encoder.lstm' must have keys"),
    "inner map": ({"decoder": torch.ones(T)}, TypeError, r"keeps must map \(layer, direction\) to tensors"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_maps_are_refused_at_the_door(model, bad):
    keeps, kind, text = BAD[bad]
    with pytest.raises(kind, match=text), steer(model, keeps=keeps):
        raise AssertionError("the body must not run")


def test_sizes_are_refused_in_the_forward_pass(model, x):
    with (
        steer(model, keeps={(0, 0): torch.ones(T + 1)}),
        pytest.raises(ValueError, match=r"keeps\[\(0, 0\)\].h must have shape"),
    ):
        model(x)


def test_a_model_without_a_layer_of_ours_is_refused():
    for keeps in ({(0, 0): torch.ones(T)}, {"": {(0, 0): torch.ones(T)}}):
        with (
            pytest.raises(ValueError, match=r"bptt.nn.convert replaces those of torch.nn"),
            steer(nn.LSTM(3, 5), keeps=keeps),
        ):
            raise AssertionError("the body must not run")


def test_drawn_keeps_are_those_of_each_layers_detach(model):
    model.encoder.lstm.detach = Detach(h=0.5, c=0.25, draw="sequence")
    model.decoder.detach = Detach(h=0.5)
    drawn = draw_keeps(model, (T, B), generator=stream(0, "detach", 3))
    generator = stream(0, "detach", 3)
    assert list(drawn) == ["encoder.lstm", "decoder"]
    for name, layer in (("encoder.lstm", model.encoder.lstm), ("decoder", model.decoder)):
        expected = layer.detach.sample((T, B), generator=generator, dtype=torch.float64)
        for keep, wanted in zip(drawn[name][0, 0], expected, strict=True):
            assert torch.equal(keep, wanted)
    assert torch.equal(drawn["decoder"][0, 0].c, torch.ones(T))  # p = 0


def test_drawing_leaves_the_global_generator_and_p_zero_leaves_both(model):
    model.decoder.detach = Detach(h=0.5)
    before = torch.get_rng_state()
    draw_keeps(model, (T, B), generator=stream(0, "detach"))
    assert torch.equal(torch.get_rng_state(), before)
    model.decoder.detach = Detach()
    generator = stream(0, "detach")
    (keeps,) = draw_keeps(model, (T, B), generator=generator)["decoder"].values()
    assert torch.equal(generator.get_state(), stream(0, "detach").get_state())
    assert torch.equal(keeps.h, torch.ones(T))


def test_layers_without_detach_are_left_out(model, x):
    assert draw_keeps(model, (T, B)) == {}
    plain = grads(model, x)
    with steer(model, keeps=draw_keeps(model, (T, B))):
        assert_same(grads(model, x), plain, tolerance=0)


def test_shared_draws_and_rnns_without_a_carry():
    layer = bptt.nn.RNN(3, 5, 2, bidirectional=True, detach=Detach(h=0.5, shared=True))
    drawn = draw_keeps(layer, (T, B))[""]
    assert list(drawn) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(keeps.h is drawn[0, 0].h and keeps.c is None for keeps in drawn.values())
    with steer(layer, keeps=drawn):
        layer(torch.randn(T, B, 3))


def test_a_layer_restored_inside_keeps_nothing_of_ours():
    model = nn.Sequential(bptt.nn.LSTM(2, 3))
    with steer(model, keeps={(0, 0): torch.ones(4)}):
        bptt.nn.restore(model)
    assert type(model[0]) is nn.LSTM
    assert set(vars(model[0])) == set(vars(nn.LSTM(2, 3)))
