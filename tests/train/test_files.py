"""Kills, full disks and power cuts, in every order in which files are written."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import runs

from bptt import train

TESTS = Path(__file__).parents[1]


def killed(folder, *arguments):
    """What `helpers.kill` says of runs that it killed."""
    completed = subprocess.run(
        [sys.executable, "-m", "helpers.kill", str(folder), *map(str, arguments)],
        cwd=TESTS,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    return json.loads(completed.stdout)


def test_killed_in_the_middle_of_any_write_a_run_ends_with_the_same_bytes(tmp_path):
    said = killed(tmp_path, "torn")
    assert said["different"] == []
    assert said["calls"] > 40
    assert said["kills"] > said["calls"]


@pytest.mark.slow
def test_killed_before_any_write_a_run_ends_with_the_same_bytes(tmp_path):
    said = killed(tmp_path, "clean")
    assert said["different"] == []
    assert said["calls"] > 40


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_a_run_ends_with_the_same_bytes(tmp_path, kills):
    said = killed(tmp_path, "random", kills)
    assert said["kills"] == kills
    assert said["different"] == []


@pytest.fixture
def traced(monkeypatch):
    """Every call that changes a file, in order, as (call, path, …)."""
    calls, paths = [], {}
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace")}

    def opened(path, *rest, **kw):
        file = real["open"](path, *rest, **kw)
        paths[file] = Path(path)
        return file

    def write(file, data):
        calls.append(("write", paths.get(file)))
        return real["write"](file, data)

    def fsync(file):
        calls.append(("fsync", paths.get(file)))
        return real["fsync"](file)

    def replace(source, target, **kw):
        calls.append(("replace", Path(source), Path(target)))
        return real["replace"](source, target, **kw)

    for name, call in {"open": opened, "write": write, "fsync": fsync, "replace": replace}.items():
        monkeypatch.setattr(os, name, call)
    return calls


def test_nothing_gets_its_name_before_it_is_on_the_disk(tmp_path, traced):
    runs.fit(tmp_path)
    renames = [(index, call) for index, call in enumerate(traced) if call[0] == "replace"]
    assert {call[2].name for _, call in renames} == {
        "spec.json", "state.pt", "state.prev.pt", "weights.safetensors", "done.json"
    }  # fmt: skip
    for index, (_, source, target) in renames:
        before, after = traced[:index], traced[index + 1 :]
        if target.name == "state.prev.pt":
            assert after[0][:1] + after[0][2:] == ("replace", tmp_path / "state.pt")
            continue
        touched = [call[0] for call in before if call[1] == source]
        assert touched[-2:] == ["write", "fsync"], target
        assert after[0] == ("fsync", tmp_path), target


def test_metrics_are_on_the_disk_before_the_state_that_counts_them(tmp_path, traced):
    runs.fit(tmp_path)
    log = [
        call for call in traced if call[1].name in ("metrics.jsonl", ".state.pt.tmp") and call[0] != "replace"
    ]
    names = [(call[0], call[1].name.strip(".")) for call in log]
    epoch = [
        ("write", "metrics.jsonl"),
        ("fsync", "metrics.jsonl"),
        ("write", "state.pt.tmp"),
        ("fsync", "state.pt.tmp"),
    ]
    assert names[-4:] == epoch
    assert names[-8:-4] == epoch


@pytest.mark.parametrize(("call", "code"), [("write", errno.ENOSPC), ("fsync", errno.EDQUOT)])
def test_a_full_disk_stops_with_a_clear_error_and_loses_nothing(tmp_path, monkeypatch, call, code):
    runs.fit(tmp_path / "undisturbed")
    expected = runs.results(tmp_path / "undisturbed")
    real, left, full = getattr(os, call), 0, True

    def failing(*args):
        nonlocal left
        left -= 1
        if full and left < 0:
            if call == "write":
                real(args[0], args[1][: len(args[1]) // 2])
            raise OSError(code, os.strerror(code))
        return real(*args)

    monkeypatch.setattr(os, call, failing)
    said = {}
    for room in range(60):
        folder, left, full = tmp_path / str(room), room, True
        try:
            runs.fit(folder)
        except train.DiskFullError as error:
            said[folder] = str(error)
        else:
            break
        assert not list(folder.glob(".*.tmp"))
        for log in folder.glob("*.jsonl"):
            assert log.read_bytes()[-1:] in (b"", b"\n"), "half a line was left"
        full = False
        runs.fit(folder)
        assert runs.results(folder) == expected, room
    assert len(said) > 10
    assert all(message.endswith("do the same again, which goes on from there") for message in said.values())
    named = {message.split("while writing ")[1].split(";")[0].split("/")[-1] for message in said.values()}
    whole = {"spec.json", "state.pt", "metrics.jsonl", "weights.safetensors", "done.json"}
    assert named == (whole | {"timing.jsonl"} if call == "write" else whole)


def test_another_error_of_the_disk_is_not_called_a_full_one(tmp_path, monkeypatch):
    def failing(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output error"):
        runs.fit(tmp_path)


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    try:
        runs.fit(tmp_path / "undisturbed")
        filler = disk / "filler"

        def fill(progress):
            if progress.step == 6:
                with filler.open("wb", buffering=0) as file:
                    try:
                        while file.write(b"\0" * 1024):
                            pass
                    except OSError:
                        pass

        with pytest.raises(train.DiskFullError, match="no space left while writing"):
            runs.fit(disk / "run", observe=fill)
        filler.unlink()
        runs.fit(disk / "run")
        assert runs.results(disk / "run") == runs.results(tmp_path / "undisturbed")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
