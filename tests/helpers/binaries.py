"""What is in compiled files, and the tools to look at them."""

import shutil
import subprocess
from pathlib import Path

import pytest


def tool(name):
    """The path of a program that this test needs."""
    return shutil.which(name) or pytest.skip(f"needs {name}, which is not installed")


def output(*command, **options):
    """What a command prints, on both streams; it must succeed."""
    done = subprocess.run(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-6000:]}"
    return done.stdout


def needed(library: Path):
    """The shared libraries that it is linked to."""
    lines = output(tool("readelf"), "--dynamic", library).splitlines()
    return {line.split("[")[1].rstrip("]") for line in lines if "(NEEDED)" in line}


def exported(library: Path):
    """The names that others can link to."""
    lines = output(tool("nm"), "--dynamic", "--defined-only", library).splitlines()
    return {line.split()[-1] for line in lines}


def shared_symbols(compiled: Path):
    """The names in an object file of which the linker may take another file's copy instead."""
    lines = output(tool("nm"), "--defined-only", "--demangle", compiled).splitlines()
    symbols = (line.split(maxsplit=2)[1:] for line in lines)
    return {name for kind, name in symbols if kind.isupper() or kind in "uvw"}
