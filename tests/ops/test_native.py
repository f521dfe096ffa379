"""The native kernels against the reference, on every instruction set of this CPU."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import torch
from helpers.problems import BACKENDS, assert_same, constants, gradients, leaves, run
from hypothesis import given, settings
from hypothesis import strategies as st

from bptt import ops
from bptt.ops import _shared_library as native

pytestmark = pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")
ISAS = native.instruction_sets() if "native" in BACKENDS else []


@contextmanager
def using(isa):
    before = native.instruction_set()
    native.use_instruction_set(isa)
    try:
        yield
    finally:
        native.use_instruction_set(before)


each_isa = pytest.mark.parametrize("isa", ISAS)
each_poison = pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e-45, 1e30])


@st.composite
def problems(draw):
    op = draw(st.sampled_from(["lstm", "gru", "rnn"]))
    T, B = draw(st.integers(1, 9)), draw(st.integers(1, 12))
    I, H = draw(st.sampled_from([1, 2, 5, 32, 33, 40])), draw(st.integers(1, 40))
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


@each_isa
@settings(deadline=None, max_examples=60)
@given(problem=problems(), transposed=st.booleans())
def test_equals_the_reference(isa, problem, transposed):
    op, a, options = problem
    layout = strided if transposed else torch.Tensor.contiguous
    expected, expected_grads = answer("reference", op, a, options, torch.float64, layout)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        with using(isa):
            outputs, grads = answer("native", op, a, options, dtype, layout)
        assert_same({n: t.double() for n, t in outputs.items()}, expected, tolerance)
        assert_same({n: t.double() for n, t in grads.items()}, expected_grads, 10 * tolerance)


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


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize(
    "sizes",
    [
        {"T": 9, "B": 11, "I": 3, "H": 20},
        {"T": 9, "B": 11, "I": 40, "H": 20},
        {"T": 9, "B": 1, "I": 40, "H": 200},
        {"T": 33, "B": 130, "I": 40, "H": 12},  # in groups, each with sums of its own
    ],
    ids=str,
)
@pytest.mark.parametrize("varied", [False, True])
def test_the_number_of_threads_changes_no_bit(op, sizes, varied):
    T, B, H = (sizes[name] for name in "TBH")
    a = leaves(op, **sizes, dtype=torch.float32)
    tap = torch.zeros(T, B, H, requires_grad=True)
    lengths = 1 + 5 * torch.arange(B) % T if varied else None
    answers = []
    for threads in (1, 2, 3, 16):  # more than there are cores: some wait for one
        torch.set_num_threads(threads)
        try:
            outputs = run(op, a, h_tap=tap, lengths=lengths, backend="native")
            answers.append((outputs, gradients(outputs, {"tap": tap, **a})))
        finally:
            torch.set_num_threads(1)
    for outputs, grads in answers[1:]:
        assert_same(outputs, answers[0][0], tolerance=0)
        assert_same(grads, answers[0][1], tolerance=0)


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_threads_that_share_the_rows_of_frozen_weights(op):
    """Nothing is summed over the rows, so nothing makes the threads wait between the parts of the steps."""
    T = 9000 if op == "rnn" else 3000
    a = constants(op, T=T, B=7, I=3, H=64, dtype=torch.float32)
    a["w_hh"] /= 8
    x = a["x"].requires_grad_()
    lengths = torch.tensor([T, *torch.linspace(T / 2, T, 6)]).long()

    def answer(threads):
        torch.set_num_threads(threads)
        try:
            return gradients(run(op, a, lengths=lengths, backend="native"), {"x": x})
        finally:
            torch.set_num_threads(1)

    alone = answer(1)
    for threads in [2, 4] * 8:
        assert_same(answer(threads), alone, tolerance=0)


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_more_than_goes_through_the_caches(op):
    a = leaves(op, T=90, B=40, I=1, H=128, dtype=torch.float32)
    with torch.no_grad():
        a["w_hh"] *= 0.05  # no chaos, which would make differences of rounding grow
    ours, expected = (gradients(run(op, a, backend=name), a) for name in ("native", "reference"))
    assert_same(ours, expected, tolerance=1e-4)


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


@pytest.mark.parametrize("each", [1, 2])
def test_two_python_threads_at_once(each):
    problems = [leaves("lstm", T=40, B=8, H=30, dtype=torch.float32, seed=seed) for seed in range(4)]
    alone = [gradients(run("lstm", a), a) for a in problems]
    found = [None] * len(problems)

    def work(i):
        torch.set_num_threads(each)  # holds for the thread that says it
        for _ in range(10):
            found[i] = gradients(run("lstm", problems[i]), problems[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(problems))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ours, expected in zip(found, alone, strict=True):
        assert_same(ours, expected, tolerance=0)


def test_a_forked_child_does_not_hang(monkeypatch):
    # torch would fill what is uninitialised on several threads, and so hang itself.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    torch.set_num_threads(2)
    try:
        a = leaves("gru", T=20, B=16, H=32, dtype=torch.float32)
        expected = gradients(run("gru", a), a)
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # that of pytest waits until the call returns
            signal.alarm(20)
            found = gradients(run("gru", a), a)
            os._exit(0 if all(map(torch.equal, found.values(), expected.values())) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        torch.set_num_threads(1)


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
    assert (explained.backend, reason in explained.reasons["native"]) == ("reference", True)
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


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_opcheck(op, everything):
    a = constants(op, T=3, B=2, H=5)
    more = (None,) * 5
    if everything:
        tap, keep = torch.randn(3, 2, 5, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        of_c = (tap, keep) if op == "lstm" else (None, keep if op == "gru" else None)
        more = (tap, of_c[0], torch.tensor([1, 3]), keep, of_c[1])
    for grad in (False, True):
        x = a["x"].clone().requires_grad_(grad)
        inputs = (x, a["h_0"], a.get("c_0"), a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"], *more)
        name = op if op != "rnn" else "rnn_tanh"
        for low in (False, True) if everything else (False,):
            torch.library.opcheck(torch.ops.bptt.recurrence, (name, everything, low, grad, False, *inputs))


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_checkpointing_recomputes_the_same(op):
    a = leaves(op)
    outputs = run(op, a)
    again = torch.utils.checkpoint.checkpoint(lambda: run(op, a), use_reentrant=False)
    assert_same(gradients(again, a), gradients(outputs, a), tolerance=0)


def test_batched_gradients_of_one_call():
    a = leaves("gru")
    y = run("gru", a)["y"]
    cotangents = torch.randn(4, *y.shape, dtype=y.dtype)
    batched = torch.autograd.grad(y, a["w_hh"], cotangents, is_grads_batched=True, retain_graph=True)[0]
    for one, cotangent in zip(batched, cotangents, strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(y, a["w_hh"], cotangent, retain_graph=True)[0])
