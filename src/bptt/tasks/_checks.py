"""Checks of a task's arguments: each returns what is wrong, or None, so that all are told at once."""

from collections.abc import Iterable
from math import inf


def whole(name: str, value: object, least: int, below: float = inf) -> str | None:
    """What is wrong with `value` as a whole number of at least `least` and less than `below`."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value < below:
        return None
    also = "" if below == inf else f" and < {below}"
    return f"{name} must be a whole number ≥ {least}{also}, got {value!r}"


def flag(name: str, value: object) -> str | None:
    """What is wrong with `value` as True or False."""
    return None if isinstance(value, bool) else f"{name} must be True or False, got {value!r}"


def one_of(name: str, value: object, choices: Iterable[object]) -> str | None:
    """What is wrong with `value` as one of `choices`; True does not pass for 1."""
    choices = list(choices)
    if any(type(value) is type(choice) and value == choice for choice in choices):
        return None
    return f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}"


def refuse(task: str, *problems: str | None) -> None:
    """Raise one ValueError that lists every problem, if there is any."""
    found = [problem for problem in problems if problem]
    if found:
        raise ValueError(f"{task}: " + "; ".join(found))
