"""A command's own flags, read by tyro; what does not fit is told as every other error of ours."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

import tyro

from ._errors import CommandError, nearest

Arguments = TypeVar("Arguments")


def parse(
    kind: type[Arguments], command: str, argv: Sequence[str], *, takes: str = "only flags"
) -> Arguments:
    """The arguments of a command as a `kind`.

    Args:
        kind: a dataclass whose docstrings are the help; its fields without a default are the words that stand
            by themselves, the others are flags. No value is converted here but to a path.
        command: its name after `bptt`.
        argv: the words that follow.
        takes: the words by themselves that it must have, in words.

    Raises:
        CommandError: for an unknown flag, one without its value, a word too many or one too few.
        SystemExit: after `--help`.
    """
    asked = "-h" in argv or "--help" in argv
    try:
        given, strangers = tyro.cli(
            kind, prog=f"bptt {command}", args=list(argv), return_unknown_args=True, console_outputs=asked
        )
    except SystemExit as stop:
        if not stop.code:
            raise
        problem = _unknown(kind, argv) or _without_value(kind, argv) or f"takes {takes}, got none"
        raise _refusal(command, problem) from None
    if strangers:
        raise _refusal(command, _unknown(kind, argv) or f"takes {takes}, got {strangers[0]!r} as well")
    return given


def whole_numbers(flag: str, given: Sequence[str]) -> tuple[int, ...]:
    """The values of a flag as whole numbers.

    Raises:
        CommandError: if one is none.
    """
    try:
        return tuple(map(int, given))
    except ValueError:
        apart = " ".join(given).replace(",", " ").split()
        right = apart if all(word.isdecimal() for word in apart) else ["0", "1", "2"]
        raise CommandError(
            f"{flag} must be whole numbers with spaces between them, such as {flag} {' '.join(right)}, "
            f"got {' '.join(given)!r}"
        ) from None


def whole_number(flag: str, given: str | None) -> int | None:
    """The value of a flag as a whole number, None if the flag is not given.

    Raises:
        CommandError: if it is none.
    """
    try:
        return None if given is None else int(given)
    except ValueError:
        raise CommandError(f"{flag} must be a whole number, such as {flag} 2, got {given!r}") from None


def _refusal(command: str, problem: str) -> CommandError:
    return CommandError(f"bptt {command} {problem}\nall it takes: bptt {command} --help")


def _unknown(kind: Any, argv: Sequence[str]) -> str:
    known = _flags(kind)
    for word in argv:
        flag = word.partition("=")[0].replace("_", "-")
        if word.startswith("-") and not word[1:2].isdecimal() and flag not in known:
            flag = word.partition("=")[0]
            return f"knows no flag {flag}, only {', '.join([*known, '--help'])}.{nearest(flag, known)}"
    return ""


def _without_value(kind: Any, argv: Sequence[str]) -> str:
    flags = _flags(kind)
    for word, following in zip(argv, [*argv, "--"][1:], strict=True):
        if word in flags and flags[word] is not bool and following.startswith("--"):
            return f"takes a value after {word}, got none"
    return ""


def _flags(kind: Any) -> dict[str, Any]:
    """Every flag with the type of its value."""
    types = get_type_hints(kind)
    optional = [field.name for field in fields(kind) if field.default is not MISSING]
    return {f"--{name.replace('_', '-')}": types[name] for name in optional}
