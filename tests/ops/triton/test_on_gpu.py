"""The Triton kernels on a GPU."""

import pytest
import torch
from helpers.problems import assert_same, gradients, leaves, run
from helpers.triton_problems import CASES, WAYS, answer, assert_near_the_reference, problem
from torch.func import grad, vmap

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
each_op = pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
each_way = pytest.mark.parametrize("way", WAYS)
TF32 = 5e-3  # it keeps ten bits after the first


def to_gpu(a):
    return {name: tensor.detach().cuda().requires_grad_() for name, tensor in a.items()}


@each_way
@pytest.mark.parametrize("H", [1, 7, 16, 33, 64, 100, 128, 200])
@each_op
def test_equals_the_reference(op, H, way):
    dtype, tf32, tolerance = WAYS[way]
    tolerance = TF32 if tf32 else tolerance
    for number, case in enumerate(CASES):
        a, options = problem(op, H, dtype, case, seed=number, device="cuda")
        with torch.backends.cudnn.flags(allow_tf32=tf32):
            for _ in range(3):  # step by step: at once, recorded, repeated
                found = answer("triton", op, a, options)
            assert_near_the_reference(found, op, a, options, tolerance)


@each_op
def test_repeated_steps_follow_their_data(op):
    for seed in range(5):
        a = leaves(op, T=9, B=20, H=150, seed=seed, dtype=torch.float64)
        with torch.no_grad():
            a["w_hh"] *= 0.05
        keep = (torch.rand(9, generator=torch.Generator().manual_seed(seed)) > 0.5).double()
        ours = run(op, on_gpu := to_gpu(a), backend="triton", h_keep=keep.cuda())
        found = {name: g.cpu() for name, g in gradients(ours, on_gpu).items()}
        assert_same(found, gradients(run(op, a, h_keep=keep), a), tolerance=1e-10)


@pytest.mark.parametrize("H", [64, 200])
@each_op
def test_nothing_waits(op, H):
    a, options = problem(op, H, torch.bfloat16, CASES[1], seed=0, device="cuda")
    options["lengths"] = options["lengths"].cpu()  # from where they are copied without a wait
    a = {name: tensor.requires_grad_() for name, tensor in a.items()}
    taps = {name: a.pop(name) for name in ("h_tap", "c_tap") if name in a}

    def step():
        y = run(op, a, backend="triton", **taps, **options)["y"]
        return torch.autograd.grad(y, list(a.values()), torch.ones_like(y), allow_unused=True)

    for _ in range(3):
        step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@each_op
def test_another_length_batch_or_p_compiles_nothing(op):
    from bptt.ops._triton.kernels import gru, lstm, rnn

    kernels = {"lstm": lstm, "gru": gru, "rnn": rnn}[op]

    def compiled():
        return sum(
            len(cache[0])
            for kernel in (kernels.forward, kernels.backward)
            for cache in kernel.device_caches.values()
        )

    def step(T, B, p):
        a = to_gpu(leaves(op, T=T, B=B, H=32, dtype=torch.bfloat16))
        gradients(run(op, a, backend="triton", h_keep=(torch.rand(T) > p).float().cuda()), a)

    step(16, 16, 0.5)
    before = compiled()
    for T, B, p in ((1, 1, 0.5), (17, 3, 0.25), (33, 100, 1.0), (64, 32, 0.0)):
        step(T, B, p)
    assert compiled() == before > 0


@pytest.mark.parametrize("H", [64, 200])
@each_op
def test_it_can_be_recorded_in_a_graph(op, H):
    a = to_gpu(leaves(op, T=6, B=5, H=H, dtype=torch.float32))
    with torch.no_grad():
        a["w_hh"] *= 0.05
    keep = torch.ones(6, device="cuda")
    cotangent = torch.randn(6, 5, H, generator=torch.Generator().manual_seed(3)).cuda()

    def step():
        y = run(op, a, backend="triton", h_keep=keep)["y"]
        return torch.autograd.grad(y, list(a.values()), cotangent, allow_unused=True, materialize_grads=True)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    for coins in ((1, 1, 1, 1, 1, 1), (1, 0, 1, 0, 0, 1)):
        keep.copy_(torch.tensor(coins))
        graph.replay()
        for found, expected in zip(recorded, step(), strict=True):
            torch.testing.assert_close(found, expected)


@each_op
def test_replicas_are_each_what_it_would_be_alone(op):
    several = [leaves(op, T=20, B=17, H=32, dtype=torch.float32, seed=seed) for seed in range(4)]
    a = {name: torch.stack([one[name].detach() for one in several]).cuda() for name in several[0]}

    def loss(one):
        return run(op, one, backend="triton")["y"].square().mean()

    together = vmap(grad(loss))(a)
    for i in range(4):
        alone = grad(loss)({name: tensor[i] for name, tensor in a.items()})
        assert_same({name: g[i] for name, g in together.items()}, alone, tolerance=1e-5)


@pytest.mark.parametrize("H", [64, 200])
@each_op
def test_a_thousand_steps_in_memory_full_of_nan(op, H):
    a = to_gpu(leaves(op, T=8, B=33, H=H, dtype=torch.bfloat16))
    with torch.no_grad():
        a["w_hh"] *= 0.05
    expected = gradients(run(op, a, backend="triton"), a)
    for number in range(1000):
        if number % 50 == 0:  # what the allocator hands out next
            del (full := [torch.full((1 << n,), torch.nan, device="cuda") for n in range(8, 22)])[:]
            del full
        found = gradients(run(op, a, backend="triton"), a)
    for name, gradient in expected.items():
        assert torch.equal(found[name], gradient), name


@pytest.mark.parametrize("reverse", [False, True])
@each_op
def test_cudnn_gives_the_same(op, reverse):
    a = leaves(op, H=9)
    on_gpu = to_gpu(a)
    found = run(op, on_gpu, backend="cudnn", reverse=reverse)
    back = {name: g.cpu() for name, g in gradients(found, on_gpu).items()}
    assert_same(back, gradients(run(op, a, reverse=reverse), a), tolerance=1e-10)
