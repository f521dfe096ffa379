"""A config is right as a whole, or refused with every problem named."""

import os

import pytest
import torch
from helpers import runs
from hypothesis import given
from hypothesis import strategies as st

from bptt.train import Config, ConfigError

WRONG = {
    "epochs": [0, -1, 2.0, True, "3", None, 2**31],
    "seed": [-1, 2**63, 1.5, None],
    "batch_size": [0, 2.5, 2**31, 2**70],
    "optimizer": ["Adam", "lbfgs", None],
    "lr": [0, -1e-3, float("nan"), float("inf"), "0.1", True, 2e37, 10**400],
    "weight_decay": [-0.1, float("nan"), 1e300],
    "momentum": [-0.1, 1.0],
    "clip_norm": [0, -1.0, "None", None, float("inf"), float("nan"), 1e39],
    "anneal_epochs": [-1, 0.5, 10, 11, 2**64],
    "solved_at": [0, 1.1, 99, "never"],
    "eval_batch_size": [0, 2**31],
    "precision": ["float16", torch.float32],
    "threads": [0, 1.0, True, 1025, 2**40],
    "backend": ["cuda", None],
    "checkpoint_seconds": [-1, float("nan")],
    "watch_every": [-1, 1.0, True, "none"],
    "paths_every": [-1, 0.5, None],
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in WRONG for value in WRONG[field]])
def test_a_wrong_value_is_refused_with_field_and_value(field, value):
    with pytest.raises(ConfigError) as caught:
        Config(**({"epochs": 10, "seed": 0} | {field: value}))
    assert [name for name, _ in caught.value.problems] == [field]
    assert str(caught.value).startswith(f"{field} must be ")
    assert str(caught.value).endswith(f"got {value!r}")


def test_all_problems_are_named_at_once():
    with pytest.raises(
        ValueError, match=r"epochs must be an integer, 1 ≤ … < 2\*\*31, got 0\nlr must be"
    ) as caught:
        Config(epochs=0, seed=1, lr=-1.0, clip_norm="nine")
    assert str(caught.value).splitlines() == [
        "epochs must be an integer, 1 ≤ … < 2**31, got 0",
        "lr must be a finite number > 0 and ≤ 1e37, got -1.0",
        "clip_norm must be a finite number > 0 and ≤ 1e37, or \"none\", got 'nine'",
    ]


def test_settings_that_contradict_each_other_are_refused_together():
    with pytest.raises(ConfigError) as caught:
        Config(epochs=3, seed=1, anneal_epochs=3, momentum=0.9, watch_every=4, paths_every=6)
    assert str(caught.value).splitlines() == [
        "anneal_epochs must be less than epochs = 3, or p would always be 0, got 3",
        'momentum must be 0 for optimizer "adam", which has none, got 0.9',
        "paths_every must be 0 or a multiple of watch_every = 4, in whose lines the paths are told, got 6",
    ]


@given(
    epochs=st.integers(2, 2**31 - 1),
    seed=st.integers(0, 2**63 - 1),
    lr=st.floats(0, 1e37, exclude_min=True),
    clip_norm=st.just("none") | st.integers(1, 100) | st.floats(1e-9, 1e9),
    solved_at=st.just("none") | st.floats(0, 1, exclude_min=True),
    anneal_epochs=st.integers(0, 1),
)
def test_every_setting_in_range_is_kept(**given):
    config = Config(**given)
    assert {name: getattr(config, name) for name in given} == given


def test_whole_numbers_stand_for_real_ones():
    config = Config(epochs=1, seed=0, lr=1, clip_norm=2, solved_at=1)
    assert [repr(value) for value in (config.lr, config.clip_norm, config.solved_at)] == ["1.0", "2.0", "1.0"]


def test_precision_names_a_dtype():
    assert Config(epochs=1, seed=0).dtype is torch.float32
    assert Config(epochs=1, seed=0, precision="float64").dtype is torch.float64


def test_a_config_is_valid_on_every_machine_or_on_none(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert Config(epochs=1, seed=0, threads=64).threads == 64


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_the_largest_values_that_are_accepted_end_a_run_in_words_and_not_in_an_exception(tmp_path, optimizer):
    largest = {"lr": 1e37, "weight_decay": 1e37, "clip_norm": 1e37, "eval_batch_size": 2**31 - 1}
    outcome = runs.fit(tmp_path, optimizer=optimizer, batch_size=2**31 - 1, seed=2**63 - 1, **largest)
    assert outcome.status.startswith("non-finite")
