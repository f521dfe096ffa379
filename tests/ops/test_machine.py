"""What the machine can do at best, measured."""

import time

import pytest
import torch

from bptt import ops

needs_kernels = pytest.mark.skipif(ops.instruction_set() is None, reason="the native kernels are missing")


@needs_kernels
def test_the_peak_is_that_of_a_machine():
    # The slowest vector unit with FMA does some GFLOP/s; the fastest core of today stays under a TFLOP/s.
    assert 1e9 < ops.fma_peak(1) < 1e12


@pytest.mark.skipif(ops.instruction_set() in (None, "scalar"), reason="needs the kernels' vector units")
def test_a_peak_is_not_reached_by_products_of_torch():
    """A "peak" that ordinary code passes would make every share of it meaningless."""
    a = torch.randn(256, 256)
    seconds = float("inf")
    for _ in range(50):
        began = time.perf_counter()
        a @ a
        seconds = min(seconds, time.perf_counter() - began)
    assert ops.fma_peak(torch.get_num_threads()) > 0.9 * 2 * 256**3 / seconds


@needs_kernels
def test_an_activation_takes_less_than_five_hundred_operations():
    operation = 1 / ops.fma_peak(1)
    assert operation < ops.activation_seconds() < 500 * operation


@pytest.mark.skipif(ops.instruction_set() is not None, reason="the native kernels are there")
def test_without_kernels_nothing_is_measured():
    with pytest.raises(RuntimeError, match="native kernels"):
        ops.fma_peak(1)
    with pytest.raises(RuntimeError, match="native kernels"):
        ops.activation_seconds()
