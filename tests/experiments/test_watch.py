"""Runs that are looked at: in a spec only where it asks for it, and what cannot be looked at refused."""

from dataclasses import replace

import pytest
from helpers.experiments import refused, told

from bptt import train
from bptt.experiments import SpecError, load, run
from bptt.experiments._share import shared_out

KEYS = ("watch_every", "paths_every")


def test_a_spec_without_looks_is_the_one_from_before_there_were_any():
    for settings in ((), ("train.watch_every=0", "train.paths_every=0")):
        (one, *_) = load("copying", settings=settings).runs
        assert not set(KEYS) & one.document["train"].keys()
    (one, *_) = load("copying", settings=("train.watch_every=4", "train.paths_every=8")).runs
    assert [one.document["train"][key] for key in KEYS] == [4, 8]
    assert load("demo").runs[0].document["train"]["watch_every"] == 20


def test_a_run_of_a_study_is_looked_at(tmp_path):
    spec = load(
        "copying",
        profile="smoke",
        seeds=(0,),
        arms=("vanilla",),
        settings=("train.watch_every=1",),
    )
    assert not run(spec, tmp_path).failed
    folder = tmp_path / spec.folder / spec.runs[0].folder
    assert [line["step"] for line in train.read_flow(folder)] == list(
        range(1, train.read_outcome(folder).step + 1)
    )


def test_an_rnn_has_no_paths_to_split():
    settings = ('model.cell="rnn"', "train.watch_every=2", "train.paths_every=2")
    problems = told(refused("copying", arms=("vanilla",), settings=settings))
    assert problems["train.paths_every"].message == 'must be 0 for cell = "rnn", which has no carry, got 2'
    problems = told(refused("copying", settings=("train.paths_every=2",)))
    assert "must be 0 or a multiple of watch_every = 0" in problems["train.paths_every"].message


def test_a_stack_on_a_gpu_cannot_be_looked_at():
    spec = replace(load("copying", arms=("vanilla",), settings=("train.watch_every=2",)), device="cuda")
    with pytest.raises(
        SpecError, match=r"replicas: must be 1 on a GPU for runs that are watched, .* = 2, got 3"
    ):
        shared_out(spec, None, 3)
    assert shared_out(spec, None, 1).replicas == 1
