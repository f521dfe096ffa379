"""`SequenceModel`: embedding, core, readout, and what lies beyond a sequence's length."""

import pytest
import torch
from helpers.twins import KINDS, leaf, twins
from torch import nn

import bptt
from bptt.nn import SequenceModel

T, B = 6, 4
LENGTHS = torch.tensor([4, 1, 6, 3])
READOUTS = ["each", "last", "mean", "max"]


def build(readout, core=None, **options):
    torch.manual_seed(0)
    core = core or bptt.nn.LSTM(3, 5, 2, bidirectional=True, dtype=torch.float64)
    return SequenceModel(core, 2, readout=readout, **options)


@pytest.mark.parametrize("readout", READOUTS)
def test_full_sequences(readout):
    model, x = build(readout), leaf(T, B, 3)
    y, _ = model.core(x)
    features = {"each": y, "last": y[-1], "mean": y.sum(0) / T, "max": y.max(0).values}[readout]
    assert torch.equal(model(x), model.output(features))
    assert model(x).shape == ((T, B, 2) if readout == "each" else (B, 2))


@pytest.mark.parametrize("readout", READOUTS)
def test_lengths_equal_each_sequence_alone(readout):
    model, x = build(readout), leaf(T, B, 3)
    together = model(x, LENGTHS)
    for column, length in enumerate(LENGTHS.tolist()):
        alone = model(x[:length, column : column + 1])
        part = together[:length, column : column + 1] if readout == "each" else together[column : column + 1]
        torch.testing.assert_close(part, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32]
)
def test_lengths_of_any_integer_dtype(readout, dtype):
    model, x = build(readout), leaf(T, B, 3)
    assert torch.equal(model(x, LENGTHS.to(dtype)), model(x, LENGTHS))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("embed", [None, nn.Linear(3, 3, dtype=torch.float64)], ids=["plain", "linear"])
def test_nan_beyond_a_length_reaches_nothing(readout, embed):
    model = build(readout, embed=embed)
    inside = torch.arange(T)[:, None] < LENGTHS
    clean = leaf(T, B, 3)
    dirty = torch.where(inside[..., None], clean.detach(), torch.nan).requires_grad_()
    results = []
    for x in (clean, dirty):
        out = model(x, LENGTHS)
        loss = (out[inside] if readout == "each" else out).pow(3).sum()
        results.append((out, *torch.autograd.grad(loss, [x, *model.parameters()])))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    assert (results[0][1][~inside] == 0).all()


@pytest.mark.parametrize("readout", READOUTS)
def test_tokens_and_any_padding_value(readout):
    core = bptt.nn.GRU(3, 5)
    model = build(readout, core, embed=nn.Embedding(7, 3))
    tokens = torch.randint(7, (T, B))
    inside = torch.arange(T)[:, None] < LENGTHS
    expected = model(tokens, LENGTHS)
    padded = torch.where(inside, tokens, -100)
    assert torch.equal(model(padded, LENGTHS), expected)
    loss = (expected[inside] if readout == "each" else expected).sum()
    (grad,) = torch.autograd.grad(loss, model.embed.weight)
    used = {int(token) for token in tokens[inside]}
    for token in set(range(7)) - used:
        assert (grad[token] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_torchs_layers_are_cores_too(kind):
    ours, theirs = twins(kind, 3, 5, 2, bidirectional=True)
    x = leaf(T, B, 3)
    torch.testing.assert_close(build("mean", ours)(x), build("mean", theirs)(x), rtol=0, atol=1e-12)
    with pytest.raises(TypeError, match=r"lengths must be None for a core .*, got \w+ \(bptt.nn.convert"):
        build("mean", theirs)(x, LENGTHS)
    converted = bptt.nn.convert(build("mean", theirs))
    torch.testing.assert_close(converted(x, LENGTHS), build("mean", ours)(x, LENGTHS), rtol=0, atol=1e-12)


def test_features_of_the_core():
    assert build("last", bptt.nn.LSTM(3, 5, bidirectional=True, proj_size=2)).output.in_features == 4
    assert build("last", bptt.nn.GRU(3, 5)).output.in_features == 5


class Sums(nn.Module):
    """A core of its own: running sums, and what it was told."""

    def __init__(self, features=None):
        super().__init__()
        if features is not None:
            self.features = features

    def forward(self, x, lengths=None):
        self.lengths = lengths
        return x.cumsum(0), x.sum(0)


def test_any_core_that_says_its_features():
    x = torch.randn(T, B, 3)
    for model in (build("last", Sums(3)), build("last", Sums(), features=3)):
        torch.testing.assert_close(model(x), model.output(x.sum(0)))
        assert model.core.lengths is None
        model(x, LENGTHS)
        assert torch.equal(model.core.lengths, LENGTHS)
    with pytest.raises(ValueError, match=r"features must be given .*, got Sums"):
        build("last", Sums())


def test_pooling_ignores_the_padding_of_a_core_that_fills_it():
    class Fills(nn.Module):
        features = 1

        def forward(self, x, lengths):
            return torch.where(torch.arange(len(x))[:, None, None] < lengths[:, None], x, torch.nan), None

    x = -torch.rand(T, B, 1) - 1
    for readout, reduce in (
        ("mean", lambda s: s.mean(0)),
        ("max", lambda s: s.amax(0)),
        ("last", lambda s: s[-1]),
    ):
        model = build(readout, Fills())
        expected = torch.stack([reduce(x[:length, b]) for b, length in enumerate(LENGTHS.tolist())])
        torch.testing.assert_close(model(x, LENGTHS), model.output(expected))


def test_the_readout_is_made_like_the_core():
    assert build("last").output.weight.dtype == torch.float64
    assert build("last", bptt.nn.GRU(3, 5, device="meta")).output.weight.device.type == "meta"


def test_repr_names_the_readout():
    assert "readout='max'" in repr(build("max"))


def test_bad_arguments():
    core = bptt.nn.GRU(3, 5)
    with pytest.raises(
        ValueError, match=r"readout must be one of 'each', 'last', 'mean', 'max', got 'first'"
    ):
        SequenceModel(core, 2, readout="first")
    with pytest.raises(ValueError, match="core must be time-major, got batch_first=True"):
        SequenceModel(bptt.nn.GRU(3, 5, batch_first=True), 2)
    with pytest.raises(ValueError, match="output_size must be at least 1, got 0"):
        SequenceModel(core, 0)
    with pytest.raises(ValueError, match="features must be at least 1, got 0"):
        SequenceModel(core, 2, features=0)


@pytest.mark.parametrize(
    ("lengths", "kind", "text"),
    [
        (torch.tensor([1, 2]), ValueError, r"lengths must have shape \(B,\) = \(4,\), got \(2,\)"),
        (torch.ones(B), TypeError, "lengths must have an integer dtype, got torch.float32"),
        (torch.tensor([0, 1, 2, 3]), ValueError, "lengths must satisfy 1 <= length <= T"),
        (torch.tensor([7, 1, 2, 3]), ValueError, "lengths must satisfy 1 <= length <= T"),
        ([4, 1, 6, 3], TypeError, "lengths must be a tensor, got list"),
    ],
)
@pytest.mark.parametrize("core", [bptt.nn.GRU(3, 5), Sums(3)], ids=["ours", "another"])
def test_bad_lengths(core, lengths, kind, text):
    with pytest.raises(kind, match=text):
        SequenceModel(core, 2, readout="last")(torch.randn(T, B, 3), lengths)


def test_a_core_that_returns_no_pair():
    class Bare(nn.Module):
        features = 3

        def forward(self, x):
            return x

    with pytest.raises(TypeError, match=r"the core must return \(y, state\), got Tensor"):
        build("each", Bare())(torch.randn(2, B, 3))  # two steps could be taken for a pair


def test_bad_input():
    with pytest.raises(ValueError, match=r"the core's input must have shape \(T, B, I\), got \(6, 3\)"):
        build("last")(torch.randn(T, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"x must have shape \(T, B\) or \(T, B, I\), got \(6,\)"):
        build("last")(torch.randn(T, dtype=torch.float64))
