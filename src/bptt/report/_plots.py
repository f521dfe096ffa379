"""What every interactive figure shares: its frame, its axes and marks, and plotly's own check of it."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

#: The layout that figures begin with; colours and fonts are the page's.
FRAME: dict[str, Any] = {
    "template": "none",
    "autosize": True,
    "height": 420,
    "margin": {"l": 10, "r": 14, "t": 10, "b": 10},
    "hovermode": "x unified",
    "hoverlabel": {"namelength": -1},
    "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.01, "yanchor": "bottom"},
}
AXIS: dict[str, Any] = {"automargin": True, "zeroline": False}

Mark = tuple[dict[str, Any], dict[str, Any]]  # plotly's shape, and the annotation that names it


def checked(data: Sequence[dict[str, Any]], layout: dict[str, Any]) -> dict[str, Any]:
    """The `data` and `layout` of a figure as JSON, once plotly has found nothing wrong with them."""
    from plotly.graph_objects import Figure

    return json.loads(Figure(data=data, layout=layout).to_json(validate=False) or "{}")


def numbers(values: np.ndarray) -> list[float | None]:
    """The values, None for what JSON cannot write."""
    return [float(value) if np.isfinite(value) else None for value in values]


def text(label: str) -> str:
    """A label for plotly, which reads a little HTML and TeX in texts and `%{…}` in templates."""
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%{", "%&#123;"), ("$", "&#36;")):
        label = label.replace(mark, entity)
    return label


def log_ticks(values: np.ndarray) -> dict[str, Any]:
    """Labels at 1, 2 and 5 of each decade where few decades are shown, closer in less; else plotly's own."""
    shown = values[np.isfinite(values) & (values > 0)]
    if not shown.size or shown.max() >= 1000 * shown.min():
        return {"exponentformat": "power"}
    low, high = shown.min(), shown.max()
    decades = range(int(np.floor(np.log10(low))) - 1, int(np.ceil(np.log10(high))) + 2)
    for digits in ((1, 2, 5), range(1, 10), np.arange(1, 10, 0.2)):
        ticks = [float(f"{digit:.1f}e{decade}") for decade in decades for digit in digits]
        if sum(low <= tick <= high for tick in ticks) >= 3:
            break
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def level(words: str, value: float, log: bool) -> Mark:
    """A dotted line across the figure at a height, named at its right end."""
    place = float(np.log10(value)) if log and value > 0 else value
    shape = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": value, "y1": value}
    note = {"xref": "paper", "x": 1, "xanchor": "right", "y": place, "yanchor": "bottom", "text": words}
    return shape | {"line": {"width": 1, "dash": "dot"}}, note | {"showarrow": False}


def upright(words: str, x: float, *, left: bool) -> Mark:
    """A dotted line from bottom to top, named above it, to its left or to its right."""
    shape = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "x0": x, "x1": x}
    note = {"yref": "paper", "y": 1, "yanchor": "bottom", "x": x, "xanchor": "right" if left else "left"}
    return shape | {"line": {"width": 1, "dash": "dot"}}, note | {"text": words, "showarrow": False}
