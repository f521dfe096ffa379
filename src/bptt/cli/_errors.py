"""How a command says that it cannot go on."""

import difflib
import sys
from collections.abc import Iterable


class CommandError(Exception):
    """A message for the user, without a traceback, and the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status

    def show(self) -> None:
        """Print the message on stderr."""
        from rich.console import Console
        from rich.text import Text

        console = Console(file=sys.stderr, soft_wrap=True, highlight=False)
        console.print(Text.assemble(("error: ", "bold red"), str(self)))


def nearest(word: str, known: Iterable[str]) -> str:
    """` Did you mean …?`, or nothing if no known word is close."""
    close = closest(word, known)
    return f" Did you mean {close[0]!r}?" if close else ""


def closest(word: str, known: Iterable[str]) -> list[str]:
    """The known words that are close, at most nine, the closest first."""
    return difflib.get_close_matches(word, list(known), n=9, cutoff=0.5)
