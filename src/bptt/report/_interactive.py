"""Figures for the page, as plotly describes them; the page's script adds the colours, by day or by night."""

import json
from typing import Any

import numpy as np

from ._curves import ArmCurve, Figure
from ._ending import Status
from ._look import look


def describe(figure: Figure) -> dict[str, Any]:
    """The `data` and `layout` of a figure, checked by plotly, without colours.

    Every trace's `meta` says which arm it belongs to and which `role` it plays (spread, seed, end or median):
    the colour follows from the two.
    """
    from plotly.graph_objects import Figure as Plot

    traces = [trace for arm in figure.arms for trace in _traces(figure, arm)]
    plot = Plot(data=traces, layout=_layout(figure))
    return json.loads(plot.to_json(validate=False) or "{}")


def plotly_script() -> str:
    """The whole of plotly.js, to be put into the page."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def _traces(figure: Figure, arm: ArmCurve) -> list[dict[str, Any]]:
    own = look(arm.index)
    label, value = _text(arm.arm.label), ".1%" if figure.percent else ".4g"
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
                    "y": _numbers(seed.values),
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
        | {"y": _numbers(arm.median), "customdata": _details(arm), "connectgaps": False}
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
    rows = zip(_numbers(arm.low), _numbers(arm.high), arm.n, arm.carried, strict=True)
    return [
        [low, high, f"{n} of {arm.expected} seeds" + (f", {carried} already solved" if carried else "")]
        for low, high, n, carried in rows
    ]


def _numbers(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _text(label: str) -> str:
    """A label for plotly, which reads a little HTML and TeX in texts and `%{…}` in templates."""
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%{", "%&#123;"), ("$", "&#36;")):
        label = label.replace(mark, entity)
    return label


def _layout(figure: Figure) -> dict[str, Any]:
    last = figure.last
    y: dict[str, Any] = {"automargin": True, "zeroline": False}
    if figure.axis:
        y |= {"title": {"text": figure.axis}}
    if figure.percent:
        y |= {"tickformat": ".0%", "range": [0, 1.02]}
    if figure.log:
        y |= {"type": "log", **_log_ticks(figure)}
    at_level = [_level(figure, text, value) for text, value in figure.levels]
    at_epoch = [_start(epoch) for epoch in figure.anneal_starts]
    return {
        "template": "none",
        "autosize": True,
        "height": 420,
        "margin": {"l": 10, "r": 14, "t": 10, "b": 10},
        "hovermode": "x unified",
        "hoverlabel": {"namelength": -1},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 1.07 if figure.anneal_starts else 1.01,
            "yanchor": "bottom",
        },
        "xaxis": {
            "title": {"text": "epoch"},
            "automargin": True,
            "zeroline": False,
            "range": [0.5 if last < 20 else 0, last + max(0.5, 0.015 * last)],
            "tickformat": "d",
            "unifiedhovertitle": {"text": "epoch %{x}"},
            **({"dtick": 1} if last < 12 else {"nticks": 12}),
        },
        "yaxis": y,
        "shapes": [shape for shape, _ in (*at_level, *at_epoch)],
        "annotations": [note for _, note in (*at_level, *at_epoch)],
    }


def _log_ticks(figure: Figure) -> dict[str, Any]:
    """Labels at 1, 2 and 5 of each decade where few decades are shown, else plotly's own."""
    values = np.concatenate([line.values for arm in figure.arms for line in arm.seeds])
    shown = values[np.isfinite(values) & (values > 0)]
    if not shown.size or shown.max() >= 1000 * shown.min():
        return {"exponentformat": "power"}
    decades = range(int(np.floor(np.log10(shown.min()))) - 1, int(np.ceil(np.log10(shown.max()))) + 2)
    ticks = [float(f"{digit}e{decade}") for decade in decades for digit in (1, 2, 5)]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _level(figure: Figure, text: str, value: float) -> tuple[dict[str, Any], dict[str, Any]]:
    place = float(np.log10(value)) if figure.log and value > 0 else value
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value}
    note = {"xref": "paper", "x": 1, "xanchor": "right", "y": place, "yanchor": "bottom", "text": text}
    return shape | {"line": {"width": 1, "dash": "dot"}}, note | {"showarrow": False}


def _start(epoch: int) -> tuple[dict[str, Any], dict[str, Any]]:
    shape = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": epoch - 0.5, "x1": epoch - 0.5}
    note = {"yref": "paper", "y": 1, "yanchor": "bottom", "x": epoch - 0.5, "text": "p = 0 from here"}
    return shape | {"line": {"width": 1, "dash": "dot"}}, note | {"showarrow": False}
