"""The command line with real runs: every shipped experiment end to end."""

import json
import os
import re
import signal
import threading
import time

import pytest
from helpers.experiments import FAILING

from bptt import ops, train
from bptt.cli import main


@pytest.mark.parametrize(
    ("name", "arms", "needs_mnist"),
    [
        ("demo", ["vanilla", "h-detach-0.25"], False),
        ("copying", ["h-detach-0.25"], False),
        ("smnist", ["h-detach-0.25"], True),
        ("pmnist", ["h-detach-0.5"], True),
    ],
)
def test_every_experiment_runs_end_to_end(capsys, tmp_path, request, name, arms, needs_mnist):
    flags = ["--profile", "smoke", "--arms", *arms, "--out", str(tmp_path), "--workers", "2"]
    if needs_mnist:
        flags += ["--data", str(request.getfixturevalue("data_root"))]
    assert main(["run", name, *flags]) == 0
    study = tmp_path / f"{name}-smoke"
    output = capsys.readouterr().out
    for arm in arms:
        outcome = train.read_outcome(study / arm / "seed-0")
        assert outcome.status == "completed"
        assert f"{arm}, seed 0: started" in output
        assert f"{arm}, seed 0: epoch 1/{outcome.epoch}, valid accuracy" in output
        assert f"{arm}, seed 0: completed after epoch {outcome.epoch}" in output
        assert (outcome.test is None) == (name == "copying")
    assert f"bptt report {study}\n" in output
    (command,) = json.loads((study / "study.json").read_text())["commands"]
    assert command.startswith(f"bptt run {name} --profile smoke")

    assert main(["run", name, *flags]) == 0
    assert "already completed" in capsys.readouterr().out


def test_failed_runs_are_named_and_a_report_is_still_written(capsys, tmp_path):
    spec = tmp_path / "failing.toml"
    spec.write_text(FAILING)
    assert main(["run", str(spec), "--out", str(tmp_path)]) == 1
    output = capsys.readouterr()
    assert "greedy, seed 0 failed: RuntimeError" in output.err
    assert "1 of 2 runs failed: greedy, seed 0" in output.err
    assert "modest, seed 0: completed" in output.out
    assert "Traceback" not in output.err

    assert main(["report", str(tmp_path / "failing-base")]) == 0
    output = capsys.readouterr().out
    page = tmp_path / "failing-base" / "report" / "index.html"
    assert f"page:  {page}" in output
    assert page.exists()


def test_a_run_that_diverges_ends_with_status_0_and_is_named(capsys, tmp_path):
    spec = tmp_path / "wild.toml"
    spec.write_text(
        """
        seeds = [0]
        experiment = { name = "wild", title = "One arm takes steps that no number survives" }
        task = { name = "adding", length = 4, train_size = 100, valid_size = 20, test_size = 20 }
        model = { cell = "rnn", nonlinearity = "relu", hidden_size = 4, readout = "last" }
        train = { epochs = 2, optimizer = "sgd", momentum = 0.0, batch_size = 20, clip_norm = "none" }
        [arms.wild]
        train.lr = 1e18
        [arms.tame]
        train.lr = 1e-3
        """
    )
    assert main(["run", str(spec), "--out", str(tmp_path)]) == 0
    output = capsys.readouterr()
    run = tmp_path / "wild-base" / "wild" / "seed-0"
    step = train.read_outcome(run).step
    assert output.err == ""
    assert f"wild, seed 0 ended at step {step}, in epoch 1, with a non-finite " in output.out
    assert f"; see {run / 'done.json'}" in output.out
    assert "ended: 2 of 2 runs, in " in output.out


def test_what_computed_the_recurrences_is_said(capsys, tmp_path):
    reference = ["--set", "train.backend=reference", "--out", str(tmp_path / "reference")]
    one = ["run", "copying", "--profile", "smoke", "--arms", "vanilla", "--seeds", "0"]
    assert main([*one, "--out", str(tmp_path)]) == 0
    isa = ops.instruction_set()
    fastest = "reference" if isa is None else f"the native kernels ({isa})"
    assert f"recurrences computed by {fastest}\n" in capsys.readouterr().out
    assert main([*one, *reference]) == 0
    assert "recurrences computed by reference\n" in capsys.readouterr().out


def test_ctrl_c_says_how_to_resume(capsys, tmp_path):
    run = tmp_path / "copying-smoke" / "vanilla" / "seed-0"

    def interrupt():
        end = time.monotonic() + 60
        while not (run / "metrics.jsonl").exists() and time.monotonic() < end:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    flags = ["--profile", "smoke", "--arms", "vanilla", "--set", "train.epochs=60", "--out", str(tmp_path)]
    status = main(["run", "copying", *flags])
    thread.join()
    assert status == 130
    output = capsys.readouterr()
    assert f"bptt resume {tmp_path / 'copying-smoke'}" in output.err
    ((epoch, step),) = re.findall(
        r"vanilla, seed 0: stopped in epoch (\d+) after step (\d+), saved\n", output.out
    )
    assert main(["resume", str(run)]) == 0
    output = capsys.readouterr().out
    assert f"vanilla, seed 0: goes on in epoch {epoch}/60, after step {step}\n" in output
    assert "vanilla, seed 0: completed after epoch 60" in output
