"""`bptt data`: data sets, checked or fetched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitSubcommandPrefixes, Positional, arg, subcommand

from ._arguments import parse
from ._errors import CommandError


@dataclass(frozen=True)
class Check:
    """Read every file of a data set and say what is wrong with each."""

    folder: Annotated[Positional[Path], arg(metavar="DIR")]
    """The folder with the files, or the one that holds it."""


@dataclass(frozen=True)
class Fetch:
    """Download a data set, verified by its checksums; a download that was cut goes on where it stopped."""

    name: Positional[Literal["mnist"]]
    """Which."""
    dest: Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="(default: the cache)")] = None
    """The data folder; the files go to DIR/NAME."""


@dataclass(frozen=True)
class Arguments:
    """Check a data set, or download one. Nothing else in bptt ever downloads."""

    command: OmitSubcommandPrefixes[
        Annotated[Check, subcommand("check")] | Annotated[Fetch, subcommand("fetch")]
    ]


def main(argv: Sequence[str]) -> int:
    """Check or fetch."""
    command = parse(Arguments, "data", argv).command
    return _check(command.folder) if isinstance(command, Check) else _fetch(command)


def _check(folder: Path) -> int:
    from .. import tasks

    try:
        found = tasks.data.check(folder)
    except (NotADirectoryError, ValueError) as error:
        raise CommandError(str(error)) from error
    print(f"mnist in {found.folder}")
    for file in found.files:
        print(f"  {file.name}: {file.problem or file.note or 'right'}")
    return 0 if found.ok else 1


def _fetch(given: Fetch) -> int:
    from .. import tasks

    try:
        folder = tasks.data.fetch(given.name, given.dest, progress=_announce())
    except (tasks.data.DownloadError, ValueError, OSError) as error:
        raise CommandError(str(error), status=1) from error
    print(f"{given.name} is in {folder}")
    return 0


def _announce() -> Callable[[str, int, int | None], None]:
    told: set[str] = set()

    def tell(name: str, _done: int, total: int | None) -> None:
        if name not in told:
            told.add(name)
            print(f"fetching {name}" + (f", {total / 1e6:.1f} MB" if total else ""), flush=True)

    return tell
