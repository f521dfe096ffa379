"""A run that was stopped ends with the bytes of one that was not."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers import runs

from bptt import Detach, train


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    runs.fit(folder)
    return runs.results(folder)


def stop_at(step, number=signal.SIGINT):
    """An observer that sends this process a signal after a step."""

    def observe(progress):
        if progress.step == step:
            os.kill(os.getpid(), number)

    return observe


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 3, 4, 8, 11])
def test_a_signal_saves_the_step_and_the_run_goes_on_exactly_there(tmp_path, undisturbed, step, number):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(train.Interrupted, match="fit called again with the same arguments") as caught:
        runs.fit(tmp_path, observe=stop_at(step, number))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert caught.value.step == step
    assert not (tmp_path / "failed.json").exists()
    resumed = []
    runs.fit(tmp_path, observe=resumed.append)
    assert resumed[0].resumed_at == step
    assert runs.results(tmp_path) == undisturbed


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_signal_in_an_evaluation_stops_it_at_once_and_it_is_done_again(tmp_path, undisturbed, split):
    task = runs.tasks.adding(6, train_size=20, valid_size=10, test_size=10)
    batches = task.batches

    def interrupted(which, batch_size):
        for number, batch in enumerate(batches(which, batch_size)):
            if which == split and number == 0:
                os.kill(os.getpid(), signal.SIGINT)
            elif which == split:
                pytest.fail("the evaluation went on")
            yield batch

    task.batches = interrupted
    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, task=task)
    runs.fit(tmp_path)
    assert runs.results(tmp_path) == undisturbed


def test_a_signal_after_the_last_step_is_not_swallowed(tmp_path):
    task = runs.tasks.copying(1, train_size=8, valid_size=4, iterations=1)  # has no test set to stop in

    def observe(progress):
        if progress.metrics is not None and progress.metrics["epoch"] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, task=task, model=runs.build(task), epochs=2, observe=observe)
    assert train.read_outcome(tmp_path).status == "completed"


def test_interrupted_at_every_step_a_run_ends_the_same(tmp_path, undisturbed):
    stops = 0
    while train.read_outcome(tmp_path) is None:
        try:
            runs.fit(tmp_path, observe=lambda _: os.kill(os.getpid(), signal.SIGINT))
        except train.Interrupted:
            stops += 1
    assert stops >= 12
    assert runs.results(tmp_path) == undisturbed


def test_a_second_signal_stops_at_once(tmp_path, undisturbed):
    def observe(progress):
        if progress.step == 6:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("went on after the second signal")

    with pytest.raises(KeyboardInterrupt) as caught:
        runs.fit(tmp_path, observe=observe)
    assert not isinstance(caught.value, train.Interrupted)
    runs.fit(tmp_path)
    assert runs.results(tmp_path) == undisturbed


def test_an_ignored_signal_stays_ignored(tmp_path, undisturbed):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        runs.fit(tmp_path, observe=stop_at(3))
    finally:
        signal.signal(signal.SIGINT, before)
    assert runs.results(tmp_path) == undisturbed


def test_outside_the_main_thread_a_run_trains_as_well(tmp_path, undisturbed):
    thread = threading.Thread(target=runs.fit, args=[tmp_path])
    thread.start()
    thread.join()
    assert runs.results(tmp_path) == undisturbed


def test_an_interruption_survives_the_way_out_of_a_worker_process():
    error = train.Interrupted(Path("runs/a"), 2, 17)
    copy = pickle.loads(pickle.dumps(error))
    assert (
        str(copy)
        == str(error)
        == "stopped in epoch 2 after step 17; all of it is saved in runs/a, and fit called again with the "
        "same arguments goes on from there"
    )
    assert not isinstance(error, Exception)


def test_a_failure_in_the_middle_is_resumed_from_the_last_checkpoint(tmp_path, undisturbed):
    def observe(progress):
        if progress.step == 7:
            raise ZeroDivisionError("by design")

    with pytest.raises(ZeroDivisionError):
        runs.fit(tmp_path, observe=observe)
    assert train.read_failure(tmp_path)["step"] == 7
    runs.fit(tmp_path)
    assert runs.results(tmp_path) == undisturbed


def test_checkpoints_within_an_epoch_come_by_the_clock_and_change_nothing(tmp_path, undisturbed):
    def observe(progress):
        if progress.step == 7:
            raise ZeroDivisionError("by design")

    for seconds, resumed_at in ((0, 6), (3600, 4)):
        folder = tmp_path / str(seconds)
        seen = []
        with pytest.raises(ZeroDivisionError):
            runs.fit(folder, spec={}, checkpoint_seconds=seconds, observe=observe)
        runs.fit(folder, spec={}, observe=seen.append)
        assert seen[0].resumed_at == resumed_at
        assert (folder / "metrics.jsonl").read_bytes() == undisturbed["metrics.jsonl"]


def test_two_processes_never_train_in_one_folder(tmp_path):
    holder = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX);"
        "file.write('4711'); file.flush(); print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(train.LockedError, match=r"is being trained by another process \(pid 4711\)"):
            runs.fit(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        process.stdin.close()
    assert runs.fit(tmp_path).status == "completed"


def test_a_folder_of_another_run_is_refused_with_the_differences(tmp_path):
    runs.fit(tmp_path, spec={"train": {"lr": 0.1, "epochs": 3}, "cell": "lstm"})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        train.AnotherRunError, match=r"holds another run; its spec differs: train.lr: 0.1 then, 0.2 now$"
    ):
        runs.fit(tmp_path, spec={"cell": "lstm", "train": {"lr": 0.2, "epochs": 3}})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, "not ours to write in"


def test_other_data_or_settings_under_the_same_spec_are_refused(tmp_path):
    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, observe=stop_at(6))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other = runs.tasks.adding(6, train_size=20, valid_size=10, test_size=10, seed=1)
    with pytest.raises(
        train.RunError, match=f"other inputs under the same spec: task: {runs.TASK.fingerprint()}"
    ):
        runs.fit(tmp_path, task=other)
    with pytest.raises(train.RunError, match=r"detach: Detach\(h=0.5, .* then, Detach\(h=0.4, .* now$"):
        runs.fit(tmp_path, detach=Detach(h=0.4, c=0.1))
    with pytest.raises(train.RunError, match=r"lr: 0.01 then, 0.5 now$"):
        runs.fit(tmp_path, lr=0.5, spec={"name": "tiny"})
    assert "lr: 0.01 then, 0.5 now" in train.read_failure(tmp_path)["error"]
    (tmp_path / "failed.json").unlink()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_spec_is_written_with_its_hash_its_environment_and_its_command(tmp_path):
    spec = {"b": 1, "a": {"x": (1, 2), "y": None}}
    runs.fit(tmp_path, spec=spec, command="bptt run demo")
    page = train.read_spec(tmp_path)
    assert page["spec"] == {"b": 1, "a": {"x": [1, 2], "y": None}}
    assert page["hash"] == train.spec_hash({"a": {"y": None, "x": [1, 2]}, "b": 1})
    assert page["hash"] != train.spec_hash({"a": {"y": None, "x": [2, 1]}, "b": 1})
    assert page["command"] == "bptt run demo"
    assert page["environment"] == train.environment(runs.CONFIG)


def test_timing_counts_what_was_trained_before_a_stop(tmp_path):
    model = runs.build()
    model.register_forward_pre_hook(lambda *_: time.sleep(0.05))
    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, model=model, observe=stop_at(6))
    runs.fit(tmp_path)
    second = json.loads((tmp_path / "timing.jsonl").read_text().splitlines()[1])
    assert second["train_seconds"] > 0.1  # two of its four steps waited


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: whole + b'{"epoch": 2, "time": "later"}\n{"epoch": 3, "ti',
        lambda whole: whole[:-1],
        lambda whole: b'{"epoch": 0}\n[2]\nnull\n\xff\n\n' + whole,
        lambda whole: whole + b"[" * 100_000 + b"\n",
    ],
)
def test_damaged_timing_stops_no_resume_and_only_whole_lines_of_it_are_kept(tmp_path, undisturbed, damage):
    with pytest.raises(train.Interrupted):
        runs.fit(tmp_path, observe=stop_at(6))
    timing = tmp_path / "timing.jsonl"
    kept = timing.read_bytes()
    timing.write_bytes(damage(kept))
    runs.fit(tmp_path)
    assert runs.results(tmp_path) == undisturbed
    lines = [json.loads(line) for line in timing.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3][-len(lines) :]
    assert len(lines) == 3 or damage(kept) == kept[:-1], "only the line that was torn may be missing"
    assert all(
        set(line) == {"epoch", "time", "steps_per_second", "train_seconds", "eval_seconds"} for line in lines
    )
    assert all(line["time"].endswith("+00:00") and line["steps_per_second"] > 0 for line in lines)


def test_damaged_timing_does_not_concern_a_finished_run(tmp_path):
    outcome = runs.fit(tmp_path)
    (tmp_path / "timing.jsonl").write_bytes(b"{\xff")
    assert runs.fit(tmp_path) == train.verify_outcome(tmp_path) == outcome
