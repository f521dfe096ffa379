"""Work that comes again is recorded over buffers of its own, and repeated on what is given."""

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import pytest
import torch
from helpers.problems import INTERPRETED, assert_same, leaves
from helpers.problems import run as run_op

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")
CPU = torch.device("cpu")


class Recorder:
    """Stands for a CUDA graph: what it recorded, it repeats on the same tensors."""

    def __init__(self):
        self.recorded = self.repeated = 0

    def __call__(self, body, _):
        self.recorded += 1

        def repeat():
            self.repeated += 1
            body()

        return repeat


def accumulate(a):
    a["state"] += a["x"]
    torch.mul(a["state"], a["factor"], out=a["y"])
    if a["tap"] is not None:
        a["y"] += a["tap"]


def run(graphs, x, factor=2, tap=None):
    a = {"state": torch.ones(3), "x": x, "y": torch.full((3,), torch.nan), "factor": factor, "tap": tap}
    graphs.run(accumulate, a, CPU, inputs=("state", "x", "tap"), outputs=("state", "y"))
    assert torch.equal(a["state"], x + 1)
    assert torch.equal(a["y"], (x + 1) * factor + (0 if tap is None else tap))


@pytest.fixture
def graphs():
    from bptt.ops._triton._graphs import Graphs

    return Graphs(Recorder(), most=10_000)


def test_the_second_time_is_recorded_and_the_third_repeated(graphs):
    for i in range(4):
        run(graphs, torch.full((3,), float(i)))
    assert (graphs._record.recorded, graphs._record.repeated) == (1, 3)


def test_inside_another_recording_the_work_is_done_as_it_is(graphs, monkeypatch):
    for i in range(3):
        run(graphs, torch.full((3,), float(i)))
    before = graphs._record.recorded, graphs._record.repeated
    monkeypatch.setattr("bptt.ops._triton._graphs.capturing", lambda: True)
    for i in range(3):
        run(graphs, torch.full((3,), float(i)))
        run(graphs, torch.full((3,), float(i)), factor=5)
    assert (graphs._record.recorded, graphs._record.repeated) == before


def test_what_decides_how_the_work_is_done_is_told_apart(graphs):
    for _ in range(2):
        run(graphs, torch.zeros(3), factor=2)
        run(graphs, torch.zeros(3), factor=3)
        run(graphs, torch.zeros(3), tap=torch.ones(3))
    assert graphs._record.recorded == 3


def small(most):
    from bptt.ops._triton._graphs import Graphs

    return Graphs(Recorder(), most=most)


def test_there_is_room_for_a_number_of_bytes_and_nobody_is_driven_out():
    graphs = small(100)  # three tensors of three numbers have 36
    for _ in range(5):
        for factor in (1, 2, 3):
            run(graphs, torch.zeros(3), factor=factor)
    assert (graphs._record.recorded, graphs._record.repeated, graphs.bytes) == (2, 8, 72)


def test_what_has_long_been_idle_makes_room():
    graphs = small(40)
    for _ in range(2):
        run(graphs, torch.zeros(3), factor=1)
    for _ in range(100):
        run(graphs, torch.zeros(3), factor=2)
    assert (graphs._record.recorded, graphs.bytes) == (2, 36)


def test_what_is_made_in_inference_mode_serves_outside_too(graphs):
    with torch.inference_mode():
        for _ in range(3):
            run(graphs, torch.ones(3))
    run(graphs, torch.full((3,), 2.0))
    assert graphs._record.recorded == 1


def test_another_way_to_multiply_is_another_recording(graphs):
    for precision in ("ieee", "tf32", "ieee", "tf32"):
        before = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = precision
        try:
            run(graphs, torch.zeros(3))
        finally:
            torch.backends.cuda.matmul.fp32_precision = before
    assert graphs._record.recorded == 2


def test_without_memory_for_buffers_the_work_is_done_all_the_same():
    from bptt.ops._triton._graphs import Graphs

    def full(body, device):
        raise torch.OutOfMemoryError

    graphs = Graphs(full, most=10_000)
    for _ in range(3):
        run(graphs, torch.zeros(3))
    assert graphs.bytes == 0


def test_threads_do_not_mix(graphs):
    def work(number):
        for _ in range(200):
            run(graphs, torch.full((3,), float(number)))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert graphs._record.recorded == 1


@pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_recorded_steps_follow_their_data(op, memory, monkeypatch):
    from bptt.ops._triton import _passes, _stepwise

    recorded = small(1 << 20)
    monkeypatch.setattr(_stepwise, "interpreted", lambda: False)
    monkeypatch.setattr(_stepwise, "_graphs", recorded)
    monkeypatch.setattr(_passes, "_CHUNK", 2 * 3 * 3 * 4 * 5 * 8)  # two steps of three replicas
    for seed in range(4):
        several = [leaves(op, T=7, B=3, H=5, seed=10 * seed + i) for i in range(3)]
        a = {name: torch.stack([one[name].detach() for one in several]) for name in several[0]}
        a |= {name: torch.zeros(3, 7, 3, 5).double() for name in ("h_tap", "c_tap")[: 1 + (op == "lstm")]}
        generator = torch.Generator().manual_seed(seed)
        coins = torch.rand(3, 2, 7, generator=generator, dtype=torch.float64)
        lengths = torch.randint(1, 8, (3, 2, 3), generator=generator)

        def gradients(backend, one, keep, lengths):
            def loss(one):
                taps = {name: one[name] for name in ("h_tap", "c_tap") if name in one}
                rest = {name: tensor for name, tensor in one.items() if name not in taps}
                options = {"h_keep": keep, "lengths": lengths, "backend": backend}
                if backend == "triton":
                    options["memory"] = memory
                return run_op(op, rest, **taps, **options)["y"].square().sum()

            return torch.func.grad(loss)(one)

        # Every second of the coins and lengths, with which replicas lie further apart.
        found = torch.func.vmap(lambda *args: gradients("triton", *args))(a, coins[:, 0], lengths[:, 0])
        for i in range(3):
            one = {name: tensor[i] for name, tensor in a.items()}
            expected = gradients("reference", one, coins[i, 0], lengths[i, 0])
            assert_same({name: g[i] for name, g in found.items()}, expected)
    assert recorded._record.repeated >= (6 if memory == "fast" else 3)
