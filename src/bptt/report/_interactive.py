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
    label = text(arm.arm.label)
    common = {"legendgroup": str(arm.index), "showlegend": False, "type": "scatter", "mode": "lines"}
    traces: list[dict[str, Any]] = []
    if len(arm.seeds) > 1:
        known = arm.n > 0
        high, low = (figure.drawn(each[known]) for each in (arm.high, arm.low))
        outline = {
            "x": np.concatenate([arm.x[known], arm.x[known][::-1]]).tolist(),
            "y": np.concatenate([high, low[::-1]]).tolist(),
            "fill": "toself",
            "line": {"width": 0},
        }
        traces.append(common | outline | {"hoverinfo": "skip", "meta": {"arm": arm.index, "role": "spread"}})
        for seed in arm.seeds if figure.thin_lines else ():
            traces.append(
                common
                | {
                    "x": seed.x.tolist(),
                    "y": numbers(figure.drawn(seed.values)),
                    "line": {"width": 1},
                    **({"mode": "markers", "marker": {"size": 4}} if seed.values.size == 1 else {}),
                }
                | {"hoverinfo": "skip", "meta": {"arm": arm.index, "role": "seed"}}
            )
    if ends := figure.ends(arm):
        shapes = ["star" if seed.status is Status.SOLVED else "x" for seed, _, _ in ends]
        traces.append(
            common
            | {"mode": "markers", "x": [x for _, x, _ in ends], "y": [y for _, _, y in ends]}
            | {"text": [f"{label}, seed {seed.seed}: {seed.status.value}" for seed, _, _ in ends]}
            | {"marker": {"size": 10, "symbol": shapes}}
            | {"hovertemplate": "%{text}<extra></extra>", "meta": {"arm": arm.index, "role": "end"}}
        )
    return [
        *traces,
        common
        | {"name": label, "showlegend": True, "mode": "lines+markers", "x": arm.x.tolist()}
        | {"y": numbers(figure.drawn(arm.median)), "customdata": _details(figure, arm), "connectgaps": False}
        | {"line": {"width": 2.5, "dash": own.dash}}
        | {"marker": {"symbol": own.marker, "size": 9 if figure.single else 7, "maxdisplayed": 12}}
        | {"hovertemplate": f"{label}: <b>%{{customdata[3]}}</b>{_hover(arm)}<extra></extra>"}
        | {"meta": {"arm": arm.index, "role": "median"}},
    ]


def _hover(arm: ArmCurve) -> str:
    if arm.expected == 1:
        return f", seed {arm.seeds[0].seed}"
    return " (%{customdata[0]} to %{customdata[1]}, %{customdata[2]})"


def _details(figure: Figure, arm: ArmCurve) -> list[list[str]]:
    rows = zip(arm.low, arm.high, arm.n, arm.carried, arm.median, strict=True)
    return [
        [
            figure.said(low),
            figure.said(high),
            f"{n} of {arm.expected} seeds" + (f", {carried} already solved" if carried else ""),
            figure.said(median),
        ]
        for low, high, n, carried, median in rows
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
    if figure.limits:
        y |= {"range": [float(np.log10(end)) if figure.log else end for end in figure.limits]}
    marks = [level(words, value, figure.log) for words, value in figure.levels]
    starts = [epoch - 0.5 for epoch in figure.anneal_starts]
    marks += [upright("p = 0 from here", start, left=start > last / 2) for start in starts]
    return {
        **FRAME,
        "legend": FRAME["legend"] | ({"y": 1.07} if figure.anneal_starts else {}),
        "xaxis": {
            **AXIS,
            "title": {"text": figure.unit},
            "range": [0.5 if last < 20 else 0, last + max(0.5, 0.015 * last)],
            "tickformat": "d",
            "unifiedhovertitle": {"text": f"{figure.unit} %{{x}}"},
            **({"dtick": 1} if last < 12 else {"nticks": 12}),
        },
        "yaxis": y,
        "shapes": [shape for shape, _ in marks],
        "annotations": [note for _, note in marks],
    }


def _shown(figure: Figure) -> np.ndarray:
    lines = [line.values for arm in figure.arms for line in arm.seeds]
    return np.concatenate([*lines, figure.limits or ()])
