"""Gradients over masks: against every mask there is, and against a loop."""

import itertools

import pytest
import torch

import bptt
from bptt import flow

T, B, I, H = 4, 3, 2, 3


def layer(**more):
    torch.manual_seed(1)
    return bptt.nn.LSTM(I, H, dtype=torch.float64, **more)


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def loss(y, _):
    return (y * data(*y.shape)).sum()


def flat(of, keep):
    value = loss(of(data(T, B, I), keeps={(0, 0): torch.tensor(keep, dtype=torch.float64)})[0], None)
    return torch.cat([part.flatten() for part in torch.autograd.grad(value, list(of.parameters()))])


def test_many_masks_come_near_the_mean_over_all_of_them():
    of, p = layer(), 0.4
    (found,) = flow.variance(of, data(T, B, I), loss, [p], masks=600)
    # The first step's coin cuts h_0, on which no weight depends.
    coins = list(itertools.product([0.0, 1.0], repeat=T))
    chances = torch.tensor([(1 - p) ** sum(c) * p ** (T - sum(c)) for c in coins], dtype=torch.float64)
    every = torch.stack([flat(of, c) for c in coins])
    true, mean = flat(of, [1.0] * T), (chances[:, None] * every).sum(0)
    spread = (chances * (every - mean).square().sum(1)).sum().sqrt()
    assert found.true == pytest.approx(true.norm().item(), rel=1e-12)
    assert found.mean == pytest.approx(mean.norm().item(), rel=0.05)
    assert found.deviation == pytest.approx(spread.item(), rel=0.1)
    assert found.cosine == pytest.approx(torch.cosine_similarity(mean, true, 0).item(), abs=0.02)
    possible = every.norm(dim=1)
    assert all((possible - norm).abs().min() < 1e-12 for norm in found.norms)


def test_without_blocking_there_is_no_spread_and_with_all_of_it_none_either():
    open_, closed = flow.variance(layer(), data(T, B, I), loss, [0.0, 1.0], masks=3)
    assert open_.deviation == pytest.approx(0, abs=1e-12)
    assert open_.cosine == pytest.approx(1)
    assert open_.mean == pytest.approx(open_.true)
    assert closed.deviation == pytest.approx(0, abs=1e-12)
    assert closed.cosine < 1
    assert closed.norms.tolist() == pytest.approx([flat(layer(), [0.0] * T).norm().item()] * 3)


def test_masks_are_the_seed_s_and_the_same_for_every_p():
    asked = {"p": [0.3], "masks": 8}
    one, same, other = (flow.variance(layer(), data(T, B, I), loss, seed=s, **asked)[0] for s in (0, 0, 1))
    assert torch.equal(one.norms, same.norms)
    assert not torch.equal(one.norms, other.norms)
    twice = flow.variance(layer(), data(T, B, I), loss, [0.3, 0.3], masks=8)
    assert torch.equal(twice[0].norms, twice[1].norms)


def test_dropout_and_the_model_s_own_rule_take_no_part_in_the_spread():
    of = layer(num_layers=2, dropout=0.5, detach=bptt.Detach(h=0.9))
    state = torch.get_rng_state()
    (found,) = flow.variance(of, data(T, B, I), loss, [0.0], masks=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.deviation == pytest.approx(0, abs=1e-12)
    assert of.weight_hh_l0.grad is None


def test_what_cannot_be_asked_is_named():
    with pytest.raises(ValueError, match="masks must be at least 2, got 1"):
        flow.variance(layer(), data(T, B, I), loss, [0.5], masks=1)
    with pytest.raises(ValueError, match="a scalar with a gradient, got float"):
        flow.variance(layer(), data(T, B, I), lambda *_: 1.0, [0.5])
    with pytest.raises(ValueError, match="must be a probability in"):
        flow.variance(layer(), data(T, B, I), loss, [2.0])
