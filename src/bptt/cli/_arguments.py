"""A command's own flags, read by tyro."""

from collections.abc import Sequence
from typing import TypeVar

import tyro

Arguments = TypeVar("Arguments")


def parse(kind: type[Arguments], command: str, argv: Sequence[str]) -> Arguments:
    """The arguments of a command as a `kind`, a dataclass whose docstrings are the help.

    Raises:
        SystemExit: with status 0 after `--help`, 2 after an unknown flag or a value that does not fit.
    """
    return tyro.cli(kind, prog=f"bptt {command}", args=list(argv))
