"""The page on writing an experiment says what is true."""

import json
import re
import shlex
from dataclasses import MISSING, fields
from itertools import pairwise
from pathlib import Path

import pytest

from bptt import experiments, train

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
OWN, PROFILE = re.findall(r"```toml\n(.*?)```", PAGE, re.S)


@pytest.fixture
def own(tmp_path):
    """The page's spec with its profile, as a file."""
    path = tmp_path / "adding.toml"
    path.write_text(OWN + PROFILE)
    return path


def test_the_spec_of_the_page_is_complete_by_itself(tmp_path):
    path = tmp_path / "adding.toml"
    path.write_text(OWN)
    spec = experiments.load(path)
    assert (spec.profile, spec.folder, spec.seeds) == ("base", "adding-base", (0, 1, 2))
    assert [arm.detach and arm.detach["h"] for arm in spec.arms] == [None, 0.25]
    for line in ("seeds = [0, 1, 2]", 'title = "Adding two numbers among 50"', "length = 50", "epochs = 20"):
        path.write_text(OWN.replace(line, ""))
        with pytest.raises(experiments.SpecError, match=f"{line.split()[0]}: must be given"):
            experiments.load(path)


def test_the_profile_of_the_page_runs_in_the_folder_it_names(own, tmp_path):
    spec = experiments.load(own, profile="smoke", arms=["h-detach-0.25"])
    result = experiments.run(spec, tmp_path / "runs")
    assert not result.failed
    assert result.folder == tmp_path / "runs" / "adding-smoke"
    assert experiments.load(own).folder == "adding-base"
    own.write_text(own.read_text().replace("[experiment]", '[experiment]\nprofile = "smoke"'))
    assert experiments.load(own).profile == "smoke"


def test_the_commands_of_the_page_are_right(own):
    commands = [shlex.split(line) for line in re.findall(r"^    (bptt run .*)$", PAGE, re.M)]
    settings = [[word for flag, word in pairwise(words) if flag == "--set"] for words in commands]
    gru, half = (experiments.load(own, settings=given) for given in settings)
    assert {(arm.model["cell"], arm.train["lr"]) for arm in gru.arms} == {("gru", 0.01)}
    assert [arm.detach and arm.detach["h"] for arm in half.arms] == [None, 0.5]


def test_seeds_below_a_section_are_answered(own):
    own.write_text(OWN.replace("seeds = [0, 1, 2]\n", "").replace("[task]", "seeds = [0]\n[task]"))
    with pytest.raises(experiments.SpecError) as caught:
        experiments.load(own)
    problems = {problem.key: problem for problem in caught.value.problems}
    assert "above the first [section]" in problems["seeds"].message
    assert problems["experiment.seeds"].nearest == "seeds"


def test_the_keys_of_train_have_the_defaults_and_rules_of_the_page():
    expected = []
    for field in fields(train.Config):
        if field.name == "seed":
            continue
        with pytest.raises(train.ConfigError) as caught:
            train.Config(**{"epochs": 1, "seed": 0, field.name: []})
        ((_, told),) = caught.value.problems
        rule = told.removeprefix("must be ").removesuffix(", got []").replace("2**31", "2³¹")
        default = "required" if field.default is MISSING else f"`{json.dumps(field.default)}`"
        rule = re.sub(r'"[\w-]+"', r"`\g<0>`", rule)
        expected.append(f"| `{field.name}` | {default} | {rule} |")
    _, _, table = PAGE.partition("| key of `[train]` | default | must be |\n|---|---|---|\n")
    assert table.splitlines()[: len(expected)] == expected
    assert not table.splitlines()[len(expected)].startswith("|")
