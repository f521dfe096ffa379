"""Ctrl-C early, twice, and in the last moment: what is said is true, and how to go on is among it."""

import signal
import subprocess
import sys
import time

import pytest
from helpers.experiments import small

from bptt import experiments
from bptt.cli import main

FLAGS = ["--profile", "smoke", "--arms", "vanilla", "--set", "train.epochs=1000000"]


@pytest.fixture
def begun(tmp_path):
    """A study that never ends, as a process that has said of its run that it started."""
    command = [sys.executable, "-u", "-m", "bptt.cli", "run", "copying", *FLAGS, "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "vanilla, seed 0: started\n"
        yield process
        process.kill()


def test_ctrl_c_before_the_first_step_claims_nothing_saved(begun, tmp_path):
    begun.send_signal(signal.SIGINT)
    out, err = begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert "vanilla, seed 0: stopped before its first step\n" in out
    assert "saved" not in out + err
    again = f"bptt resume {tmp_path / 'copying-smoke'}"
    assert err == f"stopped before the first step of any run; begin with:  {again}\n"


def test_a_second_ctrl_c_keeps_how_to_go_on(begun, tmp_path):
    assert "epoch 1/" in begun.stdout.readline()
    begun.send_signal(signal.SIGINT)
    time.sleep(0.1)
    begun.send_signal(signal.SIGINT)
    _, err = begun.communicate(timeout=60)
    assert begun.returncode == 130
    assert "Traceback" not in err
    assert err.endswith(f" with:  bptt resume {tmp_path / 'copying-smoke'}\n")


@pytest.mark.parametrize("times", [2, 3])
def test_insisting_kills_and_says_what_is_left(monkeypatch, capsys, tmp_path, times):
    real = experiments.run

    def run(spec, out, *, observe, **asked):
        def insist(event):
            observe(event)
            if event.kind == "progress" and event.progress.epoch > 2:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

        return real(spec, out, observe=insist, **asked)

    monkeypatch.setattr(experiments, "run", run)
    assert main(["run", "copying", *FLAGS, "--out", str(tmp_path)]) == 130
    told = capsys.readouterr()
    assert "saved" not in told.out + told.err
    assert told.err == (
        f"stopped; go on from the last checkpoints with:  bptt resume {tmp_path / 'copying-smoke'}\n"
    )
    assert ("vanilla, seed 0: stopped after a checkpoint, without saving more\n" in told.out) == (times == 2)


def test_ctrl_c_while_the_end_is_told_cuts_nothing_off(monkeypatch, capsys, tmp_path):
    place = tmp_path / "copying-smoke"
    (one,) = small().runs
    event = experiments.Event("stopped", one, place / one.folder, saved=True)
    result = experiments.Result(place, {one.folder: event}, True)

    class Told(dict):
        def values(self):
            signal.raise_signal(signal.SIGINT)
            return super().values()

    monkeypatch.setattr(
        experiments, "run", lambda *_, **__: experiments.Result(place, Told(result.events), True)
    )
    assert main(["run", "copying", *FLAGS, "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.startswith("stopped; all of it is saved, continue with:  bptt resume ")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
