"""Drop-in checklist: autocast, dropout, higher derivatives, compilation, checkpointing, DDP.

Every test runs against torch.nn itself, where torch.nn can do the same at all.
"""

import os

import pytest
import torch
from helpers.forks import in_a_fork
from helpers.twins import (
    KINDS,
    assert_same,
    assert_twins_agree,
    gradients,
    initial_state,
    leaf,
    tensors,
    twins,
)
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import bptt


@pytest.fixture(params=KINDS)
def pair(request):
    return twins(request.param, 3, 5, 2, bidirectional=True)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_of_bfloat16_input(kind):
    ours, theirs = twins(kind, 3, 5, 2, bidirectional=True, dtype=torch.float32)
    x = leaf(6, 4, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mine, reference = ours(x), theirs(x)
    assert {t.dtype for t in tensors(reference).values()} == {torch.bfloat16}
    assert_same(tensors(mine), tensors(reference), tolerance=0.02)
    grads, expected = gradients(mine, ours, (x,)), gradients(reference, theirs, (x,))
    assert_same(grads, expected, tolerance=0.03)
    assert grads["weight_ih_l0"].dtype == torch.float32


@pytest.mark.parametrize("layer", [torch.float32, torch.float16])
@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_of_any_16_bit_input(kind, dtype, given, layer):
    ours, _ = twins(kind, 3, 5, 2, dtype=layer)
    x = leaf(6, 4, 3, dtype=given)
    with torch.autocast("cpu", dtype=dtype):
        named = tensors(ours(x))
    assert {t.dtype for t in named.values()} == {dtype}
    exact = tensors(ours.float()(x.float()))
    assert_same({name: t.float() for name, t in named.items()}, exact, tolerance=0.03)


@pytest.mark.parametrize("given", [True, False], ids=["hx", "no hx"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_autocast_of_float32_input(kind, dtype, given):
    """Where torch.nn's dtypes depend on the machine, ours are always the autocast dtype."""
    ours, _ = twins(kind, 3, 5, 2, bidirectional=True, dtype=torch.float32)
    x = leaf(6, 4, 3, dtype=torch.float32)
    hx = initial_state(ours, 4, dtype=torch.float32) if given else None
    with torch.autocast("cpu", dtype=dtype):
        named = tensors(ours(x, hx))
    assert {t.dtype for t in named.values()} == {dtype}
    exact = tensors(ours(x, hx))
    assert_same({name: t.float() for name, t in named.items()}, exact, tolerance=0.03)


def test_cells_stay_float32_under_autocast():
    ours, _ = twins("LSTM", 3, 5, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, (_, c_n), cells = ours(leaf(6, 4, 3, dtype=torch.float32), return_cells=True)
    assert cells.dtype == torch.float32
    assert torch.equal(cells[-1].bfloat16(), c_n[0])


@pytest.mark.parametrize("kind", KINDS)
def test_16_bit_layers(kind):
    ours, theirs = twins(kind, 3, 5, dtype=torch.bfloat16)
    x = leaf(6, 4, 3, dtype=torch.bfloat16)
    assert_same(tensors(ours(x)), tensors(theirs(x)), tolerance=0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_of_one_cuts_layers_apart(kind):
    pair = twins(kind, 3, 5, 3, dropout=1.0, bidirectional=True)
    x = leaf(6, 4, 3)
    assert_twins_agree(*pair, x, None, (x,))
    assert gradients(pair[0](x), pair[0], (x,))["weight_ih_l1"].abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_no_dropout_in_eval(kind):
    ours, theirs = twins(kind, 3, 5, 3, dropout=0.5)
    x = leaf(6, 4, 3)
    before = torch.get_rng_state()
    assert_twins_agree(ours.eval(), theirs.eval(), x, None, (x,))
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_between_layers_has_torchs_distribution():
    """The second layer passes on what it reads, so its output shows what was dropped before it."""
    p, shape = 0.3, (50, 40, 10)
    for layer in twins("RNN", 3, 10, 2, nonlinearity="relu", dropout=p):
        with torch.no_grad():
            for name, weight in layer.named_parameters():
                weight.zero_()
                if name == "bias_ih_l0":
                    weight.fill_(1)
                if name == "weight_ih_l1":
                    weight.copy_(torch.eye(10))
        torch.manual_seed(0)
        y = layer(torch.zeros(*shape[:2], 3, dtype=torch.float64))[0]
        dropped = y == 0
        torch.testing.assert_close(y[~dropped], torch.full_like(y[~dropped], 1 / (1 - p)))
        assert abs(dropped.double().mean() - p) < 4 * (p * (1 - p) / y.numel()) ** 0.5
        # One coin for each entry: neither steps, sequences nor units share them.
        for dim in range(3):
            assert dropped.double().mean(dim).std() > 0.01


def test_double_backward_equals_torchs(pair):
    results = []
    for layer in pair:
        x = leaf(4, 2, 3)
        loss = layer(x)[0].square().sum()
        (grad,) = torch.autograd.grad(loss, x, create_graph=True)
        results.append(dict(layer.named_parameters()) | {"x": x})
        seconds = torch.autograd.grad(grad.pow(3).sum(), list(results[-1].values()), allow_unused=True)
        results[-1] = {n: s for n, s in zip(results[-1], seconds, strict=True) if s is not None}
    assert_same(*results)


def test_gradcheck_and_gradgradcheck():
    layer, _ = twins("LSTM", 2, 2, 2, bidirectional=True)
    weights = {name: p.detach().clone().requires_grad_() for name, p in layer.named_parameters()}

    def call(x, *values):
        functional = dict(zip(weights, values, strict=True))
        y, state = torch.func.functional_call(layer, functional, (x,))
        return (y, *state)

    inputs = (leaf(2, 1, 2), *weights.values())
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


def test_non_reentrant_checkpoint(pair):
    x = leaf(6, 4, 3)
    for layer in pair:
        plain = gradients(layer(x), layer, (x,))
        recomputed = gradients(checkpoint(layer, x, use_reentrant=False), layer, (x,))
        assert_same(recomputed, plain, tolerance=0)


def test_non_reentrant_checkpoint_tosses_the_same_coins():
    ours, _ = twins("LSTM", 3, 5, 2, dropout=0.5)
    ours.detach = bptt.Detach(h=0.5, c=0.5)
    x = leaf(6, 4, 3)
    torch.manual_seed(0)
    plain = gradients(ours(x), ours, (x,))
    torch.manual_seed(0)
    recomputed = gradients(checkpoint(ours, x, use_reentrant=False), ours, (x,))
    assert_same(recomputed, plain, tolerance=0)


def test_distributed_data_parallel_in_one_process(pair, tmp_path):
    def work():
        store = distributed.FileStore(str(tmp_path / "store"), 1)
        distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
        wrapped = [DistributedDataParallel(layer) for layer in pair]
        for parallel in wrapped:
            parallel(leaf(6, 4, 3))[0].square().sum().backward()
        found = [{n: p.grad for n, p in layer.named_parameters()} for layer in pair]
        torch.save(found, tmp_path / "gradients.pt")

    in_a_fork(work)  # without the destructor of a group, which may wait for itself (pytorch issue 56297)
    mine, reference = torch.load(tmp_path / "gradients.pt")
    assert all(grad is not None for grad in mine.values())  # every parameter took part
    assert_same(mine, reference)


def _one_of_two_ranks(rank, folder, coins):
    torch.set_num_threads(1)
    store = distributed.FileStore(f"{folder}/store", 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    ours, _ = twins("LSTM", 3, 5, 2)
    mine = slice(2 * rank, 2 * rank + 2)
    keeps = {key: tuple(keep[:, mine] for keep in pair) for key, pair in coins.items()}
    parallel = DistributedDataParallel(ours)
    parallel(leaf(6, 4, 3)[:, mine].detach(), keeps=keeps)[0].square().sum().backward()
    torch.save({n: p.grad for n, p in ours.named_parameters()}, f"{folder}/{rank}.pt")
    os._exit(0)  # for the same reason as above


@pytest.mark.slow
def test_two_ranks_with_slices_of_one_draw_equal_one(tmp_path):
    ours, _ = twins("LSTM", 3, 5, 2)
    ours.detach = bptt.Detach(h=0.5, c=0.5, draw="sequence")
    coins = bptt.nn.draw_keeps(ours, (6, 4), generator=bptt.streams.stream(0, "detach"))[""]
    torch.multiprocessing.spawn(_one_of_two_ranks, (str(tmp_path), coins), nprocs=2)
    ours(leaf(6, 4, 3).detach(), keeps=coins)[0].square().sum().backward()
    whole = {n: p.grad / 2 for n, p in ours.named_parameters()}  # ranks average
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"{rank}.pt"), whole)
