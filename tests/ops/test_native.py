"""The native kernels against the reference, on every instruction set of this CPU."""

import os
import subprocess
import sys

import pytest
import torch
from helpers.instruction_sets import ISAS, each_isa, using
from helpers.problems import BACKENDS, assert_same, constants, error, gradients, leaves, run
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bptt import ops
from bptt._threads import threads

pytestmark = pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")


each_poison = pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e-45, 1e30])


@st.composite
def problems(draw):
    op = draw(st.sampled_from(["lstm", "gru", "rnn"]))
    T, B = draw(st.integers(1, 9)), draw(st.integers(1, 12) | st.just(40))
    I, H = draw(st.sampled_from([1, 2, 5, 32, 33, 40])), draw(st.integers(1, 40) | st.just(130))
    seed = draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    a = leaves(op, T, B, I, H, bias=draw(st.booleans()), seed=seed)
    with torch.no_grad():
        a["w_hh"] /= H**0.5  # wider ones make the gradient explode, and rounding with it
    options = {"reverse": draw(st.booleans()), "memory": draw(st.sampled_from(["fast", "low"]))}
    if op == "rnn":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    if draw(st.booleans()):
        options["lengths"] = torch.randint(1, T + 1, (B,), generator=generator)
    for path in ("h", "c") if op != "rnn" else ("h",):
        shape = draw(st.sampled_from([None, (T,), (T, B)]))
        if shape:
            coins = torch.rand(shape, generator=generator, dtype=torch.float64)
            options[f"{path}_keep"] = coins.where(coins > 0.5, 0)
    for path in ("h", "c") if op == "lstm" else ("h",):
        if draw(st.booleans()):
            a[f"{path}_tap"] = torch.randn(T, B, H, generator=generator, dtype=torch.float64).requires_grad_()
    if op == "lstm":
        options["return_cells"] = draw(st.booleans())
    return op, a, options


def answer(backend, op, a, options, dtype, layout):
    cast = {name: layout(tensor.detach().to(dtype)).requires_grad_() for name, tensor in a.items()}
    taps = {name: cast[name] for name in ("h_tap", "c_tap") if name in cast}
    outputs = run(op, {n: t for n, t in cast.items() if n not in taps}, backend=backend, **taps, **options)
    return outputs, gradients(outputs, cast)


def strided(tensor):
    """The same numbers with the last dimension outermost, every other place of a larger tensor."""
    return torch.stack([tensor.movedim(-1, 0)] * 2, -1)[..., 0].movedim(0, -1)


def expanded(tensor):
    """The same numbers along the first dimension, from one place."""
    return tensor[:1].expand_as(tensor)


def far_from_the_kink(a, options):
    """Whether no argument of a relu is so small that rounding to float32 may change its sign."""
    taps = {"h_tap": a["h_tap"]} if "h_tap" in a else {}
    rest = {name: tensor for name, tensor in a.items() if name not in taps}
    y, first = run("rnn", rest, backend="reference", **taps, **options)["y"], a["h_0"][None]
    before = torch.cat([y[1:], first] if options["reverse"] else [first, y[:-1]])
    if options["reverse"] and "lengths" in options:
        begins = torch.arange(len(y))[:, None] == options["lengths"] - 1
        before = torch.where(begins[..., None], first, before)
    argument = a["x"] @ a["w_ih"].T + before @ a["w_hh"].T + a.get("b_ih", 0) + a.get("b_hh", 0)
    return argument.abs().min() > 1e-5


@each_isa
@settings(deadline=None, max_examples=60)
@given(
    problem=problems(),
    layout=st.sampled_from([torch.Tensor.contiguous, strided, expanded]),
    count=st.integers(1, 3),
)
def test_equals_the_reference(isa, problem, layout, count):
    op, a, options = problem
    if options.get("nonlinearity") == "relu":
        assume(far_from_the_kink({name: layout(tensor.detach()) for name, tensor in a.items()}, options))
    expected, expected_grads = answer("reference", op, a, options, torch.float64, layout)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        with using(isa), threads(count):
            ours = answer("native", op, a, options, dtype, layout)
        rounded = answer("reference", op, a, options, dtype, layout)  # a chaotic recurrence enlarges rounding
        for found, own, exact, at_least in zip(
            ours, rounded, (expected, expected_grads), (tolerance, 10 * tolerance), strict=True
        ):
            enlarged = max(error(own[name], exact[name]) for name in exact)
            assert_same({n: t.double() for n, t in found.items()}, exact, at_least + 10 * enlarged)


@each_isa
@settings(deadline=None, max_examples=60)
@given(
    problem=problems(),
    poison=st.sampled_from([float("nan"), float("inf"), -float("inf"), 5e-324]),
    place=st.integers(0, 10**6),
)
def test_special_values_anywhere(isa, problem, poison, place):
    op, a, options = problem
    names = sorted(a)
    name = names[place % len(names)]
    # The reference multiplies weights with zeros beyond the end of a sequence, and those may be NaN then.
    assume(not ("lengths" in options and name.startswith(("w_", "b_"))))
    with torch.no_grad():
        a[name].view(-1)[place % a[name].numel()] = poison
    with using(isa):
        ours = answer("native", op, a, options, torch.float64, torch.Tensor.contiguous)
    theirs = answer("reference", op, a, options, torch.float64, torch.Tensor.contiguous)
    for found, expected in zip(ours, theirs, strict=True):
        for key, tensor in expected.items():
            largest = tensor.nan_to_num(posinf=0, neginf=0).abs().max().item()
            torch.testing.assert_close(
                found[key], tensor, equal_nan=True, rtol=1e-10, atol=max(largest, 1) * 1e-11
            )


@each_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@each_poison
def test_special_values_spread_as_in_the_reference(isa, op, dtype, poison):
    a = leaves(op, T=5, B=4, H=9, dtype=dtype)
    with torch.no_grad():
        a["x"][2, 1, 0] = poison
        a["h_0"][3, 2] = poison
    with using(isa):
        ours = run(op, a, backend="native")
    theirs = run(op, a, backend="reference")
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, equal_nan=True)


@each_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@each_poison
def test_special_gradients_spread_as_in_the_reference(isa, op, dtype, poison):
    a = leaves(op, T=5, B=4, H=9, dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(5, 4, 9, generator=generator, dtype=torch.float64).to(dtype)
    cotangent[2, 1, 3] = poison

    def found(backend):
        return torch.autograd.grad(run(op, a, backend=backend)["y"], list(a.values()), cotangent)

    with using(isa):
        ours = found("native")
    for mine, theirs in zip(ours, found("reference"), strict=True):
        largest = theirs.nan_to_num(posinf=0, neginf=0).abs().max().item()
        atol = max(largest, 1) * (1e-5 if dtype == torch.float32 else 1e-12)
        torch.testing.assert_close(mine, theirs, equal_nan=True, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_more_than_goes_through_the_caches(op):
    a = leaves(op, T=90, B=40, I=1, H=128, dtype=torch.float32)
    with torch.no_grad():
        a["w_hh"] *= 0.05  # no chaos, which would make differences of rounding grow
    ours, expected = (gradients(run(op, a, backend=name), a) for name in ("native", "reference"))
    assert_same(ours, expected, tolerance=1e-4)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_no_hidden_units(op):
    a = leaves(op, H=0, I=3)
    assert gradients(run(op, a), a)["x"].count_nonzero() == 0
    with pytest.raises(RuntimeError, match="at least one sequence, input and hidden unit"):
        run(op, a, backend="native")


def test_working_memory_is_on_the_cpu_whatever_the_default():
    a = leaves("lstm", dtype=torch.float32)
    expected = run("lstm", a)
    with torch.device("meta"):
        assert_same(run("lstm", a, backend="native"), expected, tolerance=0)


def test_the_environment_chooses_the_instruction_set():
    script = (
        "from bptt.ops import backends, _shared_library as library\n"
        "print(dict(backends())['native'], library.instruction_set())"
    )

    def ask(name):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"BPTT_ISA": name},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert ("BPTT_ISA must be none, or one of" in done.stderr) == (name == "mmx")
        return done.stdout.strip()

    for name in ISAS:
        assert ask(name) == f"None {name}"
    assert ask("") == f"None {ISAS[0]}"
    assert ask("none").startswith("BPTT_ISA=none turns it off")
    assert ask("mmx").startswith("BPTT_ISA must be none, or one of")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dtype": torch.bfloat16}, "computes in float32 and float64, got torch.bfloat16"),
        ({"P": 2}, "has no projection"),
        ({"B": 0}, "needs at least one sequence"),
    ],
)
def test_what_it_refuses_is_said(change, reason):
    a = leaves("lstm", **change)
    arguments = (a["x"], (a["h_0"], a["c_0"]), a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])
    explained = ops.explain("lstm", *arguments, w_hr=a.get("w_hr"))
    assert explained.backend != "native"
    assert reason in explained.reasons["native"]
    with pytest.raises(RuntimeError, match=f"native: .*{reason}"):
        run("lstm", a, backend="native")


def test_forward_mode_is_refused_by_name_and_served_by_the_reference():
    a = constants("gru")

    def tangent(backend):
        return torch.func.jvp(
            lambda x: run("gru", {**a, "x": x}, backend=backend)["y"], (a["x"],), (a["x"],)
        )[1]

    torch.testing.assert_close(tangent(None), tangent("reference"))
    with pytest.raises(RuntimeError, match="forward-mode derivatives go through the reference"):
        tangent("native")
