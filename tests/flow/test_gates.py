"""Gates counted in a plain loop, by hand, and at their ends."""

import math

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
from bptt import flow

T, B, I, H = 6, 3, 2, 4
LENGTHS = torch.tensor([4, 6, 1])
NAMES = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    of = getattr(library, kind)(I, H, dtype=torch.float64, **more)
    with torch.no_grad():
        for weight in of.parameters():
            weight.mul_(4)  # so that some gates are saturated
    return of


def data(*shape, seed=2):
    return 2 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_lengths(model, x):
    return model(x, lengths=LENGTHS)[0]


def by_hand(kind, of, x, suffix="_l0"):
    """The gates of one sequence `(T, I)` in the order in which x is given, `(T, H)` each."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    w_ih, w_hh, b_ih, b_hh = (of.state_dict()[name + suffix] for name in names)
    h = c = torch.zeros(H, dtype=torch.float64)
    found = []
    for step in x:
        a, b = w_ih @ step + b_ih, w_hh @ h + b_hh
        if kind == "LSTM":
            i, f, g, o = (a + b).chunk(4)
            opened = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c = opened[1] * c + opened[0] * opened[2]
            h = opened[3] * c.tanh()
        elif kind == "GRU":
            (ar, az, an), (br, bz, bn) = a.chunk(3), b.chunk(3)
            r, z = (ar + br).sigmoid(), (az + bz).sigmoid()
            opened = r, z, (an + r * bn).tanh()
            h = (1 - z) * opened[2] + z * h
        else:
            h = (a + b).relu() if of.nonlinearity == "relu" else (a + b).tanh()
            opened = (h,)
        found.append(opened)
    return dict(zip(NAMES[kind], map(torch.stack, zip(*found, strict=True)), strict=True))


def saturated(gate, value, of):
    if gate in "gnh":
        return value == 0 if of.mode == "RNN_RELU" else abs(value) > 0.95
    return value < 0.05 or value > 0.95


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize(
    ("kind", "more"), [("LSTM", {}), ("GRU", {}), ("RNN", {}), ("RNN", {"nonlinearity": "relu"})]
)
def test_equals_a_loop_over_each_sequence(kind, more, library):
    of, x = layer(kind, library, bidirectional=True, **more), data(T, B, I)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    call = {"call": with_lengths} if library is bptt.nn else {}
    found = flow.gates(of, x if library is bptt.nn else packed, full=True, **call)
    assert [(each.layer, each.direction) for each in found] == [(0, 0), (0, 1)]
    for each, suffix in zip(found, ("_l0", "_l0_reverse"), strict=True):
        counts = {gate: torch.zeros(T, dtype=torch.float64) for gate in NAMES[kind]}
        assert list(each.saturated) == list(NAMES[kind])
        for b, length in enumerate(LENGTHS.tolist()):
            run = x[:length, b]
            runs = by_hand(kind, of, run if suffix == "_l0" else run.flip(0), suffix)
            for gate, in_run in runs.items():
                values = in_run if suffix == "_l0" else in_run.flip(0)
                torch.testing.assert_close(each.values[gate][:length, b], values)
                assert each.values[gate][length:, b].isnan().all()
                for t, unit in np.ndindex(length, H):
                    counts[gate][t] += saturated(gate, values[t, unit].item(), of)
            if kind == "RNN":
                continue
            f = runs[NAMES[kind][1]]
            memory = 1 / (1 - (f if suffix == "_l0" else f.flip(0)))
            torch.testing.assert_close(each.memory[:length, b], memory)
            for k in range(length):
                torch.testing.assert_close(each.carried[k, b].exp(), f[length - k :].prod(0))
            assert each.carried[length:, b].isnan().all()
            assert each.memory[length:, b].isnan().all()
        there = (torch.arange(T)[:, None] < LENGTHS).sum(1) * H
        for gate, share in each.saturated.items():
            torch.testing.assert_close(share, counts[gate] / there)
            assert 0 < counts[gate].sum() < there.sum()
        if kind == "RNN":
            assert each.memory is None
            assert each.carried is None


def test_a_scalar_lstm_by_hand():
    of = bptt.nn.LSTM(1, 1, dtype=torch.float64)
    with torch.no_grad():
        for weight in of.parameters():
            weight.zero_()
        of.bias_ih_l0.copy_(torch.tensor([-3.0, 1.0, 2.0, 2.9]))  # i f g o
    (found,) = flow.gates(of, torch.zeros(T, B, 1, dtype=torch.float64))
    shares = {gate: share.unique().tolist() for gate, share in found.saturated.items()}
    assert shares == {
        "i": [1.0],
        "f": [0.0],
        "g": [1.0],
        "o": [0.0],
    }  # σ(−3) = 0.047, tanh 2 = 0.96, σ(2.9) = 0.948
    torch.testing.assert_close(found.median("memory"), torch.full((T,), 1 + math.e, dtype=torch.float64))
    expected = torch.arange(T, dtype=torch.float64) * math.log(1 / (1 + math.exp(-1)))
    torch.testing.assert_close(found.median(), expected)
    for edge in found.band():
        torch.testing.assert_close(edge, expected)
    assert found.values is None


@pytest.mark.parametrize(
    ("bias", "memory"), [(50.0, 1 + math.exp(50)), (-50.0, 1.0), (-800.0, 1.0), (800.0, math.inf)]
)
def test_gates_that_are_rounded_to_their_ends(bias, memory):
    of = torch.nn.GRU(I, H)
    with torch.no_grad():
        for weight in of.parameters():
            weight.zero_()
        of.bias_hh_l0[H : 2 * H] = bias  # z
    (found,) = flow.gates(of, torch.zeros(T, B, I))
    assert found.median("memory")[0].item() == pytest.approx(memory)
    one = -math.log1p(math.exp(-bias)) if bias > 0 else bias
    assert found.median()[3].item() == pytest.approx(3 * one, rel=1e-12)
    assert (found.saturated["z"] == 1).all()


def test_quantiles_are_those_of_units_and_sequences():
    (found,) = flow.gates(layer("LSTM"), data(T, B, I), call=with_lengths)
    for of, values in (("memory", found.memory), ("carried", found.carried)):
        for q, series in ((0.5, found.median(of)), (0.1, found.band(of)[0]), (0.9, found.band(of)[1])):
            for row, value in zip(values, series, strict=True):
                there = row[~row.isnan()]
                expected = np.quantile(there, q, method="averaged_inverted_cdf")
                assert value.item() == pytest.approx(expected, rel=1e-12)


def test_a_step_that_no_sequence_has_is_not_there():
    x = data(T, B, I)
    (found,) = flow.gates(layer("RNN"), x, call=lambda model, x: model(x, lengths=torch.tensor([2, 4, 1]))[0])
    assert found.saturated["h"].isnan().tolist() == [False] * 4 + [True] * 2
    with pytest.raises(ValueError, match="a layer with a forget gate, got 'memory' of an RNN"):
        found.median("memory")


def test_the_layout_does_not_matter():
    of, x = layer("LSTM"), data(T, B, I)
    (found,) = flow.gates(of, x)
    for other in (
        flow.gates(of, x[:, torch.tensor([2, 0, 1])]),
        flow.gates(of, x.repeat(1, 3, 1)),
        flow.gates(layer("LSTM", batch_first=True), x.transpose(0, 1)),
        flow.gates(torch.nn.ModuleDict({"core": of}), x, call=lambda model, x: model["core"](x)),
    ):
        for gate, share in found.saturated.items():
            torch.testing.assert_close(other[0].saturated[gate], share)
        torch.testing.assert_close(other[0].carried.nanmean((1, 2)), found.carried.nanmean((1, 2)))
    assert other[0].name == "core"
