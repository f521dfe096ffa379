"""What terminals and pipes do to the command line: narrow alphabets, readers that leave, few lines."""

import os
import subprocess
import sys

import pytest
from helpers.studies import StudyMaker

from bptt.cli import main


def process(*argv, **environment):
    """A command in a process of its own, whose stdout and stderr are pipes."""
    command = [sys.executable, "-m", "bptt.cli", *argv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONUNBUFFERED": "", **environment})


@pytest.mark.parametrize(
    ("argv", "shown", "status"),
    [
        (("show", "copying", "--text"), b"U(?1/?H)", 0),
        (("run", "--help"), b"usage: bptt run", 0),
        (("show", "t\u20acst"), b"t?st", 2),
    ],
)
def test_an_alphabet_without_our_signs_is_no_error(argv, shown, status):
    with process(*argv, PYTHONIOENCODING="ascii") as run:
        out, err = run.communicate(timeout=60)
    assert b"Traceback" not in err
    assert shown in (out if status == 0 else err)
    assert run.returncode == status


@pytest.mark.parametrize("argv", [("show", "copying"), ("data", "--help"), ("--help",), ("ls", "--help")])
def test_a_reader_that_leaves_is_no_error(argv):
    with process(*argv) as run:
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode in (1, 141)


def test_the_table_leaves_out_what_no_arm_came_to(capsys, tmp_path):
    study = StudyMaker(tmp_path)()
    assert main(["report", str(study)]) == 0
    output = capsys.readouterr().out
    for row in ("Seeds finished", "Best validation", "Epochs to 50%"):
        assert row in output
    assert "Epochs to 99%" not in output
    assert "not reached" not in output
