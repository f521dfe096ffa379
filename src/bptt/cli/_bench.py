"""`bptt bench`: our recurrences timed beside their rivals."""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, arg

from ._arguments import parse, whole_number, whole_numbers
from ._errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console

    from ..bench import Progress


_WIDE = 1000  # columns: nothing is folded in what goes through a pipe


@dataclass(frozen=True)
class Arguments:
    """Time our recurrences beside torch.nn and others, after checking that both sides compute the same.

    Only ratios count: both sides in one process, with the same weights, threads and dtype, in interleaved
    pairs. A number above 1 says how many times longer the rival takes. A loaded machine is refused.
    Exit status: 0 done, 1 a mismatch or a loaded machine, 2 bad input, 130 stopped with Ctrl-C.
    """

    shapes: Annotated[str, arg(metavar="paper|grid|T,B,I,H[;…]")] = "paper"
    """Steps, sequences, inputs and hidden units; those of the papers; or a grid over B, I and H."""
    p: Annotated[
        tuple[str, ...] | None, arg(metavar="P ...", help_behavior_hint="(default: what fits the shapes)")
    ] = None
    """Probabilities of blocking h at a step."""
    threads: Annotated[
        tuple[str, ...] | None, arg(metavar="N ...", help_behavior_hint="(default: all cores, and 1)")
    ] = None
    """Numbers of threads."""
    cells: Annotated[
        tuple[str, ...] | None,
        arg(metavar="lstm|gru|rnn ...", help_behavior_hint="(default: what fits the shapes)"),
    ] = None
    """Which recurrences."""
    memory: Annotated[tuple[str, ...], arg(metavar="fast|low ...")] = ("fast",)
    """Of the ops; low is timed beside fast."""
    rivals: Annotated[
        tuple[str, ...] | None,
        arg(metavar="RIVAL ...", help_behavior_hint="(default: what fits the shapes)"),
    ] = None
    """Among torch, torch-no-onednn, loop (the papers', in Python), reference, memory-fast, and compiled (that
    loop at 16 steps); of steps also those of --flow."""
    pairs: Annotated[str, arg(metavar="N")] = "15"
    """Interleaved pairs of timings for a row."""
    forward: FlagCreatePairsOff[bool] = False
    """Time the forward pass alone, under no_grad."""
    step: FlagCreatePairsOff[bool] = False
    """Time a whole step of training: forward, loss, backward, clipping, Adam."""
    flow: FlagCreatePairsOff[bool] = False
    """Time such a step under flow.watch beside a plain one: looked at (watched), also with torch.nn's layer
    (watched-torch), between looks (watched-idle), and a hundred with one look (watched-100)."""
    bidirectional: FlagCreatePairsOff[bool] = False
    """Run both ways."""
    layers: Annotated[str, arg(metavar="N")] = "1"
    """Stacked layers."""
    packed: FlagCreatePairsOff[bool] = False
    """Pack the sequences, with lengths uniform in [T/4, T]."""
    out: Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="(default: nowhere)")] = None
    """Where the JSON goes, after every row; a file that is there is gone on with."""
    force: FlagCreatePairsOff[bool] = False
    """Measure on a loaded machine too, and mark the result so."""


def main(argv: Sequence[str]) -> int:
    """Check, time, record, and show the table."""
    given = parse(Arguments, "bench", argv)
    wanted = _wanted(given)
    # torch loads here, after the flags have been found right.
    from rich.console import Console

    from .. import bench

    try:
        request = bench.Request(**wanted)
    except ValueError as error:
        raise CommandError(f"{error}\nall it takes: bptt bench --help") from None
    command = shlex.join(["bptt", "bench", *argv])
    try:
        with _display(Console(stderr=True), request.pairs) as observe:
            document = bench.run(request, command=command, out=given.out, force=given.force, observe=observe)
    except bench.LoadedError as error:
        raise CommandError(
            f"{error}. Wait until the machine is idle, or add --force, which marks the result", status=1
        ) from None
    except bench.MismatchError as error:
        raise CommandError(str(error), status=1) from None
    except bench.RecordError as error:
        raise CommandError(str(error)) from None
    except KeyboardInterrupt:
        there = given.out is not None and given.out.exists()
        kept = f"; what is done stands in {given.out}, and the same command goes on" if there else ""
        print(f"stopped{kept}", file=sys.stderr)
        return 130
    _show(document)
    return 0


def _wanted(given: Arguments) -> dict[str, Any]:
    modes = [f"--{mode}" for mode in ("forward", "step", "flow") if getattr(given, mode)]
    if len(modes) > 1:
        raise CommandError(f"--forward, --step and --flow exclude each other, got {' and '.join(modes)}")
    return {
        "shapes": given.shapes,
        "p": None if given.p is None else _numbers("--p", given.p),
        "threads": None if given.threads is None else whole_numbers("--threads", given.threads),
        "cells": given.cells,
        "memory": given.memory,
        "rivals": given.rivals,
        "pairs": whole_number("--pairs", given.pairs),
        "mode": "forward" if given.forward else "step" if given.step or given.flow else "train",
        "layers": whole_number("--layers", given.layers),
        "bidirectional": given.bidirectional,
        "packed": given.packed,
        "flow": given.flow,
    }


def _numbers(flag: str, given: Sequence[str]) -> tuple[float, ...]:
    try:
        return tuple(map(float, given))
    except ValueError:
        raise CommandError(
            f"{flag} must be numbers with spaces between them, such as {flag} 0 0.5, got {' '.join(given)!r}"
        ) from None


@contextmanager
def _display(console: "Console", pairs: int) -> "Iterator[Callable[[Progress], None]]":
    """A bar for all rows on a terminal, a line for each elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not console.is_terminal:

        def tell(now: "Progress") -> None:
            if now.result is not None:
                console.print(_line(now), soft_wrap=True, highlight=False, markup=False)

        yield tell
        return
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("looking at the machine", total=None)

        def advance(now: "Progress") -> None:
            done = now.row - 1 + now.pairs / pairs
            progress.update(bar, completed=round(done, 1), total=now.rows, description=now.text)
            if now.result is not None:
                progress.console.print(_line(now), highlight=False, markup=False)

        yield advance


def _line(now: "Progress") -> str:
    result = now.result or {}
    ratio = result["ratio"]
    forced = ", forced" if result["forced"] else ""
    return (
        f"{now.row}/{now.rows} {now.text}: {ratio['median']:.2f} "
        f"[{ratio['lower']:.2f}, {ratio['upper']:.2f}]{forced}"
    )


def _show(document: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from .. import bench

    columns, lines = bench.table(document["rows"])
    shown = Table(box=None, pad_edge=False)
    for number, name in enumerate(columns):
        shown.add_column(name, no_wrap=number < 3, overflow="fold")
    for line in lines:
        shown.add_row(*line)
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(shown)
    console.print(bench.footer(document), soft_wrap=True, highlight=False, markup=False)
