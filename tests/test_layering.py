"""Imports go down the ladder only, across packages by the package, and load nothing heavy."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "bptt"

# The ladder of the house, from the top: a package may import those below its own line.
LADDER = [
    {"cli"},
    {"bench", "report", "experiments", "integrations"},
    {"train"},
    {"flow", "tasks"},
    {"nn"},
    {"ops"},
    {"detach", "streams"},
]
LEVEL = {name: len(LADDER) - i for i, names in enumerate(LADDER) for name in names}
LEAVES = {"tasks": {"streams"}, "report": set()}  # these know less than their place would allow


def imported(path: Path, root: Path) -> list[tuple[str, list[str]]]:
    """(dotted path inside bptt, names) of every import of the package in a file, wherever it stands."""
    package = ["bptt", *path.relative_to(root).parent.parts]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name.split("."), []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = node.module.split(".") if node.module else []
            found.append((base + module, [alias.name for alias in node.names]))
    return [(".".join(parts[1:]), names) for parts, names in found if parts[0] == "bptt"]


def violations(root: Path) -> list[str]:
    problems = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        own = relative.parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for module, names in imported(path, root):
            # `from .. import nn` names packages; `from ..nn import LSTM` names one package.
            for target in [module] if module else names:
                package, *private = target.split(".")
                if package == own or package not in LEVEL:
                    continue
                if LEVEL[package] >= LEVEL[own]:
                    problems.append(f"{relative}: {own} imports {package}, which is not below it")
                elif own in LEAVES and package not in LEAVES[own]:
                    problems.append(f"{relative}: {own} may not import {package}")
                if private:
                    problems.append(f"{relative}: imports {target}, private to {package}")
    return problems


def test_every_import_goes_down():
    assert violations(SOURCE) == []


def test_every_package_has_a_place_on_the_ladder():
    places = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if not path.name.startswith("_")}
    assert places - {"py.typed"} <= set(LEVEL)


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("ops/_planted.py", "from ..nn import LSTM", "ops imports nn, which is not below it"),
        ("ops/_planted.py", "from .. import train", "ops imports train, which is not below it"),
        ("tasks/_planted.py", "import bptt.nn", "tasks may not import nn"),
        ("nn/_planted.py", "def late():\n    from bptt.tasks import copying", "nn imports tasks"),
        ("report/_planted.py", "from bptt import ops", "report may not import ops"),
        ("train/_planted.py", "from bptt.ops._reference import lstm", "private to ops"),
        ("detach.py", "from .streams import stream", "detach imports streams"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path, file, line, complaint):
    planted = tmp_path / file
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(line)
    assert any(complaint in problem for problem in violations(tmp_path))


def test_packages_only_re_export():
    for path in SOURCE.rglob("*/__init__.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            assert is_docstring or isinstance(node, ast.ImportFrom), f"{path}: line {node.lineno}"


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )


HEAVY = {"matplotlib", "plotly", "torch._dynamo", "triton"}


def test_importing_every_part_loads_nothing_heavy():
    statement = "import bptt; bptt.nn, bptt.ops, bptt.tasks, bptt.Detach; import bptt.train, bptt.experiments"
    loaded = loaded_by(statement)
    assert not loaded & HEAVY
    assert "torch" in loaded


def test_the_heavy_check_can_fail():
    assert "matplotlib" in loaded_by("import matplotlib") & HEAVY


def test_importing_bptt_waits_for_nothing():
    assert "torch" not in loaded_by("import bptt")


def test_help_answers_at_once():
    command = [sys.executable, "-m", "bptt.cli", "--help"]

    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert "run" in done.stdout
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu_seconds() for _ in range(3)) < 0.3
