"""`bptt bench` as it is typed."""

import json
import re

import pytest
from helpers.commands import refused

from bptt import bench
from bptt.cli import main

TINY = ("--shapes", "12,3,2,5", "--threads", "1", "--pairs", "2")


@pytest.fixture
def requests(monkeypatch):
    """Every request that the command makes, none of which is measured."""
    made = []

    def run(request, **options):
        made.append((request, options))
        return {"machine": {"cpu_model": "", "cores": 1, "instruction_set": "", "torch": "", "bptt": ""}} | {
            "commands": [],
            "rows": [],
        }

    monkeypatch.setattr(bench, "run", run)
    return made


@pytest.fixture
def idle_machine(monkeypatch, idle):
    monkeypatch.setattr("bptt.bench._run.System", lambda: idle)


@pytest.fixture
def busy_machine(monkeypatch, busy):
    monkeypatch.setattr("bptt.bench._run.System", lambda: busy)


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        ((), "shapes", "paper"),
        (("--shapes", "grid"), "shapes", "grid"),
        (("--p", "0", "0.5"), "p", (0.0, 0.5)),
        (("--threads", "1"), "threads", (1,)),
        (("--cells", "gru", "rnn"), "cells", ("gru", "rnn")),
        (("--memory", "fast", "low"), "memory", ("fast", "low")),
        (("--rivals", "loop", "torch"), "rivals", ("loop", "torch")),
        (("--pairs", "31"), "pairs", 31),
        (("--forward",), "mode", "forward"),
        (("--step",), "mode", "step"),
        (("--flow",), "mode", "step"),
        (("--flow",), "flow", True),
        (("--bidirectional",), "bidirectional", True),
        (("--layers", "2"), "layers", 2),
        (("--packed",), "packed", True),
    ],
)
def test_every_flag_is_obeyed(requests, words, attribute, value):
    assert main(["bench", *words]) == 0
    (request, options), *_ = requests
    assert getattr(request, attribute) == value
    assert options["force"] is False
    assert options["out"] is None


def test_out_and_force(requests, tmp_path):
    assert main(["bench", "--out", str(tmp_path / "x.json"), "--force"]) == 0
    (_, options), *_ = requests
    assert options["out"] == tmp_path / "x.json"
    assert options["force"] is True
    assert options["command"].startswith("bptt bench --out ")


def test_a_table_is_shown_and_the_record_written(idle_machine, capsys, tmp_path):
    out = tmp_path / "x.json"
    assert main(["bench", *TINY, "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "12,3,2,5" in shown.out
    assert "Made by `bptt bench --shapes 12,3,2,5" in shown.out
    assert "1/1 lstm 12,3,2,5, p 0, 1 thread, train, against torch: " in shown.err
    assert len(json.loads(out.read_text())["rows"]) == 1


def test_a_busy_machine_is_refused(busy_machine, capsys):
    assert main(["bench", *TINY]) == 1
    assert "add --force, which marks the result" in capsys.readouterr().err


def test_a_forced_table_says_so(busy_machine, capsys):
    assert main(["bench", *TINY, "--force"]) == 0
    shown = capsys.readouterr()
    assert "Measured by force" in shown.out
    assert ", forced" in shown.err


def test_a_mismatch_ends_with_an_error(idle_machine, capsys, monkeypatch):
    def differ(*_):
        raise bench.MismatchError("y must be that of torch")

    monkeypatch.setattr("bptt.bench._run.check", differ)
    assert main(["bench", *TINY]) == 1
    assert "error: y must be that of torch" in capsys.readouterr().err


@pytest.mark.parametrize("rows_before", [0, 1])
def test_ctrl_c_tells_how_to_go_on(idle_machine, capsys, monkeypatch, tmp_path, rows_before):
    def check(*given):
        if len(checked) == 2 * rows_before:  # against the reference, and against torch
            raise KeyboardInterrupt
        checked.append(given)
        return check_all(*given)

    checked, check_all = [], bench._run.check
    monkeypatch.setattr("bptt.bench._run.check", check)
    out = tmp_path / "x.json"
    assert main(["bench", *TINY, "--cells", "rnn", "gru", "--out", str(out)]) == 130
    said = capsys.readouterr().err
    assert "stopped" in said
    assert ("the same command goes on" in said) == out.exists() == (rows_before == 1)


def test_no_number_is_cut_in_a_pipe(idle_machine, capsys):
    assert main(["bench", *TINY, "--cells", "rnn", "gru", "lstm", "--p", "0", "0.25", "0.5"]) == 0
    lines = re.findall("^(?:rnn|gru|lstm) .*", capsys.readouterr().out, re.MULTILINE)
    assert len(lines) == 3
    assert all(len(re.findall(r"\d+\.\d\d \[\d+\.\d\d, \d+\.\d\d\]", line)) == 3 for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shapes", "1,2"), "shapes must be paper, grid, or"),
        (("--p", "half"), "--p must be numbers"),
        (("--threads", "two"), "--threads must be whole numbers"),
        (("--pairs", "many"), "--pairs must be a whole number"),
        (("--forward", "--step"), "exclude each other"),
        (("--flow", "--step"), "exclude each other, got --step and --flow"),
        (("--flow", "--shapes", "30,2,3,4"), "must have I = 1"),
        (("--shape", "grid"), "Did you mean '--shapes'?"),
        (("--rivals", "haste"), "rivals must be among"),
    ],
)
def test_bad_input_is_refused(capsys, words, message):
    assert message in refused(capsys, "bench", *words)


def test_help_names_its_flags_without_torch(capsys):
    assert main(["bench", "--help"]) == 0
    text = capsys.readouterr().out
    for flag in ("shapes", "p", "threads", "cells", "memory", "rivals", "pairs", "forward", "step", "flow"):
        assert f"--{flag}" in text
    for flag in ("bidirectional", "layers", "packed", "out", "force"):
        assert f"--{flag}" in text
