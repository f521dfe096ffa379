"""The sentences and cells that people read."""

import math

import numpy as np
import pytest

from bptt import report
from bptt.report import _words as words
from bptt.report._statistics import Reach, median_interval, share_interval
from bptt.report._verdict import sentence


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
        ([12, 9, 15], (), ("12", "9 to 15, 3 of 3 seeds")),
        ([12, 9, math.inf], (60,), ("12", "9 to not reached, 2 of 3 seeds")),
        ([12, math.inf, math.inf], (40, 60), ("not reached by 40–60", "1 of 3 seeds")),
        ([math.inf] * 3, (10, 10, 10), ("not reached by 10", "0 of 3 seeds")),
        ([4], (), ("4", "1 of 1 seed, no interval")),
        ([], (), ("—", "")),
    ],
)
def test_epochs_to_a_threshold(epochs, censored, cells):
    reached = len(epochs) - len(censored)
    assert words.reach(Reach(0.9, median_interval(epochs), reached, censored)) == cells


def test_shares():
    assert words.solved(share_interval(2, 4), 2) == ("2 of 4", "15 to 85%")
    assert words.solved(share_interval(1, 2), 1) == ("1 of 2", "no interval")


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
    assert first[:3] == [("vanilla", ""), ("2 of 3", "failed"), ("90.5%", "2 seeds, no interval")]
    assert second[2] == ("93.0%", "92.0–94.0%")
    assert second[5] == ("+2.0 points", "2 seeds, no interval")
    assert second[6:] == [
        ("1", "1 to 1, 3 of 3 seeds"), ("1", "1 to 1, 3 of 3 seeds"), ("not reached by 3", "0 of 3 seeds"),
        ("0 of 3", "0 to 56%"),
    ]  # fmt: skip


def test_the_verdict_claims_no_more_than_the_seeds_allow(make_study):
    apart = verdict(make_study("apart", curve=flat(lambda arm, seed: 0.5 + 0.1 * arm + 0.001 * seed)))
    assert apart[0] == "h-detach p = 0.25 has the highest median test accuracy: 59.5% (59.4–59.6%, 3 seeds)."
    assert (
        "+9.9 percentage points (95% interval +9.9 to +9.9, 3 seeds): better here, but with fewer" in apart[1]
    )
    many = verdict(
        make_study("many", seeds=range(6), curve=flat(lambda arm, seed: 0.5 - 0.1 * arm + 0.001 * seed))
    )
    assert many[1].endswith("worse, beyond what these seeds vary by.")
    mixed = verdict(make_study("mixed", curve=flat(lambda arm, seed: 0.5 + 0.1 * arm * (seed - 1))))
    assert mixed[1].endswith("the interval contains zero, so these seeds do not tell the two apart.")
    assert mixed[0] == "vanilla and h-detach p = 0.25 share the highest median test accuracy: 49.5%."
    single = verdict(make_study("single", seeds=[0], curve=flat(lambda arm, _: 0.5 + 0.1 * arm)))
    assert "(1 seed: too few for an interval, so this tells nothing for certain)" in single[1]


def test_the_verdict_for_losses_prefers_the_lower(make_study):
    lines = verdict(make_study(score="loss", tested=False, curve=flat(lambda arm, _: 0.5 + 0.2 * arm)))
    assert lines[0].startswith("h-detach p = 0.25 has the lowest median best validation loss: 0.3567")
    assert "better here" in lines[1]


def test_the_verdict_says_what_is_not_in_it(make_study):
    lines = verdict(make_study("some", ends={("vanilla", 1): "non-finite"}))
    assert lines[-1] == "Not counted: 1 of 6 runs did not finish, which may flatter their arms."
    none = {(arm, seed): "unfinished" for arm in ("vanilla", "h-detach-0.25") for seed in range(3)}
    assert verdict(make_study("none", ends=none)) == ("No run has finished, so there is no outcome yet.",)


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
        "2 variants, or arms (vanilla and h-detach p = 0.25), each trained with 1 seed for up to 9 epochs "
        "on this task: 5,000 digits of 14 × 14 pixels, read one pixel at a time (196 steps)."
    )
