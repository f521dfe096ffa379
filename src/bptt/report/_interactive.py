"""Figures for the page, as plotly describes them; the page's script adds the colours, by day or by night."""

from typing import Any

import numpy as np

from ._curves import ArmCurve, Figure
from ._ending import Status
from ._look import look
from ._plots import AXIS, FRAME, checked, level, log_ticks, numbers, text, upright


def describe(figure: Figure) -> dict[str, Any]:
    """The `data` and `layout` of a figure, checked by plotly, without colours.

    Every trace's `meta` says which arm it belongs to and which `role` it plays (spread, seed, end or median):
    the colour follows from the two.
    """
    traces = [trace for arm in figure.arms for trace in _traces(figure, arm)]
    return checked(traces, _layout(figure))


def _traces(figure: Figure, arm: ArmCurve) -> list[dict[str, Any]]:
    own = look(arm.index)
    label, value = text(arm.arm.label), ".1%" if figure.percent else ".4g"
    common = {"legendgroup": str(arm.index), "showlegend": False, "type": "scatter", "mode": "lines"}
    traces: list[dict[str, Any]] = []
    if len(arm.seeds) > 1:
        known = np.isfinite(arm.low)
        outline = {
            "x": np.concatenate([arm.epochs[known], arm.epochs[known][::-1]]).tolist(),
            "y": np.concatenate([arm.high[known], arm.low[known][::-1]]).tolist(),
            "fill": "toself",
            "line": {"width": 0},
        }
        traces.append(common | outline | {"hoverinfo": "skip", "meta": {"arm": arm.index, "role": "spread"}})
        for seed in arm.seeds if figure.thin_lines else ():
            traces.append(
                common
                | {
                    "x": list(range(1, seed.values.size + 1)),
                    "y": numbers(seed.values),
                    "line": {"width": 1},
                    **({"mode": "markers", "marker": {"size": 4}} if seed.values.size == 1 else {}),
                }
                | {"hoverinfo": "skip", "meta": {"arm": arm.index, "role": "seed"}}
            )
    ends = [
        seed for seed in arm.seeds if seed.status is not Status.COMPLETED and np.isfinite(seed.values).any()
    ]
    if ends:
        last = [int(np.flatnonzero(np.isfinite(seed.values))[-1]) for seed in ends]
        traces.append(
            common
            | {"mode": "markers", "x": [at + 1 for at in last]}
            | {"y": [float(seed.values[at]) for seed, at in zip(ends, last, strict=True)]}
            | {"text": [f"{label}, seed {seed.seed}: {seed.status.value}" for seed in ends]}
            | {"marker": {"size": 10, "symbol": ["star" if s.status is Status.SOLVED else "x" for s in ends]}}
            | {"hovertemplate": "%{text}<extra></extra>", "meta": {"arm": arm.index, "role": "end"}}
        )
    return [
        *traces,
        common
        | {"name": label, "showlegend": True, "mode": "lines+markers", "x": arm.epochs.tolist()}
        | {"y": numbers(arm.median), "customdata": _details(arm), "connectgaps": False}
        | {"line": {"width": 2.5, "dash": own.dash}}
        | {"marker": {"symbol": own.marker, "size": 7 if figure.last > 1 else 9, "maxdisplayed": 12}}
        | {"hovertemplate": f"{label}: <b>%{{y:{value}}}</b>{_hover(arm, value)}<extra></extra>"}
        | {"meta": {"arm": arm.index, "role": "median"}},
    ]


def _hover(arm: ArmCurve, value: str) -> str:
    if arm.expected == 1:
        return f", seed {arm.seeds[0].seed}"
    return f" (%{{customdata[0]:{value}}} to %{{customdata[1]:{value}}}, %{{customdata[2]}})"


def _details(arm: ArmCurve) -> list[list[float | str | None]]:
    rows = zip(numbers(arm.low), numbers(arm.high), arm.n, arm.carried, strict=True)
    return [
        [low, high, f"{n} of {arm.expected} seeds" + (f", {carried} already solved" if carried else "")]
        for low, high, n, carried in rows
    ]


def _layout(figure: Figure) -> dict[str, Any]:
    last = figure.last
    y = dict(AXIS)
    if figure.axis:
        y |= {"title": {"text": figure.axis}}
    if figure.percent:
        y |= {"tickformat": ".0%", "range": [0, 1.02]}
    if figure.log:
        y |= {"type": "log", **log_ticks(_shown(figure))}
    marks = [level(words, value, figure.log) for words, value in figure.levels]
    starts = [epoch - 0.5 for epoch in figure.anneal_starts]
    marks += [upright("p = 0 from here", start, left=start > last / 2) for start in starts]
    return {
        **FRAME,
        "legend": FRAME["legend"] | ({"y": 1.07} if figure.anneal_starts else {}),
        "xaxis": {
            **AXIS,
            "title": {"text": "epoch"},
            "range": [0.5 if last < 20 else 0, last + max(0.5, 0.015 * last)],
            "tickformat": "d",
            "unifiedhovertitle": {"text": "epoch %{x}"},
            **({"dtick": 1} if last < 12 else {"nticks": 12}),
        },
        "yaxis": y,
        "shapes": [shape for shape, _ in marks],
        "annotations": [note for _, note in marks],
    }


def _shown(figure: Figure) -> np.ndarray:
    return np.concatenate([line.values for arm in figure.arms for line in arm.seeds])
