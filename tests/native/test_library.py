"""The library as installed."""

import ctypes
import platform
import re
import sys
from pathlib import Path

import pytest
from helpers.binaries import exported, needed, output

from bptt.ops import _shared_library as native

HEADER = Path(__file__).resolve().parents[2] / "native" / "recurrence.h"
INSTALLED = native._path()
pytestmark = pytest.mark.skipif(INSTALLED is None, reason="needs the native kernels")

RUN = """
import torch
from pathlib import Path
from bptt.nn import LSTM
torch.set_num_threads(2)
y, _ = LSTM(3, 4)(torch.ones(5, 2, 3))
y.sum().backward()
torch.ones(500, 500) @ torch.ones(500, 500)
print(Path("/proc/self/maps").read_text())
"""


def test_links_to_neither_torch_nor_python():
    known = r"lib(c|m|gomp|stdc\+\+|gcc_s)\.so|ld-linux"
    assert [name for name in needed(INSTALLED) if not re.match(known, name)] == []


def test_exports_the_c_interface_and_no_more():
    declared = re.findall(r"^BPTT_API .*?(\w+)\(", HEADER.read_text(encoding="utf-8"), re.M)
    assert exported(INSTALLED) == set(declared)


def test_python_fills_the_fields_that_c_declares():
    body = re.search(r"struct bptt_call \{(.*?)\};", HEADER.read_text(encoding="utf-8"), re.S)[1]
    declared = re.findall(r"(\*?)(\w+)[,;]", re.sub(r"//.*", "", body))
    stars = {ctypes.c_void_p: "*", ctypes.c_int64: ""}
    assert declared == [(stars[kind], name) for name, kind in native.Call._fields_]


def test_one_openmp_runtime_serves_torch_and_the_kernels():
    if not Path("/proc/self/maps").exists():
        pytest.skip("needs /proc/self/maps")
    if native.MISSING:
        pytest.skip(native.MISSING)
    files = set(re.findall(r"\S+\.so\S*", output(sys.executable, "-c", RUN)))
    assert str(INSTALLED) in files
    assert len([path for path in files if re.search(r"lib(gomp|omp|iomp)", path)]) == 1


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs an x86-64 CPU")
def test_offers_what_the_cpu_has():
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.exists():
        pytest.skip("needs /proc/cpuinfo")
    if native.MISSING:
        pytest.skip(native.MISSING)
    flags = set(re.search(r"^flags\s*:(.*)", cpuinfo.read_text(), re.M)[1].split())
    wanted = {"avx512": {"avx512f", "avx512dq"}, "avx2": {"avx2", "fma"}, "scalar": set()}
    assert native.instruction_sets() == [isa for isa, all_of in wanted.items() if all_of <= flags]
