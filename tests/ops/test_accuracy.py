"""How exact the native kernels are: their activations, and sums of many terms."""

import pytest
import torch
from helpers.instruction_sets import each_isa, using
from helpers.problems import BACKENDS, leaves, run

from bptt.ops import _shared_library as native

pytestmark = pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")


@each_isa
def test_sigmoid_and_tanh_to_the_last_bits(isa):
    # Every 4,099th of the 2^32 floats.
    with using(isa):
        assert_accurate(torch.arange(-(2**31), 2**31, 4099, dtype=torch.int64))


@pytest.mark.slow
@pytest.mark.parametrize("quarter", range(4))
def test_every_float(quarter):
    first = -(2**31) + quarter * 2**30
    for begin in range(first, first + 2**30, 2**18):
        assert_accurate(torch.arange(begin, begin + 2**18, dtype=torch.int64))


def assert_accurate(bits):
    """At most the errors that docs/kernels.md states."""
    x = bits.to(torch.int32).view(torch.float32)
    for which, exact, bound in ((0, torch.sigmoid, 2.5), (1, torch.tanh, 2.7)):
        ours, exactly = native.activation(which, x), exact(x.double())
        assert torch.equal(ours.isnan(), x.isnan())
        ours, exactly = ours[~x.isnan()].double(), exactly[~x.isnan()]
        # Under float32's smallest normal number, sigmoid may answer 0.
        tiny = torch.finfo(torch.float32).tiny if which == 0 else 2.0**-149
        spacing = torch.ldexp(torch.ones_like(exactly), exactly.frexp().exponent - 24)
        assert ((ours - exactly).abs() <= torch.maximum(bound * spacing, torch.tensor(tiny).double())).all()


@each_isa
@pytest.mark.parametrize("I", [1, 33])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_sums_of_many_terms_keep_their_digits(isa, op, I):
    a = leaves(op, T=200, B=300, I=I, H=9, dtype=torch.float32)
    with torch.no_grad():
        a["x"].fill_(0.7)  # terms that are alike, as in the many equal steps of a task
        for name in a.keys() - {"x"}:
            a[name] *= 0.1
    double = {name: tensor.detach().double().requires_grad_() for name, tensor in a.items()}
    weights = ["w_ih", "w_hh", "b_ih", "b_hh"]
    with using(isa):
        sums, exact = (
            torch.autograd.grad(
                run(op, given, backend="native")["y"].sum(), [given[name] for name in weights]
            )
            for given in (a, double)
        )
    for name, mine, truth in zip(weights, sums, exact, strict=True):
        error = ((mine - truth).abs().max() / truth.abs().max()).item()
        assert error < 1e-5, f"{name}: {error:.1e} of the largest entry"
