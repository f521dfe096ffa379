"""JSON that is one text per value: no NaN literals, exact floats, sorted keys where it is hashed."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

_WORDS = ("nan", "inf", "-inf")


def plain(value: Any) -> Any:
    """The value in JSON's own types; non-finite numbers become "nan", "inf" or "-inf"."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return repr(float(value))
    return value


def number(value: Any) -> Any:
    """The float that `plain` wrote as a word, inside mappings and lists too; anything else as it is."""
    if isinstance(value, Mapping):
        return {key: number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [number(item) for item in value]
    return float(value) if isinstance(value, str) and value in _WORDS else value


def line(value: Any) -> bytes:
    """One line of a .jsonl file."""
    return (json.dumps(plain(value), allow_nan=False) + "\n").encode()


def page(value: Any) -> bytes:
    """A .json file for people to read."""
    return (json.dumps(plain(value), allow_nan=False, indent=2) + "\n").encode()


def canonical(value: Any) -> bytes:
    """The text that is hashed: equal values, in whatever order their keys came, give equal bytes."""
    return json.dumps(plain(value), allow_nan=False, sort_keys=True, separators=(",", ":")).encode()
