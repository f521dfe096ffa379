"""`bptt data`: data sets, checked or fetched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ._arguments import parse
from ._errors import CommandError, nearest

HELP = """\
usage: bptt data COMMAND ...

Check a data set, or download one. Nothing else in bptt ever downloads.

commands:
  check DIR            read every file of a data set and say what is wrong with each
  fetch mnist          download a data set, verified by its checksums

  bptt data COMMAND --help   what a command takes
"""


@dataclass(frozen=True)
class Check:
    """Read every file of a data set and say what is wrong with each.

    Exit status: 0 all are right, 1 some are not, 2 bad input.
    """

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The folder with the files, or the one that holds it."""


@dataclass(frozen=True)
class Fetch:
    """Download a data set, verified by its checksums; a download that was cut goes on where it stopped.

    Exit status: 0 done, 1 it could not be downloaded, 2 bad input, 130 stopped with Ctrl-C.
    """

    name: Annotated[Positional[str], arg(metavar="NAME")]
    """Which: mnist."""
    dest: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the cache)")] = None
    """The data folder; the files go to DIR/NAME."""


def main(argv: Sequence[str]) -> int:
    """Check or fetch."""
    commands = {"check": _check, "fetch": _fetch}
    if not argv or argv[0] not in (*commands, "-h", "--help"):
        got = repr(argv[0]) if argv else "none"
        hint = nearest(argv[0], commands) if argv else ""
        raise CommandError(f"bptt data takes one of {', '.join(commands)}, got {got}.{hint}")
    if argv[0] in commands:
        return commands[argv[0]](argv[1:])
    print(HELP, end="")
    return 0


def _check(argv: Sequence[str]) -> int:
    given = parse(Check, "data check", argv, takes="one folder")
    from .. import tasks

    try:
        found = tasks.data.check(given.folder)
    except (NotADirectoryError, ValueError) as error:
        raise CommandError(str(error)) from error
    print(f"mnist in {found.folder}")
    for file in found.files:
        name = file.name if file.path is None else file.path.name
        print(f"  {name}: {file.problem or file.note or 'right'}")
    return 0 if found.ok else 1


def _fetch(argv: Sequence[str]) -> int:
    given = parse(Fetch, "data fetch", argv, takes="one data set: mnist")
    from .. import tasks

    if given.name not in tasks.data.names():
        known = tasks.data.names()
        hint = nearest(given.name, known)
        raise CommandError(f"the data set must be one of {', '.join(known)}, got {given.name!r}.{hint}")
    try:
        folder = tasks.data.fetch(given.name, given.dest, progress=_announce())
    except (tasks.data.DownloadError, ValueError) as error:
        raise CommandError(str(error), status=1) from error
    except OSError as error:
        raise CommandError(
            f"{error.filename} cannot be written: {error.strerror}; --dest takes another folder", status=1
        ) from error
    print(f"{given.name} is in {folder}")
    return 0


def _announce() -> Callable[[str, int, int | None], None]:
    told: set[str] = set()

    def tell(name: str, _done: int, total: int | None) -> None:
        if name not in told:
            told.add(name)
            print(f"fetching {name}" + (f", {total / 1e6:.1f} MB" if total else ""), flush=True)

    return tell
