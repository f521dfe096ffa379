"""Drop-in checklist: weights are read where they are now. Every test runs against torch.nn itself."""

import warnings

import pytest
import torch
from helpers.twins import KINDS, assert_same, assert_twins_agree, gradients, leaf, tensors, twins
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune


@pytest.fixture(params=KINDS)
def pair(request):
    return twins(request.param, 3, 5, 2, bidirectional=True)


def test_setattr_of_a_new_parameter(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        old = layer.weight_hh_l0
        layer.weight_hh_l0 = nn.Parameter(old.detach() * 2)
        assert layer._flat_weights[1] is layer.weight_hh_l0
    assert_twins_agree(*pair, x, None, (x,))


def test_weights_changed_in_place(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        layer(x)
        with torch.no_grad():
            layer.bias_hh_l1_reverse.mul_(3)
    assert_twins_agree(*pair, x, None, (x,))


def test_parametrization(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        parametrizations.weight_norm(layer, "weight_hh_l0")
        parametrizations.orthogonal(layer, "weight_hh_l1", use_trivialization=False)
    assert_twins_agree(*pair, x, None, (x,))
    with torch.no_grad():
        for layer in pair:
            layer.parametrizations.weight_hh_l0.original0.mul_(2)
    assert_twins_agree(*pair, x, None, (x,))
    for layer in pair:
        parametrize.remove_parametrizations(layer, "weight_hh_l0")
        parametrize.remove_parametrizations(layer, "weight_hh_l1")
    assert_twins_agree(*pair, x, None, (x,))


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_weight_norm_of_the_old_kind(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        nn.utils.weight_norm(layer, "weight_hh_l0")
    assert_twins_agree(*pair, x, None, (x,))


def test_prune(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        torch.manual_seed(0)
        prune.random_unstructured(layer, "weight_hh_l0", 0.5)
    assert_twins_agree(*pair, x, None, (x,))
    assert (pair[0].weight_hh_l0 == 0).any()
    for layer in pair:
        prune.remove(layer, "weight_hh_l0")
    assert_twins_agree(*pair, x, None, (x,))


def test_functional_call(pair):
    x = leaf(6, 4, 3)
    weights = {name: (2 * p).detach().requires_grad_() for name, p in pair[0].named_parameters()}
    results = [torch.func.functional_call(layer, weights, (x,)) for layer in pair]
    assert_same(*map(tensors, results))
    leaves = (x, *weights.values())
    for layer in pair:
        layer.requires_grad_(False)
    mine, reference = (gradients(result, nn.Module(), leaves) for result in results)
    assert_same(mine, reference)
    assert any(grad.abs().max() > 0 for name, grad in mine.items() if name != "input 0")
    assert_same(*(tensors(layer(x)) for layer in pair))  # and back to the layer's own weights


def test_dtype_and_device_moves(pair):
    x = leaf(6, 4, 3, dtype=torch.float32)
    ours, theirs = (layer.to(torch.float32) for layer in pair)
    assert_twins_agree(ours, theirs, x, None, (x,), tolerance=3e-5)
    ours, theirs = (layer.double() for layer in pair)
    x = leaf(6, 4, 3)
    assert_twins_agree(ours, theirs, x, None, (x,))


def test_share_memory_and_requires_grad(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        layer.share_memory()
        layer.requires_grad_(False)
        assert layer(x)[0].requires_grad
    assert_same(*(tensors(layer(x)) for layer in pair))


def test_weights_scattered_in_memory_do_not_warn(pair):
    """What on a GPU warns "RNN module weights are not part of single contiguous chunk of memory"."""
    ours, _ = pair
    for name, weight in list(ours.named_parameters()):
        setattr(ours, name, nn.Parameter(weight.detach().clone().t().contiguous().t()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(leaf(6, 4, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA: flattened weights exist only there")
def test_flattened_cuda_weights(tmp_path):
    from safetensors.torch import load_file, save_file

    ours, theirs = twins("LSTM", 3, 5, 2, dtype=torch.float32, device="cuda")
    ours.load_state_dict(theirs.state_dict())
    x = leaf(6, 4, 3, dtype=torch.float32).detach().cuda()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    # Ours do not share one storage, so they can be saved as they are.
    save_file(ours.state_dict(), tmp_path / "weights.safetensors")
    theirs.load_state_dict(load_file(tmp_path / "weights.safetensors"))
