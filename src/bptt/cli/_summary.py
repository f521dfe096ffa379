"""The table of a study on the terminal: the one its report begins with, an arm a column to stay narrow."""

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from .. import report


def print_summary(console: Console, folders: Iterable[Path]) -> None:
    """Print the name and table of each study in the folders, without the rows that no arm has come to.

    Raises:
        ValueError: if a folder holds no results.
    """
    for study in report.load(folders):
        if study.measured:
            _print_measured(console, study)
            continue
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


def _print_measured(console: Console, study: report.Study) -> None:
    console.print(Text.assemble((str(study.folder), "bold"), f"  {study.title}"), soft_wrap=True)
    found = report.measurement(study)
    for words, summary in report.measurement_tables(found):
        if not summary.rows:
            continue
        table = Table(*summary.columns, box=None, padding=(0, 1, 0, 0), header_style="bold")
        for row in summary.rows:
            table.add_row(*(Text(cell.text) for cell in row))
        console.print(words, Padding(table, (0, 0, 1, 2)), sep="\n", highlight=False, markup=False)
    for run, reason in found.missing.items():
        console.print(f"{run} is in no number: {reason}", soft_wrap=True, markup=False)


def _text(cell: report.Cell) -> Text:
    return Text.assemble(cell.text, (f"\n{cell.note}" if cell.note else "", "dim"))
