"""`bptt ls`: the experiments."""

from collections.abc import Sequence
from dataclasses import dataclass

from ._arguments import parse


@dataclass(frozen=True)
class Arguments:
    """List the experiments: their profiles with the rough cost of each, and their arms."""


def main(argv: Sequence[str]) -> int:
    """Print a table of the experiments."""
    parse(Arguments, "ls", argv)
    from rich.console import Console
    from rich.table import Table

    from .. import experiments

    table = Table("experiment", "profile", "cost", "arms", box=None, header_style="bold", pad_edge=False)
    for name in experiments.names():
        document = experiments.read(name)
        about, arms = document["experiment"], ", ".join(document["arms"])
        table.add_row(f"[bold]{name}[/]", "", about["title"], "")
        for profile, values in document["profiles"].items():
            usual = " (usual)" if profile == about.get("profile") else ""
            table.add_row("", profile + usual, values.get("cost", ""), arms)
    Console().print(table)
    return 0
