"""`bptt report`: the page, figures and tables of studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ._arguments import parse
from ._errors import CommandError
from ._folders import check_there


@dataclass(frozen=True)
class Arguments:
    """Write one HTML page that works offline, with PNG, SVG and CSV files beside it, and print the summary.

    Missing and failed runs are named, never averaged away. The same results give the same bytes.
    """

    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR ...", help_behavior_hint="(required)")]
    """Study folders, folders of them, or run folders."""
    out: Annotated[
        Path | None, arg(metavar="DIR", help_behavior_hint="(default: report/ in or beside the studies)")
    ] = None
    """Where to write."""


def main(argv: Sequence[str]) -> int:
    """Write the report."""
    given = parse(Arguments, "report", argv)
    check_there(given.folders)
    from rich.console import Console

    from .. import report
    from ._summary import print_summary

    console = Console()
    try:
        paths = report.write(given.folders, given.out)
        print_summary(console, given.folders)
    except ValueError as error:
        raise CommandError(str(error)) from error
    console.print(f"page:  {paths.index}", soft_wrap=True, highlight=False, markup=False)
    return 0
