"""The GPU's bench, tried on the CPU: its kernels in Triton's interpreter."""

import json
import os
import subprocess
import sys

import pytest
import torch
from helpers.problems import INTERPRETED

from bptt.bench import gpu
from bptt.bench._case import Shape
from bptt.bench._check import MismatchError
from bptt.bench._record import RecordError

pytest.importorskip("triton")
SMALL = Shape(4, 3, 1, 8)
OURS = "triton" if INTERPRETED else "native"
ROWS = [
    gpu.Row("lstm", SMALL, "float32", "reference", ours=OURS),
    gpu.Row("gru", SMALL, "tf32", "reference", p=0.5, ours=OURS),
    gpu.Row("rnn", SMALL, "float32", "reference", replicas=2, ours=None),
    gpu.Row("step", Shape(25, 2, 1, 8), "float32", "loop", p=0.5),
    gpu.Row("train", Shape(25, 2, 1, 8), "float32", "loop", p=0.5, replicas=2),
]


def measure(out, rows=ROWS, seconds=60.0):
    lines = []
    done = gpu.run(out, rows, "cpu", pairs=1, seconds=seconds, tell=lines.append)
    return done, lines, json.loads(out.read_text())["rows"] if out.exists() else []


def test_every_row_is_checked_timed_and_recorded_once(tmp_path):
    out = tmp_path / "gpu.json"
    done, lines, rows = measure(out, ROWS[:2])
    assert (done, len(lines), len(rows)) == (True, 2, 2)
    done, lines, rows = measure(out)
    assert (done, len(lines), len(rows)) == (True, 3, 5)
    for row in rows[:3]:
        assert row["ratio"]["median"] > 0
        assert row["max_error"] < 1e-5
        assert row["ours_us"] > 0 < row["rival_us"]
        total = (row["forward_us_per_step"] + row["backward_us_per_step"]) * SMALL.T
        assert total == pytest.approx(row["ours_us"])
    assert rows[0]["served_by"] == OURS
    assert (
        "lstm 4,3,1,8 float32, p 0, 1 at once, against reference: "
        in measure(tmp_path / "new", ROWS[:1])[1][0]
    )


def test_it_stops_when_the_time_is_over(tmp_path):
    done, lines, rows = measure(tmp_path / "gpu.json", seconds=-1)
    assert (done, rows) == (False, [])
    assert lines == ["the time is over; the same command goes on"]


def test_a_difference_ends_it(tmp_path, monkeypatch):
    from bptt import ops

    class Wrong:
        name = "wrong"

        def missing(self):
            return None

        def refuses(self, _):
            return None

        def run(self, call):
            y, last = ops.gru(**call.arguments, backend="reference")
            return y * 1.01, last

    undo = ops.register_backend(Wrong())
    try:
        with pytest.raises(MismatchError, match=r"a difference of 0\.01, at most 0\.001"):
            measure(tmp_path / "gpu.json", [gpu.Row("gru", SMALL, "float32", "reference", ours="wrong")])
    finally:
        undo()
    assert not (tmp_path / "gpu.json").exists()


def test_another_machine_s_record_is_left_alone(tmp_path):
    out = tmp_path / "gpu.json"
    out.write_text(json.dumps({"format": 1, "machine": {"device": "another"}, "rows": []}))
    with pytest.raises(RecordError, match="comes from another machine"):
        measure(out)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_the_command_says_so(tmp_path):
    command = [sys.executable, "-m", "bptt.bench.gpu", "--out", str(tmp_path / "gpu.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 2
    assert "a GPU must be there, and torch" in done.stderr


def test_the_table_is_that_of_the_papers_shapes():
    table = list(gpu.rows())
    assert len(set(table)) == len(table)
    assert {row.cell for row in table} == {"lstm", "gru", "rnn", "step", "train"}
    assert {str(row.shape) for row in table} == {
        "120,100,1,128",
        "784,100,1,100",
        "1024,64,512,512",
        "320,100,1,128",
    }
    assert {row.replicas for row in table} == {1, 10, 15}
