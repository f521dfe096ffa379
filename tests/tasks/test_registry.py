"""Tasks by name, and an answer to every misspelling."""

import pytest

from bptt import tasks

NAMES = ["adding", "copying", "pmnist", "pmnist-5k", "smnist", "smnist-5k"]


def test_names() -> None:
    assert tasks.names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_the_function_of_that_name(name: str) -> None:
    assert tasks.factory(name) is getattr(tasks, name.replace("-", "_"))


def test_make_passes_the_arguments_on() -> None:
    task = tasks.make("copying", delay=7, train_size=11)
    assert task.name == "copying"
    assert (task.steps, task.sizes["train"]) == (27, 11)


def test_a_misspelt_task_is_answered_with_the_nearest_and_all() -> None:
    with pytest.raises(ValueError, match=r"got 'copyng' \(did you mean 'copying'\?\)") as caught:
        tasks.make("copyng", delay=3)
    assert ", ".join(NAMES) in str(caught.value)


def test_a_function_s_name_is_answered_with_the_task_s() -> None:
    with pytest.raises(ValueError, match=r"did you mean 'smnist-5k'"):
        tasks.make("smnist_5k")


def test_all_misspelt_and_missing_arguments_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^copying: ") as caught:
        tasks.make("copying", dealy=3, encodng="onehot", colour=1)
    message = str(caught.value)
    assert "unknown argument 'dealy' (did you mean 'delay'?)" in message
    assert "unknown argument 'encodng' (did you mean 'encoding'?)" in message
    assert "unknown argument 'colour';" in message
    assert "missing argument 'delay'" in message
    assert "(it takes delay, encoding, train_size, valid_size, iterations, seed)" in message


def test_a_name_of_the_wrong_type_is_answered_too() -> None:
    with pytest.raises(ValueError, match=r"task must be one of .* got 3"):
        tasks.factory(3)  # type: ignore[arg-type]


def test_a_name_that_is_taken_is_refused() -> None:
    def mine() -> tasks.Task:
        return tasks.copying(1)

    with pytest.raises(ValueError, match=r"'adding' already names bptt.tasks._adding.adding"):
        tasks.register("adding")(mine)
    assert tasks.factory("adding") is tasks.adding
