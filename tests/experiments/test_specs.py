"""The specs that come with bptt."""

import re

import pytest

from bptt import experiments

EVERY = [(name, profile) for name in experiments.names() for profile in experiments.read(name)["profiles"]]


def test_what_is_shipped():
    assert experiments.names() == ["copying", "demo", "pmnist", "smnist"]
    assert {profile for _, profile in EVERY} == {"smoke", "lite", "paper"}
    assert len(EVERY) == 12


@pytest.mark.parametrize(("name", "profile"), EVERY)
def test_every_profile_is_valid(name, profile):
    spec = experiments.load(name, profile=profile)
    assert spec.experiment == name
    assert spec.folder == f"{name}-{profile}"
    assert len(spec.runs) == len(spec.arms) * len(spec.seeds)
    assert spec.source


@pytest.mark.parametrize("name", experiments.names())
def test_a_spec_opens_with_its_command_and_gives_every_value_a_source(name):
    text = experiments.source_text(name)
    assert text.startswith(f"# bptt run {name}")
    base = text.partition("[profiles.smoke]")[0]
    for section in ("task", "model", "train"):
        body = re.search(rf"^\[{section}\].*?(?=^\[)", base, re.M | re.S)[0]
        for line in body.splitlines()[1:]:
            if "=" in line and not line.startswith(("name", "cell")):
                assert re.search(r"# (paper|code|ours)\b", line), line


@pytest.mark.parametrize("name", experiments.names())
def test_a_spec_names_precision_threads_and_profile(name):
    document = experiments.read(name)
    assert document["train"].keys() >= {"precision", "threads"}
    assert document["experiment"]["profile"] in document["profiles"]
    assert all(profile["cost"] for profile in document["profiles"].values())


def test_arms():
    for name in experiments.names():
        arms = {arm.name: arm.detach for arm in experiments.load(name).arms}
        assert arms["vanilla"] is None
        assert arms["h-detach-0.25"] == {"h": 0.25, "c": 0.0, "draw": "step", "shared": False}
        assert set(arms) - {"vanilla", "h-detach-0.25"} == (set() if name == "demo" else {"h-detach-0.5"})


def test_the_published_protocol_of_copying():
    spec = experiments.load("copying", profile="paper", settings=["task.delay=300"])
    for arm in spec.arms:
        assert arm.task["delay"] == 300
        assert arm.task["encoding"] == "scalar"
        assert (arm.task["train_size"], arm.task["valid_size"], arm.task["iterations"]) == (
            100_000,
            5_000,
            1_000,
        )
        assert (arm.model["cell"], arm.model["hidden_size"], arm.model["num_layers"]) == ("lstm", 128, 1)
        assert (arm.train["epochs"], arm.train["anneal_epochs"], arm.train["batch_size"]) == (600, 39, 100)
        assert (arm.train["optimizer"], arm.train["lr"], arm.train["clip_norm"]) == ("adam", 1e-3, 1.0)
    assert experiments.load("copying", profile="paper").arms[0].task["delay"] == 100


@pytest.mark.parametrize("name", ["smnist", "pmnist"])
def test_the_published_protocol_of_pixel_mnist(name):
    for arm in experiments.load(name, profile="paper").arms:
        assert arm.task["resize"] == 28
        assert not arm.task["rows"]
        assert (arm.model["cell"], arm.model["hidden_size"], arm.model["readout"]) == ("lstm", 100, "last")
        assert (arm.train["epochs"], arm.train["anneal_epochs"], arm.train["batch_size"]) == (200, 39, 100)
        assert (arm.train["optimizer"], arm.train["lr"], arm.train["clip_norm"]) == ("adam", 1e-3, 1.0)


def test_the_demo_reads_196_pixels_for_at_least_10_epochs():
    for arm in experiments.load("demo", profile="lite").arms:
        assert (arm.task["name"], arm.task["resize"]) == ("smnist-5k", 14)
        assert arm.train["epochs"] >= 10


def test_the_demo_claims_no_published_protocol():
    profile = experiments.read("demo")["profiles"]["paper"]
    assert "not a published protocol" in profile["cost"]
    values = experiments.source_text("demo").partition("seeds =")[2]
    assert not re.search(r"# paper\b", values)


def test_no_spec_silently_uses_onehot():
    for name, profile in EVERY:
        for arm in experiments.load(name, profile=profile).arms:
            assert arm.task.get("encoding", "scalar") == "scalar"
