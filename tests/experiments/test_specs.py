"""The specs that come with bptt."""

import re

import pytest

from bptt import experiments

TRAINED = [name for name in experiments.names() if "train" in experiments.read(name)]
EVERY = [(name, profile) for name in experiments.names() for profile in experiments.read(name)["profiles"]]


def test_what_is_shipped():
    shipped = ["carry-suppression", "copying", "demo", "gradient-flow-rnn-lstm", "pmnist", "smnist"]
    assert experiments.names() == shipped
    assert [name for name in shipped if experiments.load(name).measured] == ["gradient-flow-rnn-lstm"]
    assert {profile for _, profile in EVERY} == {"smoke", "lite", "paper"}
    assert len(EVERY) == 18


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
    for section in experiments.load(name).base:
        body = re.search(rf"^\[{section}\].*?(?=^\[)", base, re.M | re.S)[0]
        for line in body.splitlines()[1:]:
            if "=" in line and not line.startswith(("name", "cell")):
                assert re.search(r"# (paper|page|code|ours)\b", line), line


@pytest.mark.parametrize("name", experiments.names())
def test_a_spec_names_precision_threads_and_profile(name):
    document = experiments.read(name)
    assert document.get("train", document.get("measure")).keys() >= {"precision", "threads"}
    assert document["experiment"]["profile"] in document["profiles"]
    assert all(profile["cost"] for profile in document["profiles"].values())


def test_arms():
    for name in TRAINED:
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


def test_carry_suppression_is_copying_with_its_paths_watched():
    spec, copying = (experiments.load(name, profile="paper") for name in ("carry-suppression", "copying"))
    for arm, other in zip(spec.arms, copying.arms, strict=True):
        watched = {"watch_every": 1_000, "paths_every": 1_000}
        assert (arm.task, arm.model, arm.detach) == (other.task, other.model, other.detach)
        assert arm.train == {**other.train, **watched}
    for arm in experiments.load("carry-suppression", profile="lite").arms:
        assert arm.train["epochs"] * arm.task["iterations"] == 9_000
        assert (arm.task["delay"], arm.train["paths_every"]) == (100, 100)
    assert len(spec.seeds) == 5


def test_gradient_flow_measures_what_the_page_measures():
    spec = experiments.load("gradient-flow-rnn-lstm", profile="lite")
    assert len(spec.seeds) >= 10
    for arm in spec.arms:
        values = arm.sections["measure"]
        assert (values["input_size"], values["hidden_size"]) == (32, 64)
        assert values["steps"] == [10, 20, 50, 100, 200, 500, 1000]
    assert [arm.detach["h"] for arm in spec.arms if arm.detach] == [0.25, 0.5]
    (page,) = {
        tuple(arm.sections["measure"]["steps"])
        for arm in experiments.load(spec.experiment, profile="paper").arms
    }
    assert page == (10, 50, 100, 200)


def test_no_spec_silently_uses_onehot():
    for name, profile in EVERY:
        for arm in experiments.load(name, profile=profile).arms if name in TRAINED else ():
            assert arm.task.get("encoding", "scalar") == "scalar"
