"""Recording inside what training does around a model: nothing of it changes what is recorded."""

import pytest
import torch
from helpers.forks import in_forks
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import bptt
from bptt import flow

T, B, I, H = 6, 4, 3, 5
LIBRARIES = pytest.mark.parametrize("library", [bptt.nn, torch.nn], ids=["bptt", "torch"])


@pytest.fixture
def compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def layer(library):
    torch.manual_seed(1)
    return library.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64)


def data(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def loss(of, x):
    return of(x)[0].square().sum()


def recorded(of, work):
    """{(layer, direction): (call, h, c)} of a recording around some work, which must hold one call."""
    with flow.record(of) as recording:
        work()
    return {(f.layer, f.direction): (f.call, f.h, f.c) for f in recording.flows}


def assert_same(found, expected, factor=1.0):
    assert found.keys() == expected.keys()
    for key, (call, h, c) in expected.items():
        assert found[key][0] == call
        torch.testing.assert_close(found[key][1], factor * h)
        torch.testing.assert_close(found[key][2], factor * c)


def compiled(what, of, **options):
    """Forward and backward pass of x, of which something is compiled."""
    if what == "step":

        def step(x):
            loss(of, x).backward()

        return torch.compile(step, **options)
    if what == "layer":
        of.compile(**options)
    model = torch.compile(of, **options) if what == "model" else of
    value = torch.compile(loss, **options) if what == "loss" else loss
    return lambda x: value(model, x).backward()


@LIBRARIES
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
@pytest.mark.parametrize("what", ["model", "layer", "loss", "step"])
def test_whatever_is_compiled(compiler, what, warm, library):
    """In one graph, but for torch's LSTM and backward(), which Dynamo refuses there."""
    torch.manual_seed(1)
    of, x = library.LSTM(I, H, dtype=torch.float64), data(T, B, I)
    expected = recorded(of, lambda: loss(of, x).backward())
    gradient = of.weight_hh_l0.grad.clone()
    run = compiled(what, of, backend="aot_eager", fullgraph=library is bptt.nn and what != "step")
    if warm:
        run(x)
    assert_same(recorded(of, lambda: run(x)), expected)
    of.zero_grad()
    run(x)  # compiled again, with nothing left behind
    torch.testing.assert_close(of.weight_hh_l0.grad, gradient)


@LIBRARIES
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("early_stop", [False, True])
def test_activation_checkpointing(library, reentrant, early_stop):
    of, x = layer(library), data(T, B, I)
    expected = recorded(of, lambda: loss(of, x).backward())
    with flow.record(of) as recording, torch.utils.checkpoint.set_checkpoint_early_stop(early_stop):
        for _ in range(2):
            y, _ = checkpoint(of, x.clone().requires_grad_(), use_reentrant=reentrant)
            y.square().sum().backward()
    for call in (0, 1):
        found = {(f.layer, f.direction): (0, f.h, f.c) for f in recording.flows if f.call == call}
        assert_same(found, expected)
    assert len(recording.flows) == 2 * len(expected)


@LIBRARIES
def test_gradients_that_add_up_over_micro_batches(library):
    of, x = layer(library), data(T, B, I)
    whole = recorded(of, lambda: (loss(of, x) / B).backward())
    gradients = {name: p.grad.clone() for name, p in of.named_parameters()}
    of.zero_grad()
    with flow.record(of) as recording:
        for part in x.split(1, dim=1):
            (loss(of, part) / B).backward()
    for name, p in of.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name])
    for key, (_, h, c) in whole.items():
        parts = sorted((f for f in recording.flows if (f.layer, f.direction) == key), key=lambda f: f.call)
        assert [f.call for f in parts] == list(range(B))
        torch.testing.assert_close(torch.cat([f.h for f in parts], 1), h)
        torch.testing.assert_close(torch.cat([f.c for f in parts], 1), c)


@LIBRARIES
def test_a_scaler_and_a_scale_by_hand(library):
    of, x = layer(library), data(T, B, I)
    expected = recorded(of, lambda: loss(of, x).backward())
    assert_same(recorded(of, lambda: (256.0 * loss(of, x)).backward()), expected, factor=256.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=1)
    optimizer = torch.optim.SGD(of.parameters(), lr=0.0)
    with flow.record(of, scaler=scaler) as recording:
        for _ in range(2):  # the scale doubles after each step
            scaler.scale(loss(of, x)).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
    assert scaler.get_scale() == 1024.0
    for call in (0, 1):
        found = {(f.layer, f.direction): (0, f.h, f.c) for f in recording.flows if f.call == call}
        assert_same(found, expected)


def _rank(rank, folder, library):
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    of = DistributedDataParallel(layer(library))
    mine = data(T, B, I)[:, 2 * rank : 2 * rank + 2]
    loss(of, mine).backward()
    plain = {name: p.grad.clone() for name, p in of.module.named_parameters()}
    of.zero_grad()
    with flow.record(of) as recording:
        loss(of, mine).backward()
    gradients = {name: p.grad for name, p in of.module.named_parameters()}
    assert all(torch.equal(gradients[name], each) for name, each in plain.items())
    assert {f.name for f in recording.flows} == {"module"}
    flows = {(f.layer, f.direction): (f.call, f.h, f.c) for f in recording.flows}
    torch.save((flows, gradients), f"{folder}/{rank}.pt")


@LIBRARIES
def test_two_ranks_record_what_one_does(tmp_path, library):
    """Each its own half of the batch, unaveraged; what they average are the gradients of the weights."""
    of = layer(library)
    expected = recorded(of, lambda: loss(of, data(T, B, I)).backward())
    in_forks(*(lambda rank=rank: _rank(rank, tmp_path, library) for rank in range(2)))
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for key, (_, h, c) in expected.items():
        torch.testing.assert_close(torch.cat([flows[key][1] for flows, _ in halves], 1), h)
        torch.testing.assert_close(torch.cat([flows[key][2] for flows, _ in halves], 1), c)
    for name, p in of.named_parameters():
        for _, gradients in halves:
            torch.testing.assert_close(gradients[name], p.grad / 2)
