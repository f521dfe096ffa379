"""Gradients by lag: a twin in plain autograd, closed forms, and what must not matter."""

import numpy as np
import pytest
import torch
from helpers.twins import KINDS

import bptt
from bptt import flow

T, B, I, H = 7, 5, 3, 4


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, dtype=torch.float64, **more)


def data(*shape, seed=2):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def loss(y, _):
    weights = torch.linspace(-1, 1, y.shape[-1], dtype=y.dtype)
    return (y * weights).sum(-1).tanh()


def by_hand(kind, of, x, reverse=False):
    """‖∂L_j/∂h_{j−k}‖ by torch's cells, (T, T, B), NaN where there is no such step."""
    cell = getattr(torch.nn, f"{kind}Cell")(I, H, dtype=torch.float64)
    suffix = "_l0_reverse" if reverse else "_l0"
    own = {n.removesuffix(suffix): w for n, w in of.state_dict().items() if n.endswith(suffix)}
    cell.load_state_dict(own)
    h = c = torch.zeros(x.shape[1], H, dtype=torch.float64)
    hs = []
    for step in x.flip(0) if reverse else x:
        h, c = cell(step, (h, c)) if kind == "LSTM" else (cell(step, h), c)
        hs.append(h)
    if reverse:
        hs.reverse()
    found = torch.full((len(x), len(x), x.shape[1]), torch.nan, dtype=torch.float64)
    half = (
        hs
        if not of.bidirectional
        else [torch.cat([torch.zeros_like(h), h] if reverse else [h, torch.zeros_like(h)], -1) for h in hs]
    )
    for j, y in enumerate(half):
        for k in range(len(x)):
            i = j + k if reverse else j - k
            if 0 <= i < len(x):
                (grad,) = torch.autograd.grad(
                    loss(y, None).sum(), hs[i], retain_graph=True, allow_unused=True
                )
                found[j, k] = grad.norm(dim=-1)
    return found


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_equals_a_loop(kind, library):
    of, x = layer(kind, library), data(T, B, I)
    (profile,) = flow.lag_profile(of, x, loss, at=range(T))
    torch.testing.assert_close(profile.h, by_hand(kind, of, x), equal_nan=True)
    assert profile.at == tuple(range(T))
    assert (profile.c is None) == (kind != "LSTM")


def test_the_reverse_direction_looks_ahead():
    of, x = layer("GRU", bidirectional=True), data(T, B, I)

    def loss_of_reverse(y, batch):
        return loss(torch.cat([torch.zeros_like(y[..., :H]), y[..., H:]], -1), batch)

    forward, reverse = flow.lag_profile(of, x, loss_of_reverse, at=range(T))
    torch.testing.assert_close(reverse.h, by_hand("GRU", of, x, reverse=True), equal_nan=True)
    assert torch.nan_to_num(forward.h).abs().max() == 0
    whole = reverse.map()
    assert (whole[3, :3] == 0).all()
    torch.testing.assert_close(whole[3, 3:], reverse.h[3, : T - 3])


def test_a_linear_rnn_has_powers_of_its_matrix():
    of = layer("RNN", nonlinearity="relu")
    matrix = torch.tensor([0.5, 0.7, 0.9, 1.1], dtype=torch.float64)
    with torch.no_grad():
        of.weight_hh_l0.copy_(torch.diag(matrix))
        of.weight_ih_l0.fill_(1.0)
    (profile,) = flow.lag_profile(of, torch.ones(T, B, I, dtype=torch.float64), lambda y, _: y.sum(-1))
    expected = torch.stack([(matrix**k).norm() for k in range(T)])
    torch.testing.assert_close(profile.median(), expected)
    for edge in profile.band():
        torch.testing.assert_close(edge, expected)


def test_a_scalar_lstm_by_hand():
    of = bptt.nn.LSTM(1, 1, dtype=torch.float64)
    with torch.no_grad():
        for weight in of.parameters():
            weight.zero_()
        of.bias_ih_l0.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))  # i f g o
    (profile,) = flow.lag_profile(of, torch.zeros(T, 1, 1, dtype=torch.float64), lambda y, _: y.sum(-1))
    f, o = torch.sigmoid(torch.tensor([1.0, 0.0], dtype=torch.float64))
    # c stays 0, so dh_j/dc_{j-k} = o f^k, and no gate reads h.
    torch.testing.assert_close(profile.median("c"), torch.stack([o * f**k for k in range(T)]))
    torch.testing.assert_close(
        profile.median("h"), torch.tensor([1.0] + [0.0] * (T - 1), dtype=torch.float64)
    )


def test_quantiles_are_over_sequences_and_positions():
    of, x = layer("LSTM"), data(T, B, I)
    (profile,) = flow.lag_profile(of, x, loss, at=[2, -1])
    assert profile.at == (2, T - 1)
    at_lag_1 = torch.cat([profile.h[0, 1], profile.h[1, 1]])
    at_lag_5 = profile.h[1, 5]  # step 2 has none
    assert profile.h[0, 3:].isnan().all()
    low, high = profile.band()
    for lag, values in ((1, at_lag_1), (5, at_lag_5)):
        for q, found in ((0.5, profile.median()), (0.1, low), (0.9, high)):
            expected = np.quantile(values, q, method="averaged_inverted_cdf")
            assert found[lag].item() == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(profile.map()[0, :3], profile.h[0, :3].flip(0))
    assert (profile.map()[0, 3:] == 0).all()


def test_linear_in_the_loss_and_the_same_whatever_the_layout():
    of, x = layer("LSTM"), data(T, B, I)
    (profile,) = flow.lag_profile(of, x, loss)
    (tripled,) = flow.lag_profile(of, x, lambda y, batch: 3 * loss(y, batch))
    torch.testing.assert_close(tripled.h, 3 * profile.h)
    order = torch.tensor([3, 1, 0, 4, 2])
    (permuted,) = flow.lag_profile(of, x[:, order], loss)
    torch.testing.assert_close(permuted.h, profile.h[..., order])
    for copies in (2, 3):
        (repeated,) = flow.lag_profile(of, x.repeat(1, copies, 1), loss)
        for q in (0.1, 0.3, 0.5, 0.9):
            torch.testing.assert_close(repeated.quantile(q), profile.quantile(q))
    first = layer("LSTM", batch_first=True)
    (turned,) = flow.lag_profile(first, x.transpose(0, 1), lambda y, batch: loss(y, batch).T)
    torch.testing.assert_close(turned.h, profile.h)


def test_every_layer_of_a_model_is_told():
    model = bptt.nn.SequenceModel(layer("LSTM", num_layers=2), 2).double()
    profiles = flow.lag_profile(model, (data(T, B, I), None), lambda y, _: y.sum(-1))
    assert [(p.name, p.layer, p.direction) for p in profiles] == [("core", 0, 0), ("core", 1, 0)]
    assert all(p.h.shape == (1, T, B) for p in profiles)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_nothing_of_the_model_changes(library):
    of, x = layer("LSTM", library, num_layers=2, dropout=0.5), data(T, B, I)
    of.weight_hh_l0.grad = torch.ones_like(of.weight_hh_l0)
    before = {name: value.clone() for name, value in of.state_dict().items()}
    state = torch.get_rng_state()
    flow.lag_profile(of, x, loss)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(of) is library.LSTM
    assert all(weight.requires_grad for weight in of.parameters())
    assert torch.equal(of.weight_hh_l0.grad, torch.ones_like(of.weight_hh_l0))
    assert of.weight_ih_l0.grad is None
    assert not of._forward_pre_hooks
    assert not of._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in of.state_dict().items())
    with torch.no_grad():
        assert flow.lag_profile(of, x, loss)  # gradients are on where they are measured


def test_a_loss_of_whole_sequences_counts_from_their_ends():
    of, lengths = layer("LSTM", bidirectional=True), torch.tensor([7, 3, 5, 1, 6])
    x = data(T, B, I)

    def of_ends(y, _):
        last = y[lengths - 1, torch.arange(B)][:, :H]
        return loss(torch.cat([last, y[0, :, H:]], -1), None)

    def call(model, x):
        return model(x, lengths=lengths)[0]

    for profile in flow.lag_profile(of, x, of_ends, call=call):
        assert profile.at is None
        assert profile.depth.tolist() == [lengths.tolist()]
        for b, length in enumerate(lengths.tolist()):
            alone = flow.lag_profile(
                of, x[:length, b : b + 1], lambda y, _: loss(torch.cat([y[-1, :, :H], y[0, :, H:]], -1), None)
            )[profile.direction]
            torch.testing.assert_close(profile.h[0, :length, b], alone.h[0, :, 0])
            assert profile.h[0, length:, b].isnan().all()
            steps = range(length) if profile.direction else range(length - 1, -1, -1)
            torch.testing.assert_close(profile.map()[0, steps, b], alone.h[0, :, 0])


def test_a_position_beyond_a_length_has_no_lags():
    lengths = torch.tensor([7, 3, 5, 1, 6])
    (profile,) = flow.lag_profile(
        layer("GRU"), data(T, B, I), loss, at=[4], call=lambda model, x: model(x, lengths=lengths)[0]
    )
    assert profile.depth.tolist() == [[5, 0, 5, 0, 5]]
    assert profile.h[0, :, 1].isnan().all()
    assert not profile.median()[:5].isnan().any()


def test_a_gradient_that_is_no_number_is_not_passed_over():
    x = data(T, B, I)

    def loss_with_nan(y, _):
        return loss(y, None) * torch.where(torch.arange(B) == 2, torch.nan, 1.0)

    (profile,) = flow.lag_profile(layer("RNN"), x, loss_with_nan)
    assert profile.median().isnan().all()
    (clean,) = flow.lag_profile(layer("RNN"), x, loss)
    assert not clean.median().isnan().any()


def twice(model, batch):
    return model(model(batch)[0][..., :I])[0]


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        (torch.nn.Linear(I, H), {}, "model must have an LSTM, GRU or RNN .* got Linear without"),
        (None, {"loss": lambda y, _: y.sum()}, r"sequence, \(T, B\), or of every sequence, \(B,\), got \(\)"),
        (None, {"loss": lambda *_: 1.0}, r"\(B,\), got float"),
        (None, {"loss": lambda y, _: y[-1].sum(-1), "at": [1]}, r"at must be None for a loss \(B,\)"),
        (None, {"loss": lambda y, _: y.detach().sum(-1)}, "one without a gradient"),
        (None, {"at": [T]}, f"-{T} <= step < {T}, got {T}"),
        (None, {"call": twice}, "each recurrent layer once, got several calls of ''"),
    ],
)
def test_what_cannot_be_measured_is_named(model, more, message):
    asked = {"loss": loss} | more
    with pytest.raises(ValueError, match=message):
        flow.lag_profile(model or layer("LSTM"), data(T, B, I), **asked)


def test_there_is_no_c_in_a_gru():
    (profile,) = flow.lag_profile(layer("GRU"), data(T, B, I), loss)
    with pytest.raises(ValueError, match="state must be 'h'"):
        profile.median("c")
