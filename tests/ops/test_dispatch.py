"""Who serves a call: the fastest that can, or the one that was named, or an error with the reasons."""

import pytest
import torch
from helpers.problems import BACKENDS, leaves, run

from bptt import ops

LACKS = dict(ops.backends())
NAMES = list(LACKS)
WHY_NOT = {  # what keeps a backend from serving the CPU here
    "native": LACKS["native"],
    "cudnn": "it runs on NVIDIA GPUs, got cpu",
    "triton": LACKS["triton"] or (None if "triton" in BACKENDS else "it runs on NVIDIA GPUs, got cpu"),
    "reference": None,
}
FASTEST = next(name for name in NAMES if WHY_NOT[name] is None)
SLOWER = {name: WHY_NOT[name] or f"{FASTEST} is preferred" for name in NAMES if name != FASTEST}


class Fake:
    """A backend that returns zeros for float32 and refuses the rest."""

    name = "fake"

    def __init__(self, lacks=None):
        self.lacks = lacks
        self.served = []

    def missing(self):
        return self.lacks

    def refuses(self, call):
        dtype = call.arguments["x"].dtype
        return None if dtype == torch.float32 else f"computes float32 only, got {dtype}"

    def run(self, call):
        self.served.append(call.op)
        x, h_0 = call.arguments["x"], call.arguments["h_0"]
        return x.new_zeros(*x.shape[:2], h_0.shape[1]), torch.zeros_like(h_0)


@pytest.fixture
def fake():
    backend = Fake()
    undo = ops.register_backend(backend)
    yield backend
    undo()


def arguments(dtype=torch.float32):
    a = leaves("gru", dtype=dtype)
    return (a["x"], a["h_0"], a["w_ih"], a["w_hh"], a["b_ih"], a["b_hh"])


def test_the_faster_backend_is_selected_where_it_can_serve(fake):
    assert ops.gru(*arguments())[0].count_nonzero() == 0
    assert ops.gru(*arguments(torch.float64))[0].count_nonzero() > 0
    assert fake.served == ["gru"]


def test_a_named_backend_never_falls_back(fake):
    with pytest.raises(
        RuntimeError, match=r"cannot be served: fake: computes float32 only, got torch\.float64"
    ):
        ops.gru(*arguments(torch.float64), backend="fake")
    assert ops.gru(*arguments(), backend="reference")[0].count_nonzero() > 0
    assert fake.served == []


def test_a_backend_that_this_machine_lacks_is_passed_over():
    undo = ops.register_backend(Fake(lacks="no accelerator here"))
    try:
        assert ops.gru(*arguments())[0].count_nonzero() > 0
        with pytest.raises(RuntimeError, match="fake: no accelerator here"):
            ops.gru(*arguments(), backend="fake")
        assert ("fake", "no accelerator here") in ops.backends()
    finally:
        undo()
    assert [name for name, _ in ops.backends()] == NAMES == ["native", "cudnn", "triton", "reference"]


def test_explain_names_the_server_and_the_reasons(fake):
    chosen = ops.explain("gru", *arguments())
    assert chosen.backend == "fake"
    assert chosen.reasons == {name: why or "fake is preferred" for name, why in WHY_NOT.items()}
    refused = ops.explain("gru", *arguments(torch.float64))
    assert refused.backend == FASTEST
    assert refused.reasons == {"fake": "computes float32 only, got torch.float64"} | SLOWER
    assert str(refused).startswith(
        f"gru with (T, B, I, H) = (7, 3, 2, 4), float64, cpu: served by {FASTEST}\n"
        "  not fake: computes float32 only, got torch.float64\n"
        "  not "
    )
    assert fake.served == []


def test_explain_checks_as_the_op_does():
    with pytest.raises(ValueError, match="op must be one of 'lstm', 'gru', 'rnn', got 'lstn'"):
        ops.explain("lstn")
    x, *rest = arguments()
    with pytest.raises(ValueError, match="x must have shape"):
        ops.explain("gru", x[0], *rest)
    with pytest.raises(TypeError, match="leave out the argument backend"):
        ops.explain("gru", x, *rest, backend="reference")


def test_use_backend_names_it_for_calls_that_name_none(fake):
    with ops.use_backend("reference"):
        assert ops.gru(*arguments())[0].count_nonzero() > 0
        explained = ops.explain("gru", *arguments())
        assert (explained.backend, explained.reasons) == (
            "reference",
            dict.fromkeys(("fake", "native", "cudnn", "triton"), "reference was asked for"),
        )
        with ops.use_backend("fake"):
            assert ops.gru(*arguments())[0].count_nonzero() == 0
            assert ops.gru(*arguments(), backend="reference")[0].count_nonzero() > 0
            with pytest.raises(RuntimeError, match="fake: computes float32 only"):
                ops.gru(*arguments(torch.float64))
    assert ops.gru(*arguments())[0].count_nonzero() == 0
    with pytest.raises(ValueError, match="got 'cuda'"), ops.use_backend("cuda"):
        pass


def test_unknown_and_taken_names(fake):
    with pytest.raises(
        ValueError, match="must be None or one of 'fake', 'native', 'cudnn', 'triton', 'reference', got"
    ):
        ops.gru(*arguments(), backend="cuda")
    with pytest.raises(ValueError, match="name must be new, got 'fake'"):
        ops.register_backend(Fake())


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_the_fastest_by_name_is_the_default(op):
    a = leaves(op)
    assert torch.equal(run(op, a)["y"], run(op, a, backend=FASTEST)["y"])
