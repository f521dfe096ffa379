"""The split into carry and gates: exact, by hand, and the mean of what coins give."""

import itertools

import pytest
import torch
from helpers.twins import KINDS

import bptt
from bptt import flow

T, B, I, H = 4, 3, 2, 3


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, dtype=torch.float64, **more)


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def loss(y, _):
    return (y * data(*y.shape)).sum().tanh()


def states(kind, of, x, cut):
    """The states on the carry of one layer, by its equations, h detached before the gates if `cut`."""
    w_ih, w_hh, b_ih, b_hh = (
        of.state_dict()[f"{n}_l0"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    h = c = torch.zeros(x.shape[1], H, dtype=torch.float64)
    carried, outputs = [], []
    for step in x:
        read = h.detach() if cut else h
        a, b = step @ w_ih.T + b_ih, read @ w_hh.T + b_hh
        if kind == "LSTM":
            i, f, g, o = (a + b).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        else:
            (ar, az, an), (br, bz, bn) = a.chunk(3, -1), b.chunk(3, -1)
            z = (az + bz).sigmoid()
            h = (1 - z) * (an + (ar + br).sigmoid() * bn).tanh() + z * h
        carried.append(c if kind == "LSTM" else h)
        outputs.append(h)
    return carried, torch.stack(outputs)


def gradient_by_hand(kind, of, x, cut):
    x = x.clone().requires_grad_()  # so that the states want gradients
    carried, y = states(kind, of, x, cut)
    return torch.stack(torch.autograd.grad(loss(y, None), carried))


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_both_parts_are_those_of_the_equations(kind, library):
    of, x = layer(kind, library), data(T, B, I)
    (found,) = flow.paths(of, x, loss)
    torch.testing.assert_close(found.whole, gradient_by_hand(kind, of, x, cut=False))
    torch.testing.assert_close(found.carry, gradient_by_hand(kind, of, x, cut=True))
    torch.testing.assert_close(found.carry + found.gates, found.whole, rtol=0, atol=1e-15)
    cut = gradient_by_hand(kind, of, x, cut=True)
    torch.testing.assert_close(found.gates, gradient_by_hand(kind, of, x, cut=False) - cut)
    last = found.gates[-1]
    assert last.abs().max() == 0  # nothing comes after the last step
    share = found.share
    assert ((share > 0) & (share <= 1)).all()
    torch.testing.assert_close(share[-1], torch.ones(B, dtype=torch.float64))


def test_the_carry_of_an_lstm_is_the_product_of_its_forget_gates():
    of, x = layer("LSTM"), data(T, B, I)

    def of_the_end(y, _):
        return y[-1].sum()

    (found,) = flow.paths(of, x, of_the_end)
    w_ih, w_hh, b_ih, b_hh = (each.detach() for each in of.parameters())
    with torch.no_grad():
        y, _, c = of(x, return_cells=True)
        before = torch.cat([torch.zeros(1, B, H, dtype=torch.float64), y[:-1]])
        _, f, _, o = (x @ w_ih.T + b_ih + before @ w_hh.T + b_hh).sigmoid().chunk(4, -1)
    at_the_end = o[-1] * (1 - c[-1].tanh() ** 2)
    expected = torch.stack([at_the_end * f[t + 1 :].prod(0) for t in range(T)])
    torch.testing.assert_close(found.carry, expected)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_the_expected_gradient_is_the_mean_over_all_coins(kind):
    of, x, p = layer(kind), data(T, B, I), 0.3
    (found,) = flow.expected(of, x, loss, [p, 0.0, 1.0])
    mean = torch.zeros(T, B, H, dtype=torch.float64)
    for coins in itertools.product([0.0, 1.0], repeat=T):
        chance = torch.tensor([1 - p if coin else p for coin in coins], dtype=torch.float64).prod()
        tap = torch.zeros(T, B, H, dtype=torch.float64, requires_grad=True)
        taps = bptt.nn.Taps(c=tap) if kind == "LSTM" else bptt.nn.Taps(h=tap)
        keep = torch.tensor(coins, dtype=torch.float64)
        value = loss(of(x, keeps={(0, 0): keep}, taps={(0, 0): taps})[0], None)
        mean += chance * torch.autograd.grad(value, tap)[0]
    torch.testing.assert_close(found[p], mean)
    (split,) = flow.paths(of, x, loss)
    torch.testing.assert_close(found[0.0], split.whole)
    torch.testing.assert_close(found[1.0], split.carry)


def test_each_layer_and_direction_has_its_own_split():
    of, x = layer("LSTM", num_layers=2, bidirectional=True), data(T, B, I)
    found = flow.paths(of, x, loss)
    assert [(f.layer, f.direction) for f in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    tap = torch.zeros(T, B, H, dtype=torch.float64, requires_grad=True)
    given = {"keeps": {(0, 1): torch.zeros(T, dtype=torch.float64)}, "taps": {(0, 1): bptt.nn.Taps(c=tap)}}
    (carry,) = torch.autograd.grad(loss(of(x, **given)[0], None), tap)
    torch.testing.assert_close(found[1].carry, carry)
    assert found[1].gates.abs().max() > 0


def test_dropout_is_the_same_and_detachment_is_not_used():
    of, x = layer("LSTM", num_layers=2, dropout=0.5, detach=bptt.Detach(h=0.7)), data(T, B, I)
    torch.manual_seed(3)
    found = flow.paths(of, x, loss)
    of.detach = None
    torch.manual_seed(3)
    for one, other in zip(found, flow.paths(of, x, loss), strict=True):
        assert torch.equal(one.whole, other.whole)
        assert torch.equal(one.carry, other.carry)
        assert one.gates[-1].abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_split_is_named(kind):
    x = data(T, B, I)
    if kind == "RNN":
        with pytest.raises(ValueError, match="an RNN has no carry"):
            flow.paths(layer(kind), x, loss)
        return
    with pytest.raises(ValueError, match=r"a scalar with a gradient, got shape \(4, 3\)"):
        flow.paths(layer(kind), x, lambda y, _: y.sum(-1))
    with pytest.raises(ValueError, match="a probability in"):
        flow.expected(layer(kind), x, loss, [1.5])
