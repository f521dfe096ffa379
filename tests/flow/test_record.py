"""What is recorded is what autograd says of the states of a loop, and nothing else changes."""

import pytest
import torch
from helpers.problems import BACKENDS
from helpers.twins import KINDS
from torch.nn.utils.rnn import pack_padded_sequence

import bptt
from bptt import flow

T, B, I, H = 6, 4, 3, 5
WIDE = {"LSTM": ("h", "c"), "GRU": ("h",), "RNN": ("h",)}


def layer(kind, library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, dtype=torch.float64, **more)


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def states_of_cells(kind, of, x):
    """h_t and c_t of one layer by torch's cells, as tensors whose gradients can be asked for."""
    cell = getattr(torch.nn, f"{kind}Cell")(I, H, dtype=torch.float64)
    cell.load_state_dict({name.removesuffix("_l0"): weight for name, weight in of.state_dict().items()})
    h = c = torch.zeros(x.shape[1], H, dtype=torch.float64)
    hs, cs = [], []
    for step in x:
        h, c = cell(step, (h, c)) if kind == "LSTM" else (cell(step, h), c)
        h.retain_grad()
        hs.append(h)
        if kind == "LSTM":
            c.retain_grad()
            cs.append(c)
    return hs, cs


def weighted(y):
    return (y * data(*y.shape)).sum()


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_norms_and_gradients_are_those_of_a_loop(kind, library):
    of, x = layer(kind, library), data(T, B, I)
    with flow.record(of, full=True) as recording:
        weighted(of(x)[0]).backward()
    (found,) = recording.flows
    hs, cs = states_of_cells(kind, of, x)
    weighted(torch.stack(hs)).backward()
    torch.testing.assert_close(found.dh, torch.stack([h.grad for h in hs]))
    torch.testing.assert_close(found.h, torch.stack([h.grad.norm(dim=-1) for h in hs]))
    assert (found.name, found.layer, found.direction, found.call, found.backward) == ("", 0, 0, 0, 0)
    assert (found.c is None) == (kind != "LSTM")
    if cs:
        torch.testing.assert_close(found.dc, torch.stack([c.grad for c in cs]))
        torch.testing.assert_close(found.c, torch.stack([c.grad.norm(dim=-1) for c in cs]))


def test_a_linear_rnn_s_gradient_is_a_power_of_its_matrix():
    of = layer("RNN", nonlinearity="relu")
    with torch.no_grad():
        of.weight_hh_l0.copy_(torch.diag(torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9])))
        of.weight_ih_l0.fill_(1.0)
        of.bias_hh_l0.fill_(1.0)
    with flow.record(of, full=True) as recording:
        of(torch.ones(T, 1, I, dtype=torch.float64))[0][-1].sum().backward()
    expected = torch.stack([of.weight_hh_l0.diag() ** (T - 1 - t) for t in range(T)])
    torch.testing.assert_close(recording.flows[0].dh[:, 0], expected.detach())


@pytest.mark.parametrize(
    "more", [{"num_layers": 2}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("kind", KINDS)
def test_torch_s_layers_are_recorded_as_ours_are(kind, more):
    recorded = {}
    for library in (bptt.nn, torch.nn):
        of, x = layer(kind, library, **more), data(T, B, I)
        with flow.record(of, full=True) as recording:
            y, state = of(x)
            last = state[1] if kind == "LSTM" else state
            (weighted(y) + weighted(last)).backward()
        recorded[library] = {(f.layer, f.direction): f for f in recording.flows}
    assert recorded[bptt.nn].keys() == recorded[torch.nn].keys()
    assert len(recorded[bptt.nn]) == more.get("num_layers", 1) * (2 if more.get("bidirectional") else 1)
    for key, ours in recorded[bptt.nn].items():
        for part in WIDE[kind]:
            torch.testing.assert_close(
                getattr(ours, f"d{part}"), getattr(recorded[torch.nn][key], f"d{part}")
            )


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_the_layout_of_the_input_changes_nothing(library):
    of, x = layer("LSTM", library), data(T, B, I)
    first = layer("LSTM", library, batch_first=True)
    lengths = torch.tensor([6, 2, 5, 1])
    mask = torch.arange(T)[:, None] < lengths

    def packed(in_order):
        order = lengths.argsort(descending=True) if in_order else torch.arange(B)
        given = pack_padded_sequence(x[:, order], lengths[order], enforce_sorted=in_order)
        of(given)[0].data.sum().backward()
        return order

    with flow.record(of) as recording:
        of(x)[0].sum().backward()
        packed(False)
        order = packed(True)
    with flow.record(first) as other:
        first(x.transpose(0, 1))[0].sum().backward()
    whole, unsorted, in_order = recording.flows
    torch.testing.assert_close(other.flows[0].h, whole.h)
    torch.testing.assert_close(in_order.h, unsorted.h[:, order])
    assert unsorted.lengths.tolist() == lengths.tolist()
    assert in_order.lengths.tolist() == lengths[order].tolist()
    assert (unsorted.h[~mask] == 0).all()
    assert (unsorted.h[mask] > 0).all()
    singles = []
    for b, length in enumerate(lengths):
        with flow.record(of) as recording:
            of(x[:length, b])[0].sum().backward()
        singles.append(recording.flows[0].h[:, 0])
    for b, single in enumerate(singles):
        torch.testing.assert_close(unsorted.h[: lengths[b], b], single)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_changes_by_being_recorded(kind, library):
    of, x = layer(kind, library, num_layers=2, dropout=0.3), data(T, B, I)

    def train():
        torch.manual_seed(5)
        of.zero_grad()
        y, _ = of(x)
        weighted(y).backward()
        return [y.detach(), *(p.grad.clone() for p in of.parameters()), torch.rand(3)]

    expected = train()
    with flow.record(of) as recording:
        found = train()
        assert recording.flows
        after = torch.rand(3)
    torch.manual_seed(5)
    of(x)
    torch.rand(3)
    assert torch.equal(after, torch.rand(3))
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert not of._forward_pre_hooks
    assert not of._forward_hooks


def test_every_call_and_every_backward_pass_is_told():
    of = torch.nn.ModuleDict({"a": layer("GRU"), "b": layer("GRU", torch.nn)})
    with flow.record(of) as recording:
        for scale in (1.0, 3.0):
            loss = sum(scale * of[name](data(T, B, I))[0].sum() for name in ("a", "b"))
            loss.backward(retain_graph=True)
            loss.backward()
    told = {(f.name, f.call, f.backward): f.h for f in recording.flows}
    assert sorted(told) == [(name, call, back) for name in "ab" for call in (0, 1) for back in (0, 1)]
    for name in "ab":
        torch.testing.assert_close(told[name, 0, 0], told[name, 0, 1])
        torch.testing.assert_close(3 * told[name, 0, 0], told[name, 1, 0])
    torch.testing.assert_close(told["a", 0, 0].shape, told["b", 0, 0].shape)


def test_taps_of_the_caller_still_get_their_gradients():
    of, x = layer("LSTM"), data(T, B, I)
    found = []
    for given in ("keyword", "steer"):
        tap = torch.zeros(T, B, H, dtype=torch.float64, requires_grad=True)
        with flow.record(of, full=True) as recording:
            if given == "keyword":
                of(x, taps={(0, 0): tap})[0].sum().backward()
            else:
                with bptt.nn.steer(of, taps={(0, 0): bptt.nn.Taps(h=tap)}):
                    of(x)[0].sum().backward()
        assert torch.equal(tap.grad, recording.flows[0].dh)
        found.append(tap.grad)
    assert torch.equal(*found)


def test_blocked_paths_are_recorded_as_blocked():
    of = layer("RNN", detach=bptt.Detach(h=1.0))
    with flow.record(of) as recording:
        of(data(T, B, I))[0][-1].sum().backward()
    assert (recording.flows[0].h[:-1] == 0).all()
    assert (recording.flows[0].h[-1] > 0).all()


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_a_scaled_loss_is_unscaled(library):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    of, x = library.LSTM(I, H), data(T, B, I).float()
    with flow.record(of) as plain:
        of(x)[0].sum().backward()
    with flow.record(of, scaler=scaler) as scaled:
        scaler.scale(of(x)[0].sum()).backward()
        scaler.update(2.0)  # as it does after a step, before anybody reads
    torch.testing.assert_close(scaled.flows[0].h, plain.flows[0].h)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_a_recording_may_be_read_at_any_time(library):
    of = layer("GRU", library)
    with flow.record(of) as recording:
        y, _ = of(data(T, B, I))
        y.sum().backward(retain_graph=True)
        assert [f.backward for f in recording.flows] == [0]
        (2 * y.sum()).backward()
    assert [f.backward for f in recording.flows] == [0, 1]
    torch.testing.assert_close(recording.flows[1].h, 2 * recording.flows[0].h)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_under_autocast_gradients_are_recorded(library):
    of, x = library.LSTM(I, H), data(T, B, I).float()
    with flow.record(of) as plain:
        of(x)[0].sum().backward()
    with flow.record(of) as mixed, torch.autocast("cpu", torch.bfloat16):
        of(x)[0].float().sum().backward()
    torch.testing.assert_close(mixed.flows[0].h, plain.flows[0].h, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])
def test_a_compiled_model_is_recorded(library):
    of, x = layer("LSTM", library), data(T, B, I)
    with flow.record(of) as eager:
        weighted(of(x)[0]).backward()
    compiled = torch.compile(of, backend="eager")
    compiled(x)
    with flow.record(compiled) as recording:
        weighted(compiled(x)[0]).backward()
    (found,) = recording.flows
    torch.testing.assert_close(found.h, eager.flows[0].h)
    torch._dynamo.reset()  # what it has given up on here is tried again elsewhere


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("more", [{}, {"bidirectional": True}], ids=["one", "two"])
def test_a_state_that_the_loss_does_not_read_has_a_gradient_of_zero(more, backend):
    of = layer("LSTM", **more)
    with bptt.ops.use_backend(backend), flow.record(of) as recording:
        c_n = of(data(1, B, I))[1][1]
        c_n.sum().backward(retain_graph=True)
        c_n.sum().backward()
    assert len(recording.flows) == 2 * len(c_n)
    for each in recording.flows:
        assert each.h.count_nonzero() == 0
        torch.testing.assert_close(each.c, torch.full((1, B), H**0.5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_results_may_be_read_in_passes_of_their_own(kind, dtype):
    x, seen = data(T, B, I).to(dtype), {}
    for library in (torch.nn, bptt.nn):
        of = layer(kind, library).to(dtype)
        with flow.record(of) as recording:
            y, last = of(x)
            for result in (last, y, last) if kind != "LSTM" else (last[1], y, last[0]):
                result.square().sum().backward(retain_graph=True)
            of(x, last)[0].sum().backward()
        seen[library] = {(each.call, each.backward): each for each in recording.flows}
    theirs, ours = seen.values()
    assert theirs.keys() == ours.keys() == {(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)}
    for place, each in theirs.items():
        torch.testing.assert_close(each.h, ours[place].h, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(each.c, ours[place].c, rtol=1e-4, atol=1e-6)


def test_without_gradients_there_is_nothing_to_record():
    of = torch.nn.ModuleList([layer("GRU"), layer("GRU", torch.nn)])
    with flow.record(of) as recording, torch.no_grad():
        for each in of:
            each(data(T, B, I))
    with flow.record(of) as unused:
        of[0](data(T, B, I))
    assert recording.flows == unused.flows == ()


def test_a_model_without_recurrence_is_refused():
    told = r"model must have an LSTM, GRU or RNN .* got Linear without"
    with pytest.raises(ValueError, match=told), flow.record(torch.nn.Linear(2, 2)):
        pass


def test_a_layer_that_cannot_be_run_again_is_named_and_trains_all_the_same():
    of, x = layer("LSTM", torch.nn), data(T, B, I)
    of.register_forward_hook(lambda _, __, output: (output[0] + 1, output[1]))
    with flow.record(of) as recording:
        of(x)[0].sum().backward()
    assert of.weight_hh_l0.grad.abs().sum() > 0
    with pytest.raises(flow.ReplayError, match=r"a torch\.nn\.LSTM must compute the same again"):
        _ = recording.flows
