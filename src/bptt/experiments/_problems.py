"""What can be wrong with a spec, and how all of it is said at once."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing wrong.

    Attributes:
        key: where, as a dotted key.
        message: which rule it breaks, what was expected and what came.
        nearest: the nearest right name, if any is near.
        unknown: the word that is no key, where that is what is wrong.
    """

    key: str
    message: str
    nearest: str | None = None
    unknown: str | None = None

    def __str__(self) -> str:
        hint = f" Did you mean {self.nearest!r}?" if self.nearest is not None else ""
        return f"{self.key}: {self.message}{'.' if hint else ''}{hint}"


class SpecError(ValueError):
    """A spec, or a request for one, that cannot be run; `problems` lists everything found wrong."""

    def __init__(self, problems: Iterable[Problem], subject: str = "") -> None:
        self.problems = tuple(problems)
        self.subject = subject
        super().__init__(str(self))

    def __str__(self) -> str:
        lines = [str(problem) for problem in self.problems]
        if self.subject:
            count = "1 problem" if len(lines) == 1 else f"{len(lines)} problems"
            lines = [f"{self.subject}: {count}", *(f"  {line}" for line in lines)]
        return "\n".join(lines)


def unknown(key: str, kind: str, got: str, known: Iterable[str], *, path: str = "") -> Problem:
    """The problem of a name that does not exist, with the nearest one that does.

    Args:
        key: where the name stands.
        kind: what it should name, such as "key" or "arm".
        got: the name.
        known: the right names.
        path: what to put before the nearest name when it is suggested, such as `"train."`.
    """
    known = list(known)
    close = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    message = f"unknown {kind}, expected one of {', '.join(known) or 'none here'}, got {got!r}"
    return Problem(
        key,
        message,
        nearest=path + close[0] if close else None,
        unknown=got if kind in ("key", "section") else None,
    )


def first_line(error: BaseException) -> str:
    """What an error says in its first line; below it torch prints the frames of its C++."""
    return str(error).partition("\n")[0]
