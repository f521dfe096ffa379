"""The C++ sources by themselves: each compiler's build passes bptt_check (native/tests)."""

import os
import platform
import re
from pathlib import Path

import pytest
from helpers.binaries import output, shared_symbols, tool

SOURCE = Path(__file__).resolve().parents[2] / "native"
X86 = platform.machine() == "x86_64"

pytestmark = pytest.mark.slow


def build(folder, compiler, *options):
    """Configure and build without a warning."""
    cmake = tool("cmake")
    # Not what a user's environment adds, such as -march=native.
    environment = {name: value for name, value in os.environ.items() if name not in ("CXXFLAGS", "LDFLAGS")}
    named = (f"-DCMAKE_CXX_COMPILER={tool(compiler)}", "-DBPTT_CHECK=ON")
    output(cmake, "-S", SOURCE, "-B", folder, *named, *options, env=environment)
    said = output(cmake, "--build", folder, "--parallel", "2", env=environment)
    assert "warning" not in said, said


def check(folder, *emulator):
    """Run bptt_check: no failure; returns what else it says by name."""
    said = output(*emulator, folder / "bptt_check")
    found = dict(line.split(": ", 1) for line in said.splitlines())
    assert found["failures"] == "0"
    assert int(found["runs"]) > 1000
    return found


def wide_registers(compiled):
    return set(re.findall(r"%([yz]mm)", output(tool("objdump"), "--disassemble", compiled)))


@pytest.mark.parametrize(("compiler", "threaded"), [("g++", "1"), ("clang++", "0")])
def test_compiler(tmp_path, compiler, threaded):
    build(tmp_path, compiler)
    found = check(tmp_path)
    assert found["threaded"] == threaded
    objects = tmp_path / "CMakeFiles"
    for isa in ("scalar", "avx2", "avx512") if X86 else ("scalar",):
        compiled = objects / f"{isa}.dir" / "kernels.cpp.o"
        # Else the linker could give one instruction set's code to another.
        assert not {name for name in shared_symbols(compiled) if f"bptt::{isa}::" not in name}
        # Else it would run when the library is loaded, on any CPU.
        assert "init_array" not in output(tool("readelf"), "--section-headers", "--wide", compiled)
    if X86:
        common = ("scalar.dir/kernels", "bptt_native.dir/library", "bptt_native.dir/parallel")
        assert not any(wide_registers(objects / f"{name}.cpp.o") for name in common)
        assert wide_registers(objects / "avx2.dir" / "kernels.cpp.o") == {"ymm"}
        assert wide_registers(objects / "avx512.dir" / "kernels.cpp.o") > {"zmm"}


def test_without_openmp(tmp_path):
    build(tmp_path, "g++", "-DCMAKE_DISABLE_FIND_PACKAGE_OpenMP=ON")
    assert check(tmp_path)["threaded"] == "0"


def test_sanitizers_see_nothing(tmp_path):
    build(tmp_path, "g++", "-DBPTT_SANITIZE=address,undefined")
    check(tmp_path)


def test_avx512_on_any_cpu(tmp_path):
    """Its intrinsics replaced by loops, in the place of NEON, which no CPU is asked for."""
    compiler = tool("g++")
    flags = ["-std=c++17", "-O1", "-fopenmp", "-ffp-contract=off", "-fsanitize=address,undefined"]
    flags += ["-fno-sanitize-recover=all", "-DBPTT_HAS_NEON", "-DBPTT_HAS_SCALAR"]
    kernels = SOURCE / "kernels.cpp"
    emulated = ["-DBPTT_ISA=neon", "-DBPTT_USE_AVX512", f"-I{SOURCE / 'tests' / 'emulated'}"]
    scalar = ["-DBPTT_ISA=scalar", "-DBPTT_USE_SCALAR"]
    output(compiler, *flags, *emulated, "-c", kernels, "-o", tmp_path / "emulated.o")
    output(compiler, *flags, *scalar, "-c", kernels, "-o", tmp_path / "scalar.o")
    rest = [SOURCE / "library.cpp", SOURCE / "parallel.cpp", SOURCE / "tests" / "check.cpp"]
    objects = sorted(tmp_path.glob("*.o"))
    output(compiler, *flags, *objects, *rest, "-o", tmp_path / "bptt_check")
    assert check(tmp_path)["instruction sets"] == "neon scalar"


def test_arm(tmp_path):
    emulator = (tool("qemu-aarch64"), "-L", "/usr/aarch64-linux-gnu")
    target = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")
    build(tmp_path, "aarch64-linux-gnu-g++", *target)
    found = check(tmp_path, *emulator)
    assert found["instruction sets"] == "neon scalar"
    assert found["threaded"] == "1"
