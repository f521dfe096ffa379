"""Work that comes again is recorded over buffers of its own, and repeated on what is given."""

from importlib.util import find_spec

import pytest
import torch

pytestmark = pytest.mark.skipif(find_spec("triton") is None, reason="needs Triton")


class Recorder:
    """Stands for a CUDA graph: what it recorded, it repeats on the same tensors."""

    def __init__(self):
        self.recorded = self.repeated = 0

    def __call__(self, body):
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
    graphs.run(accumulate, a, inputs=("state", "x", "tap"), outputs=("state", "y"))
    assert torch.equal(a["state"], x + 1)
    assert torch.equal(a["y"], (x + 1) * factor + (0 if tap is None else tap))


@pytest.fixture
def graphs():
    from bptt.ops._triton._graphs import Graphs

    return Graphs(Recorder())


def test_the_second_time_is_recorded_and_the_third_repeated(graphs):
    for i in range(4):
        run(graphs, torch.full((3,), float(i)))
    assert (graphs._record.recorded, graphs._record.repeated) == (1, 3)


def test_what_decides_how_the_work_is_done_is_told_apart(graphs):
    for _ in range(2):
        run(graphs, torch.zeros(3), factor=2)
        run(graphs, torch.zeros(3), factor=3)
        run(graphs, torch.zeros(3), tap=torch.ones(3))
    assert graphs._record.recorded == 3


def test_the_latest_are_kept_up_to_a_number_of_bytes():
    from bptt.ops._triton._graphs import Graphs

    small = Graphs(Recorder(), most=100)  # two of three tensors of three numbers: 72 bytes
    for factor in (1, 2, 3, 4):
        run(small, torch.zeros(3), factor=factor)
        run(small, torch.zeros(3), factor=factor)
        assert small.bytes <= 100
    run(small, torch.zeros(3), factor=4)
    assert small._record.recorded == 4
    run(small, torch.zeros(3), factor=1)
    assert small._record.recorded == 5


def test_work_on_more_than_that_is_never_recorded():
    from bptt.ops._triton._graphs import Graphs

    tiny = Graphs(Recorder(), most=10)
    for _ in range(3):
        run(tiny, torch.zeros(3))
    assert (tiny._record.recorded, tiny.bytes) == (0, 0)
