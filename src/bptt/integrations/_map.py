"""The gradient at every time step over a training, as an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ._scalars import reverse

_RANGE = 1e12  # of the colours: what is smaller has that of the smallest

_ZERO, _NOT_FINITE, _NOWHERE = map(to_rgba, ("#56B4E9", "#D55E00", "#FFFFFF"))  # none is in cividis
SERIES = {
    "h": "‖dL/dh‖",
    "c": "‖dL/dc‖",
    "carry": "‖dL/ds‖ along the carry",
    "gates": "‖dL/ds‖ through the gates",
}


def drawn(key: str, steps: Sequence[int], layers: Sequence[Mapping[str, Any]], of: str) -> np.ndarray:
    """A series of a layer in rows of readings, lags upwards and steps to the right, `(height, width, 3)`.

    Norms that are exactly 0 or not finite have colours of their own; where a reading has no such lag there is
    nothing.
    """
    lags, norms = _by_lag(layers, of, reverse(key))
    nowhere, zero, bad = norms < 0, norms == 0, ~np.isfinite(norms)
    plain = norms[~(nowhere | zero | bad)]
    high = plain.max() if plain.size else 1.0
    low = max(plain.min(), high / _RANGE) if plain.size else 1.0
    scale, colours = LogNorm(low, high), colormaps["cividis"]
    image = colours(scale(np.where(nowhere | zero | bad, high, np.maximum(norms, low))))
    image[zero], image[bad], image[nowhere] = _ZERO, _NOT_FINITE, _NOWHERE

    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    half = lags[1] / 2 if len(lags) > 1 else 0.5
    extent = (-0.5, len(steps) - 0.5, -half, lags[-1] + half)
    axes.imshow(image, aspect="auto", origin="lower", interpolation="nearest", extent=extent)
    places = np.unique(np.linspace(0, len(steps) - 1, 6).astype(int))
    axes.set_xticks(places, [str(steps[place]) for place in places])
    axes.set(title=key, xlabel="optimiser step", ylabel="time steps before the last")
    figure.colorbar(ScalarMappable(scale, colours), ax=axes, label=f"{SERIES[of]}, median over sequences")
    marks = (("exactly 0", _ZERO, zero), ("not finite", _NOT_FINITE, bad))
    handles = [Patch(color=colour, label=label) for label, colour, there in marks if there.any()]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _by_lag(layers: Sequence[Mapping[str, Any]], of: str, turned: bool) -> tuple[list[int], np.ndarray]:
    """The lags of the longest run, and the norms `(lag, reading)`, −1 where there are none."""
    every = []
    for layer in layers:
        last = layer["t"][0 if turned else -1]
        every.append({abs(last - t): norm for t, norm in zip(layer["t"], layer[of], strict=True)})
    lags = sorted(max(every, key=max))
    return lags, np.array([[norms.get(lag, -1.0) for norms in every] for lag in lags])
