"""Signatures as the schema of a spec: which keys exist, their types, ranges and defaults."""

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from sys import float_info
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ._problems import Problem, unknown

# TOML's integers, and those that torch can count with, have 64 bits.
LARGEST = 2**63 - 1
_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", type(None): '"none"'}


@dataclass(frozen=True)
class Field:
    """One key of a section.

    Attributes:
        hint: its type.
        default: its value where it is not given; `inspect.Parameter.empty` if it must be.
        at_most: its largest integer; None where what is built of the section tells its own limits.
    """

    hint: Any
    default: Any = inspect.Parameter.empty
    at_most: int | None = LARGEST

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


def fields_of(function: Callable[..., Any], *, leave_out: Collection[str] = ()) -> dict[str, Field]:
    """The keyword parameters of a function or class as fields, without those the caller supplies itself."""
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {
        name: Field(hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in named and name not in leave_out
    }


def fits(value: Any, hint: Any) -> bool:
    """Whether a TOML value may stand for a parameter annotated `hint`."""
    if hint is Any:
        return True
    origin = get_origin(hint)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in get_args(hint))
    if origin in (Union, types.UnionType):
        return any(fits(value, option) for option in get_args(hint))
    if origin in (tuple, list):
        item = get_args(hint)[0] if get_args(hint) else Any
        return isinstance(value, list | tuple) and all(fits(element, item) for element in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is type(None):  # TOML has no null
        return value is None or value == "none"
    return isinstance(value, hint)


def describe(hint: Any) -> str:
    """The type in words: `an integer`, `"adam" or "sgd"`, `a list of integers`."""
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(
            f'"{choice}"' if isinstance(choice, str) else str(choice) for choice in get_args(hint)
        )
    if origin in (Union, types.UnionType):
        return " or ".join(describe(option) for option in get_args(hint))
    if origin in (tuple, list):
        return f"a list, each {describe(get_args(hint)[0])}" if get_args(hint) else "a list"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def bind(
    section: str, given: Mapping[str, Any], fields: Mapping[str, Field]
) -> tuple[dict[str, Any], list[Problem]]:
    """Check a section against its fields.

    Returns:
        The section complete with defaults, without what must be given and is not, and the problems found.
    """
    problems = [
        unknown(f"{section}.{key}", "key", key, fields, path=f"{section}.")
        for key in given
        if key not in fields
    ]
    complete = {}
    for key, field in fields.items():
        if key not in given and field.required:
            expected = describe(field.hint)
            problems.append(Problem(f"{section}.{key}", f"must be given, expected {expected}, got nothing"))
            continue
        value = given.get(key, field.default)
        problem = _misfit(f"{section}.{key}", value, field) if key in given else None
        problems += [problem] if problem else []
        complete[key] = value if problem else _as(value, field.hint)
    return complete, problems


def _misfit(key: str, value: Any, field: Field) -> Problem | None:
    if not fits(value, field.hint):
        return _mistyped(key, value, field.hint)
    if isinstance(value, int) and field.at_most is not None:
        most = float_info.max if _for_floats(field.hint) else field.at_most
        if not -max(most, LARGEST) - 1 <= value <= most:
            expected = describe(field.hint).removesuffix(' or "none"')
            return Problem(key, f"must be {expected} ≤ {most}, got {value}")
    return None


def _mistyped(key: str, value: Any, hint: Any) -> Problem:
    choices = [choice for choice in _choices(hint) if isinstance(choice, str)]
    if isinstance(value, str) and choices:
        nearest = unknown(key, "value", value, choices).nearest
        return Problem(key, f"must be {describe(hint)}, got {value!r}", nearest)
    return Problem(key, f"must be {describe(hint)}, got {value!r} ({type(value).__name__})")


def _choices(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Literal:
        return get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(choice for option in get_args(hint) for choice in _choices(option))
    return ()


def _for_floats(hint: Any) -> bool:
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return float in options and int not in options


def _as(value: Any, hint: Any) -> Any:
    # 1 and 1.0 are the same number of a float field, and must give the same spec hash.
    if _for_floats(hint) and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= float_info.max else value
    if value == "none" and type(None) in get_args(hint):
        return None
    return list(value) if isinstance(value, tuple) else value
