"""Drop-in checklist: copies, files and weights without memory. Every test runs against torch.nn itself."""

import copy
import pickle

import pytest
import torch
from helpers.twins import KINDS, assert_same, error_of, leaf, tensors, twins
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.utils import skip_init

import bptt

X = leaf(6, 4, 3).detach()


@pytest.fixture(params=KINDS)
def pair(request):
    return twins(request.param, 3, 5, 2, bidirectional=True)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_deepcopy_and_pickle(pair, duplicate):
    ours, theirs = pair
    ours.detach = bptt.Detach(h=0.25, shared=True)
    ours.eval()
    copied = duplicate(ours)
    assert repr(copied) == repr(ours)
    assert not copied.training
    assert_same(tensors(copied(X)), tensors(theirs(X)))
    with torch.no_grad():
        copied.weight_hh_l0.zero_()
    assert_same(tensors(ours(X)), tensors(theirs(X)))  # nothing is shared


def test_deepcopy_of_changed_weights(pair):
    for layer in pair:
        layer(X)
        layer.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0.detach() * 2)
    ours, theirs = map(copy.deepcopy, pair)
    assert_same(tensors(ours(X)), tensors(theirs(X)))


def test_state_of_torchs_layer_from_before_proj_size(pair):
    ours, theirs = pair
    state = copy.deepcopy(theirs).__getstate__()
    del state["proj_size"]
    old = type(ours).__new__(type(ours))
    old.__setstate__(state)
    assert old.proj_size == 0
    assert old.detach is None
    assert_same(tensors(old(X)), tensors(theirs(X)))


def test_state_of_ours_from_before_proj_size(pair):
    ours, theirs = pair
    state = ours.__getstate__()
    del state["proj_size"]
    old = type(ours).__new__(type(ours))
    old.__setstate__(state)
    assert_same(tensors(old(X)), tensors(theirs(X)))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_state_of_the_oldest_format(kind, bias):
    """Its `all_weights` held the weights themselves instead of their names."""
    ours, theirs = twins(kind, 3, 5, 2, bidirectional=True, bias=bias)
    state = theirs.__getstate__()
    state["all_weights"] = theirs.all_weights
    for absent in ("proj_size", "_all_weights", "_flat_weights", "_flat_weights_names"):
        del state[absent]
    loaded = []
    for layer in (ours, theirs):
        old = type(layer).__new__(type(layer))
        old.__setstate__(dict(state))
        loaded.append(old)
    mine, reference = loaded
    assert mine._flat_weights_names == reference._flat_weights_names
    assert_same(tensors(mine(X)), tensors(reference(X)))


def test_whole_modules_are_refused_by_weights_only_loading(pair, tmp_path):
    for layer in pair:
        torch.save(layer, tmp_path / "module.pt")
        kind, _ = error_of(lambda: torch.load(tmp_path / "module.pt"))
        assert kind is pickle.UnpicklingError
        loaded = torch.load(tmp_path / "module.pt", weights_only=False)
        assert_same(tensors(loaded(X)), tensors(layer(X)))


def test_saved_state_dict_loads_by_default(pair, tmp_path):
    ours, theirs = pair
    torch.save(ours.state_dict(), tmp_path / "weights.pt")
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.zero_()
    theirs.load_state_dict(torch.load(tmp_path / "weights.pt"))
    assert_same(tensors(ours(X)), tensors(theirs(X)))


def test_safetensors_round_trip(pair, tmp_path):
    ours, theirs = pair
    save_file(ours.state_dict(), tmp_path / "weights.safetensors")
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.zero_()
    theirs.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert_same(tensors(ours(X)), tensors(theirs(X)))


@pytest.mark.parametrize("kind", KINDS)
def test_meta_device_and_to_empty(kind):
    ours, theirs = twins(kind, 3, 5, 2, device="meta")
    shapes = [{name: t.shape for name, t in tensors(layer(X.to("meta"))).items()} for layer in (ours, theirs)]
    assert shapes[0] == shapes[1]
    _, weights = twins(kind, 3, 5, 2)
    for layer in (ours, theirs):
        layer.to_empty(device="cpu").load_state_dict(weights.state_dict())
    assert_same(tensors(ours(X)), tensors(theirs(X)))


@pytest.mark.parametrize("kind", KINDS)
def test_load_state_dict_by_assignment(kind):
    ours, theirs = twins(kind, 3, 5, 2, device="meta")
    _, weights = twins(kind, 3, 5, 2)
    for layer in (ours, theirs):
        layer.load_state_dict(weights.state_dict(), assign=True)
    assert_same(tensors(ours(X)), tensors(theirs(X)))


@pytest.mark.parametrize("kind", KINDS)
def test_skip_init(kind):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    layer = skip_init(getattr(bptt.nn, kind), 3, 5, dtype=torch.float64)
    assert torch.equal(torch.rand(1), expected)  # no weight was drawn
    _, theirs = twins(kind, 3, 5)
    layer.load_state_dict(theirs.state_dict())
    assert_same(tensors(layer(X)), tensors(theirs(X)))
