"""Reading studies: every state of a run is told apart, and nothing damaged goes unnamed or crashes."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.studies import STATE, write_done

from bptt import report
from bptt.report import Status


def only_run(folder: Path) -> report.Run:
    (study,) = report.load([folder])
    return next(run for run in study.runs if run.name == "vanilla/seed-0")


def test_a_study_is_read_as_it_was_written(make_study):
    folder = make_study(
        seeds=[3, 5], epochs=4, curve=lambda _, seed: np.array([0.2, 0.4, 0.8, 0.6]) + seed / 100
    )
    (study,) = report.load([folder])
    assert study.name == "demo-lite"
    assert [arm.label for arm in study.arms] == ["vanilla", "h-detach p = 0.25"]
    assert [run.name for run in study.runs] == [
        "vanilla/seed-3", "vanilla/seed-5", "h-detach-0.25/seed-3", "h-detach-0.25/seed-5",
    ]  # fmt: skip
    run = study.runs[1]
    assert (run.arm, run.seed, run.status, run.epochs) == ("vanilla", 5, Status.COMPLETED, 4)
    np.testing.assert_array_equal(run.curves["valid.accuracy"], np.array([0.2, 0.4, 0.8, 0.6]) + 0.05)
    assert (run.best_epoch, run.best["accuracy"]) == (3, 0.8 + 0.05)
    assert run.test["accuracy"] == pytest.approx(0.99 * 0.85)
    assert run.steps_per_second == 20.5
    assert run.environment["torch"] == "2.13.0"
    assert not report.problems(study)


def test_every_way_to_end_is_told_apart(make_study):
    ends = ["completed", "solved", "non-finite", "failed", "unfinished", "missing"]
    folder = make_study(
        arms={"a": "a"}, seeds=range(6), epochs=10, ends={("a", n): end for n, end in enumerate(ends)}
    )
    (study,) = report.load([folder])
    assert [run.status.value for run in study.runs] == ends
    assert [run.epochs for run in study.runs] == [10, 10, 7, 5, 5, 0]
    reasons = {problem.run: (problem.status, problem.reason) for problem in report.problems(study)}
    assert reasons == {
        "a/seed-2": ("non-finite", "loss at step 287, in epoch 8"),
        "a/seed-3": ("failed", "ValueError: no such thing"),
        "a/seed-4": ("unfinished", "stopped, or still running, after epoch 5"),
        "a/seed-5": ("missing", "it has not been started"),
    }


def test_words_for_non_finite_numbers_are_numbers(make_study):
    folder = make_study(arms={"vanilla": "vanilla"}, seeds=[0], epochs=3, ends={("vanilla", 0): "unfinished"})
    path = folder / "vanilla/seed-0/metrics.jsonl"
    row = json.loads(path.read_text())
    row["valid"]["loss"], row["grad_norm"]["max"], row["train"]["loss"] = "nan", "inf", "-inf"
    path.write_text(json.dumps(row) + "\n")
    curves = only_run(folder).curves
    assert math.isnan(curves["valid.loss"][0])
    assert (curves["grad_norm.max"][0], curves["train.loss"][0]) == (math.inf, -math.inf)


def replace(file: str, old: str, new: str, count: int = 1):
    def damage(run: Path) -> None:
        text = (run / file).read_text()
        assert old in text
        (run / file).write_text(text.replace(old, new, count))

    return damage


def reseal(**changes: object):
    """A done.json that says something else, with the hash of what it says."""

    def damage(run: Path) -> None:
        write_done(run, json.loads((run / "done.json").read_text()) | changes)

    return damage


def write(file: str, content: bytes):
    return lambda run: (run / file).write_bytes(content)


DAMAGES = {
    "spec not JSON": (write("spec.json", b"{"), "spec.json is not JSON"),
    "spec not an object": (write("spec.json", b"[1]"), "spec.json must hold a JSON object, got list"),
    "spec not text": (write("spec.json", b"\xff\xfe{}"), "spec.json is not UTF-8 text"),
    "spec without hash": (replace("spec.json", '"hash"', '"hush"'), "spec.json lacks the field 'hash'"),
    "spec changed": (
        replace("spec.json", '"hidden_size": 100', '"hidden_size": 99'),
        "spec.json has been changed",
    ),
    "spec gone": (lambda run: (run / "spec.json").unlink(), "spec.json cannot be read"),
    "metrics gone": (lambda run: (run / "metrics.jsonl").unlink(), "metrics.jsonl is absent"),
    "metrics garbage": (
        replace("metrics.jsonl", '"epoch": 2', '"epoch": 2 2'),
        "metrics.jsonl, line 2 is not JSON",
    ),
    "metrics edited": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": 0.36'),
        "metrics.jsonl has changed",
    ),
    "metrics reordered": (
        replace("metrics.jsonl", '"epoch": 2', '"epoch": 3'),
        "line 2: epoch must be 2, got 3",
    ),
    "metrics without group": (
        replace("metrics.jsonl", '"valid"', '"void"'),
        "line 1 lacks the field 'valid'",
    ),
    "metrics without value": (
        replace("metrics.jsonl", '"median"', '"middle"'),
        "its fields must be those of line 1",
    ),
    "metrics with a word": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": "much"'),
        "must be a number",
    ),
    "metrics with a truth": (
        replace("metrics.jsonl", '"epoch": 1', '"epoch": true'),
        "epoch must be a whole number",
    ),
    "metrics too long": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": 1' + "0" * 400),
        "must be a number that a float64 holds",
    ),
    "metrics much too long": (
        replace("metrics.jsonl", '"clipped": 0.35', '"clipped": 1' + "0" * 5000),
        "metrics.jsonl, line 1 is not JSON we read",
    ),
    "spec no text": (replace("spec.json", '"bptt run demo"', '"\\ud800"'), "half of a surrogate pair"),
    "done edited": (
        replace("done.json", '"test": {"loss": 0.', '"test": {"loss": 1.'),
        "done.json has been changed",
    ),
    "done not sealed": (replace("done.json", '"sha256"', '"sha"'), "done.json lacks the field 'sha256'"),
    "done unknown": (reseal(status="perfect"), "done.json: status must be one of"),
    "done short": (reseal(epoch=7), "metrics.jsonl must have 7 lines"),
    "done without test": (reseal(test={"loss": []}), "done.json: test.loss must be a number"),
    "best elsewhere": (
        reseal(best={"epoch": 9, "valid": {}}),
        "best.epoch must be one of the 6 of metrics.jsonl, got 9",
    ),
    "best made up": (
        reseal(best={"epoch": 6, "valid": {"loss": 0.01, "accuracy": 0.999}}),
        "done.json: best.valid.accuracy must be that of epoch 6 in metrics.jsonl, 0.9",
    ),
    "best in part": (reseal(best={"epoch": 6, "valid": {"accuracy": 0.999}}), "best.valid.accuracy must be"),
    "weights changed": (write("weights.safetensors", b"other"), "weights.safetensors has changed"),
    "weights gone": (lambda run: (run / "weights.safetensors").unlink(), "weights.safetensors is absent"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_run_is_named_with_the_file(make_study, damage, message):
    folder = make_study(seeds=[0])
    damage(folder / "vanilla/seed-0")
    run = only_run(folder)
    assert run.status is Status.DAMAGED
    assert message in run.reason
    assert not run.curves


def test_timing_is_no_result(make_study):
    folder = make_study(arms={"vanilla": "vanilla"}, seeds=[0])
    with (folder / "vanilla/seed-0/timing.jsonl").open("a") as file:
        file.write("?\n")
    run = only_run(folder)
    assert (run.status, run.steps_per_second) == (Status.COMPLETED, None)
    assert run.timing_damage.startswith("timing.jsonl, line 7 is not JSON")
    text = report.write([folder]).index.read_text()
    assert "The run finished." in text
    assert f"<small>{run.timing_damage}</small>" in text


GOOD, CUT = STATE, STATE[:-1]
FLIPPED = b"X" + STATE[1:]


@pytest.mark.parametrize("end", ["unfinished", "failed"])
@pytest.mark.parametrize(
    ("states", "reasons"),
    [
        ({"state.pt": FLIPPED, "state.prev.pt": CUT}, ("state.pt is damaged", "state.prev.pt is cut short")),
        ({"state.pt": b""}, ("state.pt is cut short",)),
        ({"state.pt": CUT, "state.prev.pt": GOOD}, ()),
        ({"state.pt": GOOD, "state.prev.pt": CUT}, ()),
        ({"state.prev.pt": GOOD}, ()),
        ({}, ()),
    ],
)
def test_a_run_that_cannot_go_on_is_damaged(make_study, end, states, reasons):
    folder = make_study(seeds=[0], ends={("vanilla", 0): end})
    (folder / "vanilla/seed-0/state.pt").unlink()
    for name, content in states.items():
        (folder / "vanilla/seed-0" / name).write_bytes(content)
    run = only_run(folder)
    assert run.status.value == ("damaged" if reasons else end)
    assert all(reason in run.reason for reason in reasons)


def test_a_line_still_being_written_is_no_damage(make_study):
    folder = make_study(seeds=[0], ends={("vanilla", 0): "unfinished"})
    with (folder / "vanilla/seed-0/metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "st')
    run = only_run(folder)
    assert (run.status, run.epochs) == (Status.UNFINISHED, 3)


def test_a_line_cut_off_after_the_end_is_damage(make_study):
    folder = make_study(seeds=[0])
    path = folder / "vanilla/seed-0/metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert "line 6 is cut off" in only_run(folder).reason


def test_a_copied_run_does_not_pass_for_another_seed(make_study):
    folder = make_study(seeds=[0, 1])
    shutil.rmtree(folder / "vanilla/seed-0")
    shutil.copytree(folder / "vanilla/seed-1", folder / "vanilla/seed-0")
    assert "spec.json belongs to another run: seed must be 0, got 1" in only_run(folder).reason


def test_a_run_that_the_study_does_not_list_is_named(make_study):
    folder = make_study(seeds=[0, 1])
    document = json.loads((folder / "study.json").read_text())
    document["runs"] = [run for run in document["runs"] if run["seed"] == 0]
    (folder / "study.json").write_text(json.dumps(document))
    (study,) = report.load([folder])
    assert study.strays == ("h-detach-0.25/seed-1", "vanilla/seed-1")
    assert {problem.run for problem in report.problems(study)} == set(study.strays)


def test_folders_of_studies_and_single_runs(make_study):
    one, two = make_study("one", seeds=[0]), make_study("two", seeds=[0, 7])
    assert [study.name for study in report.load([one.parent])] == ["one-lite", "two-lite"]
    assert [study.name for study in report.load([two, one, one.parent])] == ["two-lite", "one-lite"]
    assert [study.name for study in report.load(one)] == ["one-lite"]
    assert [study.name for study in report.load(str(one))] == ["one-lite"]
    (lone,) = report.load([two / "h-detach-0.25/seed-7"])
    assert [(run.name, run.status) for run in lone.runs] == [("h-detach-0.25/seed-7", Status.COMPLETED)]
    assert [arm.label for arm in lone.arms] == ["h-detach p = 0.25"]
    assert lone.chance("accuracy") == 0.1


def test_a_run_without_a_study(make_study, tmp_path):
    shutil.copytree(make_study(seeds=[4]) / "vanilla/seed-4", tmp_path / "kept/vanilla/seed-4")
    (study,) = report.load([tmp_path / "kept/vanilla/seed-4"])
    assert [(run.name, run.seed, run.status) for run in study.runs] == [
        ("vanilla/seed-4", 4, Status.COMPLETED)
    ]
    assert study.horizon(study.arms[0]) == 6


def test_anything_else_is_refused_and_all_of_it_named(make_study, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    wrong = [tmp_path / "empty", tmp_path / "file", tmp_path / "nowhere"]
    with pytest.raises(ValueError, match="must be a study folder") as caught:
        report.load([make_study(), *wrong])
    lines = str(caught.value).splitlines()
    assert [str(path) in line for path, line in zip(wrong, lines, strict=True)] == [True] * 3
    assert lines[0].endswith("neither it nor the folders in it have one")
    assert lines[1].endswith("it is a file")
    assert lines[2].endswith("it does not exist")
    with pytest.raises(ValueError, match="got none"):
        report.load([])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arms", [], "arms must be at least one"),
        ("arms", "vanilla", "arms must be a list"),
        ("arms", [{"name": "a"}, {"name": "a"}], "each with its own name"),
        ("seeds", [0.5], "seeds must be whole numbers, got 0.5"),
        ("runs", [], "runs must be at least one"),
        ("runs", [{"arm": "vanilla", "seed": 0, "folder": "vanilla/seed-0"}] * 2, "each in its own folder"),
        ("runs", [{"arm": "b", "seed": 0, "folder": "b/seed-0"}], "'b', which is not among the arms"),
        ("runs", [{"arm": "vanilla", "seed": 0, "folder": "../x"}], "must lie inside the study"),
        ("runs", [{"arm": "vanilla", "folder": "x"}], "lacks the field 'seed'"),
        ("spec", None, "spec must be an object, got null"),
    ],
)
def test_a_damaged_study_is_refused_by_name(make_study, key, value, message):
    folder = make_study(seeds=[0])
    document = json.loads((folder / "study.json").read_text()) | {key: value}
    (folder / "study.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=r"study\.json") as caught:
        report.load([folder])
    assert str(folder) in str(caught.value)
    assert message in str(caught.value)
