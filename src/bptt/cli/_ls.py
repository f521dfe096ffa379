"""`bptt ls`: the experiments."""

from collections.abc import Sequence
from dataclasses import dataclass

from ._arguments import parse


@dataclass(frozen=True)
class Arguments:
    """List the experiments: their arms, and their profiles with the rough cost of each."""


def main(argv: Sequence[str]) -> int:
    """Print the experiments."""
    parse(Arguments, "ls", argv)
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from .. import experiments

    console = Console()
    for name in experiments.names():
        document = experiments.read(name)
        about = document["experiment"]
        console.print(Text.assemble((name, "bold"), f"  {about['title']}"))
        table = Table.grid(padding=(0, 2))
        table.add_row("arms", Text(", ".join(document["arms"])))
        for profile, values in document["profiles"].items():
            usual = " (usual)" if profile == about.get("profile") else ""
            table.add_row(Text(profile + usual), Text(values.get("cost", "")))
        console.print(Padding(table, (0, 0, 1, 2)))
    return 0
