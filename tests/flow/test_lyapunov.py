"""Lyapunov exponents against determinants, closed forms, and the growth of products."""

import math

import pytest
import torch
from helpers.steps import jacobians, size
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
from bptt import flow

T, B, I, H = 8, 3, 2, 3
LENGTHS = torch.tensor([4, 8, 6])
KINDS = [("LSTM", {}), ("LSTM", {"proj_size": 2}), ("GRU", {}), ("RNN", {})]


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, dtype=torch.float64, **more)


def data(*shape, seed=2):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_lengths(model, x):
    return model(x, lengths=LENGTHS)[0]


def still(matrix, steps):
    """An RNN whose states stay 0, so that each Jacobian is the matrix, and its input."""
    of = bptt.nn.RNN(I, len(matrix), bias=False, dtype=torch.float64)
    with torch.no_grad():
        of.weight_hh_l0.copy_(matrix)
    return of, torch.zeros(steps, 1, I, dtype=torch.float64)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_all_exponents_add_up_to_the_determinants(kind, more, library):
    of, x = layer(kind, library, **more), data(T, B, I)
    (found,) = flow.lyapunov(of, x, size(of), warmup=2)
    logs = torch.stack([torch.linalg.slogdet(jacobians(of, x[:, b])).logabsdet for b in range(B)], 1)[2:]
    torch.testing.assert_close(found.exponents.sum(-1), logs.mean(0))
    steps = torch.arange(1, T - 1, dtype=torch.float64)[:, None]
    torch.testing.assert_close(found.running.sum(-1), logs.cumsum(0) / steps)
    torch.testing.assert_close(found.running[-1], found.exponents)
    torch.testing.assert_close(found.mean, found.exponents.mean(0))
    torch.testing.assert_close(found.running_mean, found.running.mean(1))


@pytest.mark.parametrize(("kind", "more"), KINDS)
def test_each_direction_is_followed_to_the_end_of_each_sequence(kind, more):
    of, x = layer(kind, bidirectional=True, **more), data(T, B, I)
    found = flow.lyapunov(of, x, size(of), call=with_lengths, warmup=1)
    for b, length in enumerate(LENGTHS.tolist()):
        runs = (x[:length, b], "_l0"), (x[:length, b].flip(0), "_l0_reverse")
        for each, (run, suffix) in zip(found, runs, strict=True):
            logs = torch.linalg.slogdet(jacobians(of, run, suffix)).logabsdet[1:]
            torch.testing.assert_close(each.exponents[b].sum(), logs.mean())
            assert each.running[length - 1 :, b].isnan().all()
            assert not each.running[: length - 1, b].isnan().any()
    assert found[0].running_mean.isnan().sum() == 0
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    for one, other in zip(found, flow.lyapunov(of, packed, size(of), warmup=1), strict=True):
        torch.testing.assert_close(one.exponents, other.exponents)


def test_a_scaled_rotation_has_one_exponent():
    of, x = still(0.7 * torch.linalg.qr(data(H, H))[0], 5)
    (found,) = flow.lyapunov(of, x, H)
    torch.testing.assert_close(found.exponents, torch.full((1, H), math.log(0.7), dtype=torch.float64))
    torch.testing.assert_close(found.running, found.exponents.expand(5, 1, H))


def test_a_linear_rnn_has_the_logs_of_its_eigenvalues():
    values = torch.tensor([0.3, 1.5, 0.8], dtype=torch.float64)
    basis = data(H, H)
    of, x = still(basis @ torch.diag(values) @ basis.inverse(), 150)  # not normal: singular values differ
    (found,) = flow.lyapunov(of, x, H, warmup=100)
    expected = values.sort(descending=True).values.log()
    torch.testing.assert_close(found.exponents[0], expected)
    (two,) = flow.lyapunov(of, x, 2, warmup=100)
    torch.testing.assert_close(two.exponents, found.exponents[:, :2])  # the leading ones


def test_positive_states_of_a_relu_are_linear_too():
    values = torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)
    of = layer("RNN", nonlinearity="relu")
    with torch.no_grad():
        of.weight_hh_l0.copy_(torch.diag(values))
        of.weight_ih_l0.fill_(1.0)
    (found,) = flow.lyapunov(of, torch.ones(200, B, I, dtype=torch.float64), H, warmup=150)
    torch.testing.assert_close(found.mean, values.sort(descending=True).values.log())


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_a_scalar_lstm_by_hand(library):
    of = library.LSTM(1, 1, dtype=torch.float64)
    with torch.no_grad():
        for weight in of.parameters():
            weight.zero_()
        of.bias_ih_l0.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))  # i f g o
    (found,) = flow.lyapunov(of, torch.zeros(T, 1, 1, dtype=torch.float64), 2, warmup=1)
    # c stays 0 and no gate reads h: J = [[f, 0], [o f, 0]], of rank 1
    f = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(found.exponents[0, 0], f.log())
    assert found.exponents[0, 1] == -math.inf


@pytest.mark.parametrize("exponent", [1000, -1000])
def test_no_rate_overflows(exponent):
    of, x = still(2.0**exponent * torch.eye(H, dtype=torch.float64), T)
    (found,) = flow.lyapunov(of, x, 2)
    torch.testing.assert_close(
        found.exponents, torch.full((1, 2), exponent * math.log(2), dtype=torch.float64)
    )


def test_dead_units_have_no_exponents():
    of = layer("RNN", nonlinearity="relu")
    with torch.no_grad():
        of.bias_ih_l0.copy_(torch.tensor([100.0, 100.0, -100.0]))
    (found,) = flow.lyapunov(of, data(T, B, I), H)
    assert found.exponents[:, :2].isfinite().all()
    assert (found.exponents[:, 2] == -math.inf).all()


def test_the_first_exponent_is_the_growth_of_long_products():
    of, x = layer("LSTM"), data(400, 1, I)
    (found,) = flow.lyapunov(of, x, 1)
    (of_products,) = flow.spectrum(of, x, at=[0])
    assert found.warmup == 40
    growth = of_products.products[359, 0] / 360  # of the 360 steps that are left
    assert found.exponents.item() == pytest.approx(growth.item(), abs=0.01)


def test_the_layout_does_not_matter():
    of, x = layer("GRU"), data(T, B, I)
    (found,) = flow.lyapunov(of, x, 2)
    assert found.warmup == 0
    order = torch.tensor([2, 0, 1])
    (permuted,) = flow.lyapunov(of, x[:, order], 2)
    torch.testing.assert_close(permuted.exponents, found.exponents[order])
    (turned,) = flow.lyapunov(layer("GRU", batch_first=True), x.transpose(0, 1), 2)
    torch.testing.assert_close(turned.exponents, found.exponents)
    (doubled,) = flow.lyapunov(of, x.repeat(1, 2, 1), 2)
    torch.testing.assert_close(doubled.mean, found.mean)
    (alone,) = flow.lyapunov(of, x[:, 1], 2)
    torch.testing.assert_close(alone.exponents, found.exponents[1:2])


@pytest.mark.parametrize(
    ("k", "more", "message"),
    [
        (2 * H + 1, {}, f"k must be at least 1 and at most the size of the state, {2 * H}, got {2 * H + 1}"),
        (0, {}, "k must be at least 1"),
        (1, {"warmup": T}, f"0 <= warmup < {T}, got {T}"),
        (1, {"warmup": -1}, f"0 <= warmup < {T}, got -1"),
        (1, {"warmup": 4, "call": with_lengths}, "0 <= warmup < 4, got 4"),
    ],
)
def test_what_cannot_be_measured_is_named(k, more, message):
    with pytest.raises(ValueError, match=message):
        flow.lyapunov(layer("LSTM"), data(T, B, I), k, **more)
