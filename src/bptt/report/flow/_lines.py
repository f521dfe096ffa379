"""Figures of lines against lag, time or training step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _plots as plots
from .._look import look
from .._tables import Cell, Table
from ._drawing import Drawing, rounded, sampled
from ._words import counted, exact, shown, span, special

MOST = 1000  # points of a line; more are neither seen nor worth their bytes
ROWS = 12  # of the table under a figure
SYMBOLS = {"exactly 0": "triangle-down", "Inf": "triangle-up", "NaN": "x"}


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line: `x` and `y` of one size, perhaps a band from `low` to `high`; `arm` is the number of its look.

    A `thin` one is drawn without marks.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    arm: int
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    thin: bool = False


@dataclass(frozen=True, kw_only=True)
class Axes:
    """The axes: their titles, whether y is logarithmic, and named levels and uprights.

    With a `gap`, NaN stands for no value and leaves one; these words say why.
    """

    x: str
    y: str
    log: bool = True
    levels: tuple[tuple[str, float], ...] = ()
    uprights: tuple[tuple[str, float], ...] = ()
    y_range: tuple[float, float] | None = None
    gap: str = ""

    def shown(self, value: float) -> str:
        """A value of y in words."""
        return "none" if self.gap and np.isnan(value) else shown(value)


def lines(title: str, caption: str, axes: Axes, drawn: Sequence[Line], layer: str | None = None) -> Drawing:
    """A figure of lines.

    What has no place on the axes is marked at their edge: exactly 0 (on a logarithmic axis) and NaN below,
    Inf above; the caption says how many there are, how many gaps, and whether points were left out.
    """
    bottom, top = _range(axes, drawn)
    data = [trace for line in drawn for trace in _traces(line, axes, bottom)]
    marks = [mark for line in drawn for mark in _marks(line, axes, bottom, top)]
    names = [mark["name"] for mark in marks]
    data += [mark | {"showlegend": names.index(mark["name"]) == at} for at, mark in enumerate(marks)]
    values = np.concatenate([line.y for line in drawn])
    gaps = np.isnan(values) & bool(axes.gap)
    notes = [counted(values[~gaps & (axes.log | ~np.isfinite(values))])]
    layout = _layout(axes, drawn, bottom, top)
    if n := int(gaps.sum()):
        notes.append(f"Of {values.size} places, {n} {'is a gap' if n == 1 else 'are gaps'}: {axes.gap}.")
        if n == values.size:
            place = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.25, "showarrow": False}
            layout["annotations"].append(place | {"text": "none at any step"})
    if thinned := max((line.x.size for line in drawn if line.x.size > MOST), default=0):
        notes.append(f"{MOST} evenly spaced points of {thinned} are drawn.")
    return Drawing(
        title=title,
        caption=" ".join(filter(None, (caption, *notes))),
        alt=_alt(title, axes, drawn),
        data=data,
        layout=layout,
        table=_table(axes, drawn),
        layer=layer,
    )


def _range(axes: Axes, drawn: Sequence[Line]) -> tuple[float, float]:
    """The ends of the y axis, in its own coordinates: with room at the edges for marks."""
    if axes.y_range is not None:
        return axes.y_range
    parts = [each for line in drawn for each in (line.y, line.low, line.high) if each is not None]
    values = np.concatenate([*parts, [value for _, value in axes.levels]])
    values = values[np.isfinite(values)]
    if axes.log:
        values = np.log10(np.maximum(values[values > 0], 1e-300))
    low, high = (values.min(), values.max()) if values.size else (-1.0, 1.0)
    room = max(0.08 * (high - low), 0.05)
    return float(low - room), float(high + room)


def _traces(line: Line, axes: Axes, bottom: float) -> list[dict[str, Any]]:
    at = sampled(line.x.size, MOST)
    x, y, own, name = line.x[at].tolist(), rounded(line.y[at]), look(line.arm), plots.text(line.name)
    common = {"type": "scatter", "legendgroup": name, "hoverinfo": "skip", "showlegend": False}
    band: dict[str, Any] = {"hovertemplate": f"{name}: <b>%{{y:.4g}}</b><extra></extra>"}
    traces: list[dict[str, Any]] = []
    if line.low is not None and line.high is not None:
        low, high = rounded(line.low[at]), rounded(line.high[at])
        there = np.isfinite(low) & np.isfinite(high)
        lowest = np.maximum(low[there], 10**bottom) if axes.log else low[there]
        highest = np.maximum(high[there], 10**bottom) if axes.log else high[there]
        inside = line.x[at][there]
        outline = {
            "x": np.concatenate([inside, inside[::-1]]).tolist(),
            "y": np.concatenate([highest, lowest[::-1]]).tolist(),
        }
        meta = {"arm": line.arm, "role": "spread"}
        traces.append(
            common | outline | {"mode": "lines", "fill": "toself", "line": {"width": 0}, "meta": meta}
        )
        band = {
            "customdata": [[shown(a), shown(b)] for a, b in zip(low, high, strict=True)],
            "hovertemplate": f"{name}: <b>%{{y:.4g}}</b> (%{{customdata[0]}} to %{{customdata[1]}})"
            "<extra></extra>",
        }
    seen = np.where(y > 0, y, np.nan) if axes.log else y
    style = {"mode": "lines", "line": {"width": 1.5, "dash": own.dash}}
    if not line.thin:
        most = 0 if axes.gap and np.isnan(y).any() else 12  # 0 is all: between two gaps there is no line
        marker = {"symbol": own.marker, "size": 7, "maxdisplayed": most}
        style = {"mode": "lines+markers", "line": {"width": 2.5, "dash": own.dash}, "marker": marker}
    curve = {"name": name, "x": x, "y": plots.numbers(seen), "showlegend": True, "connectgaps": False}
    return [
        *traces,
        common | curve | style | band | {"hoverinfo": "all", "meta": {"arm": line.arm, "role": "median"}},
    ]


def _marks(line: Line, axes: Axes, bottom: float, top: float) -> list[dict[str, Any]]:
    """A trace for each special value that a line has: marks at the edge that say what it is."""
    edge = 0.03 * (top - bottom)
    marks = []
    for kind, there in special(line.y).items():
        at = np.flatnonzero(there)
        if at.size == 0 or (kind == "exactly 0" and not axes.log) or (kind == "NaN" and axes.gap):
            continue
        at = at[sampled(at.size, MOST)]
        place = top - edge if kind == "Inf" else bottom + edge
        height = 10**place if axes.log else place
        marks.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind,
                "legendgroup": kind,
                "x": line.x[at].tolist(),
            }
            | {"y": [height] * at.size, "marker": {"symbol": SYMBOLS[kind], "size": 8}}
            | {"hovertemplate": f"{plots.text(line.name)}: <b>{kind}</b><extra></extra>"}
            | {"meta": {"arm": line.arm, "role": kind}}
        )
    return marks


def _layout(axes: Axes, drawn: Sequence[Line], bottom: float, top: float) -> dict[str, Any]:
    y: dict[str, Any] = {**plots.AXIS, "title": {"text": axes.y}, "range": [bottom, top]}
    if axes.log:
        ticks = {"dtick": -(-(top - bottom) // 8)} if top - bottom > 2 else {}
        y |= {"type": "log", **plots.log_ticks(10.0 ** np.array([bottom, top])), **ticks}
    marks = [plots.level(words, value, axes.log) for words, value in axes.levels]
    ends = np.concatenate([line.x for line in drawn])
    first, last = float(ends.min()), float(max(ends.max(), ends.min() + 1))
    middle, room = (first + last) / 2, 0.015 * (last - first)
    marks += [plots.upright(words, value, left=value > middle) for words, value in axes.uprights]
    x = {**plots.AXIS, "title": {"text": axes.x}, "range": [first - room, last + room], "hoverformat": "d"}
    x |= {"dtick": 1} if last - first < 12 else {"nticks": 12}
    return {
        **plots.FRAME,
        "legend": plots.FRAME["legend"] | ({"y": 1.07} if axes.uprights else {}),
        "xaxis": x | {"unifiedhovertitle": {"text": f"{axes.x.partition(' (')[0]}: %{{x}}"}},
        "yaxis": y,
        "shapes": [shape for shape, _ in marks],
        "annotations": [note for _, note in marks],
    }


def _alt(title: str, axes: Axes, drawn: Sequence[Line]) -> str:
    """Where each line begins and ends, and its span."""
    told = [
        f"{line.name}: {axes.shown(line.y[0])} at {exact(line.x[0])}, {axes.shown(line.y[-1])} at "
        f"{exact(line.x[-1])}, {span(line.y)} in all"
        for line in drawn
    ]
    return f"{title}, against {axes.x}. {'; '.join(told)}. More values are in the table below the figure."


def _table(axes: Axes, drawn: Sequence[Line]) -> Table:
    """The lines at evenly spaced points of the longest."""
    longest = max(drawn, key=lambda line: line.x.size).x
    rows = []
    for x in longest[sampled(longest.size, ROWS)]:
        cells = [
            _cell(axes, line, int(at[0])) if (at := np.flatnonzero(line.x == x)).size else Cell("—")
            for line in drawn
        ]
        rows.append((Cell(exact(x)), *cells))
    return Table((axes.x, *(line.name for line in drawn)), tuple(rows))


def _cell(axes: Axes, line: Line, at: int) -> Cell:
    if line.low is None or line.high is None:
        return Cell(axes.shown(line.y[at]))
    return Cell(axes.shown(line.y[at]), f"{shown(line.low[at])} to {shown(line.high[at])}")
