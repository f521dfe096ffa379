"""The sentences and cells that people read."""

import json
import math

import numpy as np
import pytest

from bptt import report
from bptt.report import _words as words
from bptt.report._statistics import Reach, median_interval, share_interval
from bptt.report._verdict import caution, sentence


def flat(level):
    return lambda arm, seed: np.full(3, level(arm, seed))


def verdict(folder):
    (study,) = report.load([folder])
    return report.verdict(study)


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (0.9712, "accuracy", "97.1%"),
        (1.0, "accuracy", "100.0%"),
        (0.99979, "accuracy", "99.98%"),
        (0.17331, "loss", "0.1733"),
        (math.nan, "accuracy", "—"),
        (None, "loss", "—"),
    ],
)
def test_scores(value, name, text):
    assert words.score(value, name) == text


@pytest.mark.parametrize(
    ("epochs", "censored", "cells"),
    [
        ([12, 9, 15], (), ("12", "min to max 9 to 15, 3 of 3 seeds")),
        ([12, 9, math.inf], (60,), ("12", "min to max 9 to not reached, 2 of 3 seeds")),
        ([12, 9, 10, 15, 12, 11, 12, 14, 2], (), ("12", "95% interval 9 to 14, 9 of 9 seeds")),
        ([12, math.inf, math.inf], (40, 60), ("not reached by 40–60", "1 of 3 seeds")),
        ([math.inf] * 3, (10, 10, 10), ("not reached by 10", "0 of 3 seeds")),
        ([4], (), ("4", "1 of 1 seed")),
        ([], (), ("—", "")),
    ],
)
def test_epochs_to_a_threshold(epochs, censored, cells):
    reached = len(epochs) - len(censored)
    assert words.reach(Reach(0.9, median_interval(epochs), reached, censored)) == cells


def test_shares():
    assert words.solved(share_interval(2, 4), 2) == ("2 of 4", "95% interval 15 to 85%")
    assert words.solved(share_interval(1, 2), 1) == ("1 of 2", "")


def test_the_summary_table(make_study):
    folder = make_study(
        curve=flat(lambda arm, seed: 0.9 + 0.02 * arm + 0.01 * seed), ends={("vanilla", 2): "failed"}
    )
    (study,) = report.load([folder])
    table = report.summary_table(study)
    assert table.columns == (
        "Arm", "Seeds finished", "Final validation accuracy", "Best validation", "Test, best model",
        "Test against vanilla", "Epochs to 50%", "Epochs to 90%", "Epochs to 99%", "Solved (≥\u00a099%)",
    )  # fmt: skip
    first, second = ([(cell.text, cell.note) for cell in row] for row in table.rows)
    assert first[:3] == [("vanilla", ""), ("2 of 3", "failed"), ("90.5%", "min to max 90.0–91.0%, 2 seeds")]
    assert second[2] == ("93.0%", "min to max 92.0–94.0%")
    assert second[5] == ("+2.0 points", "min to max +2.0 to +2.0, 2 seeds")
    assert second[6:] == [
        ("1", "min to max 1 to 1, 3 of 3 seeds"), ("1", "min to max 1 to 1, 3 of 3 seeds"),
        ("not reached by 3", "0 of 3 seeds"), ("0 of 3", "95% interval 0 to 56%"),
    ]  # fmt: skip


def test_the_verdict_claims_no_more_than_the_seeds_allow(make_study):
    apart = verdict(make_study("apart", curve=flat(lambda arm, seed: 0.5 + 0.1 * arm + 0.001 * seed)))
    lead = "h-detach p = 0.25 has the highest median test accuracy: 59.5% (min to max 59.4–59.6%, 3 seeds)."
    assert apart[0] == lead
    assert apart[1].endswith(
        "by +9.9 percentage points (min to max +9.9 to +9.9, 3 seeds): better on each of these seeds, "
        "but fewer than 6 seeds are a hint, not a proof."
    )
    many = verdict(
        make_study("many", seeds=range(6), curve=flat(lambda arm, seed: 0.5 - 0.1 * arm + 0.001 * seed))
    )
    assert many[1].endswith("(95% interval −9.9 to −9.9, 6 seeds): worse, beyond what these seeds vary by.")
    unclear = verdict(
        make_study("unclear", seeds=range(6), curve=flat(lambda arm, seed: 0.5 + 0.1 * arm * (seed - 2)))
    )
    assert unclear[1].endswith("the interval contains zero, so these seeds do not tell the two apart.")
    mixed = verdict(make_study("mixed", curve=flat(lambda arm, seed: 0.5 + 0.1 * arm * (seed - 1))))
    assert mixed[1].endswith("3 seeds): these seeds do not tell the two apart.")
    assert mixed[0] == "vanilla and h-detach p = 0.25 share the highest median test accuracy: 49.5%."
    single = verdict(make_study("single", seeds=[0], curve=flat(lambda arm, _: 0.5 + 0.1 * arm)))
    assert single[1].endswith("(1 seed): one seed tells nothing for certain.")


def test_the_verdict_for_losses_prefers_the_lower(make_study):
    lines = verdict(make_study(score="loss", tested=False, curve=flat(lambda arm, _: 0.5 + 0.2 * arm)))
    assert lines[0].startswith("h-detach p = 0.25 has the lowest median best validation loss: 0.3567")
    assert "better on each of these seeds" in lines[1]


def test_the_verdict_says_what_is_not_in_it(make_study):
    lines = verdict(make_study("some", ends={("vanilla", 1): "non-finite"}))
    assert lines[-1] == "Not counted: 1 of 6 runs did not finish, which may flatter their arms."
    none = {(arm, seed): "unfinished" for arm in ("vanilla", "h-detach-0.25") for seed in range(3)}
    (line,) = verdict(make_study("none", ends={**none, ("vanilla", 0): "failed"}))
    assert line == (
        "No run has finished, so there is no outcome yet (vanilla: 1 failed and 2 unfinished; "
        "h-detach p = 0.25: 3 unfinished)."
    )


ABC = {"a": "A", "b": "B", "c": "C"}


def test_one_arm_alone_is_compared_with_nothing(make_study):
    ends = {("a", 0): "failed", ("a", 1): "missing", ("c", 0): "non-finite", ("c", 1): "non-finite"}
    lines = verdict(make_study(arms=ABC, seeds=[0, 1], ends=ends))
    assert lines[0] == "Nothing can be compared: only B has a test accuracy."
    assert lines[1].startswith("B reaches a median test accuracy of ")
    assert lines[2] == (
        "Without a finished run, and so compared with nothing: A: 1 failed and 1 missing; C: 2 non-finite."
    )
    assert not any("Seed by seed" in line for line in lines)


def test_arms_without_a_seed_in_common_are_not_compared(make_study):
    ends = {("a", 0): "failed", ("b", 1): "failed"}
    lines = verdict(make_study(arms=ABC, seeds=[0, 1], ends=ends))
    assert any("highest median" in line for line in lines)
    assert "B and A have no finished seed in common, so they are not compared seed by seed." in lines
    assert any(line.startswith("Seed by seed, C differs from A") for line in lines)


def test_the_verdict_says_who_is_only_guessing(make_study):
    lines = verdict(make_study(curve=flat(lambda arm, seed: 0.1 + 0.3 * arm + 0.001 * seed), tested=False))
    assert lines[-1] == "Not clearly better than guessing (10.0%): vanilla."
    alone = verdict(make_study("alone", arms={"a": "a"}, seeds=[0, 1], ends={("a", 1): "failed"}))
    assert alone[0].startswith("a reaches a median test accuracy of ")
    assert alone[1] == "Not counted: 1 of 2 runs did not finish, which may flatter their arms."


def test_a_table_turned_has_the_same_cells(make_study):
    (study,) = report.load([make_study(seeds=[0])])
    table = report.summary_table(study)
    turned = table.turned()
    assert turned.columns == ("Arm", "vanilla", "h-detach p = 0.25")
    assert [row[0].text for row in turned.rows] == list(table.columns[1:])
    assert [row[2] for row in turned.rows] == list(table.rows[1][1:])


def test_what_was_run_in_a_sentence(make_study):
    (study,) = report.load([make_study(seeds=[0], epochs=9)])
    assert sentence(study) == (
        "2 variants, or arms (vanilla and h-detach p = 0.25), each with 1 seed for up to 9 epochs "
        "on this task: 5,000 digits of 14 × 14 pixels, read one pixel at a time (196 steps)."
    )


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
def test_another_precision_than_the_papers_is_told_in_the_sentence(make_study, precision):
    folder = make_study(seeds=[0])
    page = json.loads((folder / "study.json").read_text())
    page["spec"]["arms"] = {arm["name"]: {"train": {"precision": precision}} for arm in page["arms"]}
    (folder / "study.json").write_text(json.dumps(page))
    (study,) = report.load([folder])
    assert ("computed in bf16-mixed instead of float32" in sentence(study)) == (precision == "bf16-mixed")
    assert ("bf16-mixed" in report.write([folder]).index.read_text().partition("<h2>Outcome")[0]) == (
        precision == "bf16-mixed"
    )


def test_each_arm_has_its_own_seeds_in_the_sentence(make_study):
    folder = make_study(arms=ABC, seeds=range(10), epochs=2)
    page = json.loads((folder / "study.json").read_text())
    gone = {"a/seed-0", "b/seed-1"}
    page["runs"] = [run for run in page["runs"] if run["folder"] not in gone and run["arm"] != "c"]
    page["runs"] = [run for run in page["runs"] if run["arm"] == "b" or run["seed"] < 4]
    (folder / "study.json").write_text(json.dumps(page))
    (study,) = report.load([folder])
    assert sentence(study).startswith(
        "3 variants, or arms (A, B and C), with 3 seeds (1, 2, 3) of A, 9 seeds of B and 0 seeds of C for up"
    )


@pytest.mark.parametrize(("profile", "said"), [("smoke", True), ("lite", False), ("paper", False)])
def test_a_smoke_study_says_that_it_means_nothing(make_study, profile, said):
    folder = make_study(seeds=[0], profile=profile)
    studies = [*report.load([folder]), *report.load([folder / "vanilla/seed-0"])]
    assert [caution(study.profile).startswith("These numbers mean nothing") for study in studies] == [
        said
    ] * 2
    text = report.write([folder]).index.read_text()
    assert ("These numbers mean nothing" in text) == said
    if said:
        assert text.index("These numbers mean nothing") < text.index("<h2>Outcome")
