"""Specs are merged in one order and refused with every problem at once."""

import dataclasses

import pytest
from helpers.experiments import refused, told

from bptt.experiments import SpecError, load


def test_base_values_profile_arm_and_settings_are_laid_over_in_this_order(spec_file):
    more = "[profiles.quick]\ntrain.epochs = 7\ntrain.lr = 0.03\nseeds = [5]\n"
    file = spec_file(more)
    plain, other = load(file).arms
    assert (plain.train["epochs"], plain.train["lr"], other.train["lr"]) == (2, 0.01, 0.02)
    spec = load(file, profile="quick")
    plain, other = spec.arms
    assert (plain.train["epochs"], plain.train["lr"], other.train["lr"]) == (7, 0.03, 0.02)
    assert (spec.profile, spec.seeds) == ("quick", (5,))
    plain, other = load(file, profile="quick", settings=["train.lr=1", "model.cell=gru"]).arms
    assert (plain.train["lr"], other.train["lr"]) == (1.0, 1.0)
    assert (plain.model["cell"], plain.model["num_layers"]) == ("gru", 1)


def test_a_spec_is_complete_and_frozen(spec_file):
    spec = load(spec_file())
    arm = spec.arms[1]
    assert arm.train["clip_norm"] == 1.0
    assert arm.task["encoding"] == "scalar"
    assert arm.model["dropout"] == 0.0
    assert arm.detach == {"h": 0.5, "c": 0.0, "draw": "step", "shared": False}
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.profile = "other"


def test_profile_without_a_name_is_the_usual_one_or_the_base(spec_file):
    assert load(spec_file()).profile == "base"
    usual = spec_file("[profiles.quick]\n", usual=('title = "A small one"', 'title = "t"\nprofile = "quick"'))
    assert load(usual).profile == "quick"


def test_seeds_and_arms_are_chosen(spec_file):
    spec = load(spec_file(), seeds=[3, 1], arms=["other"])
    assert [(run.arm, run.seed, run.folder) for run in spec.runs] == [
        ("other", 3, "other/seed-3"),
        ("other", 1, "other/seed-1"),
    ]


def test_an_int_where_a_float_goes_is_the_same_spec(spec_file):
    one, same = load(spec_file(), settings=["train.lr=1"]), load(spec_file(), settings=["train.lr=1.0"])
    assert one == same
    large, same = (load(spec_file(), settings=[f"train.lr={lr}"]) for lr in (10**20, "1e20"))
    assert large == same


def test_all_problems_are_told_at_once_each_with_its_key(spec_file):
    file = spec_file(
        "[arms.third]\ndetach = { h = 2 }\nmodel.hiden_size = 3\n[profiles.quick]\ntrian.epochs = 1\n",
        sections=("[train]", "colour = 1\n[train]\nclip_nrom = 1\nbatch_size = 0\noptimizer = 'adm'"),
        wrong=("hidden_size = 4", "hidden_size = 4.5"),
        missing=("epochs = 2", ""),
    )
    error = refused(
        file, settings=["train.seed=1", "nonsense", "arms.plian.train.lr=1"], seeds=[-1], arms=["pla"]
    )
    keys = told(error)
    assert {
        "model.colour",
        "model.hidden_size",
        "train.clip_nrom",
        "train.batch_size",
        "train.optimizer",
        "train.epochs",
        "train.seed",
        "arms.third.detach",
        "arms.third.model.hiden_size",
        "profiles.quick.trian",
        "--set",
        "arms.plian",
        "seeds",
        "arms",
    } == set(keys)
    assert keys["train.clip_nrom"].nearest == "train.clip_norm"
    assert keys["train.optimizer"].nearest == "adam"
    assert keys["arms.third.model.hiden_size"].nearest == "arms.third.model.hidden_size"
    assert keys["profiles.quick.trian"].nearest == "profiles.quick.train"
    assert keys["arms.plian"].nearest == "arms.plain"
    assert keys["arms"].nearest == "plain"
    assert "got 4.5" in keys["model.hidden_size"].message
    text = str(error)
    assert "14 problems" in text
    assert all(key in text for key in keys)


def test_what_constructors_refuse_is_told_beside_the_rest():
    settings = ["train.lr=abc", "task.resize=13", "model.hidden_size=-1"]
    keys = told(refused("demo", settings=settings))
    assert set(keys) == {"train.lr", "task.resize", "model.hidden_size"}


def test_names_and_seeds_given_twice_are_refused():
    keys = told(refused("copying", arms=["vanilla", "vanilla"], seeds=[1, 1]))
    assert "must not repeat an arm, got vanilla vanilla" in keys["arms"].message
    assert "must not repeat a seed, got [1, 1]" in keys["seeds"].message


def test_a_spec_without_profiles_says_what_to_do(spec_file):
    (problem,) = refused(spec_file(), profile="smoke").problems
    assert problem.key == "profile"
    assert problem.message == (
        "must be left out, or [profiles.NAME] added to the spec, which has none, got 'smoke'"
    )
    assert load(spec_file(), profile="base") == load(spec_file())


def test_a_profile_is_checked_chosen_or_not(spec_file):
    file = spec_file("[profiles.quick]\ntrain.epohcs = 1\ntask.delay = 'x'\nseeds = []\ncost = 3\n")
    wanted = {f"profiles.quick.{key}" for key in ("train.epohcs", "task.delay", "seeds", "cost")}
    assert told(refused(file)).keys() == wanted
    problems = told(refused(file, profile="quick"))
    assert problems.keys() == wanted
    assert problems["profiles.quick.train.epohcs"].nearest == "profiles.quick.train.epochs"


@pytest.mark.parametrize(
    ("setting", "key", "said"),
    [
        ("train.lr=0", "train.lr", "must be a finite number > 0"),
        ("train.epochs=ten", "train.epochs", "must be an integer, got 'ten' (str)"),
        ("train.anneal_epochs=3", "train.anneal_epochs", "less than epochs = 3"),
        ("train.clip_norm=off", "train.clip_norm", "must be a number or \"none\", got 'off'"),
        ("task.delay=0", "task.delay", "must be a whole number ≥ 1, got 0"),
        ("task.delay=true", "task.delay", "must be an integer, got True (bool)"),
        ("model.hidden_size=0", "model.hidden_size", "must be greater than zero"),
        ("model.dropout=0.5", "model.dropout", "num_layers greater than 1"),
        ("model.readout=last", "model.readout", "must be \"each\" for this task, got 'last'"),
        ("model.embed=linear", "model.embed_size", "must be given with embed"),
        ("model.embed=lookup", "model.embed_size", "must be given with embed"),
        ("model.nonlinearity=relu", "model.nonlinearity", "unknown key"),
        ("train.seed=4", "train.seed", "unknown key"),
        ("seeds=[]", "seeds", "at least one integer"),
        ("seeds=[1, 1]", "seeds", "must not repeat"),
        ("experiment.name='../up'", "experiment.name", "must be a name"),
        ("arms.vanilla=3", "arms.vanilla", "must be a table, got 3"),
        ("task=3", "task", "must be a table, got 3"),
        ("arms.vanilla.detach.h=1.5", "arms.vanilla.detach", "must be a probability in [0, 1], got 1.5"),
        ("arms.vanilla.detach=0.5", "arms.vanilla.detach", "must be a table such as"),
        ("profiles.smoke.train.epochs=3", "profiles", "unknown section"),
        ("experiment.profile=lite", "experiment.profile", "unknown key"),
        ("seeds=[9223372036854775808]", "seeds", "each 0 ≤ … < 2**63"),
        ("train.lr", "--set", "must be key=value"),
        ("task.delay=" + "9" * 5000, "--set", "must be key=value"),
        ("task.delay=0x" + "f" * 5000, "--set", "must be key=value"),
        ("task.delay=" + "[" * 5000, "--set", "must be key=value"),
        ("task.delay=100000001", "task.delay", "must be an integer ≤ 100000000, got 100000001"),
        (f"task.train_size={2**65}", "task.train_size", "must be an integer ≤ 100000000, got"),
        (f"task.seed={2**63}", "task.seed", "must be an integer ≤ 9223372036854775807, got"),
        (f"model.hidden_size={2**65}", "model.hidden_size", "must be an integer ≤ 16777216, got"),
        (f"model.proj_size={2**65}", "model.proj_size", "must be an integer ≤ 16777216, got"),
        ("model.num_layers=1001", "model.num_layers", "must be an integer ≤ 1000, got 1001"),
        (f"train.epochs={2**65}", "train.epochs", "must be an integer, 1 ≤ … < 2**31, got"),
        (f"train.lr=1{'0' * 400}", "train.lr", "must be a finite number > 0 and ≤ 1e37, got"),
        (f"train.clip_norm=1{'0' * 400}", "train.clip_norm", '> 0 and ≤ 1e37, or "none", got'),
        (f"train.threads={2**65}", "train.threads", "must be an integer from 1 to 1024, got"),
        (f"model.dropout={2**65}", "model.dropout", "should be a number in range [0, 1]"),
        (f"model.dropout=1{'0' * 400}", "model.dropout", "must be a number ≤ 1.7976931348623157e+308, got"),
        ("model.cell=[]", "model.cell", 'must be "lstm" or "gru" or "rnn", got []'),
        ("train.lr=.1.", "--set", "must be key=value"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named(setting, key, said):
    problems = told(refused("copying", profile="smoke", settings=[setting]))
    assert key in problems
    assert said in problems[key].message


@pytest.mark.parametrize("value", ["[]", "{}", '""', "true", "-0.5", "1979-05-27", "nan", f"-{2**80}"])
def test_every_value_of_every_key_is_taken_or_answered(spec_file, value):
    file = spec_file()
    base = load(file).base
    keys = [f"{section}.{key}" for section in base for key in base[section]]
    keys += [
        "experiment",
        "experiment.name",
        "experiment.profile",
        "seeds",
        "task",
        "arms",
        "detach",
        "profiles",
    ]
    keys += [
        f"arms.plain{key}" for key in ("", ".label", ".task.name", ".model.cell", ".detach", ".detach.h")
    ]
    answers = []
    for key in keys:
        try:
            load(file, settings=[f"{key}={value}"])
        except SpecError as error:
            answers.append(str(error))
    assert len(answers) > len(keys) / 2
    assert max(map(len, answers)) < 2000


def test_a_task_that_no_memory_holds_is_named(spec_file):
    adding = 'name = "adding"\nlength = 100_000_000\ntrain_size = 1_000_000'
    file = spec_file(
        task=('name = "copying"\ndelay = 3\ntrain_size = 100', adding), epoch=("iterations = 2", "")
    )
    problems = told(refused(file))
    assert "can't allocate memory" in problems["task"].message


def test_tokens_need_a_lookup_and_numbers_do_not():
    problems = told(refused("copying", settings=["model.embed=lookup", "model.embed_size=3"]))
    assert "for tokens and for nothing else" in problems["model.embed"].message
    load("copying", profile="smoke", settings=["model.embed=linear", "model.embed_size=3"])


def test_a_carry_cannot_be_blocked_where_there_is_none():
    settings = ["model.cell=rnn", "arms.vanilla.detach.c=0.5"]
    (problem,) = refused("copying", profile="smoke", settings=settings).problems
    assert "no carry to block" in problem.message


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"seeds = [", "must be TOML"), (b"\xff\xfe", "must be a readable spec file"), (None, "No such file")],
)
def test_a_file_that_is_no_spec(tmp_path, content, said):
    path = tmp_path / "broken.toml"
    if content is not None:
        path.write_bytes(content)
    assert said in str(refused(path))


def test_an_empty_file_is_told_all_that_it_lacks(tmp_path):
    (tmp_path / "empty.toml").write_text("")
    assert told(refused(tmp_path / "empty.toml")).keys() == {
        "experiment.name",
        "experiment.title",
        "seeds",
        "arms",
        "task.name",
        "model.cell",
        "model.readout",
        "train.epochs",
    }


def test_an_unknown_device_of_this_machine():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    assert "torch finds no GPU" in str(refused("copying", device="cuda"))
