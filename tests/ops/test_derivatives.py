"""Derivatives of any order, and torch.func transforms, with the right values."""

import pytest
import torch
from helpers.problems import GATES, leaves, run, run_loop
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

OPS = ["lstm", "gru", "rnn"]
KEEP = torch.tensor([1.0, 0.0, 0.5, 1.0], dtype=torch.float64)


def small(op, **sizes):
    return leaves(op, **({"T": 4, "B": 2, "I": 2, "H": 3} | sizes))


def zero_taps(op, a):
    T, B, H = *a["x"].shape[:2], a["w_hh"].shape[0] // GATES[op]
    widths = {"h_tap": a["h_0"].shape[1]} | ({"c_tap": H} if op == "lstm" else {})
    return {
        name: torch.zeros(T, B, width, dtype=torch.float64, requires_grad=True)
        for name, width in widths.items()
    }


@pytest.mark.parametrize("options", ["plain", "taps", "lengths", "low"])
@pytest.mark.parametrize("op", [*OPS, "lstm-projected"])
def test_gradcheck_and_gradgradcheck(op, options):
    op, projected = op.removesuffix("-projected"), op.endswith("projected")
    a = small(op, P=2 if projected else None)
    tapped = zero_taps(op, a) if options == "taps" else {}
    fixed = {"lengths": {"lengths": torch.tensor([4, 2])}, "low": {"memory": "low"}}.get(options, {})
    names = [*a, *tapped]

    def f(*tensors):
        given = dict(zip(names, tensors, strict=True))
        return tuple(run(op, {n: given[n] for n in a}, **{n: given[n] for n in tapped}, **fixed).values())

    inputs = tuple({**a, **tapped}.values())
    assert torch.autograd.gradcheck(f, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(f, inputs, fast_mode=True)


def scalar(op, which, runner, **keeps):
    """A scalar function of x and the recurrent weight, with everything else fixed."""
    a = {name: tensor.detach() for name, tensor in small(op).items()}
    weights = torch.linspace(-1, 1, a["x"].shape[0] * 2 * 3, dtype=torch.float64)

    def f(value):
        y = runner(op, {**a, which: value}, **keeps)["y"]
        return (y.flatten() * weights).sum() + y.pow(2).sum()

    return f, a[which]


@pytest.mark.parametrize("which", ["x", "w_hh", "w_ih", "b_hh"])
@pytest.mark.parametrize("op", OPS)
def test_transforms_without_keeps_equal_those_of_the_loop(op, which):
    ours, value = scalar(op, which, run)
    loop, _ = scalar(op, which, run_loop)
    tangent = torch.linspace(-2, 3, value.numel(), dtype=torch.float64).view_as(value)
    for transform in (grad, jacrev, jacfwd, hessian):
        torch.testing.assert_close(transform(ours)(value), transform(loop)(value), rtol=1e-12, atol=1e-12)
    for a, b in zip(jvp(ours, (value,), (tangent,)), jvp(loop, (value,), (tangent,)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("path", ["h_keep", "c_keep"])
@pytest.mark.parametrize("op", ["lstm", "gru"])
@pytest.mark.parametrize("shape", ["T", "TB"])
def test_forward_mode_respects_keeps(op, path, shape):
    binary = (KEEP == 1).double()
    if shape == "TB":
        binary = torch.stack([binary, 1 - binary], 1)
    ours, value = scalar(op, "w_hh", run, **{path: binary})
    loop, _ = scalar(op, "w_hh", run_loop, **{path: binary})
    expected = jacrev(loop)(value)
    torch.testing.assert_close(jacrev(ours)(value), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(jacfwd(ours)(value), expected, rtol=1e-12, atol=1e-12)
    plain, _ = scalar(op, "w_hh", run)
    assert not torch.allclose(expected, jacrev(plain)(value))
    torch.testing.assert_close(hessian(ours)(value), hessian(loop)(value), rtol=1e-12, atol=1e-12)
    fractional, _ = scalar(op, "w_hh", run, **{path: KEEP})
    torch.testing.assert_close(jacfwd(fractional)(value), jacrev(fractional)(value), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("keeps", [None, "T", "TB"])
@pytest.mark.parametrize("op", OPS)
def test_vmap_over_samples_weights_and_keeps(op, keeps):
    options = {"h_keep": KEEP} if keeps else {}
    f, w = scalar(op, "w_hh", run, **options)
    many = torch.stack([w, 2 * w, -w])
    torch.testing.assert_close(vmap(f)(many), torch.stack([f(v) for v in many]), rtol=1e-12, atol=1e-12)
    expected = torch.stack([grad(f)(v) for v in many])
    torch.testing.assert_close(vmap(grad(f))(many), expected, rtol=1e-12, atol=1e-12)
    if keeps:
        masks = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0.5]], dtype=torch.float64)
        masks = torch.stack([masks, masks.flip(1)], -1) if keeps == "TB" else masks
        a = {name: tensor.detach() for name, tensor in small(op).items()}

        def by_mask(mask):
            return grad(lambda w: run(op, {**a, "w_hh": w}, h_keep=mask)["y"].pow(2).sum())(w)

        expected = torch.stack([by_mask(mask) for mask in masks])
        torch.testing.assert_close(vmap(by_mask)(masks), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("op", OPS)
def test_per_sample_gradients(op):
    a = {name: tensor.detach() for name, tensor in small(op, B=3).items()}

    def loss(w_hh, x, h_0, c_0):
        one = {**a, "w_hh": w_hh, "x": x[:, None], "h_0": h_0[None]}
        return run(op, {**one, "c_0": c_0[None]} if op == "lstm" else one)["y"].pow(2).sum()

    c_0 = a.get("c_0", a["h_0"])
    together = vmap(grad(loss), in_dims=(None, 1, 0, 0))(a["w_hh"], a["x"], a["h_0"], c_0)
    for b in range(3):
        alone = grad(loss)(a["w_hh"], a["x"][:, b], a["h_0"][b], c_0[b])
        torch.testing.assert_close(together[b], alone, rtol=1e-12, atol=1e-12)


def test_low_memory_inside_a_transform_is_refused_with_the_reason():
    f, value = scalar("lstm", "w_hh", run, memory="low", backend="reference")
    with pytest.raises(RuntimeError, match='reference: memory="low" recomputes through saved tensor hooks'):
        grad(f)(value)


def test_a_module_under_functional_call():
    linear = torch.nn.Linear(3, 1, dtype=torch.float64)
    a = small("gru")

    def loss(parameters):
        return functional_call(linear, parameters, run("gru", a)["y"]).sum()

    grads = grad(loss)({name: p.detach() for name, p in linear.named_parameters()})
    torch.testing.assert_close(grads["weight"][0], run("gru", a)["y"].sum((0, 1)))
