"""Tables made from a record: for the terminal, and for documents that quote it."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ._record import Document, RecordError, forced

FEWEST_PAIRS = 15  # in a table that others read
_MARK = "measured by force, maybe beside other processes"


class Table(NamedTuple):
    """Names of the columns, and lines of as many words."""

    columns: list[str]
    lines: list[list[str]]


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """The ratios of rows: one line for a shape and a rival, one column for each p and number of threads.

    A ratio is the median of how many times longer the rival takes, with its quartiles. A column whose
    words are the same in all lines is left out if it says only what is usual.
    """
    settings = list(dict.fromkeys((row["p"], row["threads"]) for row in rows))
    kinds: dict[tuple[str, ...], dict[tuple[float, int], dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault(_labels(row), {})[row["p"], row["threads"]] = row
    shared = [(threads, f"share of floor, {_threads(threads)}") for p, threads in settings if p == 0]
    columns = ["cell", "T,B,I,H", "rival", "what"]
    columns += [f"p={p:g}, {_threads(threads)}" for p, threads in settings]
    columns += [name for _, name in shared] + ["kept: ours", "kept: rival"]
    lines = []
    for labels, cells in kinds.items():
        ratios = [_ratio(cells.get(setting)) for setting in settings]
        floors = [_share(cells.get((0, threads))) for threads, _ in shared]
        kept = next((row["bytes_kept"] for row in cells.values() if row["bytes_kept"]), None)
        memory = [f"{kept['ours']:.1f}", f"{kept['rival']:.1f}"] if kept else ["–", "–"]
        lines.append([*labels, *ratios, *floors, *memory])
    return _without_empty(Table(columns, lines))


def markdown(document: Document, where: Iterable[tuple[str, str]] = ()) -> str:
    """A table of a record for a document, with where and how it was measured.

    Args:
        document: the record.
        where: pairs such as `("rival", "torch")` or `("layers", "1")` that a row must have.

    Raises:
        RecordError: if the record was forced, or a row has fewer than 15 pairs, or no row fits.
    """
    if forced(document):
        raise RecordError(f"a table must not be {_MARK}")
    rows = [row for row in document["rows"] if all(_says(row, key) == value for key, value in where)]
    if not rows:
        raise RecordError(
            f"no row has {', '.join(f'{key}={value}' for key, value in where) or 'been measured'}"
        )
    if any(row["pairs"] < FEWEST_PAIRS for row in rows):
        raise RecordError(f"every row must have at least {FEWEST_PAIRS} pairs")
    columns, lines = table(rows)
    written = [columns, ["---"] * len(columns), *lines]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in written), "", footer(document)])


def footer(document: Document) -> str:
    """How a record was made, in a sentence or two."""
    machine = document["machine"]
    model = next(
        (
            part.removeprefix("model name ")
            for part in machine["cpu_model"].split(", ")
            if "model name" in part
        ),
        machine["cpu_model"],
    )
    pairs = sorted({row["pairs"] for row in document["rows"]})
    mark = f" {_MARK[0].upper()}{_MARK[1:]}." if forced(document) else ""
    return (
        f"{model}, {machine['cores']} cores, {machine['instruction_set']}, torch {machine['torch']}, "
        f"bptt {machine['bptt']}; median and quartiles of {' or '.join(map(str, pairs)) or 'no'} pairs. "
        f"Made by `{'`, `'.join(document['commands'])}`.{mark}"
    )


def _says(row: dict[str, Any], key: str) -> str:
    value = {**row, **row["variant"]}.get(key)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _labels(row: dict[str, Any]) -> tuple[str, ...]:
    variant = row["variant"]
    what = [f"{variant['layers']} layers"] * (variant["layers"] > 1)
    what += [name for name in ("bidirectional", "packed") if variant[name]]
    what += ["memory low"] * (row["memory"] == "low") + [row["mode"]] * (row["mode"] != "train")
    return row["cell"], row["shape"], row["rival"], ", ".join(what)


def _ratio(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    ratio = row["ratio"]
    return f"{ratio['median']:.2f} [{ratio['lower']:.2f}, {ratio['upper']:.2f}]"


def _share(row: dict[str, Any] | None) -> str:
    return "–" if row is None or row["floor_share"] is None else f"{row['floor_share']:.2f}"


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number > 1)}"


def _without_empty(full: Table) -> Table:
    kept = [i for i in range(len(full.columns)) if any(line[i] not in ("", "–") for line in full.lines)]
    return Table([full.columns[i] for i in kept], [[line[i] for i in kept] for line in full.lines])
