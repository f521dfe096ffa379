"""Drop-in checklist: constructor, weights, attributes, repr. Every test runs against torch.nn itself."""

import inspect
import warnings

import pytest
import torch
from helpers.twins import KINDS, error_of, twins

import bptt

CONFIGURATIONS = [
    {},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"num_layers": 3, "bias": False, "dropout": 0.5},
    {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dropout": 0.1},
    {"bias": False, "proj_size": 2},
]


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_identical_weights_in_the_same_order(kind, options):
    if kind != "LSTM":
        options = {name: value for name, value in options.items() if name != "proj_size"}
    ours, theirs = twins(kind, 3, 5, dtype=torch.float32, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, weight in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    after = torch.rand(3)
    torch.manual_seed(0)
    getattr(torch.nn, kind)(3, 5, **options)
    assert torch.equal(torch.rand(3), after), "the random stream is left where torch leaves it"


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_loads_both_ways(kind, options):
    if kind != "LSTM":
        options = {name: value for name, value in options.items() if name != "proj_size"}
    ours, theirs = twins(kind, 3, 5, dtype=torch.float32, **options)
    _, fresh = twins(kind, 3, 5, seed=1, dtype=torch.float32, **options)
    fresh.load_state_dict(ours.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), theirs.parameters(), strict=True))
    other, _ = twins(kind, 3, 5, seed=1, dtype=torch.float32, **options)
    other.load_state_dict(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("LSTM", (3, 5, 2, False, True, 0.5, True, 2, "cpu", torch.float64)),
        ("GRU", (3, 5, 2, False, True, 0.5, True, 0, "cpu", torch.float64)),
        ("RNN", (3, 5, 2, "relu", False, True, 0.5, True, 0, "cpu", torch.float64)),
    ],
)
def test_every_argument_works_by_position(kind, arguments):
    ours, theirs = getattr(bptt.nn, kind)(*arguments), getattr(torch.nn, kind)(*arguments)
    assert {name: p.shape for name, p in ours.named_parameters()} == {
        name: p.shape for name, p in theirs.named_parameters()
    }
    assert ours.weight_ih_l0.dtype == torch.float64
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_extra_options_are_keyword_only(kind):
    constructor, forward = (
        inspect.signature(getattr(getattr(bptt.nn, kind), name)).parameters
        for name in ("__init__", "forward")
    )
    extra = {"detach"}, {"lengths", "keeps", "taps"} | ({"return_cells"} if kind == "LSTM" else set())
    for parameters, names in zip((constructor, forward), extra, strict=True):
        found = {name for name, p in parameters.items() if p.kind is inspect.Parameter.KEYWORD_ONLY}
        assert found == names
    assert list(forward)[:3] == ["self", "input", "hx"]


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_and_methods(kind):
    ours, theirs = twins(kind, 3, 5, 2, bidirectional=True)
    for name in (*torch.nn.RNNBase.__constants__, "training", "_flat_weights_names", "_all_weights"):
        assert getattr(ours, name) == getattr(theirs, name), name
    pairs = zip(ours._flat_weights, theirs._flat_weights, strict=True)
    assert all(torch.equal(mine, reference) for mine, reference in pairs)
    assert [len(layer) for layer in ours.all_weights] == [len(layer) for layer in theirs.all_weights]
    assert ours.all_weights[1][0] is ours.weight_ih_l0_reverse
    x = torch.zeros(4, 2, 3, dtype=torch.float64)
    assert ours.get_expected_hidden_size(x, None) == theirs.get_expected_hidden_size(x, None)
    if kind == "LSTM":
        assert ours.get_expected_cell_size(x, None) == theirs.get_expected_cell_size(x, None)
    if kind == "RNN":
        assert ours.nonlinearity == theirs.nonlinearity
    order = torch.tensor([1, 0])
    state = torch.rand(4, 2, 5, dtype=torch.float64)
    hx = (state, 2 * state) if kind == "LSTM" else state
    permuted = zip(ours.permute_hidden(hx, order), theirs.permute_hidden(hx, order), strict=True)
    assert all(torch.equal(mine, reference) for mine, reference in permuted)
    assert ours.permute_hidden(hx, None) is hx
    ours.check_forward_args(x, hx, None)
    torch.manual_seed(3)
    ours.reset_parameters()
    torch.manual_seed(3)
    theirs.reset_parameters()
    assert torch.equal(ours.weight_hh_l1, theirs.weight_hh_l1)


@pytest.mark.parametrize("kind", KINDS)
def test_rnnbase_but_not_torchs_class(kind):
    ours, _ = twins(kind, 3, 5)
    assert isinstance(ours, torch.nn.RNNBase)
    assert not isinstance(ours, getattr(torch.nn, kind))


BAD_BUILDS = {
    "dropout too large": {"dropout": 1.5},
    "dropout a bool": {"dropout": True},
    "bias no bool": {"bias": 1},
    "batch_first no bool": {"batch_first": "yes"},
    "input_size no int": {"input_size": 3.0},
    "input_size zero": {"input_size": 0},
    "hidden_size no int": {"hidden_size": 5.0},
    "hidden_size zero": {"hidden_size": 0},
    "num_layers zero": {"num_layers": 0},
    "num_layers no int": {"num_layers": "2"},
    "proj_size negative": {"proj_size": -1},
    "proj_size too large": {"proj_size": 5},
    "unknown": {"hidden": 5},
}


@pytest.mark.parametrize("bad", BAD_BUILDS)
@pytest.mark.parametrize("kind", KINDS)
def test_construction_errors(kind, bad):
    options = {"input_size": 3, "hidden_size": 5} | BAD_BUILDS[bad]
    expected = error_of(lambda: getattr(torch.nn, kind)(**options))
    kind_of_error, text = error_of(lambda: getattr(bptt.nn, kind)(**options))
    assert kind_of_error is expected[0]
    # A call that no signature accepts is worded by Python, with the constructor's name.
    assert text == expected[1].replace("RNNBase.__init__", f"{kind}.__init__")


@pytest.mark.parametrize("kind", ["GRU", "RNN"])
def test_projection_is_for_lstm_only(kind):
    expected = error_of(lambda: getattr(torch.nn, kind)(3, 5, proj_size=2))
    assert error_of(lambda: getattr(bptt.nn, kind)(3, 5, proj_size=2)) == expected
    assert expected[0] is ValueError


def test_unknown_nonlinearity():
    expected = error_of(lambda: torch.nn.RNN(3, 5, nonlinearity="elu"))
    assert error_of(lambda: bptt.nn.RNN(3, 5, nonlinearity="elu")) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_with_one_layer_warns(kind):
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers") as expected:
        getattr(torch.nn, kind)(3, 5, dropout=0.5)
    with pytest.warns(UserWarning, match="non-zero dropout expects num_layers") as raised:
        getattr(bptt.nn, kind)(3, 5, dropout=0.5)
    assert [str(w.message) for w in raised] == [str(w.message) for w in expected]


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_repr_is_torchs(kind, options):
    if kind != "LSTM":
        options = {name: value for name, value in options.items() if name != "proj_size"}
    ours, theirs = twins(kind, 3, 5, **options)
    assert repr(ours) == repr(theirs)


def test_repr_as_listed():
    layer = bptt.nn.LSTM(3, 5, 2, batch_first=True, dropout=0.1, bidirectional=True, proj_size=2)
    listed = "LSTM(3, 5, proj_size=2, num_layers=2, batch_first=True, dropout=0.1, bidirectional=True)"
    assert repr(layer) == listed
    layer.detach = bptt.Detach(h=0.25)
    assert repr(layer) == f"{listed[:-1]}, detach={bptt.Detach(h=0.25)!r})"


@pytest.mark.parametrize("kind", KINDS)
def test_flatten_parameters_is_harmless(kind):
    ours, _ = twins(kind, 3, 5)
    before = {name: weight.data_ptr() for name, weight in ours.named_parameters()}
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    expected = ours(x)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ours.flatten_parameters() is None
        assert torch.equal(ours(x)[0], expected)
    assert {name: weight.data_ptr() for name, weight in ours.named_parameters()} == before
