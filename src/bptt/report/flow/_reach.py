"""The figure in which one asks, for an output step, which steps of the input it depends on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._tables import Cell, Table
from ._drawing import rounded, sampled
from ._measurement import Measurement
from ._words import counted, exact, shown, span

STEPS = 3000  # of the input that are shown
POSITIONS = 128  # output steps that can be chosen
NUMBERS = 200_000  # of all of these together
STRONGEST = 5  # input steps of each output step in the table
HOW = {
    "text": "The text that the model read, a character per step.",
    "image": "The image that the model read, a pixel per step, row by row.",
    "values": "The steps that the model read, like lines of text; a bar as high as its value if it has one.",
    "tokens": "The tokens that the model read, by number.",
}


@dataclass(frozen=True)
class Reach:
    """The figure: what the page's script needs, and the same in words and in a table."""

    title: str
    caption: str
    alt: str
    data: dict[str, Any]
    table: Table


def reach(found: Measurement) -> Reach | None:
    """‖∂out_t/∂x_s‖ of the input that is shown; None if it was not measured."""
    norms, at, given = (found.get(f"reach/{name}") for name in ("norms", "at", "input"))
    if norms is None or at is None:
        return None
    T = norms.shape[1]
    start = 0 if found.shown == "image" else max(0, T - STEPS)
    inside = np.flatnonzero(at >= start)
    chosen = inside[sampled(inside.size, min(POSITIONS, max(1, NUMBERS // (T - start))))]
    notes = []
    if (probes := found.get("reach/probes")) is not None:
        notes.append(f"The values are estimates from {int(probes[0])} random mixtures of the outputs.")
    if start:
        notes.append(f"The last {T - start} of {T} steps are shown.")
    if chosen.size < at.size:
        notes.append(f"{chosen.size} of the {at.size} output steps measured can be chosen.")
    caption = (
        f"{HOW[found.shown]} Choose an output step (the slider, the arrow keys, or a click, which takes the "
        "nearest marked step): the steps it depends on are tinted, the more the stronger, on a logarithmic "
        "scale over six decades; arrows come from the strongest. Point at a step for its value."
    )
    data = {
        "kind": found.shown,
        "start": start,
        "columns": int(found.shape[1]) if found.shown == "image" else None,
        "cells": _cells(found, given, T)[start:],
        "at": at[chosen].astype(int).tolist(),
        "norms": [[_number(value) for value in rounded(norms[row, start:], 4)] for row in chosen],
    }
    shown_norms = norms[chosen][:, start:]
    return Reach(
        title="What each output depends on",
        caption=" ".join(filter(None, (caption, counted(shown_norms), *notes))),
        alt=f"The input of {T} steps, tinted by ‖∂out_t/∂x_s‖ for a chosen output step t; "
        f"values {span(shown_norms)}.",
        data=data,
        table=_table(at[chosen], norms[chosen]),
    )


def _cells(found: Measurement, given: np.ndarray | None, T: int) -> list[Any]:
    """What is shown of each step: a character, a token's number, or a brightness or height from 0 to 1."""
    if found.shown == "text":
        return list(found.text)
    if given is None:
        return [None] * T
    if found.shown == "tokens":
        return [exact(value) for value in given]
    finite = given[np.isfinite(given)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    part = (given - low) / (high - low or 1)
    return [
        {"part": round(float(a), 3) if np.isfinite(a) else None, "value": shown(float(b))}
        for a, b in zip(part, given, strict=True)
    ]


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else shown(value)


def _table(at: np.ndarray, norms: np.ndarray) -> Table:
    """The strongest input steps of at most ten output steps."""
    rows = []
    for row in sampled(len(at), 10):
        order = np.argsort(-norms[row], kind="stable")[:STRONGEST]
        rows.append(
            (Cell(f"{int(at[row])}"), *(Cell(shown(float(norms[row, s])), f"from step {s}") for s in order))
        )
    return Table(("Output step", *(f"Strongest {n + 1}" for n in range(STRONGEST))), tuple(rows))
