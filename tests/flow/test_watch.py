"""A watch sees what a recording does, at its own steps only, and leaves no bit of a training other."""

import gc
import math

import pytest
import torch
from helpers.forks import in_a_fork
from helpers.twins import KINDS
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils._python_dispatch import TorchDispatchMode

import bptt
from bptt import flow

T, B, I, H = 6, 4, 3, 5
BOTH = pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])


def layer(kind="LSTM", library=bptt.nn, **more):
    torch.manual_seed(1)
    return getattr(library, kind)(I, H, **{"dtype": torch.float64, **more})


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def weighted(y):
    return (y * data(*y.shape).to(y.dtype)).sum()


def look(of, run):
    watch = flow.watch(of, every=1)
    with watch.step(1):
        run()
    return watch.take()


def assert_median(series, norms):
    torch.testing.assert_close(torch.tensor(series).double(), norms.nanquantile(0.5, dim=1), equal_nan=True)


@BOTH
@pytest.mark.parametrize("more", [{}, {"num_layers": 2, "bidirectional": True}], ids=["one", "four"])
@pytest.mark.parametrize("kind", KINDS)
def test_medians_are_those_of_a_recording(kind, more, library):
    of = layer(kind, library, **more)
    with flow.record(of) as recording:
        reading = look(of, lambda: weighted(of(data(T, B, I))[0]).backward())
    flows = {(f.layer, f.direction): f for f in recording.flows}
    assert {(seen.layer, seen.direction) for seen in reading.layers} == flows.keys()
    for seen in reading.layers:
        of_recording = flows[seen.layer, seen.direction]
        assert seen.t == tuple(range(T))
        assert_median(seen.h, of_recording.h)
        assert (seen.c is None) == (kind != "LSTM")
        if seen.c is not None:
            assert_median(seen.c, of_recording.c)


@pytest.mark.parametrize(
    ("steps", "kept"), [(64, range(64)), (65, range(0, 65, 2)), (130, range(1, 130, 4)), (1, range(1))]
)
def test_at_most_64_steps_are_kept_evenly_from_the_last_that_a_direction_takes(steps, kept):
    of = layer("GRU", bidirectional=True)
    with flow.record(of) as recording:
        forward, reverse = look(of, lambda: weighted(of(data(steps, B, I))[0]).backward()).layers
    assert list(forward.t) == list(kept)
    assert list(reverse.t) == [steps - 1 - t for t in reversed(kept)]
    for seen in (forward, reverse):
        norms = next(f.h for f in recording.flows if f.direction == seen.direction)
        assert_median(seen.h, norms[list(seen.t)])


@BOTH
def test_a_sequence_counts_to_its_end(library):
    of, lengths = layer("LSTM", library), torch.tensor([6, 2, 5, 1])
    packed = pack_padded_sequence(data(T, B, I), lengths, enforce_sorted=False)
    (seen,) = look(of, lambda: of(packed)[0].data.sum().backward()).layers
    with flow.record(of) as recording:
        of(packed)[0].data.sum().backward()
    there = torch.arange(T)[:, None] < lengths
    for series, norms in ((seen.h, recording.flows[0].h), (seen.c, recording.flows[0].c)):
        assert_median(series, torch.where(there, norms, torch.nan))


@BOTH
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_is_bit_for_bit_the_one_without(kind, library):
    detach = {"detach": bptt.Detach(h=0.5)} if library is bptt.nn else {}

    def weights(every):
        of = layer(kind, library, num_layers=2, dropout=0.3, dtype=torch.float32, **detach)
        optimizer, x = torch.optim.Adam(of.parameters(), 0.1), data(T, B, I).float()
        watch, seen = None if every is None else flow.watch(of, every=every), []
        torch.manual_seed(5)
        for number in range(1, 5):
            optimizer.zero_grad()
            if watch is not None:
                watch.begin(number)
            weighted(of(x)[0]).backward()
            if watch is not None:
                watch.end()
            optimizer.step()
            seen.append(watch and watch.take())
        assert [bool(each) for each in seen] == [bool(every) and n % every == 0 for n in range(1, 5)]
        return [*(weight.detach() for weight in of.parameters()), torch.rand(3)]

    expected = weights(None)
    for every in (1, 2, 100):
        assert all(map(torch.equal, weights(every), expected))


class Counted(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.ops = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        self.ops.append(str(op))
        return op(*args, **(kwargs or {}))


@BOTH
def test_between_looks_there_is_no_operator_and_no_hook(library):
    of, x = layer("LSTM", library), data(T, B, I)
    watch = flow.watch(of, every=2)

    def ops(number):
        of.zero_grad()
        with Counted() as counted:
            if number is None:
                of(x)[0].sum().backward()
            else:
                with watch.step(number):
                    assert bool(of._forward_pre_hooks or of._forward_hooks) == watch.due(number)
                    of(x)[0].sum().backward()
                watch.clipped(1.0, 1.0)
                watch.take()
        return counted.ops

    plain = ops(None)
    assert ops(1) == ops(3) == plain
    assert ops(2) != plain
    assert ops(5) == plain
    assert not of._forward_pre_hooks
    assert not of._forward_hooks


def test_sequences_of_several_calls_count_together():
    of, x = layer("LSTM"), data(T, B, I)
    whole = look(of, lambda: of(x)[0].sum().backward())

    def accumulate():
        for part in x.split(1, dim=1):
            of(part)[0].sum().backward()

    torch.testing.assert_close(look(of, accumulate).row(), whole.row())

    def twice():
        y = of(x)[0].sum()
        y.backward(retain_graph=True)
        (3 * y).backward()

    torch.testing.assert_close(look(of, twice).layers[0].h[0], 2 * whole.layers[0].h[0], rtol=0.5, atol=0)


def test_calls_of_several_lengths_meet_at_their_last_step():
    of = layer("GRU", bidirectional=True)

    def run():
        for steps in (70, 130, 20):
            y, _ = of(data(steps, 1, I))
            (y[-1, :, :H] + y[0, :, H:]).sum().backward()

    with flow.record(of) as recording:
        forward, reverse = look(of, run).layers
    lags = range(0, 130, 4)
    assert forward.t == tuple(129 - lag for lag in reversed(lags))
    assert reverse.t == tuple(lags)
    for seen, direction in ((forward.h[::-1], 0), (reverse.h, 1)):
        norms = [f.h.flip(0) if direction == 0 else f.h for f in recording.flows if f.direction == direction]
        for lag, value in zip(lags, seen, strict=True):
            here = torch.cat([each[lag] for each in norms if lag < len(each)])
            torch.testing.assert_close(value, here.quantile(0.5).item())


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_half_life_of_a_power(factor):
    of = layer("RNN", nonlinearity="relu")
    with torch.no_grad():
        of.weight_hh_l0.copy_(factor * torch.eye(H))
        of.weight_ih_l0.fill_(1.0)
        of.bias_hh_l0.fill_(1.0)
    (seen,) = look(of, lambda: of(torch.ones(70, 2, I).double())[0][-1].sum().backward()).layers
    assert seen.h[-2] == pytest.approx(seen.h[-1] * factor**2)  # every other step is kept
    if factor < 1:
        assert seen.half_life == pytest.approx(math.log(2) / -math.log(factor))
    else:
        assert seen.half_life is None or seen.half_life > 1e12  # the slope of equal values is 0 to rounding


def test_half_life_goes_from_the_first_to_the_last_step_with_a_gradient():
    of = layer("RNN", nonlinearity="relu")
    with torch.no_grad():
        of.weight_hh_l0.copy_(0.5 * torch.eye(H))
        of.weight_ih_l0.fill_(1.0)
        of.bias_hh_l0.fill_(1.0)
    keeps = {(0, 0): torch.ones(20).double()}
    keeps[0, 0][4] = 0  # nothing comes to the first four steps
    x = torch.ones(20, 2, I).double()
    (seen,) = look(of, lambda: of(x, keeps=keeps)[0][15].sum().backward()).layers
    assert [value > 0 for value in seen.h] == [4 <= t <= 15 for t in range(20)]
    assert seen.half_life == pytest.approx(1.0)


def test_an_empty_batch_says_nothing():
    of = layer()

    def run():
        for B in (0, 4):
            with bptt.ops.use_backend("reference"):
                of(data(T, B, I))[0].sum().backward()

    assert all(value > 0 for value in look(of, run).layers[0].h)


def test_without_two_steps_there_is_no_half_life():
    of = layer()
    assert look(of, lambda: of(data(1, B, I))[0].sum().backward()).layers[0].half_life is None


def test_a_gradient_that_is_no_number_is_told():
    of = layer()
    with pytest.warns(
        RuntimeWarning, match=r"no gradient was seen at step 1: .* backward\(\) must be inside"
    ):
        assert look(of, lambda: of(data(T, B, I))).layers == ()
    mask = torch.zeros(T, B, H).double()
    mask[3, 2] = torch.nan
    reading = look(of, lambda: ((of(data(T, B, I))[0] * (1 + mask)).sum()).backward())
    assert [math.isnan(value) for value in reading.layers[0].h] == [True] * 4 + [False] * 2


@BOTH
def test_a_scaled_loss_is_unscaled(library):
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    of, x = layer("LSTM", library), data(T, B, I)
    plain = look(of, lambda: of(x)[0].sum().backward())
    watch = flow.watch(of, every=1, scaler=scaler)
    with watch.step(1):
        scaler.scale(of(x)[0].sum()).backward()
    scaler.update(2.0)  # before anybody reads
    torch.testing.assert_close(watch.take().row(), plain.row())


@BOTH
def test_under_autocast_gradients_are_those_without(library):
    of, x = layer("LSTM", library, dtype=torch.float32), data(T, B, I).float()

    def run():
        of.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            y, _ = of(x)
        y.float().sum().backward()
        return [weight.grad.clone() for weight in of.parameters()]

    expected, found = run(), []
    reading = look(of, lambda: found.extend(run()))
    assert all(map(torch.equal, found, expected))
    exact = look(of, lambda: of(x)[0].sum().backward())
    torch.testing.assert_close(reading.layers[0].h, exact.layers[0].h, rtol=0.05, atol=0.02)


def test_under_distributed_data_parallel(tmp_path):
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    of, x = layer(), data(T, B, I)
    alone = look(of, lambda: of(x)[0].sum().backward())
    expected = of.weight_hh_l0.grad.clone()
    of.zero_grad()

    def work():
        store = distributed.FileStore(str(tmp_path / "store"), 1)
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        parallel = DistributedDataParallel(of)
        reading = look(parallel, lambda: parallel(x)[0].sum().backward())
        assert torch.equal(of.weight_hh_l0.grad, expected)
        torch.save(reading.row(), tmp_path / "row.pt")

    in_a_fork(work)
    row = torch.load(tmp_path / "row.pt")
    assert row["layers"]["module:0:0"] == alone.row()["layers"]["model:0:0"]


@pytest.mark.parametrize("outside", [True, False])
def test_a_compiled_model_is_compiled_once_and_looked_at_eagerly(outside):
    model = bptt.nn.SequenceModel(layer(), 2, readout="each").double()
    compiled, ran = [], []

    def backend(graph, _):
        compiled.append(graph)
        return lambda *given: ran.append(1) or graph.forward(*given)

    fast, x = torch.compile(model, backend=backend), data(T, B, I)
    watched = fast if outside else model
    eager = look(model, lambda: model(x).sum().backward()).layers[0]
    watch = flow.watch(watched, every=2)
    for number in range(1, 25):  # more looks than the compiler would compile anew
        before = len(ran)
        with watch.step(number):
            fast(x).sum().backward()
        reading = watch.take()
        assert (len(ran) == before) == watch.due(number)
        if reading is not None:
            torch.testing.assert_close(reading.layers[0].h, eager.h)
    assert len(compiled) == 1
    torch._dynamo.reset()  # what it has given up on here is tried again elsewhere


def test_a_reading_is_taken_once_and_only_after_its_end():
    of = layer()
    watch = flow.watch(of, every=1)
    assert watch.take() is None
    watch.begin(1)
    of(data(T, B, I))[0].sum().backward()
    assert watch.take() is None
    watch.end()
    watch.end()
    watch.clipped(torch.tensor(3.0), 1.0)
    reading = watch.take()
    assert (reading.step, reading.before, reading.after) == (1, 3.0, 1.0)
    assert watch.take() is None
    watch.clipped(5.0, 5.0)
    assert watch.take() is None
    row = reading.row()
    assert set(row) == {"step", "before", "after", "layers"}
    assert set(row["layers"]["model:0:0"]) == {"t", "h", "c", "half_life"}
    assert row["layers"]["model:0:0"]["t"] == list(range(T))


def test_after_an_error_nothing_is_left_of_a_step():
    of, x = layer(), data(T, B, I)
    watch = flow.watch(of, every=1)

    def fail():
        with watch.step(1):
            of(x)[0].sum().backward()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not of._forward_pre_hooks
    assert watch.take() is None
    watch.begin(2)  # and of one that was not ended
    of(x)[0].sum().backward()
    with watch.step(3):
        assert len(of._forward_pre_hooks) == 1
        (2 * of(x)[0].sum()).backward()
    reading = watch.take()
    assert reading.step == 3
    torch.testing.assert_close(
        reading.row()["layers"], look(of, lambda: (2 * of(x)[0].sum()).backward()).row()["layers"]
    )


def test_the_parts_of_a_split_stand_beside_what_was_seen():
    of, x, lengths = layer(bidirectional=True), data(70, B, I), torch.tensor([70, 3, 40, 9])

    def loss(y, _):
        return weighted(y)

    def call(model, batch):
        return model(batch, lengths=lengths)[0]

    reading = look(of, lambda: weighted(call(of, x)).backward())
    split = flow.paths(of, x, loss, call=call)
    layers = reading.with_paths(split, lengths).layers
    assert reading.with_paths(()) == reading
    there = torch.arange(70)[:, None] < lengths
    for seen, parts in zip(layers, split, strict=True):
        for series, part in ((seen.c, parts.whole), (seen.carry, parts.carry), (seen.gates, parts.gates)):
            norms = torch.where(there, part.norm(dim=-1), torch.nan)
            assert_median(series, norms[list(seen.t)])
    assert list(layers[0].t) != list(layers[1].t)


@pytest.mark.parametrize("every", [0, -1, 2.0, True, "3"])
def test_steps_to_look_at_are_a_whole_number_apart(every):
    with pytest.raises(ValueError, match=f"every must be an integer ≥ 1, got {every!r}"):
        flow.watch(layer(), every=every)


def test_a_model_without_recurrence_is_refused():
    with pytest.raises(ValueError, match=r"model must have an LSTM, GRU or RNN .* got Linear without"):
        flow.watch(torch.nn.Linear(2, 2))


@BOTH
def test_memory_is_given_back_without_the_collector(library):
    of, x = library.LSTM(1, 41), torch.randn(T, B, 1)
    gc.collect()
    gc.disable()
    try:
        with flow.record(of):
            look(of, lambda: of(x)[0].sum().backward())
        left = [each for each in gc.get_objects() if type(each) is torch.Tensor and each.shape == (T, B, 41)]
    finally:
        gc.enable()
    assert not left


@pytest.mark.parametrize("size", [1.0, 1e-12, 1e-18, 1e-30, 1e16, 1e30])
def test_gradients_of_every_size_have_their_norms(size):
    of, x = layer(dtype=torch.float32), data(T, B, I).float()
    with flow.record(of) as recording:
        reading = look(of, lambda: (size * weighted(of(x)[0])).backward())
    (seen,), (full,) = reading.layers, recording.flows
    for series, expected in ((seen.h, full.h), (seen.c, full.c)):
        torch.testing.assert_close(
            torch.tensor(series, dtype=torch.float64),
            expected.nanquantile(0.5, dim=1),
            rtol=1e-6,
            atol=0,
        )
