"""`convert` and `restore`: torch's layers in a model become ours, and back, with nothing lost."""

import copy
import weakref

import pytest
import torch
from helpers.twins import KINDS, assert_same, error_of, gradients, leaf, tensors, twins
from torch import nn
from torch.nn.utils import parametrizations, prune

import bptt
from bptt import Detach


class Nested(nn.Module):
    """Recurrent layers at several depths, one of them used under two names."""

    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(3, 4, 2, bidirectional=True)
        self.blocks = nn.ModuleList([nn.ModuleDict({"cell": nn.GRU(8, 8)}), nn.Sequential(nn.RNN(8, 8))])
        self.again = self.blocks[0]["cell"]
        self.listed = [self.first]
        self.readout = nn.Linear(8, 2)

    def forward(self, x):
        x, _ = self.first(x)
        x, _ = self.blocks[0]["cell"](x)
        x, _ = self.again(x)
        x, _ = self.blocks[1][0](x)
        return self.readout(x)


def kinds(model):
    return [type(module) for module in model.modules() if isinstance(module, nn.RNNBase)]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Nested().double()


def grads(model, x):
    return dict(
        zip(
            (name for name, _ in model.named_parameters()),
            torch.autograd.grad(model(x).square().sum(), list(model.parameters())),
            strict=True,
        )
    )


def test_every_layer_is_swapped_and_swapped_back(model):
    x = leaf(6, 4, 3)
    attributes = set(vars(model.first))
    expected, expected_grads = model(x), grads(model, x)
    parameters = list(model.parameters())
    assert bptt.nn.convert(model, Detach(h=0.0)) is model
    assert kinds(model) == [bptt.nn.LSTM, bptt.nn.GRU, bptt.nn.RNN]
    assert model.first.detach == Detach()
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert_same({"y": model(x)}, {"y": expected})
    with bptt.nn.steer(model, keeps={(0, 0): torch.ones(6)}):
        assert_same(grads(model, x), expected_grads)
    assert bptt.nn.restore(model) is model
    assert kinds(model) == [nn.LSTM, nn.GRU, nn.RNN]
    assert set(vars(model.first)) == attributes
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert_same(grads(model, x), expected_grads, tolerance=0)


def test_references_from_elsewhere_stay_good(model):
    outside = model.again
    bptt.nn.convert(model)
    assert model.again is model.blocks[0]["cell"] is outside
    assert model.listed[0] is model.first
    assert isinstance(model.listed[0], bptt.nn.LSTM)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_itself_may_be_the_layer(kind):
    ours, theirs = twins(kind, 3, 5, 2, batch_first=True, bias=False)
    x = leaf(4, 6, 3)
    expected = theirs(x)
    converted = bptt.nn.convert(theirs, Detach(h=0.5))
    assert type(converted) is type(ours)
    assert repr(converted) == f"{repr(ours)[:-1]}, detach={Detach(h=0.5)})"
    assert_same(tensors(converted(x)), tensors(expected))
    restored = bptt.nn.restore(converted)
    assert type(restored) is getattr(nn, kind)
    assert_same(tensors(restored(x)), tensors(expected), tolerance=0)


def test_a_layer_of_ours_can_be_restored():
    ours, theirs = twins("LSTM", 3, 5, 2, proj_size=2)
    x = leaf(6, 4, 3)
    restored = bptt.nn.restore(ours)
    assert type(restored) is nn.LSTM
    assert_same(gradients(restored(x), restored, (x,)), gradients(theirs(x), theirs, (x,)), tolerance=0)
    assert_same(tensors(copy.deepcopy(restored)(x)), tensors(theirs(x)), tolerance=0)


def test_weights_changed_before_and_after_are_used():
    _, theirs = twins("GRU", 3, 5)
    x = leaf(6, 4, 3)
    theirs.weight_hh_l0 = nn.Parameter(theirs.weight_hh_l0.detach() * 2)
    expected = tensors(theirs(x))
    assert_same(tensors(bptt.nn.convert(theirs)(x)), expected)
    theirs.weight_hh_l0 = nn.Parameter(theirs.weight_hh_l0.detach() / 2)
    assert_same(tensors(bptt.nn.restore(theirs)(x)), tensors(twins("GRU", 3, 5)[1](x)), tolerance=0)


def test_a_weight_that_is_replaced_is_freed():
    layer = bptt.nn.convert(nn.GRU(3, 5))
    old = weakref.ref(layer.weight_hh_l0)
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(15, 5))
    assert old() is None


def test_training_flags_requires_grad_and_hooks_are_kept(model):
    model.first.eval()
    model.again.weight_hh_l0.requires_grad_(False)
    seen = []
    handle = model.first.register_forward_hook(lambda *_: seen.append("forward"))
    model.first.register_forward_pre_hook(lambda *_: seen.append("pre"))
    model.first.register_full_backward_hook(lambda *_: seen.append("backward"))
    bptt.nn.convert(model, Detach(h=0.5))
    assert not model.first.training
    assert model.again.training
    assert not model.again.weight_hh_l0.requires_grad
    model(leaf(6, 4, 3)).sum().backward()
    assert seen == ["pre", "forward", "backward"]
    handle.remove()
    seen.clear()
    model(leaf(6, 4, 3))
    assert seen == ["pre"]
    bptt.nn.restore(model)
    assert not model.first.training
    model(leaf(6, 4, 3))
    assert seen == ["pre", "pre"]


def test_an_optimiser_made_before_goes_on(model):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    bptt.nn.convert(model)
    before = model.first.weight_hh_l0.clone()
    model(leaf(6, 4, 3)).square().sum().backward()
    optimiser.step()
    assert not torch.equal(model.first.weight_hh_l0, before)


def test_prune_survives():
    _, theirs = twins("LSTM", 3, 5)
    prune.l1_unstructured(theirs, "weight_hh_l0", 0.5)
    x = leaf(6, 4, 3)
    expected = tensors(theirs(x))
    assert_same(tensors(bptt.nn.convert(theirs)(x)), expected)
    assert_same(tensors(bptt.nn.restore(theirs)(x)), expected, tolerance=0)


class Custom(nn.LSTM):
    def forward(self, input, hx=None):
        y, state = super().forward(input, hx)
        return 2 * y, state


@pytest.mark.parametrize("spoil", ["subclass", "parametrized", "forward of its own"])
def test_layers_that_do_something_else_are_refused_and_nothing_changes(model, spoil):
    spoilt = Custom(3, 5) if spoil == "subclass" else nn.LSTM(3, 5)
    if spoil == "parametrized":
        parametrizations.weight_norm(spoilt, "weight_hh_l0")
    elif spoil == "forward of its own":
        spoilt.forward = lambda x, hx=None: (x, hx)
    model.spoilt = spoilt
    before = kinds(model)
    kind, text = error_of(lambda: bptt.nn.convert(model, Detach(h=0.5)))
    assert kind is TypeError
    assert "convert knows only layers that are exactly torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN" in text
    assert {
        "subclass": "'spoilt' is a Custom, a subclass of LSTM",
        "parametrized": "'spoilt' is a ParametrizedLSTM, parametrized (convert first, then parametrize)",
        "forward of its own": "'spoilt' is a LSTM with a forward of its own",
    }[spoil] in text
    assert kinds(model) == before


def test_restore_refuses_what_it_does_not_know():
    class Ours(bptt.nn.LSTM):
        pass

    known = "exactly bptt.nn.LSTM, bptt.nn.GRU, bptt.nn.RNN"
    with pytest.raises(TypeError, match=f"{known}, got: the model itself is a Ours, a subclass of LSTM$"):
        bptt.nn.restore(Ours(3, 5))
    layer = bptt.nn.GRU(3, 5)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    with pytest.raises(TypeError, match="parametrized"):
        bptt.nn.restore(layer)


def test_a_detach_that_a_layer_cannot_obey_changes_nothing(model):
    before = kinds(model)
    with pytest.raises(ValueError, match="detach must have c = 0: RNN has no carry"):
        bptt.nn.convert(model, Detach(c=0.5))
    with pytest.raises(TypeError, match=r"detach must be a Detach or None, .* got 0.5 of type float"):
        bptt.nn.convert(model, 0.5)
    assert kinds(model) == before


@pytest.mark.parametrize("detach", [None, Detach(h=0.5)])
def test_a_model_with_nothing_to_convert_is_refused(detach):
    rule = "convert must be given a model that holds an LSTM, GRU or RNN of torch.nn, got "
    with pytest.raises(ValueError, match=rule + "Linear, which has none$"):
        bptt.nn.convert(nn.Linear(2, 2), detach)
    with pytest.raises(ValueError, match=rule + "Sequential, which has none, only cells, which it leaves"):
        bptt.nn.convert(nn.Sequential(nn.LSTMCell(2, 2), nn.Linear(2, 2)), detach)
    with pytest.raises(TypeError, match="detach must be"):
        bptt.nn.convert(nn.Linear(2, 2), "h")


def test_what_is_converted_already_needs_a_layer_only_for_a_detach(model):
    bptt.nn.convert(model, Detach(h=0.1))
    assert bptt.nn.convert(model) is model
    assert model.first.detach == Detach(h=0.1)
    with pytest.raises(ValueError, match="got Nested, which has none"):
        bptt.nn.convert(model, Detach(h=0.5))


def test_cells_stay_torchs(model):
    model.cell = nn.GRUCell(8, 8)
    bptt.nn.convert(model)
    assert type(model.cell) is nn.GRUCell


def test_restore_asks_for_nothing_to_restore():
    for model in (nn.Linear(2, 2), nn.LSTM(2, 2)):
        assert bptt.nn.restore(model) is model


def test_layers_of_ours_keep_their_own_detach(model):
    model.ours = bptt.nn.GRU(8, 8, detach=Detach(c=0.1))
    bptt.nn.convert(model, Detach(h=0.5))
    assert model.ours.detach == Detach(c=0.1)
    assert model.first.detach == Detach(h=0.5)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor.*are deprecated:UserWarning")
def test_a_restored_model_can_be_quantized():
    torch.manual_seed(0)
    model = bptt.nn.SequenceModel(bptt.nn.LSTM(3, 8), 2, readout="last")
    x = torch.randn(6, 4, 3)
    expected = model(x)
    quantized = torch.ao.quantization.quantize_dynamic(bptt.nn.restore(model), {nn.LSTM})
    assert type(quantized.core).__module__.startswith("torch.ao")
    torch.testing.assert_close(quantized(x), expected, rtol=0, atol=0.05)
