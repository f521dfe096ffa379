"""Every row of a request: checked, then timed, then recorded."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .._threads import threads
from ._case import Case
from ._check import TOLERANCE, check
from ._data import make
from ._floor import Machine, floor, has_floor, middle, now
from ._kept import bytes_kept
from ._load import LoadedError, Meter, System, crowded, loaded, look
from ._measure import measure
from ._record import Document, add, begin, has, write
from ._request import Request
from ._rivals import WATCHED, contenders
from ._work import work

_ATTEMPTS = 4  # at a row during which others used the machine


@dataclass(frozen=True)
class Progress:
    """Where a bench stands.

    Attributes:
        row: the number of the row under way, from 1.
        rows: how many there are.
        text: the row in words.
        pairs: those timed of it.
        result: the row, once it is done.
    """

    row: int
    rows: int
    text: str
    pairs: int = 0
    result: dict[str, Any] | None = None


Observe = Callable[[Progress], object]


def run(
    request: Request,
    *,
    command: str,
    out: Path | None = None,
    force: bool = False,
    meter: Meter | None = None,
    observe: Observe = lambda _: None,
) -> Document:
    """Measure everything that is asked for and not yet recorded.

    Args:
        request: the rows.
        command: what was typed, for the record.
        out: where the record lies and goes, whole after every row.
        force: measure on a loaded machine too, and mark every row so.
        meter: of the load; the machine's if None.
        observe: is told how it goes.

    Returns:
        The record, with the rows that it had before.

    Raises:
        LoadedError: if other processes use the machine, unless forced.
        MismatchError: if two sides do not compute the same; nothing of that row is timed.
        RecordError: if `out` cannot be gone on with.
    """
    meter = System() if meter is None else meter
    document = begin(command, out, keep_forced=force)
    rows = request.rows()
    missing = [row for row in rows if not has(document, *row, request.pairs)]
    if not missing:
        return document
    document["load"] = _load(meter, force)
    agreed: dict[Case, float] = {}
    for number, (case, rival) in enumerate(rows, start=1):
        if (case, rival) not in missing:
            continue
        text = f"{case}, against {rival}"

        def tell(pairs: int, number: int = number, text: str = text) -> None:
            observe(Progress(number, len(rows), text, pairs))

        tell(0)
        with threads(case.threads), torch.random.fork_rng(devices=()):
            if case not in agreed:
                agreed = {case: check(case, "reference")}
            error = agreed[case] if rival == "reference" else max(agreed[case], check(case, rival))
            row, share = _quiet(
                lambda case=case, rival=rival, tell=tell: _timed(case, rival, request.pairs, tell),
                meter,
                case.threads,
                force,
            )
        row |= {
            "max_error": error,
            "tolerance": TOLERANCE,
            "other_processes": share,
            "forced": force,
        }
        add(document, row)
        if out is not None:
            write(out, document)
        observe(Progress(number, len(rows), text, request.pairs, row))
    return document


def _timed(case: Case, rival: str, pairs: int, tell: Callable[[int], object]) -> dict[str, Any]:
    mine, other = contenders(case, rival)
    data = make(case)
    kept = None
    if case.mode == "train":
        kept = {"ours": bytes_kept(case, data, mine), "rival": bytes_kept(case, data, other)}
    seen: list[Machine] = []

    def gauge() -> float | None:
        machine = now(case.threads) if has_floor(case) else None
        if machine is None:
            return None
        seen.append(machine)
        return floor(case, machine)

    sides = (work(case, data, side, steps=WATCHED.get(rival) or 1) for side in (mine, other))
    times = measure(*sides, pairs=pairs, tell=tell, gauge=gauge)
    return {
        **case.words(),
        "rival": rival,
        "ratio": asdict(times.ratio),
        "pairs": pairs,
        "machine": asdict(middle(seen)) if seen else None,
        "floor_share": times.floor_share,
        "bytes_kept": kept,
    }


def _quiet(
    measured: Callable[[], dict[str, Any]], meter: Meter, threads: int, force: bool
) -> tuple[dict[str, Any], float]:
    """A row, and the share of one CPU that others used meanwhile; measured again if it was disturbed."""
    problem = None
    for _ in range(_ATTEMPTS):
        problem = loaded(look(meter)) or crowded(meter.cores(threads), threads)
        if force or problem is None:
            watched = meter.watch()
            row = measured()
            share = watched()
            problem = loaded(share) or crowded(meter.cores(threads), threads)
            if force or problem is None:
                return row, share
    raise LoadedError(problem)


def _load(meter: Meter, force: bool) -> dict[str, float]:
    average, share = meter.average(), look(meter)
    if not force and (problem := loaded(share, average)) is not None:
        raise LoadedError(problem)
    return {"average": average, "other_processes": share}
