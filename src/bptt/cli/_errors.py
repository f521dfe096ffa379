"""How a command says that it cannot go on."""

import sys


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
