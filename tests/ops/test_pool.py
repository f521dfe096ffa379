"""Buffers go back when nothing refers to them, and no more is kept than allowed."""

import gc

import pytest
import torch
from helpers.problems import BACKENDS, gradients, leaves, run

from bptt.ops._pool import Pool, pool

MEGABYTE = 1 << 20


def test_a_buffer_returns_with_its_last_reference():
    ours = Pool(capacity=64 * MEGABYTE)
    tensor = ours.lease((512, 512), torch.float32)
    address, view = tensor.data_ptr(), tensor[3:]
    del tensor
    assert ours.idle_bytes == 0
    del view
    gc.collect()
    assert ours.idle_bytes == MEGABYTE
    assert ours.lease((256, 1024), torch.float32).data_ptr() == address
    assert ours.lease((512, 512), torch.float32).data_ptr() == address  # the one before died at once


def test_two_leases_never_share():
    ours = Pool(capacity=64 * MEGABYTE)
    kept = [ours.lease((512, 512), torch.float32) for _ in range(4)]
    assert len({tensor.data_ptr() for tensor in kept}) == 4


def test_what_is_kept_is_capped():
    ours = Pool(capacity=3 * MEGABYTE)
    kept = [ours.lease((512, 512), torch.float32) for _ in range(10)]
    large = ours.lease((4, 512, 512), torch.float32)
    kept.clear()
    del large
    assert ours.idle_bytes == 3 * MEGABYTE


def test_a_small_request_takes_no_large_buffer():
    ours = Pool(capacity=64 * MEGABYTE)
    del_me = ours.lease((4096, 4096), torch.uint8)
    del del_me
    ours.lease((256, 1024), torch.float32)
    assert ours.idle_bytes == 17 * MEGABYTE


@pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")
@pytest.mark.parametrize(("memory", "bound"), [("fast", 6.0), ("low", 2.2)])
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_bytes_kept_for_the_backward_pass(op, memory, bound):
    T, B, H = 200, 20, 100
    a = leaves(op, T, B, 1, H, dtype=torch.float32)
    kept, given = {}, {tensor.untyped_storage().data_ptr() for tensor in a.values()}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in given:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = run(op, a, memory=memory, backend="native")
    assert sum(kept.values()) <= bound * T * B * H * 4 + 3 * B * H * 4  # and the last states
    assert gradients(outputs, a)


@pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")
def test_shapes_that_never_come_back_are_forgotten(monkeypatch):
    monkeypatch.setattr(pool, "_capacity", 8 << 20)
    held = []
    for T in range(100, 400, 7):  # 1.6 to 6.5 MB of gates
        a = leaves("lstm", T, 16, 1, 64, dtype=torch.float32)
        gradients(run("lstm", a, backend="native"), a)
        held.append(pool.idle_bytes)
    assert 4 << 20 < max(held) <= 8 << 20


@pytest.mark.skipif("native" not in BACKENDS, reason="needs the native kernels")
@pytest.mark.parametrize("op", ["lstm", "gru", "rnn"])
def test_a_training_step_leases_its_large_buffers_but_not_what_it_gives(op, monkeypatch):
    """What `contiguous` takes fresh from the system costs page faults at every step."""
    leased, lease = [], pool.lease

    def noted(shape, dtype):
        leased.append(tuple(shape))
        return lease(shape, dtype)

    monkeypatch.setattr(pool, "lease", noted)
    a = leaves(op, 100, 20, 5, 300, dtype=torch.float32)
    run(op, a, backend="native")["y"].sum().backward()
    assert leased.count((100, 20, 300)) == (2 if op == "lstm" else 1)  # the expanded gradient of y, and cells
    assert (100, 20, 5) not in leased  # the gradient of x
