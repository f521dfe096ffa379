"""Tasks by name: whatever module of this package registers a function is found; there is no list to keep."""

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from ._task import Task

Factory = TypeVar("Factory", bound=Callable[..., Task])
_factories: dict[str, Callable[..., Task]] = {}


def register(name: str) -> Callable[[Factory], Factory]:
    """Make a function that returns a `Task` known to `make` as `name`.

    Args:
        name: what specs and the command line call the task.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        ValueError: if the name is taken by another function.
    """

    def decorate(function: Factory) -> Factory:
        taken = _factories.get(name)
        if taken is not None and _path(taken) != _path(function):
            raise ValueError(f"a task's name must be its own, {name!r} already names {_path(taken)}")
        _factories[name] = function
        return function

    return decorate


def names() -> list[str]:
    """The names of all tasks, in alphabetical order."""
    package = sys.modules[__name__.rpartition(".")[0]]
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        importlib.import_module(module.name)
    return sorted(_factories)


def factory(name: str) -> Callable[..., Task]:
    """The function that makes the task `name`, whose signature is what a spec is checked against.

    Args:
        name: one of `names()`.

    Returns:
        The function, such as `bptt.tasks.copying`.

    Raises:
        ValueError: if there is no such task; the message holds the nearest name and all names.
    """
    known = names()
    if name in known:
        return _factories[name]
    raise ValueError(f"task must be one of {', '.join(known)}, got {name!r}{_nearest(str(name), known)}")


def make(name: str, /, **arguments: Any) -> Task:
    """Make the task `name` with its own arguments.

    Args:
        name: one of `names()`.
        **arguments: the keyword arguments of that task's function.

    Returns:
        The task, its data on the CPU.

    Raises:
        ValueError: if the name is unknown; if arguments are unknown or missing, all of them at once with the
            nearest names; or if the function refuses a value.
    """
    function = factory(name)
    parameters = inspect.signature(function).parameters
    unknown = [
        f"unknown argument {key!r}{_nearest(key, parameters)}" for key in arguments if key not in parameters
    ]
    missing = [
        f"missing argument {key!r}"
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and key not in arguments
    ]
    if unknown or missing:
        raise ValueError(f"{name}: {'; '.join(unknown + missing)} (it takes {', '.join(parameters)})")
    return function(**arguments)


def _path(function: Callable[..., Task]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""
