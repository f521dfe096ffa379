"""The table of a study on the terminal: the one its report begins with, an arm a column to stay narrow."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .. import report


def print_summary(console: Console, folders: Iterable[Path]) -> None:
    """Print the name and table of each study in the folders, without the rows that no arm has come to.

    Raises:
        ValueError: if a folder holds no results.
    """
    for study in report.load(folders):
        summary = report.summary_table(study).turned()
        first, *names = summary.columns
        console.print(Text.assemble((str(study.folder), "bold"), f"  {study.title}"), soft_wrap=True)
        table = Table(first, header_style="bold")
        for name in names:
            table.add_column(Text(name))
        for row in summary.rows:
            what, *cells = row
            if not all(cell.text.startswith(("—", "not reached")) for cell in cells):
                table.add_row(Text(what.text), *map(_text, cells))
        console.print(table)


def _text(cell: report.Cell) -> Text:
    return Text.assemble(cell.text, (f"\n{cell.note}" if cell.note else "", "dim"))
