"""Figures of two dimensions: a colour for each value, on a logarithmic scale."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

import numpy as np

from .. import _plots as plots
from .._tables import Cell, Table
from ._drawing import Drawing, sampled
from ._words import counted, exact, shown, span

MOST = 160  # cells along each side
FEWEST, FEW = 40, 8  # of them in a page of very many layers, and the layers up to which there are `MOST`
DECADES = 12  # of the colour scale
ROWS, COLUMNS = 10, 7  # of the table under a figure


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values `z` (rows, columns) at `y` (rows) and `x` (columns), drawn in at most `most` cells a side.

    Where there is no value, `z` is negative, and its cell stays empty. Rows may have `names` of their own.
    """

    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    x_title: str
    y_title: str = ""
    z_title: str = "gradient norm"
    names: Sequence[str] = ()
    most: int = MOST


def heat(title: str, caption: str, grid: Grid, layer: str | None = None) -> Drawing:
    """A figure of coloured cells.

    The `z` of its trace is log10 of each value, or one of the words `0`, `Inf` and `NaN`, for each of which
    the page's script adds cells of one colour. Where there are more values than cells, a cell is the largest
    of a block, in which NaN counts as the largest, then Inf; the caption says so.
    """
    rows, columns = (_starts(side, grid.most) for side in grid.z.shape)
    z = np.maximum.reduceat(np.maximum.reduceat(grid.z, rows, axis=0), columns, axis=1)
    values, positive = grid.z[~(grid.z < 0)], np.log10(z[np.isfinite(z) & (z > 0)])
    low, high = (float(positive.min()), float(positive.max())) if positive.size else (-1.0, 0.0)
    notes = [counted(values)]
    if z.shape != grid.z.shape:
        block = " × ".join(f"{-(-n // m)}" for n, m in zip(grid.z.shape, z.shape, strict=True))
        notes.append(
            f"Each cell is the largest of up to {block} values (NaN before Inf); the file has them all."
        )
    if high - low > DECADES:
        low = high - DECADES
        notes.append(f"Below {shown(10**low)} the colour no longer changes.")
    top = max(high, low + 0.3)
    row = f"{_short(grid.y_title)} %{{y}}" if grid.y_title else "%{y}"
    trace = {
        "type": "heatmap",
        "x": grid.x[columns].tolist(),
        "y": _names([name for at, name in enumerate(grid.names) if at in rows]) or grid.y[rows].tolist(),
        "z": [[_encoded(value) for value in row] for row in z],
        "zmin": low,
        "zmax": top,
        "colorbar": {"title": {"text": grid.z_title, "side": "right"}, "thickness": 14, "outlinewidth": 0}
        | _ticks(low, top),
        "hovertemplate": f"{_short(grid.x_title)} %{{x}}, {row}<br><b>%{{text}}</b><extra></extra>",
        "meta": {"arm": 0, "role": "heat"},
    }
    axis = {**plots.AXIS, "showgrid": False, "hoverformat": "d"}
    y = {**axis, "title": {"text": grid.y_title}}
    if grid.names:
        y |= {"type": "category", "autorange": "reversed"}
    layout = {
        **plots.FRAME,
        "hovermode": "closest",
        "margin": plots.FRAME["margin"] | {"t": 36},
        "xaxis": {**axis, "title": {"text": grid.x_title}, "nticks": 12},
        "yaxis": y,
        "shapes": [],
        "annotations": [],
    }
    if grid.names:
        layout["height"] = 170 + 50 * len(grid.names)
    alt = f"{title}: colours by {grid.x_title} and {grid.y_title}, values {span(values)}. {counted(values)}"
    return Drawing(
        title=title,
        caption=" ".join(filter(None, (caption, *notes))),
        alt=f"{alt} More values are in the table below the figure.",
        data=[trace],
        layout=layout,
        table=_table(grid),
        layer=layer,
    )


def most_of(layers: int) -> int:
    """Cells a side of a map of each of so many layers, so that a page of many stays small."""
    return max(FEWEST, MOST * FEW // max(layers, FEW))


def _starts(n: int, most: int) -> np.ndarray:
    """Where the blocks begin into which n places are gathered: as many as places, or the most."""
    return np.linspace(0, n, min(n, most), endpoint=False).astype(int)


def _encoded(value: float) -> float | str | None:
    if value < 0:
        return None
    if value == 0 or not np.isfinite(value):
        return "0" if value == 0 else shown(value)
    return round(log10(value), 4)


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Powers of ten on the colour scale, or 1, 2 and 5 of each where there are few."""
    if high - low < 2:
        ticks = [digit * 10.0**decade for decade in range(floor(low), ceil(high) + 1) for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if low <= log10(tick) <= high]
        return {"tickvals": [log10(tick) for tick in ticks], "ticktext": [f"{tick:g}" for tick in ticks]}
    step = max(1, ceil((high - low) / 6))
    powers = range(ceil(low), floor(high) + 1, step)
    return {
        "tickvals": list(powers),
        "ticktext": [f"10<sup>{power}</sup>".replace("-", "−") for power in powers],
    }


def _table(grid: Grid) -> Table:
    """Values at evenly spaced rows and columns."""
    rows, columns = sampled(grid.z.shape[0], ROWS), sampled(grid.z.shape[1], COLUMNS)
    names = list(grid.names) or [exact(y) for y in grid.y]
    head = " \\ ".join(filter(None, (grid.y_title, grid.x_title)))
    told = [[shown(None if value < 0 else value) for value in grid.z[row, columns]] for row in rows]
    body = ((Cell(names[row]), *map(Cell, values)) for row, values in zip(rows, told, strict=True))
    return Table((head, *map(exact, grid.x[columns])), tuple(body))


def _names(labels: Sequence[str]) -> list[str]:
    """Labels on lines of their own after each comma, so that they leave room for the figure."""
    return [plots.text(label).replace(", ", ",<br>") for label in labels]


def _short(title: str) -> str:
    """An axis' title without what is in brackets."""
    return title.partition(" (")[0]
