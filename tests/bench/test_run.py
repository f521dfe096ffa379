"""Rows are measured on an idle machine, recorded one by one, and gone on with."""

import json
from itertools import cycle

import pytest
import torch

from bptt import bench
from bptt._cpus import available_cpus
from bptt.bench import LoadedError, RecordError, Request
from bptt.bench._floor import Machine

TINY = "12,3,2,5"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Timings of a millisecond, and a peak that is not measured."""
    from bptt.bench import _measure, _run

    def measure(*sides, **options):
        return _measure.measure(*sides, **options, at_least=0.001, warm_ups=1)

    monkeypatch.setattr(_run, "measure", measure)
    monkeypatch.setattr(_run, "now", lambda _: _run.Machine(1e11, 0.355e-9))


def run(meter, *, shapes=TINY, out=None, force=False, observe=lambda _: None, **options):
    request = Request(shapes=shapes, threads=(1,), pairs=2, **options)
    return bench.run(request, command="bptt bench", meter=meter, out=out, force=force, observe=observe)


def test_a_row_says_what_was_measured(idle):
    (row,) = run(idle)["rows"]
    assert (row["cell"], row["shape"], row["p"], row["threads"]) == ("lstm", TINY, 0, 1)
    assert (row["memory"], row["mode"], row["rival"], row["pairs"]) == ("fast", "train", "torch", 2)
    assert row["variant"] == {"layers": 1, "bidirectional": False, "packed": False}
    assert 0 < row["ratio"]["lower"] <= row["ratio"]["median"] <= row["ratio"]["upper"]
    assert 0 <= row["max_error"] < row["tolerance"]
    assert row["floor_share"] > 0
    assert row["bytes_kept"]["ours"] < row["bytes_kept"]["rival"]
    assert row["forced"] is False


def test_the_record_names_machine_versions_and_command(idle):
    document = run(idle)
    assert document["machine"]["torch"] == torch.__version__
    assert {"cpu_model", "instruction_set", "cores", "bptt", "native_library"} <= set(document["machine"])
    assert document["commands"] == ["bptt bench"]
    assert document["load"] == {"average": 0.0, "other_processes": 0.0}
    assert document["rows"][0]["machine"] == {"peak": 1e11, "activation": 0.355e-9}


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "forward", "cells": ("gru",)},
        {"mode": "step", "shapes": "24,2,1,4"},
        {"layers": 2, "bidirectional": True, "packed": True},
        {"memory": ("low",)},
        {"p": (0.5,), "rivals": ("torch-no-onednn", "loop", "reference")},
        {"cells": ("rnn",)},
    ],
    ids=str,
)
def test_every_kind_of_row_is_measured(idle, options):
    rows = run(idle, **options)["rows"]
    assert len(rows) == len(options.get("rivals", "x"))
    plain_train = options.get("mode", "train") == "train" and "layers" not in options and "p" not in options
    assert all((row["floor_share"] is not None) == plain_train for row in rows)


def test_the_machine_is_measured_around_every_timing(idle, monkeypatch):
    speeds = cycle([Machine(1e11, 0.5e-9), Machine(3e11, 0.7e-9)])
    monkeypatch.setattr("bptt.bench._run.now", lambda _: next(speeds))
    (row,) = run(idle)["rows"]
    assert row["machine"] == {"peak": 2e11, "activation": 0.6e-9}


def test_low_memory_keeps_less(idle):
    (row,) = run(idle, shapes="100,10,1,16", memory=("low",))["rows"]
    assert row["bytes_kept"]["ours"] < row["bytes_kept"]["rival"] / 2


def test_threads_and_random_numbers_are_left_as_they_were(idle):
    before, state = torch.get_num_threads(), torch.get_rng_state()
    run(idle, p=(0.5,))
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.skipif(available_cpus() < 2, reason="needs two CPUs")
def test_every_row_runs_on_its_threads(idle, monkeypatch):
    seen = []
    monkeypatch.setattr("bptt.bench._run.check", lambda *_: seen.append(torch.get_num_threads()) or 0.0)
    bench.run(Request(shapes=TINY, threads=(2, 1), pairs=1), command="", meter=idle)
    assert seen == [2, 2, 1, 1]


def test_a_busy_machine_is_refused(busy, load, tmp_path):
    out = tmp_path / "x.json"
    with pytest.raises(LoadedError, match=r"other processes may use at most 10 % of one CPU, got 50 %"):
        run(busy, out=out)
    with pytest.raises(LoadedError, match=r"load average of the last minute must be at most 0\.3, got 0\.31"):
        run(load(mean=0.31), out=out)
    assert not out.exists()


def test_force_measures_and_marks(busy):
    document = run(busy, force=True)
    (row,) = document["rows"]
    assert row["forced"] is True
    assert row["other_processes"] == 0.5
    assert document["load"] == {"average": 2.0, "other_processes": 0.5}
    assert "by force" in bench.footer(document)
    with pytest.raises(RecordError, match="by force"):
        bench.markdown(document)


def test_force_marks_on_an_idle_machine_too(idle):
    assert run(idle, force=True)["rows"][0]["forced"] is True


def test_a_row_that_was_disturbed_is_measured_again(load):
    meter = load([0.0, 0.0, 0.9, 0.0, 0.05])
    (row,) = run(meter)["rows"]
    assert meter.watched == 5
    assert row["other_processes"] == 0.05


def test_a_row_that_stays_disturbed_ends_the_bench_with_what_it_has(load, tmp_path):
    meter = load([0.0, 0.0, 0.0, 0.9])
    with pytest.raises(LoadedError, match="90 %"):
        run(meter, shapes=f"{TINY};3,2,1,4", out=tmp_path / "x.json")
    assert [row["shape"] for row in bench.read(tmp_path / "x.json")["rows"]] == [TINY]


def test_threads_left_on_one_core_are_not_timed(load):
    meter = load(stacked=[True, False, True, False])  # before the first attempt, and after the second
    assert len(bench.run(Request(shapes=TINY, threads=(2,), pairs=1), command="", meter=meter)["rows"]) == 1
    assert meter.stacked == [False]
    with pytest.raises(LoadedError, match=r"2 threads must compute on at least \S+ cores, got 1\.0"):
        bench.run(Request(shapes=TINY, threads=(2,), pairs=1), command="", meter=load(stacked=[True]))


def test_an_interrupted_bench_goes_on(idle, tmp_path):
    out = tmp_path / "new" / "x.json"

    def interrupt(now):
        if now.row == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(idle, shapes=f"{TINY};3,2,1,4", out=out, observe=interrupt)
    first = bench.read(out)["rows"]
    seen = []
    run(idle, shapes=f"{TINY};3,2,1,4", out=out, observe=seen.append)
    assert {now.row for now in seen} == {2}
    assert bench.read(out)["rows"][:1] == first
    assert len(bench.read(out)["rows"]) == 2


def test_a_finished_bench_is_not_measured_again(idle, tmp_path):
    out = tmp_path / "x.json"
    run(idle, out=out)
    before = out.read_bytes()
    run(idle, out=out, observe=lambda _: pytest.fail("measured"))
    assert out.read_bytes() == before


def test_forced_rows_are_measured_again_without_force(idle, tmp_path):
    out = tmp_path / "x.json"
    run(idle, out=out, force=True)
    assert run(idle, out=out)["rows"][0]["forced"] is False


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON"), ("{}", "was not written by bptt bench")])
def test_a_foreign_file_is_refused(idle, tmp_path, text, message):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(RecordError, match=message):
        run(idle, out=tmp_path / "x.json")


def test_a_file_of_another_library_is_refused(idle, tmp_path):
    out = tmp_path / "x.json"
    document = run(idle, out=out)
    document["machine"]["native_library"] = "another"
    out.write_text(json.dumps(document))
    with pytest.raises(RecordError, match="native_library 'another' there"):
        run(idle, out=out)
    assert json.loads(out.read_text()) == document
