"""A million short calls of the ops, with and without their backward passes, leak nothing."""

import json
import os
import sys
from pathlib import Path

import pytest
from helpers.binaries import output

from bptt.ops import _shared_library as native

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(native.MISSING is not None, reason="needs the native kernels"),
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc/self/statm"),
]

POOL = 16 << 20
# Bytes more than after 50,000 calls. The smallest piece of malloc's, 32 bytes, lost at every call would be
# 30 MB; in two runs of a million calls the heap has grown by 1.8 and by 4.8 MB.
LEAK = 12 << 20


def soak(calls, *flags):
    """What `helpers.soak` says of so many calls, and how much more it holds at the end than at first."""
    environment = os.environ | {"BPTT_POOL_BYTES": str(POOL), "MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
    folder = Path(__file__).resolve().parents[1]
    said = json.loads(
        output(sys.executable, "-m", "helpers.soak", str(calls), *flags, cwd=folder, env=environment)
    )
    first, last = said["held"]
    return said, {name: last[name] - first[name] for name in first}


def test_a_million_short_calls_leak_nothing():
    said, more = soak(1_000_000)
    assert sum(said["calls"].values()) == 1_000_000
    assert said["calls"]["backward"] > 200_000
    assert min(said["calls"].values()) > 500
    assert abs(more["resident"]) < LEAK
    assert (more["objects"], more["lent"], more["libraries"]) == (0, 0, 0)
    for held in said["held"]:
        assert 0 < held["idle"] <= POOL
        assert held["buffers"] < 20


def test_a_leak_of_64_bytes_a_call_is_seen():
    _, more = soak(80_000, "--leak")
    assert more["resident"] > LEAK
    assert more["objects"] >= 30_000
