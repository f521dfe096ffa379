"""`bptt bench`: our recurrences timed beside their rivals."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from ._arguments import parse, whole_number
from ._errors import CommandError


@dataclass(frozen=True)
class Arguments:
    """Time our recurrences beside torch.nn, once both have been found to compute the same."""

    shapes: Annotated[str, arg(metavar="T,B,I,H")] = "120,100,1,128"
    """Steps, sequences, inputs, hidden units."""
    pairs: Annotated[str, arg(metavar="N")] = "15"
    """Interleaved pairs of timings."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
    """Where the JSON is written."""


def main(argv: Sequence[str]) -> int:
    """Check, time, print."""
    given = parse(Arguments, "bench", argv)
    pairs = whole_number("--pairs", given.pairs) or 15
    from rich.console import Console
    from rich.table import Table

    from .. import bench, train

    T, B, I, H = map(int, given.shapes.split(","))
    try:
        row = bench.measure_row(bench.Case("lstm", bench.Shape(T, B, I, H)), "torch", pairs=pairs)
    except bench.MismatchError as error:
        raise CommandError(str(error), status=1) from None
    table = Table("cell", "shape", "rival", "ratio", "quartiles")
    ratio = row["ratio"]
    table.add_row(
        row["cell"],
        row["shape"],
        row["rival"],
        f"{ratio['median']:.2f}",
        f"{ratio['lower']:.2f}-{ratio['upper']:.2f}",
    )
    Console().print(table)
    if given.out is not None:
        train.write_whole(given.out, (json.dumps({"rows": [row]}, indent=2) + "\n").encode())
    return 0
