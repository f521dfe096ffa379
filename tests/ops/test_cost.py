"""Time and memory grow linearly with T."""

import time
import tracemalloc

import pytest
import torch
from helpers.problems import BACKENDS, gradients, leaves, run
from torch.utils._python_dispatch import TorchDispatchMode


class Returned(TorchDispatchMode):
    """Counts the bytes of all that operators return."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.bytes += tensor.nbytes
        return out


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "triton"])
def test_four_times_the_steps_return_at_most_five_times_the_bytes(op, backend):
    # The reference's cost. Its seconds would say less: the collector alone moves them by a quarter.
    def returned(T):
        a = leaves(op, T=T, B=2, I=16, H=4)
        with Returned() as counter:
            gradients(run(op, a, h_keep=torch.ones(T), backend=backend), a)
        return counter.bytes

    few, many = returned(100), returned(400)
    assert 0 < many < 5 * few


@pytest.mark.skipif("native" not in BACKENDS, reason="the reference's cost is counted")
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_four_times_the_steps_take_at_most_five_times_the_time(op):
    few, many = (leaves(op, T=T, B=16, I=16, H=16, dtype=torch.float32) for T in (500, 2000))

    def seconds(a):
        start = time.process_time()
        gradients(run(op, a, h_keep=torch.ones(len(a["x"]))), a)
        return time.process_time() - start

    # A shared machine can slow one of the two: a cost that is not linear exceeds the bound every time.
    assert any(seconds(many) < 5 * seconds(few) for _ in range(12))


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_four_times_the_steps_keep_at_most_five_times_the_memory(op):
    def kept(T):
        storages = {}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        a = leaves(op, T=T, B=4, I=2, H=8)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            outputs = run(op, a, h_keep=torch.ones(T))
        assert outputs
        return sum(storages.values())

    assert kept(400) < 5 * kept(100)


def test_python_objects_grow_linearly_too():
    def peak(T):
        a = leaves("lstm", T=T, B=1, I=1, H=1)
        tracemalloc.start()
        gradients(run("lstm", a), a)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)
    assert peak(400) < 5 * peak(100)
