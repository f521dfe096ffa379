"""Measurements as figures, tables, CSV and a page: norms against the number of steps."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._csv import write_csv
from ._html import embedded, render
from ._look import look
from ._measurement import DERIVED, QUANTITIES, Measurement
from ._plots import AXIS, FRAME, checked, numbers, text
from ._sheet import INK, figure_files, line_style, name_below, plain_log
from ._study import Arm
from ._tables import Cell, Table
from ._verdict import caution

#: The quantities that have a figure.
SHOWN = ("weight_hh", "first_h", "kept")
_WORDS = {**QUANTITIES, **DERIVED}


def drawn(measured: Measurement, quantities: Sequence[str], kinds: Sequence[str]) -> dict[str, bytes]:
    """The files of a figure with a panel for each quantity, by their kinds."""
    arms = measured.study.arms
    handles: list[Any] = []

    def fill(sheet: Any) -> None:
        panels = sheet.subplots(1, len(quantities), squeeze=False)[0]
        for axes, quantity in zip(panels, quantities, strict=True):
            handles[:] = _panel(axes, measured, quantity)
        columns = max(1, min(len(arms), 48 * len(quantities) // (max(len(arm.label) for arm in arms) + 8)))
        name_below(sheet, handles, [arm.label for arm in arms], columns)

    return figure_files((4.7 * len(quantities) + 0.4, 4.9), fill, kinds)


def _panel(axes: Any, measured: Measurement, quantity: str) -> list[Any]:
    symbol, _, meaning = _WORDS[quantity].partition(", ")
    axes.set_title(f"{symbol}\n{meaning}", loc="left", fontsize=10, color=INK)
    axes.set_xlabel("number of steps T")
    axes.set_xscale("log")
    axes.set_yscale("log")
    handles = []
    for index, arm in enumerate(measured.study.arms):
        own, found = line_style(index), measured.spread(arm, quantity)
        low, median, high = (_positive(values) for values in (found.low, found.median, found.high))
        axes.fill_between(measured.steps, low, high, color=own["color"], alpha=0.15, linewidth=0)
        handles += axes.plot(measured.steps, median, **own)
    axes.set_xticks(measured.steps, map(str, measured.steps), minor=False)
    axes.minorticks_off()
    plain_log(axes.yaxis)
    return handles


def measurement_tables(measured: Measurement) -> tuple[tuple[str, Table], ...]:
    """For each quantity its name and table: a row for each arm, a column for each length T."""
    named = {**_WORDS, "ratio": f"{_WORDS['ratio']} {measured.study.arms[0].label}"}
    return tuple((words, _table(measured, key)) for key, words in named.items())


def _table(measured: Measurement, quantity: str) -> Table:
    rows = tuple(row for arm in measured.study.arms if (row := _row(measured, arm, quantity)) is not None)
    return Table(("T", *map(str, measured.steps)), rows)


def _row(measured: Measurement, arm: Arm, quantity: str) -> tuple[Cell, ...] | None:
    found = measured.spread(arm, quantity)
    if not found.n.any():
        return None
    columns = zip(found.median, found.low, found.high, found.n, strict=True)
    several = len(measured.study.seeds) > 1
    return (
        Cell(arm.label),
        *(
            Cell(f"{median:.2g}", f"{low:.2g} to {high:.2g}" if several else "") if n else Cell("—")
            for median, low, high, n in columns
        ),
    )


def summary_csv(measured: Measurement) -> str:
    """`arm,quantity,steps,median,low,high,seeds`, unrounded."""
    rows = [
        (arm.name, quantity, T, median, low, high, n)
        for arm in measured.study.arms
        for quantity in _WORDS
        for T, median, low, high, n in zip(
            measured.steps,
            *(each.tolist() for each in vars(measured.spread(arm, quantity)).values()),
            strict=True,
        )
        if n
    ]
    return write_csv(("arm", "quantity", "steps", "median", "low", "high", "seeds"), rows)


def norms_csv(measured: Measurement) -> str:
    """Every row as measured."""
    columns = ("arm", "seed", "steps", "coin", *QUANTITIES)
    return write_csv(columns, [[row[column] for column in columns] for row in measured.rows])


def measurement_page(every: Sequence[tuple[Measurement, str, Mapping[str, bytes]]]) -> str:
    """The HTML of a report of measurements.

    Args:
        every: of each, where its files lie beside the page, as a prefix, and the files of its figures.
    """
    widest = max(len(measured.study.arms) for measured, _, _ in every)
    return render(
        "_measurement.html.j2",
        title=every[0][0].study.title if len(every) == 1 else f"{len(every)} measurements",
        sections=[_section(*each) for each in every],
        looks=[look(index) for index in range(widest)],
    )


def _section(measured: Measurement, place: str, images: Mapping[str, bytes]) -> dict[str, Any]:
    study = measured.study
    return {
        "study": study,
        "measured": measured,
        "place": place,
        "caution": caution(study.profile),
        "figures": [
            {
                "key": key,
                "title": _WORDS[key],
                "alt": f"{_WORDS[key]}, against the number of steps; the values are in the table below.",
                "image": "data:image/svg+xml;base64,"
                + base64.b64encode(images[f"{key}.svg"]).decode("ascii"),
                "plot": embedded(_plot(measured, key)),
            }
            for key in SHOWN
            if images
        ],
        "tables": [(words, table) for words, table in measurement_tables(measured) if table.rows],
        "spec": json.dumps(study.spec, indent=2, ensure_ascii=False),
    }


def _plot(measured: Measurement, quantity: str) -> dict[str, Any]:
    traces: list[dict[str, Any]] = []
    for index, arm in enumerate(measured.study.arms):
        own, found, label = look(index), measured.spread(arm, quantity), text(arm.label)
        low, median, high = (_positive(values) for values in (found.low, found.median, found.high))
        known = np.isfinite(low) & np.isfinite(high)
        steps = np.array(measured.steps)
        common = {"type": "scatter", "legendgroup": str(index)}
        traces.append(
            common
            | {"mode": "lines", "x": np.concatenate([steps[known], steps[known][::-1]]).tolist()}
            | {"y": np.concatenate([low[known], high[known][::-1]]).tolist(), "fill": "toself"}
            | {"line": {"width": 0}, "showlegend": False, "hoverinfo": "skip"}
            | {"meta": {"arm": index, "role": "spread"}}
        )
        traces.append(
            common
            | {"mode": "lines+markers", "name": label, "x": steps.tolist(), "y": numbers(median)}
            | {"line": {"width": 2.5, "dash": own.dash}, "marker": {"symbol": own.marker, "size": 7}}
            | {"customdata": list(zip(numbers(found.low), numbers(found.high), strict=True))}
            | {"hovertemplate": f"{label}: <b>%{{y:.3g}}</b> (%{{customdata[0]:.3g}} to "}
            | {"meta": {"arm": index, "role": "median"}}
        )
        traces[-1]["hovertemplate"] += "%{customdata[1]:.3g})<extra></extra>"
    x = {"title": {"text": "number of steps T"}, "type": "log", "unifiedhovertitle": {"text": "T = %{x}"}}
    ticks = {"tickvals": list(measured.steps), "ticktext": [str(T) for T in measured.steps]}
    layout = {
        **FRAME,
        "xaxis": {**AXIS, **x, **ticks},
        "yaxis": {**AXIS, "type": "log", "exponentformat": "power"},
    }
    return checked(traces, layout)


def _positive(values: np.ndarray) -> np.ndarray:
    """What a log axis can show; NaN for the rest."""
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
