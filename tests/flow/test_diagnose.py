"""The verdict: right on a bank of planted cases, with remedies that fit, and in plain words."""

import math
import threading
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import bptt
from bptt import flow

T, B, H = 60, 8, 32


def squares(y, _):
    return y.square().sum(-1)


class Case(NamedTuple):
    """A model, its batch, and what must be found in one of its verdicts."""

    model: nn.Module
    kind: str
    rate: float | None = None
    lag: int | None = None
    loss: object = squares
    batch: object = None
    place: int = 0
    within_reach: bool = False
    remedies: tuple[str, ...] = ()


def rnn(gain, nonlinearity="tanh", **more):
    layer = nn.RNN(1, H, nonlinearity=nonlinearity, **more)
    nn.init.orthogonal_(layer.weight_hh_l0, gain)
    with torch.no_grad():
        for name, weight in layer.named_parameters():
            if "hh" not in name or "bias" in name:
                weight.mul_(1e-6)  # so small that tanh is linear
    return layer


def gated(kind, bias):
    """An LSTM with a bias of its forget gate, or a GRU with one of z: both come second."""
    layer = kind(1, H)
    with torch.no_grad():
        layer.bias_ih_l0[H : 2 * H] = bias
        layer.bias_hh_l0[H : 2 * H] = 0
    return layer


def lstm(forget_bias):
    return gated(nn.LSTM, forget_bias)


def dead_relu():
    layer = nn.RNN(1, H, nonlinearity="relu")
    with torch.no_grad():
        layer.bias_ih_l0.fill_(-100.0)
    return layer


def growing_relu():
    """1.5 times its state in every step, to norms of the gradient near 1e20."""
    layer = nn.RNN(1, H, nonlinearity="relu")
    with torch.no_grad():
        layer.weight_hh_l0.copy_(1.5 * torch.eye(H))
        for weight in (layer.weight_ih_l0, layer.bias_ih_l0, layer.bias_hh_l0):
            weight.zero_()
        layer.bias_ih_l0.fill_(1.0)
    return layer


class Residual(nn.Module):
    """A stack of RNNs with skips across depth: each of them forgets as it would alone."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, H)
        self.layers = nn.ModuleList([nn.RNN(H, H) for _ in range(3)])
        for layer in self.layers:
            nn.init.orthogonal_(layer.weight_hh_l0, 0.3)

    def forward(self, x):
        x = self.embed(x)
        for layer in self.layers:
            x = x + layer(x)[0]
        return x


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(1, H)
        layer = nn.TransformerEncoderLayer(H, 4, 64, dropout=0.0)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        causal = nn.Transformer.generate_square_subsequent_mask(len(x))
        return self.encoder(self.embed(x), mask=causal, is_causal=True)


class Convolution(nn.Module):
    """Causal, with a receptive field of nine steps."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, H, 9)

    def forward(self, x):
        return self.conv(nn.functional.pad(x.permute(1, 2, 0), (8, 0))).permute(2, 0, 1)


class Truncated(nn.Module):
    """By accident: the state is detached twenty steps before the end."""

    def __init__(self):
        super().__init__()
        self.lstm = bptt.nn.LSTM(1, H)
        self.lstm.load_state_dict(lstm(5.0).state_dict())

    def forward(self, x):
        keeps = torch.ones(len(x))
        keeps[-20] = 0
        return self.lstm(x, keeps={(0, 0): bptt.Keeps(h=keeps, c=keeps)})[0]


def normal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def with_nan():
    x = normal(T, B, 1)
    x[17, 3] = math.nan
    return x


def bank():
    torch.manual_seed(0)
    yield "rnn-0.5", Case(rnn(0.5), "vanishing", 0.5, remedies=("orthogonal initialisation", "gating"))
    yield "rnn-1", Case(rnn(1.0), "preserved", 1.0, within_reach=True)
    yield (
        "rnn-1.5",
        Case(rnn(1.5), "exploding", 1.5, batch=normal(26, B, 1), within_reach=True, remedies=("clipping",)),
    )
    yield "relu-1.5", Case(growing_relu(), "exploding", 1.5, within_reach=True, remedies=("clipping",))
    yield "orthogonal-relu", Case(rnn(0.2, "relu"), "vanishing")
    yield "lstm-minus-3", Case(lstm(-3.0), "vanishing", remedies=("forget bias", "chrono initialisation"))
    yield "lstm-0", Case(lstm(0.0), "vanishing", remedies=("forget bias",))
    yield "lstm-5", Case(lstm(5.0), "preserved", within_reach=True)
    yield "lstm-5-short-lag", Case(lstm(0.0), "preserved", lag=3, within_reach=True)
    yield "gru-forgets", Case(gated(nn.GRU, -3.0), "vanishing", remedies=("forget bias",))
    yield "gru-keeps", Case(gated(nn.GRU, 5.0), "preserved", within_reach=True)
    yield "dead-relu", Case(dead_relu(), "no gradient", remedies=("living units", "connection"))
    yield (
        "mask-of-zeros",
        Case(lstm(5.0), "no gradient", loss=lambda y, _: squares(y, _) * 0, remedies=("connection",)),
    )
    yield "cut", Case(Truncated(), "no gradient", remedies=("connection",))
    yield "nan-in-input", Case(lstm(1.0), "non-finite", batch=with_nan(), remedies=("source",))
    yield "residual", Case(Residual(), "vanishing", place=2)
    yield "bidirectional", Case(nn.LSTM(1, H, bidirectional=True), "vanishing", place=1)
    yield "transformer", Case(Transformer(), "preserved", within_reach=True)
    yield "convolution", Case(Convolution(), "no gradient", remedies=("connection",))


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in bank()])
def test_planted_cases(case):
    batch = normal(T, B, 1) if case.batch is None else case.batch
    found = flow.diagnose(case.model, batch, case.loss, lag=case.lag)
    verdict = found.verdicts[case.place]
    assert verdict.kind == case.kind, verdict.sentence
    assert verdict.within_reach == case.within_reach
    if case.rate is not None:
        assert verdict.decay.rate == pytest.approx(case.rate, rel=0.02)
    assert tuple(each.name for each in verdict.remedies)[: len(case.remedies)] == case.remedies
    assert bool(verdict.remedies) == (case.kind != "preserved")
    assert all(each.action and each.reason for each in verdict.remedies)


@pytest.mark.parametrize("steps", [60, 215])
def test_no_norm_of_an_explosion_is_one_to_clip_at(steps):
    def last(y, _):
        return y[-1].sum(-1)

    (verdict,) = flow.diagnose(growing_relu(), normal(steps, B, 1), last).verdicts
    (clipping,) = (each for each in verdict.remedies if each.name == "clipping")
    assert verdict.kind == "exploding"
    assert clipping.value == flow.CLIP
    assert "norm at about 1 " in clipping.action


def test_what_underflows_has_a_rate():
    (verdict,) = flow.diagnose(rnn(0.5), normal(200, B, 1), squares).verdicts
    assert verdict.at_lag == 0
    assert verdict.least is None
    assert "halves every" in verdict.sentence


def closed_form(number):
    """A layer whose gradient changes by a known factor per step, the factor, and how many steps."""
    random = torch.Generator().manual_seed(number)
    steps = int(torch.randint(10, 150, (), generator=random))
    exponent = 2 * torch.rand((), generator=random).item() - 1
    torch.manual_seed(number)
    if number % 2:
        rate = math.exp(exponent * 12 / steps)  # from e⁻¹² to e¹² over all of them
        layer = nn.RNN(1, 16)
        nn.init.orthogonal_(layer.weight_hh_l0, rate)
        with torch.no_grad():
            for weight in (layer.weight_ih_l0, layer.bias_ih_l0, layer.bias_hh_l0):
                weight.mul_(1e-6 * min(1.0, rate**-steps))
        return layer, rate, steps
    rate = math.exp((exponent - 1.001) * 12 / steps)
    layer = nn.LSTM(1, 16)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.weight_ih_l0[2 * 16 : 3 * 16] = 0.1
        layer.bias_ih_l0[16 : 2 * 16] = math.log(rate / (1 - rate))
    return layer, rate, steps


def test_random_cases_with_a_rate_in_closed_form():
    """At least 95 % of 200 right: the rate within 1 %, the kind, and how far back it reaches.

    Lag 0 alone reads the state directly, which moves where 1e-6 of it is reached by less than a decade.
    """
    right = 0
    for number in range(200):
        layer, rate, steps = closed_form(number)
        x = 1 + torch.rand(steps, 2, 1, generator=torch.Generator().manual_seed(number))
        (verdict,) = flow.diagnose(layer, x, lambda y, _: y.sum(-1)).verdicts
        over_all = rate ** (steps - 1)
        kind = "vanishing" if over_all < 1e-3 else "exploding" if over_all > 1e3 else "preserved"
        borderline = min(abs(math.log(over_all * edge)) for edge in (1e-3, 1e3)) < 0.1
        found = steps if verdict.reach is None else verdict.reach
        reached = rate > 1 or abs(found - min(math.log(1e-6) / math.log(rate), steps)) <= 1 + (
            math.log(10) / -math.log(rate)
        )
        right += (
            verdict.decay.rate == pytest.approx(rate, rel=0.01)
            and (verdict.kind == kind or borderline)
            and reached
        )
    assert right >= 190


def test_an_interval_holds_the_rates_of_sequences():
    """Two kinds of sequences, whose gates differ, in equal numbers: the median may be that of either."""
    layer = nn.LSTM(1, 16)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.weight_ih_l0[2 * 16 : 3 * 16] = 0.1
        layer.weight_ih_l0[16 : 2 * 16] = 1.0  # f = σ(x)
    x = torch.where(torch.arange(40) % 2 == 0, 1.0, 3.0).expand(30, 40).unsqueeze(-1).clone()
    (verdict,) = flow.diagnose(layer, x, lambda y, _: y.sum(-1)).verdicts
    slow, fast = (-math.log(2) / math.log(1 / (1 + math.exp(-each))) for each in (3.0, 1.0))
    low, high = verdict.decay.half_life_interval
    assert fast == pytest.approx(low, rel=0.05)
    assert slow == pytest.approx(high, rel=0.05)
    (few,) = flow.diagnose(layer, x[:, :5], lambda y, _: y.sum(-1)).verdicts
    assert few.decay.rate_interval is None


@pytest.mark.parametrize("library", [nn, bptt.nn], ids=["torch", "bptt"])
def test_the_same_whatever_the_layout(library):
    torch.manual_seed(3)
    layer = library.LSTM(1, H)
    first = library.LSTM(1, H, batch_first=True)
    first.load_state_dict(layer.state_dict())
    x = normal(T, B, 1)
    told = flow.diagnose(layer, x, squares).verdicts
    (turned,) = flow.diagnose(first, x.transpose(0, 1), lambda y, b: squares(y, b).T).verdicts
    assert turned.reach == told[0].reach
    for other in (x.flip(1), x.repeat(1, 2, 1)):
        (verdict,) = flow.diagnose(layer, other, squares).verdicts
        assert verdict.decay.rate == pytest.approx(told[0].decay.rate, rel=1e-4)
    (scaled,) = flow.diagnose(layer, x, lambda y, b: 1000 * squares(y, b)).verdicts
    assert scaled.at_lag == pytest.approx(told[0].at_lag, rel=1e-4)


def test_lags_count_from_the_end_of_each_sequence():
    model = bptt.nn.SequenceModel(bptt.nn.LSTM(1, H), 1, readout="last")
    lengths = torch.tensor([60, 30, 45, 20, 60, 50, 40, 33])
    batch = bptt.tasks.Batch(normal(T, B, 1), torch.zeros(B), lengths)
    whole = flow.diagnose(model, batch, lambda y, _: squares(y, _), lag=19)
    assert whole.verdicts[0].reach is None or whole.verdicts[0].reach > 19
    shortest = flow.diagnose(model, batch.x[:20, 3:4], squares).verdicts[0]
    assert whole.profiles[0].h[0, :20, 3].tolist() == pytest.approx(
        flow.diagnose(model, batch.x[:20, 3:4], squares).profiles[0].h[0, :, 0].tolist(), rel=1e-5
    )
    assert shortest.lag == 19


def test_the_resolution_of_autocast_is_the_floor():
    model = bptt.nn.LSTM(1, H)
    with torch.autocast("cpu", torch.bfloat16):
        (verdict,) = flow.diagnose(model, normal(T, B, 1), lambda y, _: squares(y.float(), _)).verdicts
    assert verdict.floor == torch.finfo(torch.bfloat16).eps
    assert flow.diagnose(model, normal(T, B, 1), squares).verdicts[0].floor == flow.REACH


def test_h_detach_is_advised_where_the_carry_is_drowned():
    torch.manual_seed(0)
    layer = lstm(5.0)
    with torch.no_grad():
        layer.weight_hh_l0.mul_(12)
    (verdict,) = flow.diagnose(layer, normal(T, B, 1) * 0.01, squares).verdicts
    (split,) = flow.paths(layer, normal(T, B, 1) * 0.01, lambda y, b: squares(y, b)[-1].sum())
    assert split.share[0].nanmedian() < 0.5
    assert verdict.kind == "exploding"
    assert "h-detach" in [each.name for each in verdict.remedies]


def test_a_stack_reaches_as_far_as_its_best_layer():
    model = nn.Sequential()
    model.add_module("keeps", lstm(5.0))
    model.add_module("forgets", nn.LSTM(H, H))

    def call(model, x):
        return model.forgets(model.keeps(x)[0])[0]

    found = flow.diagnose(model, normal(T, B, 1), squares, call=call)
    assert [each.within_reach for each in found.verdicts] == [True, False]
    assert found.within_reach
    assert found.sentence.startswith("LSTM keeps, layer 0: ")
    assert found.sentence.endswith("Of the other 1, 1 out of reach.")


def with_a_lock():
    model = nn.LSTM(1, 4)
    model.lock = threading.Lock()
    return model


def weight_normed():
    """Once called, it holds a weight with a graph."""
    model = nn.utils.parametrizations.weight_norm(nn.LSTM(1, 4), "weight_hh_l0")
    model(normal(5, 2, 1))
    return model


@pytest.mark.parametrize("measure", [flow.diagnose, flow.examine, flow.lag_profile, flow.paths])
def test_what_is_no_module_is_named(measure):
    with pytest.raises(TypeError, match="model must be a torch\\.nn\\.Module, got type"):
        measure(nn.LSTM, normal(5, 2, 1), squares)


@pytest.mark.parametrize(
    ("model", "x", "more", "error", "message"),
    [
        (nn.LSTM(1, 4), normal(5, 2, 1), {"lag": 5}, ValueError, "lag must be from 1 to 4, .* got 5"),
        (nn.LSTM(1, 4), normal(5, 2, 1), {"lag": 0}, ValueError, "lag must be from 1 to 4, .* got 0"),
        (nn.LSTM(1, 4), normal(1, 2, 1), {}, ValueError, "at least 2 steps before the loss, got 1"),
        (
            nn.LSTM(1, 4).half(),
            normal(5, 2, 1).half(),
            {},
            TypeError,
            "on a CPU, got torch.float16",
        ),
        (nn.Linear(1, 4).bfloat16(), normal(5, 2, 1), {}, TypeError, "got torch.bfloat16"),
        (nn.LSTM(1, 4), normal(5, 2, 1), {"lag": 2.0}, TypeError, "lag must be an integer, got 2.0"),
        (nn.LSTM(1, 4), normal(5, 2, 1), {"lag": np.int64(5)}, ValueError, "lag must be from 1 to 4"),
        (with_a_lock(), normal(5, 2, 1), {}, TypeError, "one that copy.deepcopy can copy"),
        (weight_normed(), normal(5, 2, 1), {}, TypeError, "parametrized"),
    ],
)
def test_what_cannot_be_judged_is_named(model, x, more, error, message):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=message):
        flow.diagnose(model, x, squares, **more)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model._forward_pre_hooks


def test_nothing_of_the_model_changes():
    layer, x = nn.LSTM(1, 4, num_layers=2, dropout=0.5), normal(5, 2, 1)
    layer.weight_hh_l0.grad = torch.ones_like(layer.weight_hh_l0)
    state, before = torch.get_rng_state(), {n: v.clone() for n, v in layer.state_dict().items()}
    flow.diagnose(layer, x, squares)
    assert torch.equal(torch.get_rng_state(), state)
    assert type(layer) is nn.LSTM
    assert torch.equal(layer.weight_hh_l0.grad, torch.ones_like(layer.weight_hh_l0))
    assert layer.weight_ih_l0.grad is None
    assert not layer._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_a_direction_that_lacks_the_lag_is_not_judged():
    layer = rnn(0.3, bidirectional=True)
    found = flow.diagnose(layer, normal(T, B, 1), squares, at=[-1])
    assert [(each.direction, each.within_reach) for each in found.verdicts] == [(0, False)]
    assert found.left_out == {"model:0:1": f"has no {T - 1} steps before the loss reads it"}
    assert not found.within_reach
    last = flow.diagnose(layer, normal(T, B, 1), lambda y, _: y[-1].square().sum(-1))
    assert [each.direction for each in last.verdicts] == [0]
    both = flow.diagnose(layer, normal(T, B, 1), squares)
    assert [(each.direction, each.lag) for each in both.verdicts] == [(0, T - 1), (1, T - 1)]


def test_layers_of_other_lengths_than_the_loss_are_not_judged():
    class Translator(nn.Module):
        def __init__(self):
            super().__init__()
            self.enc, self.dec = nn.GRU(1, 8), nn.GRU(1, 8)

        def forward(self, x):
            return self.dec(x[:40], self.enc(x[40:])[1])[0]

    found = flow.diagnose(Translator(), normal(T, B, 1), squares)
    assert [each.name for each in found.verdicts] == ["dec"]
    assert found.left_out == {"enc": f"takes 20 steps of {B} sequences"}


@pytest.mark.parametrize("shape", [(B, T), (T,), (1,), (T, B + 1)])
def test_losses_of_another_shape_are_refused(shape):
    def loss(y, _):
        return y.sum() * torch.ones(shape)

    message = rf"\(T, B\) = \({T}, {B}\), or of every sequence, \(B,\) = \({B},\), got \({shape[0]}"
    for model in (rnn(0.3), Transformer()):
        with pytest.raises(ValueError, match=message):
            flow.diagnose(model, normal(T, B, 1), loss)


def test_lags_count_from_where_a_loss_reads_the_layer():
    plain = flow.diagnose(rnn(0.3), normal(T, B, 1), squares).verdicts[0]
    for late in (lambda y, _: y[-6].square().sum(-1), lambda y, _: squares(y.roll(5, 0), _)):
        (verdict,) = flow.diagnose(rnn(0.3), normal(T, B, 1), late, lag=50).verdicts
        assert (verdict.kind, verdict.start, verdict.reach) == ("vanishing", 5, plain.reach)
        assert verdict.decay.rate == pytest.approx(0.3, rel=0.02)
        assert "counted from 5 steps before the end" in verdict.sentence
    assert flow.diagnose(rnn(0.3), normal(T, B, 1), lambda y, _: y[-6].square().sum(-1)).lag == T - 6
    with pytest.raises(ValueError, match="lag must be one that a layer has before the loss reads it, got 59"):
        flow.diagnose(rnn(0.3), normal(T, B, 1), lambda y, _: y[-6].square().sum(-1), lag=59)


def test_a_lag_without_gradient_in_between_is_no_end():
    decays = 0.9 ** torch.arange(T, dtype=torch.float64)

    class Gaps(nn.Module):
        def forward(self, x):
            weights = decays.flip(0).clone()
            weights[[-10, -51]] = 0
            return (x * weights[:, None, None]).cumsum(0)

    (verdict,) = flow.diagnose(Gaps(), normal(T, B, 1).double(), lambda y, _: y.sum(-1)).verdicts
    assert verdict.kind == "preserved"
    assert verdict.decay.rate == pytest.approx(0.9)


def test_sequences_that_are_cut_are_counted():
    class Masked(nn.Module):
        def __init__(self, cut):
            super().__init__()
            self.cut, self.weight = cut, nn.Parameter(torch.ones(()))

        def forward(self, x):
            mask = torch.ones(T, B, 1)
            mask[: T - 30, : self.cut] = 0
            return (x * mask).cumsum(0) * self.weight

    (half,) = flow.diagnose(Masked(B // 2), normal(T, B, 1), lambda y, _: y.sum(-1)).verdicts
    assert (half.kind, half.zero_from, half.cut) == ("no gradient", 30, (B // 2, B))
    assert f"no gradient from 30 steps back on in 4 of {B} sequences" in half.sentence
    assert [each.name for each in half.remedies] == ["connection"]
    (few,) = flow.diagnose(Masked(B // 2 - 1), normal(T, B, 1), lambda y, _: y.sum(-1)).verdicts
    assert (few.kind, few.within_reach) == ("preserved", True)


def test_steps_that_the_loss_reads_itself_are_told_from_those_through_time():
    (mean,) = flow.diagnose(rnn(0.3), normal(T, B, 1), lambda y, _: y.mean(0).square().sum(-1)).verdicts
    assert mean.direct
    assert (
        "within reach, but by no way through time: the loss reads that step by a shorter one" in mean.sentence
    )
    (last,) = flow.diagnose(rnn(1.0), normal(T, B, 1), squares).verdicts
    assert not last.direct
    carried = flow.diagnose(lstm(12.0), normal(T, B, 1), lambda y, _: y.mean(0).square().sum(-1), lag=40)
    assert not carried.verdicts[0].direct  # of h alone it is, but most comes along the carry


def test_a_layer_that_blocks_paths_is_judged_by_the_mean_over_its_coins():
    layer = bptt.nn.RNN(1, H, detach=bptt.Detach(h=0.1))
    layer.load_state_dict(rnn(1.0).state_dict())
    (verdict,) = flow.diagnose(layer, normal(T, B, 1), squares).verdicts
    assert verdict.decay.rate == pytest.approx(0.9, rel=0.02)
    (whole,) = flow.diagnose(layer.eval(), normal(T, B, 1), squares).verdicts
    assert whole.decay.rate == pytest.approx(1.0, rel=0.02)


def test_intervals_and_norms_are_those_of_sequences():
    layer, x = lstm(0.0), normal(T, B, 1)
    several = flow.diagnose(layer, x[:, :3], squares, at=[-3, -2, -1]).verdicts[0]
    assert several.decay.rate_interval is None  # nine samples of three sequences
    one = flow.diagnose(layer, x, squares).verdicts[0]
    turned = flow.diagnose(layer, x.flip(1), squares).verdicts[0]
    assert turned.decay.rate_interval == pytest.approx(one.decay.rate_interval, rel=1e-6)
    wild = rnn(1.5)
    told = flow.diagnose(wild, x[:26], squares).verdicts[0].sentence
    assert "exploding: the gradient doubles every 1.71 steps (× 1.5 per step)" in told
    clips = [flow.diagnose(wild, x[:26].roll(n, 1), squares).verdicts[0].remedies[0].value for n in (0, 3)]
    assert clips[0] == pytest.approx(clips[1], rel=1e-5)
    norms = []
    for b in range(B):
        wild.zero_grad()
        squares(wild(x[:26, b : b + 1])[0], None).mean().backward()
        norms.append(torch.cat([w.grad.flatten() for w in wild.parameters()]).norm())
    assert clips[0] == pytest.approx(torch.stack(norms).quantile(0.5).item(), rel=1e-4)


def test_a_state_kept_from_batch_to_batch_and_odd_parameters_do_not_matter():
    class Stateful(nn.Module):
        def __init__(self):
            super().__init__()
            self.core, self.h = nn.GRU(1, 8), None
            self.number = nn.Parameter(torch.arange(3), requires_grad=False)

        def forward(self, x):
            y, self.h = self.core(x, self.h)
            return y

    model = Stateful()
    model(normal(T, B, 1))
    kept = model.h
    assert flow.diagnose(model, normal(T, B, 1), squares).verdicts[0].kind == "vanishing"
    assert model.h is kept
    assert kept.grad_fn is not None


def test_a_valley_is_no_decay():
    """Two directions, each read where it ends, in the layer above: both ends are near, the middle is not."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(1, 8, num_layers=2, bidirectional=True)

        def forward(self, x):
            y, _ = self.gru(x)
            return torch.cat([y[-1, :, :8], y[0, :, 8:]], -1)

    torch.manual_seed(0)
    found = flow.diagnose(Both(), normal(T, B, 1), squares)
    lowest = found.verdicts[0]
    assert lowest.direct
    lag, size = lowest.least
    assert 15 < lag < 45
    assert size < lowest.at_lag / 100
    assert "follows no single rate" in lowest.sentence
    assert f"in between, {lag} steps back," in lowest.sentence
    assert str(found).splitlines()[0] == lowest.sentence
