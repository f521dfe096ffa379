"""Reading studies: every state of a run is told apart, and nothing damaged goes unnamed or crashes."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest

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


def test_a_study_made_by_several_commands_shows_them_all(make_study):
    folder = make_study()
    document = json.loads((folder / "study.json").read_text())
    document["commands"] += ["bptt run demo --seeds 7 --out 'a <b>'"]
    (folder / "study.json").write_text(json.dumps(document))
    (study,) = report.load([folder])
    assert study.commands == tuple(document["commands"])
    text = report.write([folder]).index.read_text()
    assert text.count('<pre class="command">') == 2
    assert '<pre class="command">bptt run demo --seeds 7 --out &#39;a &lt;b&gt;&#39;</pre>' in text
    (folder / "study.json").write_text(json.dumps(document | {"commands": [3]}))
    with pytest.raises(ValueError, match=r"study\.json: commands must be texts, got 3"):
        report.load([folder])


@pytest.mark.parametrize(("command", "commands"), [("bptt run demo", ("bptt run demo",)), (None, ())])
def test_a_study_with_the_one_command_of_before_can_be_read(make_study, command, commands):
    folder = make_study()
    document = json.loads((folder / "study.json").read_text())
    del document["commands"]
    (folder / "study.json").write_text(json.dumps(document | {"command": command}))
    (study,) = report.load([folder])
    assert study.commands == commands


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


def test_studies_in_folders_of_folders_are_taken(make_study, study_maker, tmp_path):
    make_study("one", seeds=[0])
    study_maker(tmp_path / "lr" / "high")("two", seeds=[0])
    study_maker(tmp_path / ".old")("three", seeds=[0])
    study_maker(tmp_path)(".four", seeds=[0])
    (tmp_path / "five").symlink_to(study_maker(tmp_path / ".elsewhere")("five", seeds=[0]))
    assert [study.name for study in report.load([tmp_path])] == ["five-lite", "two-lite", "one-lite"]
    assert report.write([tmp_path]).index == tmp_path / "report" / "index.html"


@pytest.mark.parametrize("count", [1, 2])
def test_a_report_among_the_folders_is_passed_over(make_study, tmp_path, count):
    studies = [make_study(name, seeds=[0]) for name in ("one", "two")[:count]]
    page = report.write([*studies], tmp_path / "page").index.parent
    assert len(report.load([*studies, page])) == count
    with pytest.raises(
        ValueError, match=r"at least one study folder or run folder, got only reports: .*page"
    ):
        report.load([page])


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
    assert lines[0].endswith("it has neither, and no study lies in it")
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
