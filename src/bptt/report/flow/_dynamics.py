"""What the layer does at each step: its gates, its Jacobians, and its Lyapunov exponents."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _plots as plots
from .._tables import Cell, Table
from ._arrays import GATES
from ._drawing import Drawing, rounded, sampled
from ._lines import Axes, Line, lines
from ._measurement import Layer, Measurement
from ._words import shown, span

BINS = 40
PER_STEP = "exponent per step (natural log)"
KEPT = (("kept as it is", 0.0),)
MOST = 2000  # points of a cloud
MOST_LINES = 7  # that differ in colour


def gates(found: Measurement, layer: Layer) -> Iterator[Drawing]:
    """Saturation of each gate, the effective memory, and the values of the forget gate."""
    key, T = f"gates/{layer.key}", "time step t"
    shares = [(name, found.get(f"{key}/saturated/{gate}")) for gate, name in GATES[layer.kind].items()]
    drawn = [
        Line(name=name, x=np.arange(share.size), y=share, arm=arm)
        for arm, (name, share) in enumerate(shares)
        if share is not None
    ]
    if drawn:
        yield lines(
            f"Saturated gates: {layer.label}",
            "The share of units whose gate is all but shut or all but open at each step: little gradient "
            "gets through a saturated gate into what controls it.",
            Axes(x=T, y="share of units", log=False, y_range=(-0.02, 1.02)),
            drawn,
            layer.key,
        )
    memory = found.get(f"{key}/memory")
    if memory is not None:
        low, median, high = memory.T
        name = "1/(1 − z)" if layer.kind == "GRU" else "1/(1 − f)"
        yield lines(
            f"Effective memory: {layer.label}",
            f"{name}: for about so many steps the carry keeps what it holds if its gate stays as it is. "
            "Line: median over units and sequences; band: 10% to 90%.",
            Axes(x=T, y="effective memory (steps)"),
            [Line(name="effective memory", x=np.arange(len(memory)), y=median, low=low, high=high, arm=0)],
            layer.key,
        )
    forget = found.get(f"{key}/forget")
    if forget is not None:
        yield _histogram(forget, layer)


def _histogram(values: np.ndarray, layer: Layer) -> Drawing:
    gate = GATES[layer.kind].get("z", "forget gate f")
    finite = values[np.isfinite(values)]
    middle = shown(float(np.median(finite))) if finite.size else "—"
    counts, edges = np.histogram(finite, BINS, (0, 1))
    share = counts / max(finite.size, 1)
    left, right = edges[:-1], edges[1:]
    title = f"Values of the {gate}: {layer.label}"
    trace = {
        "type": "bar",
        "x": ((left + right) / 2).tolist(),
        "y": rounded(share).tolist(),
        "width": [1 / BINS] * BINS,
        "customdata": [f"{a:g} to {b:g}" for a, b in zip(rounded(left), rounded(right), strict=True)],
        "hovertemplate": "%{customdata}: <b>%{y:.2%}</b> of values<extra></extra>",
        "meta": {"arm": 0, "role": "bar"},
    }
    caption = (
        f"How often each value occurs, in a sample of {values.size}: values near 1 keep the gradient on the "
        "carry, values near 0 cut it."
    )
    if finite.size < values.size:
        caption += f" {values.size - finite.size} values are not finite and left out."
    return Drawing(
        title=title,
        caption=caption,
        alt=f"{title}: histogram of {span(values)}, median {middle}.",
        data=[trace],
        layout=_closest(gate, "share of values") | {"bargap": 0},
        table=Table(
            ("Value", "Share"),
            tuple(
                (Cell(f"{a:.3g} to {b:.3g}"), Cell(f"{each:.2%}"))
                for a, b, each in zip(left, right, share, strict=True)
            ),
        ),
        layer=layer.key,
    )


def jacobians(found: Measurement, layer: Layer) -> Iterator[Drawing]:
    """Singular values and spectral radius by step, growth of products by lag, eigenvalues of W_hh."""
    key = f"spectrum/{layer.key}"
    steps, radius, condition = (found.get(f"{key}/{name}") for name in ("steps", "radius", "condition"))
    singular = found.get(f"{key}/singular")
    drawn: list[Line] = []
    if steps is not None and singular is not None:
        wanted = {"largest": 0, "median": singular.shape[1] // 2, "smallest": singular.shape[1] - 1}
        drawn += [
            Line(name=f"{name} singular value", x=steps, y=singular[:, at], arm=arm)
            for arm, (name, at) in enumerate(wanted.items())
        ]
    if steps is not None and radius is not None:
        drawn.append(Line(name="spectral radius", x=steps, y=radius, arm=3))
    if drawn:
        caption = (
            "The Jacobian of one step says how much a small change of the state grows in it: above 1 some "
            "direction grows; if even the largest singular value is below 1, everything shrinks."
        )
        if singular is not None:
            caption += f" Three of the {singular.shape[1]} singular values are drawn."
        if condition is not None:
            caption += f" Condition number: {span(condition)}."
        yield lines(
            f"Jacobian of each step: {layer.label}",
            caption,
            Axes(x="time step t", y="factor per step", levels=(("1: kept as it is", 1.0),)),
            drawn,
            layer.key,
        )
    products = found.get(f"{key}/products")
    if products is not None:
        yield lines(
            f"Growth along the sequence: {layer.label}",
            "The most that any small change grows over the last steps, as a natural logarithm: a slope below "
            "0 is exponential decay, above 0 exponential growth.",
            Axes(x="lag (steps multiplied)", y="ln of the largest singular value", log=False, levels=KEPT),
            [Line(name="product of step Jacobians", x=np.arange(1, products.size + 1), y=products, arm=0)],
            layer.key,
        )
    eigenvalues = found.get(f"{key}/eigenvalues")
    if eigenvalues is not None:
        yield _eigenvalues(eigenvalues, found.get(f"{key}/weight_singular"), layer)


def _eigenvalues(values: np.ndarray, singular: np.ndarray | None, layer: Layer) -> Drawing:
    at = sampled(len(values), MOST)
    real, imaginary = values[at].T
    size = np.hypot(*values.T)
    finite = size[np.isfinite(size)]
    which = " of the candidate gate" if layer.kind in ("LSTM", "GRU") else ""
    title = f"Eigenvalues of W_hh{which}: {layer.label}"
    outside = int((finite > 1).sum())
    caption = (
        f"Inside the unit circle a direction shrinks from step to step, outside it grows (before gates and "
        f"tanh, which shrink it further). {outside} of {len(values)} are outside; the largest has size "
        f"{shown(finite.max()) if finite.size else '—'}."
    )
    if singular is not None:
        caption += f" Largest singular value of W_hh: {shown(singular.max())}."
    if at.size < len(values):
        caption += f" {at.size} evenly spaced ones of {len(values)} are drawn."
    if finite.size < size.size:
        caption += f" {size.size - finite.size} are not finite and not drawn."
    reach = 1.15 * max(1.0, float(finite.max(initial=0)))
    axis = {**plots.AXIS, "zeroline": True, "range": [-reach, reach]}
    trace: dict[str, Any] = {
        "type": "scatter",
        "mode": "markers",
        "x": plots.numbers(rounded(real)),
        "y": plots.numbers(rounded(imaginary)),
        "customdata": [shown(each) for each in size[at]],
        "marker": {"size": 7},
        "hovertemplate": "%{x:.4g} + %{y:.4g} i, size <b>%{customdata}</b><extra></extra>",
        "meta": {"arm": 0, "role": "point"},
    }
    circle = {"type": "circle", "x0": -1, "x1": 1, "y0": -1, "y1": 1, "line": {"width": 1.5, "dash": "dot"}}
    note = {"x": 0, "y": 1, "yanchor": "bottom", "text": "unit circle", "showarrow": False}
    layout = _closest("real part", "imaginary part") | {
        "xaxis": axis | {"title": {"text": "real part"}},
        "yaxis": axis | {"title": {"text": "imaginary part"}, "scaleanchor": "x", "scaleratio": 1},
        "shapes": [circle],
        "annotations": [note],
        "height": 480,
    }
    order = np.argsort(-size)[:20]
    rows = tuple((Cell(shown(size[i])), Cell(shown(values[i, 0])), Cell(shown(values[i, 1]))) for i in order)
    return Drawing(
        title=title,
        caption=caption,
        alt=f"{title} in the complex plane with the unit circle. {caption}",
        data=[trace],
        layout=layout,
        table=Table(("Size (largest 20)", "Real part", "Imaginary part"), rows),
        layer=layer.key,
    )


def lyapunov(found: Measurement, layer: Layer) -> Iterator[Drawing]:
    """The exponents, and how their estimates settled."""
    exponents, running = (found.get(f"lyapunov/{layer.key}/{name}") for name in ("exponents", "running"))
    if exponents is not None:
        first, half = shown(exponents[0]), shown(np.log(2) / -exponents[0]) if exponents[0] < 0 else ""
        yield lines(
            f"Lyapunov exponents: {layer.label}",
            "Growth per step of small changes in the long run, fastest direction first: below 0 they die "
            f"out, above 0 they grow. The first is {first}"
            + (f": every gradient halves at least every {half} steps." if half else "."),
            Axes(x="exponent number", y=PER_STEP, log=False, levels=KEPT),
            [Line(name="exponent", x=np.arange(1, exponents.size + 1), y=exponents, arm=0)],
            layer.key,
        )
    if running is not None:
        count = running.shape[1]
        yield lines(
            f"How the exponents settled: {layer.label}",
            "The estimates after each step: trust them where the lines have become level."
            + (f" The first {MOST_LINES} of {count} are drawn." if count > MOST_LINES else ""),
            Axes(x="step", y=PER_STEP, log=False, levels=KEPT),
            [
                Line(
                    name=f"exponent {at + 1}",
                    x=np.arange(1, len(running) + 1),
                    y=running[:, at],
                    arm=at,
                    thin=True,
                )
                for at in range(min(count, MOST_LINES))
            ],
            layer.key,
        )


def _closest(x: str, y: str) -> dict[str, Any]:
    return {
        **plots.FRAME,
        "hovermode": "closest",
        "xaxis": {**plots.AXIS, "title": {"text": x}},
        "yaxis": {**plots.AXIS, "title": {"text": y}},
        "shapes": [],
        "annotations": [],
    }
