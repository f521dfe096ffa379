"""Many models at once: the same as each alone, in one launch."""

import pytest
import torch
from helpers.problems import INTERPRETED, assert_same, leaves, run
from torch.func import functional_call, grad, stack_module_state, vmap

import bptt
from bptt import ops

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
R, T, B, I, H = 3, 5, 4, 2, 9


def replicas(op, dtype):
    several = [leaves(op, T, B, I, H, dtype=dtype, seed=seed) for seed in range(R)]
    return {name: torch.stack([a[name].detach() for a in several]) for name in several[0]}


def loss(op, options):
    generator = torch.Generator().manual_seed(9)
    cotangent = torch.randn(T, B, H, generator=generator, dtype=torch.float64)

    def of(a, keep, lengths):
        y = run(op, a, backend="triton", h_keep=keep, lengths=lengths, **options)["y"]
        return (y.double() * cotangent).sum()

    return of


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_gradients_of_replicas_are_those_of_each_alone(op, dtype):
    a = replicas(op, dtype)
    keep = (torch.arange(R * T).view(R, T) % 3 > 0).to(dtype)
    lengths = torch.tensor([5, 1, 3, 2])  # of all
    of = loss(op, {})
    together = vmap(grad(of), in_dims=(0, 0, None))(a, keep, lengths)
    for i in range(R):
        alone = grad(of)({name: tensor[i] for name, tensor in a.items()}, keep[i], lengths)
        assert_same(
            {name: g[i] for name, g in together.items()}, alone, 1e-5 if dtype == torch.float32 else 1e-12
        )


def test_they_run_in_one_launch(monkeypatch):
    from bptt.ops._triton import _passes

    launched = []
    real = _passes.launch
    monkeypatch.setattr(_passes, "launch", lambda *args: (launched.append(args[2]["y"].shape), real(*args)))
    a = replicas("lstm", torch.float32)
    vmap(lambda one: run("lstm", one, backend="triton")["y"])(a)
    assert launched == [(R, T, B, H)]


def test_shared_weights_and_separate_data():
    a = replicas("gru", torch.float64)
    shared = {name: a[name][0] for name in ("w_ih", "w_hh", "b_ih", "b_hh")}

    def call(x, h_0):
        return run("gru", {"x": x, "h_0": h_0, **shared}, backend="triton")["y"]

    for i, y in enumerate(vmap(call)(a["x"], a["h_0"])):
        torch.testing.assert_close(y, call(a["x"][i], a["h_0"][i]))


def test_layers_under_stack_module_state():
    models = [bptt.nn.LSTM(I, H, num_layers=2, bidirectional=True) for _ in range(R)]
    params, buffers = stack_module_state(models)
    x = torch.randn(R, T, B, I)

    def call(p, b, one):
        return functional_call(models[0], (p, b), (one,))[0]

    with ops.use_backend("triton"):
        together = vmap(call)(params, buffers, x)
        for i, model in enumerate(models):
            torch.testing.assert_close(together[i], model(x[i])[0], rtol=1e-5, atol=1e-6)


def test_second_derivatives_of_replicas():
    a = replicas("lstm", torch.float64)

    def penalty(x, rest):
        y = run("lstm", {**rest, "x": x}, backend="triton")["y"]
        return y.square().sum()

    def second(x, rest):
        return grad(lambda at: grad(penalty)(at, rest).square().sum())(x)

    rest = {name: tensor for name, tensor in a.items() if name != "x"}
    together = vmap(second)(a["x"], rest)
    for i in range(R):
        alone = second(a["x"][i], {name: tensor[i] for name, tensor in rest.items()})
        torch.testing.assert_close(together[i], alone, rtol=1e-9, atol=1e-9)
