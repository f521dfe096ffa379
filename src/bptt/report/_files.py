"""Files: what is wrong with one that is read is said by name; one written appears whole or not at all."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_WORDS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class ReportError(ValueError):
    """A report that cannot be made or written; the message names each path, and what is wrong with it."""


class DamagedError(ValueError):
    """A result file that is not what its name promises; the message names the file."""


def read_bytes(path: Path) -> bytes:
    """The content of `path`; DamagedError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None


def sha256(path: Path) -> str:
    """The SHA-256 of the content of `path`, in hexadecimal digits."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def parse_object(text: bytes, where: str) -> dict[str, Any]:
    """One JSON object; `where` names its file, and its line, in the error."""
    try:
        value = json.loads(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DamagedError(f"{where} is not UTF-8 text: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise DamagedError(f"{where} is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:  # a number of thousands of digits
        raise DamagedError(f"{where} is not JSON we read: {error}") from None
    except RecursionError:
        raise DamagedError(f"{where} is not JSON we read: nested too deeply") from None
    if not isinstance(value, dict):
        raise DamagedError(f"{where} must hold a JSON object, got {type(value).__name__}")
    if b"\\ud" in text.lower() and any(
        "\ud800" <= char <= "\udfff" for char in json.dumps(value, ensure_ascii=False)
    ):
        raise DamagedError(f"{where} is not text: it holds half of a surrogate pair")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that is the whole of `path`."""
    return parse_object(read_bytes(path), path.name)


def need(mapping: Mapping[str, Any], key: str, kind: type[_T], where: str) -> _T:
    """`mapping[key]`, which must be there and of this type."""
    if key not in mapping:
        raise DamagedError(f"{where} lacks the field {key!r}")
    value = mapping[key]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise DamagedError(
            f"{where}: {key} must be {_named(kind)}, got {json.dumps(value, ensure_ascii=False)[:60]}"
        )
    return value


def need_text_or_null(mapping: Mapping[str, Any], key: str, where: str) -> str:
    """`mapping[key]`, a text; null reads as an empty one."""
    return "" if mapping.get(key, "") is None else need(mapping, key, str, where)


def need_number(value: object, what: str) -> float:
    """A number, or one of the words `nan`, `inf` and `-inf` that stand for what JSON cannot write."""
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DamagedError(f"{what} must be a number, got {json.dumps(value, ensure_ascii=False)[:60]}")
    try:
        return float(value)
    except OverflowError:
        raise DamagedError(f"{what} must be a number that a float64 holds, got a larger one") from None


def need_numbers(mapping: Mapping[str, Any], key: str, where: str) -> dict[str, float]:
    """`mapping[key]`, an object whose values are all numbers."""
    values = need(mapping, key, dict, where)
    return {name: need_number(value, f"{where}: {key}.{name}") for name, value in values.items()}


def file_names(names: Sequence[str]) -> list[str]:
    """For each name one that a file or folder can have; all different."""
    made: list[str] = []
    for name in names:
        safe = "".join(char if char.isalnum() or char in "-_." else "-" for char in name)
        twins = sum(other.partition("~")[0] == safe for other in made)
        made.append(f"{safe}~{twins + 1}" if twins else safe)
    return made


def replace(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all; ReportError when it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ReportError(f"{path} cannot be written: {error.strerror}") from error


def _named(kind: type) -> str:
    names = {dict: "an object", list: "a list", str: "a text", int: "a whole number", bool: "true or false"}
    return names.get(kind, kind.__name__)
