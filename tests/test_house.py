"""The house rules that a machine can check."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "src").rglob("*.py"))

# Every exception to the linter and the type checker, so that a new one is a decision.
IGNORES = {"ops/_autograd.py": 1, "ops/_scale_grad.py": 1, "train/_interrupt.py": 1}


def test_linter_and_type_checker_exceptions_are_counted():
    found = {}
    for path in FILES:
        marks = re.findall(r"#\s*(?:noqa|type: ignore|pyright: ignore)\b", path.read_text(encoding="utf-8"))
        if marks:
            found[path.relative_to(ROOT / "src" / "bptt").as_posix()] = len(marks)
    assert found == IGNORES


def test_every_exception_names_its_rule():
    for path in FILES:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"#\s*noqa(?!: [A-Z]+\d+)", line), f"{path}: {line}"
            assert not re.search(r"#\s*(type|pyright): ignore(?!\[)", line), f"{path}: {line}"


def test_files_are_small():
    long = {path.name: n for path in FILES if (n := len(path.read_text(encoding="utf-8").splitlines())) > 320}
    assert long == {}


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## {project['version']}" in changelog
    for path in FILES:
        assert project["version"] not in path.read_text(encoding="utf-8"), path


def test_every_dependency_has_its_tested_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    names = {re.match(r"[\w-]+", requirement)[0] for requirement in wanted}
    pinned = dict(
        re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    )
    assert set(pinned) == names


def test_memory_handed_out_is_filled_with_nan():
    import torch

    assert torch.empty(3).isnan().all()
    assert torch.empty_like(torch.ones(3)).isnan().all()
    assert torch.ones(1).new_empty(3).isnan().all()


def test_the_network_is_closed():
    import socket

    import pytest
    from pytest_socket import SocketBlockedError

    with pytest.raises(SocketBlockedError), pytest.warns(UserWarning, match="tried to use socket"):
        socket.create_connection(("127.0.0.1", 9))
