"""Time and memory grow linearly with T."""

import time
import tracemalloc

import pytest
import torch
from helpers.problems import gradients, leaves, run


def seconds(op, T):
    a = leaves(op, T=T, B=16, I=16, H=16, dtype=torch.float32)
    keep = torch.ones(T)

    def once():
        start = time.process_time()
        gradients(run(op, a, h_keep=keep), a)
        return time.process_time() - start

    once()
    return min(once() for _ in range(3))


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_four_times_the_steps_cost_at_most_five_times_the_time(op):
    # A shared machine can slow one of the two: a cost that is not linear exceeds the bound every time.
    assert any(seconds(op, 4 * 250) < 5 * seconds(op, 250) for _ in range(3))


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
