"""The recursion of the paper against finite differences, and against autograd under coins."""

import itertools

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
from bptt import flow

T, B, I, H = 5, 2, 2, 3
WEIGHTS = {"weight_ih_l0": (1,), "weight_hh_l0": (2,), "bias_ih_l0": (), "bias_hh_l0": ()}


def layer(library=bptt.nn, **more):
    torch.manual_seed(1)
    return library.LSTM(I, H, dtype=torch.float64, **more)


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def states(of, x):
    """[c_t; h_t] of every step, `(T, B, 2H)`."""
    y, _, c = of(x, return_cells=True)
    return torch.cat([c, y], -1)


@torch.no_grad()
def by_differences(of, x, weight, index, step=1e-5):
    """Central differences of the states by one weight."""
    element = getattr(of, weight)
    value = element[index].item()
    found = []
    for moved in (value + step, value - step):
        element[index] = moved
        found.append(states(of, x))
    element[index] = value
    return (found[0] - found[1]) / (2 * step)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("gate", range(4), ids="ifgo")
def test_the_states_depend_on_a_weight_as_differences_say(weight, gate):
    of, x, index = layer(), data(T, B, I), (gate * H + 1, *WEIGHTS[weight])
    index = (index[0], *(min(i, getattr(of, weight).shape[1] - 1) for i in index[1:]))
    found = flow.recursion(of, x, weight, index)
    assert found.A.shape == found.B.shape == (T, B, 3 * H, 3 * H)
    expected = by_differences(of, x, weight, index)
    torch.testing.assert_close(found.z[..., : 2 * H], expected, rtol=1e-7, atol=1e-9)
    assert (found.z[..., 2 * H :] == 1).all()
    assert expected[-1].abs().min() > 1e-8  # every unit feels it by then


def test_the_terms_have_the_places_of_the_paper():
    of, x = layer(), data(T, B, I)
    found = flow.recursion(of, x, "weight_hh_l0", (H, 0))
    first, second, third = slice(0, H), slice(H, 2 * H), slice(2 * H, 3 * H)
    one = torch.eye(H, dtype=torch.float64).expand(T, B, H, H)
    assert torch.equal(found.A[..., third, third], one)
    assert (found.A[..., second] == 0).all()
    assert (found.A[..., third, : 2 * H] == 0).all()
    assert (found.B[..., first] == 0).all()
    assert (found.B[..., third] == 0).all()
    assert (found.B[..., third, :] == 0).all()
    (gates,) = flow.gates(of, x, full=True)
    torch.testing.assert_close(found.A[..., first, first], torch.diag_embed(gates.values["f"]))
    (steps,) = flow.spectrum(of, x, full=True)
    torch.testing.assert_close((found.A + found.B)[..., : 2 * H, : 2 * H], steps.jacobians)


def by_autograd(of, x, weight, index, keep):
    """d[c_t; h_t]/dw under keeps, by a backward pass for every state."""
    y, _, c = of(x, keeps={(0, 0): keep}, return_cells=True)
    of_states = torch.cat([c, y], -1)
    units = torch.eye(of_states.numel(), dtype=torch.float64).reshape(-1, *of_states.shape)
    found = [
        torch.autograd.grad(of_states, getattr(of, weight), unit, retain_graph=True)[0] for unit in units
    ]
    return torch.stack([each[index] for each in found]).reshape(of_states.shape)


@pytest.mark.parametrize(
    "coins",
    [[1, 0, 1, 1, 0], [[1, 0], [1, 1], [0, 1], [1, 1], [1, 0]], [0] * T, [0.3] * T],
    ids=["one coin for all", "a coin for each sequence", "blocked", "damped"],
)
def test_under_coins_it_is_what_autograd_says(coins):
    of, x, index = layer(), data(T, B, I), (2 * H, 1)
    keep = torch.tensor(coins, dtype=torch.float64)
    found = flow.recursion(of, x, "weight_hh_l0", index)
    expected = by_autograd(of, x, "weight_hh_l0", index, keep)
    torch.testing.assert_close(found.kept(keep)[..., : 2 * H], expected)
    assert (found.kept(keep) - found.z).abs().max() > 1e-3
    torch.testing.assert_close(found.kept(torch.ones(T)), found.z)


def test_the_mean_over_all_coins_counts_each_hop_by_its_chance():
    p = 0.3  # of blocking
    found = flow.recursion(layer(), data(T, B, I), "weight_ih_l0", (0, 0))
    mean = torch.zeros_like(found.z)
    for coins in itertools.product([0.0, 1.0], repeat=T):
        keep = torch.tensor(coins, dtype=torch.float64)
        mean += torch.where(keep == 1, 1 - p, p).prod() * found.kept(keep)
    torch.testing.assert_close(mean, found.kept(torch.full((T,), 1 - p)))
    assert (mean - found.z).abs().max() > 1e-3


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_layouts_and_lengths(library):
    of, x, which = layer(library), data(T, B, I), ("weight_hh_l0", (0, 1))
    found = flow.recursion(of, x, *which)
    first = flow.recursion(layer(library, batch_first=True), x.transpose(0, 1), *which)
    torch.testing.assert_close(first.z, found.z)
    torch.testing.assert_close(flow.recursion(of, x[:, 1], *which).z, found.z[:, 1:])
    packed = flow.recursion(of, pack_padded_sequence(x, torch.tensor([3, T]), enforce_sorted=False), *which)
    torch.testing.assert_close(packed.z[:3], found.z[:3])
    torch.testing.assert_close(packed.z[:, 1], found.z[:, 1])
    for each in (packed.A, packed.B, packed.z, packed.kept(torch.zeros(T))):
        assert each[3:, 0].isnan().all()
    assert getattr(of, which[0]).grad is None


@pytest.mark.parametrize(
    ("of", "weight", "index", "message"),
    [
        (bptt.nn.GRU(I, H), "weight_hh_l0", (0, 0), "layer must be an LSTM, got GRU"),
        (torch.nn.Linear(I, H), "weight", (0, 0), "layer must be an LSTM, got Linear"),
        (layer(num_layers=2), "weight_hh_l0", (0, 0), "one layer, one direction and no projection, got LSTM"),
        (layer(bidirectional=True), "weight_hh_l0", (0, 0), "one layer, one direction"),
        (layer(proj_size=2), "weight_hh_l0", (0, 0), "no projection"),
        (layer(), "weight_hh_l1", (0, 0), "weight must be one of weight_ih_l0, .* got 'weight_hh_l1'"),
        (layer(), "weight_hh_l0", 0, r"of weight_hh_l0, \(12, 3\), got \(0,\)"),
        (layer(), "weight_hh_l0", (0, H), r"of weight_hh_l0, \(12, 3\), got \(0, 3\)"),
        (layer(), "bias_hh_l0", -1, r"of bias_hh_l0, \(12,\), got \(-1,\)"),
    ],
)
def test_what_has_no_such_recursion_is_named(of, weight, index, message):
    with pytest.raises(ValueError, match=message):
        flow.recursion(of, data(T, B, I), weight, index)


def test_keeps_of_another_shape_are_named():
    found = flow.recursion(layer(), data(T, B, I), "bias_hh_l0", 0)
    with pytest.raises(ValueError, match=r"\(T,\) or \(T, B\) = \(5,\) or \(5, 2\), got \(2,\)"):
        found.kept(torch.ones(B))
