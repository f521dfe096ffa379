"""What is misspelt or in the wrong place is answered with what was meant."""

import re

import pytest
from helpers.experiments import refused, told

from bptt.experiments import load

ARM = 'arms."h-detach-0.25"'


@pytest.mark.parametrize(
    ("asked", "key", "nearest"),
    [
        ({"profile": "smokes"}, "profile", "smoke"),
        ({"arms": ["vanila"]}, "arms", "vanilla"),
        ({"settings": ["task.dealy=3"]}, "task.dealy", "task.delay"),
        ({"settings": ["tsak.delay=3"]}, "tsak", "task"),
        ({"settings": ["task.name=copyng"]}, "task.name", "copying"),
        ({"settings": ["task.encoding=one-hot"]}, "task.encoding", "onehot"),
        ({"settings": ["model.cell=lstn"]}, "model.cell", "lstm"),
        ({"settings": ["train.precision=float16"]}, "train.precision", "float64"),
        ({"settings": ['arms."h-detach-0.25".detach.draw=steps']}, f"{ARM}.detach.draw", "step"),
        ({"settings": ['arms."h-detach-0.26".detach.h=0.3']}, 'arms."h-detach-0.26"', ARM),
        ({"settings": ["arms.h-detach-0.25.detach.h=0.5"]}, "arms.h-detach-0.25", ARM),
        ({"settings": ["epochs=3"]}, "epochs", "train.epochs"),
        ({"settings": ["epohcs=3"]}, "epohcs", "train.epochs"),
        ({"settings": ["lr=0.1"]}, "lr", "train.lr"),
        ({"settings": ["delay=3"]}, "delay", "task.delay"),
        ({"settings": ["seed=3"]}, "seed", "seeds"),
        ({"settings": ["train.seed=3"]}, "train.seed", "seeds"),
        ({"settings": ["train.seeds=[3]"]}, "train.seeds", "seeds"),
        ({"settings": ["experiment.seeds=[3]"]}, "experiment.seeds", "seeds"),
        ({"settings": ["title=x"]}, "title", "experiment.title"),
        ({"settings": ["train.learning_rate=0.1"]}, "train.learning_rate", "train.lr"),
        ({"settings": ["layers=2"]}, "layers", "model.num_layers"),
        ({"settings": ["train.hidden_size=3"]}, "train.hidden_size", "model.hidden_size"),
        ({"settings": ["arms.vanilla.epochs=3"]}, "arms.vanilla.epochs", "arms.vanilla.train.epochs"),
        ({"settings": ["arms.vanilla.model.lr=3"]}, "arms.vanilla.model.lr", "arms.vanilla.train.lr"),
        ({"settings": ["p=0.5"]}, "p", f"{ARM}.detach.h"),
        ({"settings": ["model.detach.h=0.5"]}, "model.detach", f"{ARM}.detach"),
        ({"settings": ["arms.vanilla.detach.p=0.5"]}, "arms.vanilla.detach.p", "arms.vanilla.detach.h"),
        ({"device": "cudo"}, "device", "cuda"),
    ],
)
def test_a_misspelling_is_answered_with_the_nearest_right_name(asked, key, nearest):
    problems = told(refused("copying", **({"profile": "smoke"} | asked)))
    assert problems.keys() == {key}
    assert problems[key].nearest == nearest
    assert f"Did you mean {nearest!r}?" in str(problems[key])


def test_a_detach_outside_an_arm_is_told_where_it_belongs():
    (problem,) = refused("copying", profile="smoke", settings=["detach.h=0.5"]).problems
    assert problem.key == "detach"
    (example,) = re.findall(r"--set '(.*?)'", problem.message)
    assert load("copying", profile="smoke", settings=[example]).arms[1].detach["h"] == 0.5


def test_a_wrong_task_or_cell_hides_no_other_misspelling():
    settings = ["task.name=copyng", "task.dealy=3", "model.cell=lstmm", "model.hiden_size=3", "lr=3"]
    keys = told(refused("copying", settings=settings))
    assert {key: problem.nearest for key, problem in keys.items()} == {
        "task.name": "copying",
        "task.dealy": "task.delay",
        "model.cell": "lstm",
        "model.hiden_size": "model.hidden_size",
        "lr": "train.lr",
    }


def test_a_misspelt_experiment():
    (problem,) = refused("copyin").problems
    assert problem.nearest == "copying"
