"""A label never claims what a setting has changed, and names one arm alone."""

import json

import pytest
from helpers.experiments import refused, told

from bptt import experiments, report
from bptt.experiments import load

ARM = 'arms."h-detach-0.25"'


def labels(name, *settings):
    return [arm.label for arm in load(name, settings=settings).arms]


@pytest.mark.parametrize(
    ("settings", "label"),
    [
        ([], "h-detach p = 0.25"),
        (["train.lr=0.1"], "h-detach p = 0.25"),
        ([f"{ARM}.detach.h=0.25"], "h-detach p = 0.25"),
        ([f"{ARM}.detach.h=0.5"], "h-detach-0.25 with detach.h = 0.5"),
        ([f"{ARM}.detach={{h=0.5}}"], "h-detach-0.25 with detach.h = 0.5"),
        (
            [f"{ARM}.detach.h=0.5", f"{ARM}.model.cell=gru", f"{ARM}.detach.shared=true"],
            "h-detach-0.25 with detach.h = 0.5, detach.shared = true, model.cell = gru",
        ),
        ([f"{ARM}.detach.h=0.5", f"{ARM}.label=half"], "half"),
        ([f"{ARM}.label=half", f"{ARM}.detach.h=0.5"], "half"),
        ([f"{ARM}.label=half"], "half"),
    ],
)
def test_an_arm_that_a_setting_changed_says_so(settings, label):
    assert labels("demo", *settings) == ["vanilla", label]


def test_a_setting_for_all_arms_is_told_where_it_replaces_an_arms_own(spec_file):
    file = spec_file('label = "lr 0.02"')
    assert labels(file, "train.lr=0.03") == ["plain", "other with train.lr = 0.03"]


def test_the_report_of_a_changed_arm_claims_no_other_value(tmp_path):
    settings = [f"{ARM}.detach.h=0.5"]
    spec = load("demo", profile="smoke", settings=settings)
    folder = experiments.run(spec, tmp_path).folder
    page = report.write([folder]).index.read_text()
    assert "h-detach-0.25 with detach.h = 0.5" in page
    assert "p = 0.25" not in page


def test_two_arms_share_no_label(spec_file):
    problems = told(refused(spec_file(), settings=["arms.other.label=plain"]))
    assert problems.keys() == {"arms.other.label"}
    assert "arms.plain has it too, got 'plain'" in problems["arms.other.label"].message


def test_an_arm_that_joins_a_study_takes_no_label_that_is_there(spec_file, tmp_path):
    experiments.run(load(spec_file(), arms=["plain"], seeds=[0]), tmp_path)
    before = (tmp_path / "small-base" / "study.json").read_text()
    settings = ["arms.plain.label=first", "arms.other.label=plain"]
    with pytest.raises(experiments.StudyError, match=r"beside its own:\n  arms\.other\.label: .* has it too"):
        experiments.run(load(spec_file(), arms=["other"], seeds=[0], settings=settings), tmp_path)
    assert (tmp_path / "small-base" / "study.json").read_text() == before
    assert json.loads(before)["arms"][0]["label"] == "plain"
