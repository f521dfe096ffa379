"""Step Jacobians against autograd of one step; their products against closed forms and chained Jacobians."""

import math

import pytest
import torch
from helpers.steps import jacobians, size
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import bptt
from bptt import flow

T, B, I, H = 6, 4, 3, 4
LENGTHS = torch.tensor([2, 6, 1, 5])
LAYERS = {
    "lstm": ("LSTM", {}),
    "projected lstm": ("LSTM", {"proj_size": 2}),
    "gru": ("GRU", {}),
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "no bias": ("GRU", {"bias": False}),
}
EVERY = pytest.mark.parametrize("which", LAYERS)


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, **({"dtype": torch.float64} | more))


def data(*shape, seed=2):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_lengths(model, x):
    return model(x, lengths=LENGTHS)[0]


def still(matrix, library=bptt.nn):
    """An RNN whose states stay 0, so that each Jacobian is the matrix."""
    of = library.RNN(I, len(matrix), bias=False, dtype=torch.float64)
    with torch.no_grad():
        of.weight_hh_l0.copy_(matrix)
    return of, torch.zeros(T, 1, I, dtype=torch.float64)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@EVERY
def test_each_step_is_what_autograd_says(which, library):
    kind, more = LAYERS[which]
    of = layer(kind, library, **more)
    x = data(T, B, I)
    (found,) = flow.spectrum(of, x, at=range(T), full=True)
    by_hand = torch.stack([jacobians(of, x[:, b]) for b in range(B)], 1)
    assert found.jacobians.shape == (T, B, size(of), size(of))
    torch.testing.assert_close(found.jacobians, by_hand)
    torch.testing.assert_close(found.singular, torch.linalg.svdvals(by_hand))
    torch.testing.assert_close(found.radius, torch.linalg.eigvals(by_hand).abs().amax(-1))
    if which in ("lstm", "gru", "tanh"):
        torch.testing.assert_close(found.condition, torch.linalg.cond(by_hand), rtol=1e-6, atol=0)
    product = torch.eye(size(of), dtype=torch.float64)
    for k, matrix in enumerate(reversed(by_hand)):
        product = product @ matrix
        expected = torch.linalg.matrix_norm(product, 2).log()
        torch.testing.assert_close(found.products[k], expected, rtol=1e-9, atol=1e-9)


@EVERY
def test_the_reverse_direction_and_lengths(which):
    kind, more = LAYERS[which]
    of, x = layer(kind, bidirectional=True, **more), data(T, B, I)
    forward, reverse = flow.spectrum(of, x, at=range(T), full=True, call=with_lengths)
    for b, length in enumerate(LENGTHS.tolist()):
        there = jacobians(of, x[:length, b])
        back = jacobians(of, x[:length, b].flip(0), "_l0_reverse").flip(0)
        for found, by_hand, runs in ((forward, there, there), (reverse, back, back.flip(0))):
            torch.testing.assert_close(found.jacobians[:length, b], by_hand)
            for values in (found.singular, found.radius, found.condition, found.products, found.jacobians):
                assert values[length:, b].isnan().all()
                assert not values[:length, b].isnan().any()
            whole = torch.linalg.multi_dot([*runs.flip(0), torch.eye(size(of), dtype=torch.float64)])
            expected = torch.linalg.matrix_norm(whole, 2).log()
            torch.testing.assert_close(found.products[length - 1, b], expected, rtol=1e-9, atol=1e-9)


def test_a_linear_rnn_has_the_powers_of_its_matrix():
    of, x = layer("RNN", nonlinearity="relu"), torch.ones(T, B, I, dtype=torch.float64)
    matrix = data(H, H).abs()  # no state is negative: relu is the identity
    with torch.no_grad():
        of.weight_hh_l0.copy_(matrix)
        of.weight_ih_l0.fill_(1.0)
    (found,) = flow.spectrum(of, x)
    powers = [torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, k + 1), 2).log() for k in range(T)]
    torch.testing.assert_close(found.products, torch.stack(powers)[:, None].expand(T, B))
    torch.testing.assert_close(found.singular, torch.linalg.svdvals(matrix).expand(T, B, H))


@pytest.mark.parametrize("exponent", [1000, -1000])
def test_no_rate_overflows(exponent):
    of, x = still(2.0**exponent * torch.eye(H, dtype=torch.float64))
    (found,) = flow.spectrum(of, x)
    expected = torch.arange(1, T + 1, dtype=torch.float64) * exponent * math.log(2)
    torch.testing.assert_close(found.products[:, 0], expected)


def test_a_product_that_is_0_stays_0():
    shift = torch.diag(torch.ones(2, dtype=torch.float64), 1)  # its third power is 0
    (found,) = flow.spectrum(*still(shift))
    assert found.products[:, 0].tolist() == [0.0, 0.0, *[-math.inf] * (T - 2)]
    assert found.condition.isinf().all()


def test_eigenvalues_are_those_of_the_recurrent_weights():
    of = layer("LSTM", bidirectional=True)
    found = flow.spectrum(of, data(T, B, I))[1]
    assert list(found.eigenvalues) == list(found.weight_singular) == ["i", "f", "g", "o"]
    forget = of.weight_hh_l0_reverse.detach()[H : 2 * H]
    torch.testing.assert_close(found.eigenvalues["f"], torch.linalg.eigvals(forget))
    torch.testing.assert_close(found.weight_singular["f"], torch.linalg.svdvals(forget))
    assert found.bound is None
    of = layer("LSTM", proj_size=2)
    (found,) = flow.spectrum(of, data(T, B, I))
    loop = of.weight_hh_l0.detach()[2 * H : 3 * H] @ of.weight_hr_l0.detach()
    torch.testing.assert_close(found.weight_singular["g"], torch.linalg.svdvals(loop))
    (found,) = flow.spectrum(layer("GRU"), data(T, B, I))
    assert list(found.eigenvalues) == ["r", "z", "n"]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_nothing_grows_beyond_the_bound_of_an_rnn(nonlinearity):
    (found,) = flow.spectrum(layer("RNN", nonlinearity=nonlinearity), data(T, B, I))
    lags = torch.arange(1, T + 1, dtype=torch.float64)[:, None]
    assert (found.products <= lags * math.log(found.bound) + 1e-12).all()
    of, x = still(0.5 * torch.linalg.qr(data(H, H))[0])
    (found,) = flow.spectrum(of, x)
    assert found.bound == pytest.approx(0.5)
    torch.testing.assert_close(found.products, lags * math.log(found.bound))  # it is reached


def test_which_steps_and_sequences():
    of = layer("GRU")
    (found,) = flow.spectrum(of, data(100, 12, I))
    assert len(found.at) == 32
    assert (found.at[0], found.at[-1]) == (0, 99)
    assert {b - a for a, b in zip(found.at, found.at[1:], strict=False)} == {3, 4}
    assert found.sequences == tuple(range(4))
    x = data(T, B, I)
    (every,) = flow.spectrum(of, x)
    assert every.at == tuple(range(T))
    assert every.jacobians is None
    (some,) = flow.spectrum(of, x, at=[-1, 2], sequences=[3, 0])
    assert (some.at, some.sequences) == ((T - 1, 2), (3, 0))
    torch.testing.assert_close(some.singular, every.singular[[T - 1, 2]][:, [3, 0]])
    torch.testing.assert_close(some.products, every.products[:, [3, 0]])


def test_the_layout_does_not_matter():
    of, x = layer("LSTM"), data(T, B, I)
    (padded,) = flow.spectrum(of, x, call=with_lengths)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    as_keyword = {"call": lambda model, batch: model(input=batch)[0]}
    for more in ({}, as_keyword):
        (found,) = flow.spectrum(of, packed, **more)
        for name in ("singular", "radius", "condition", "products"):
            torch.testing.assert_close(getattr(found, name), getattr(padded, name), equal_nan=True)
    order = LENGTHS.argsort(descending=True)
    ordered = pack_sequence([x[: LENGTHS[b], b] for b in order])
    (found,) = flow.spectrum(of, ordered)
    torch.testing.assert_close(found.singular, padded.singular[:, order], equal_nan=True)
    (doubled,) = flow.spectrum(of, x.repeat(1, 2, 1), sequences=range(2 * B))
    (once,) = flow.spectrum(of, x)
    torch.testing.assert_close(doubled.products, once.products.repeat(1, 2))
    (turned,) = flow.spectrum(layer("LSTM", batch_first=True), x.transpose(0, 1))
    torch.testing.assert_close(turned.singular, once.singular)
    (alone,) = flow.spectrum(of, x[:, 0])
    torch.testing.assert_close(alone.singular, once.singular[:, :1])


def test_jacobians_are_of_the_states_as_they_are_in_float32():
    of, x = layer("LSTM", torch.nn, dtype=torch.float32), data(T, B, I).float()
    (found,) = flow.spectrum(of, x)
    exact = torch.linalg.svdvals(jacobians(of, x[:, 0]))
    assert found.singular.dtype == torch.float64
    torch.testing.assert_close(found.singular[:, 0], exact, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="float32 or float64 on a CPU"):
        flow.spectrum(of.half(), x.half())


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize(
    "measure",
    [flow.spectrum, flow.gates, lambda *given: flow.lyapunov(*given, 2)],
    ids=["spectrum", "gates", "lyapunov"],
)
def test_nothing_of_the_model_changes(measure, library):
    of, x = layer("LSTM", library, num_layers=2, dropout=0.5), data(T, B, I)
    of.weight_hh_l0.grad = torch.ones_like(of.weight_hh_l0)
    before = {name: value.clone() for name, value in of.state_dict().items()}
    state = torch.get_rng_state()
    bad = x.clone()
    bad[3, 1, 0] = torch.nan
    assert [(f.name, f.layer, f.direction) for f in measure(of, x)] == [("", 0, 0), ("", 1, 0)]
    with pytest.raises(
        ValueError, match=r"^h must be finite at every step, got nan at step 3 of sequence 1 in"
    ):
        measure(of, bad)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(of) is library.LSTM
    assert of.training
    assert all(weight.requires_grad for weight in of.parameters())
    assert torch.equal(of.weight_hh_l0.grad, torch.ones_like(of.weight_hh_l0))
    assert not of._forward_pre_hooks
    assert not of._forward_hooks
    assert not [name for name, _ in bptt.ops.backends() if name.startswith("flow")]
    assert all(torch.equal(value, before[name]) for name, value in of.state_dict().items())


def test_a_jacobian_that_overflows_is_named():
    of = layer("LSTM", proj_size=2)
    with torch.no_grad():
        for weight in of.parameters():
            weight.fill_(0.0)
        of.weight_hh_l0.fill_(1e200)
        of.weight_hr_l0.fill_(1e200)
    x = torch.zeros(T, B, I, dtype=torch.float64)
    with pytest.raises(
        ValueError, match="the Jacobian must be finite at every step, got inf at step 5 of seq"
    ):
        flow.spectrum(of, x, at=[5])
    with pytest.raises(ValueError, match="at step 0 of the run of sequence 0 in layer 0, direction 0 of ''"):
        flow.lyapunov(of, x, 1)


def test_padding_that_is_no_number_reaches_nothing():
    of, x = layer("GRU", bidirectional=True), data(T, B, I)
    clean = flow.spectrum(of, x, call=with_lengths)
    for b, length in enumerate(LENGTHS.tolist()):
        x[length:, b] = torch.nan
    for one, other in zip(clean, flow.spectrum(of, x, call=with_lengths), strict=True):
        torch.testing.assert_close(one.singular, other.singular, equal_nan=True)
        torch.testing.assert_close(one.products, other.products, equal_nan=True)


def twice(model, batch):
    return model(model(batch)[0][..., :I])[0]


@pytest.mark.parametrize(
    ("model", "more", "message"),
    [
        (torch.nn.Linear(I, H), {}, "model must have an LSTM, GRU or RNN .* got Linear without"),
        (None, {"call": twice}, "each recurrent layer once, got several calls of ''"),
        (None, {"call": lambda *_: None}, "each recurrent layer once, got no call"),
        (None, {"at": [T]}, f"-{T} <= step < {T}, got {T}"),
        (None, {"sequences": [-1]}, f"some of the batch, 0 <= sequence < {B}, got -1"),
        (None, {"sequences": [B]}, f"some of the batch, 0 <= sequence < {B}, got {B}"),
        (None, {"at": []}, r"one or more, got \[\] and"),
    ],
)
def test_what_cannot_be_measured_is_named(model, more, message):
    with pytest.raises(ValueError, match=message):
        flow.spectrum(model or layer("LSTM"), data(T, B, I), **more)
