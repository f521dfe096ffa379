"""The wheel, with a C++ compiler and without one."""

import importlib.util
import os
import re
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from helpers.binaries import exported, needed, output, tool

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = "bptt/ops/libbptt_native.so"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("scikit_build_core") is None,
        reason="needs scikit-build-core, which builds it",
    ),
]

RUN = """
import sys
sys.path[:0] = sys.argv[1:]
import torch
import bptt
from bptt import ops
from bptt.nn import LSTM
y, _ = LSTM(3, 4)(torch.ones(5, 2, 3))
y.sum().backward()
print(bptt.__file__, ops.instruction_set(), sep="\\n")
"""


def wheel(folder, **environment):
    """Build a wheel; returns its path and what pip said."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ROOT,
        "-v",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
    ]
    command += ["--wheel-dir", folder, f"--config-settings=build-dir={folder / 'build'}"]
    said = output(*command, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | environment)
    (built,) = folder.glob("*.whl")
    return built, said


def run(built, folder):
    """Use the wheel, not what is installed, in a fresh process; returns its instruction set and warnings."""
    with zipfile.ZipFile(built) as file:
        file.extractall(folder)
    site = sysconfig.get_path("purelib")
    said = output(sys.executable, "-S", "-W", "always", "-c", RUN, folder, site, cwd=folder)
    *warned, file, isa = said.splitlines()
    assert Path(file).is_relative_to(folder)
    return isa, "\n".join(warned)


def test_with_a_compiler(tmp_path):
    tool("cmake")
    static = Path(output(tool("c++"), "-print-file-name=libstdc++.a").strip()).is_absolute()
    built, _ = wheel(tmp_path)
    assert re.fullmatch(r"bptt-[^-]+-py3-none-(?!any)\w+\.whl", built.name)
    unpacked = tmp_path / "unpacked"
    isa, warned = run(built, unpacked)
    assert isa != "None"
    assert "native" not in warned
    foreign = "torch|python|stdc|gcc_s" if static else "torch|python"
    assert not {name for name in needed(unpacked / LIBRARY) if re.search(foreign, name)}
    assert all(name.startswith("bptt_") for name in exported(unpacked / LIBRARY))
    top = {path.name for path in unpacked.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"bptt"}


@pytest.mark.parametrize("broken", ["missing", "failing"])
def test_without_a_compiler(tmp_path, broken):
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "cmake").symlink_to(tool("cmake"))
    (programs / "make").symlink_to(tool("make"))
    compiler = programs / "c++"
    if broken == "failing":
        compiler.symlink_to(tool("false"))
    built, said = wheel(tmp_path, PATH=str(programs), CXX=str(compiler), CC=str(compiler))
    assert re.fullmatch(r"bptt-[^-]+-py3-none-any\.whl", built.name)
    assert said.count("installed without its native kernels") == 1
    unpacked = tmp_path / "unpacked"
    isa, warned = run(built, unpacked)
    assert isa == "None"
    assert warned.count("RuntimeWarning: bptt was installed without its native kernels") == 1
    assert not list(unpacked.rglob("*.so"))
