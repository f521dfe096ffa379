"""What a short call costs, counted in Python calls: seconds would differ from run to run."""

import gc
import sys

import pytest
import torch
from helpers.problems import BACKENDS

import bptt


def python_calls(function):
    function()  # what is done once is not counted
    calls = 0

    def count(_frame, event, _argument):
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.collect()
    gc.disable()  # what it would finalize meanwhile is called, too
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


@pytest.mark.skipif("native" not in BACKENDS, reason="the reference takes every step in Python")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_a_short_call(kind):
    layer = getattr(bptt.nn, kind)(8, 8)
    x = torch.randn(1, 1, 8)

    def forward():
        with torch.no_grad():
            layer(x)

    def both():
        layer(x)[0].sum().backward()

    assert python_calls(forward) < 210
    assert python_calls(both) < 370


@pytest.mark.skipif("native" not in BACKENDS, reason="the reference takes every step in Python")
@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_no_python_by_the_step(kind):
    layer = getattr(bptt.nn, kind)(8, 8)
    few, many = torch.randn(1, 1, 8), torch.randn(50, 1, 8)
    once, often = (python_calls(lambda x=x: layer(x)[0].sum().backward()) for x in (few, many))
    assert often == once
