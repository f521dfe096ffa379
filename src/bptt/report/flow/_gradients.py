"""The gradient of a layer against lag, time, unit and training step."""

from collections.abc import Iterator

import numpy as np

from ._arrays import LOOKED
from ._drawing import Drawing
from ._heat import Grid, heat, most_of
from ._lines import Axes, Line, lines
from ._measurement import Layer, Measurement, Verdict
from ._words import shown, with_interval

PARTS = ("h", "c", "carry", "gates")  # in the order of their looks
FIT = 6  # the look of the fitted line
NO_HALF_LIFE = "the gradient does not fall towards earlier steps, or there is none to follow"


def lag(found: Measurement, layer: Layer) -> Drawing:
    """The gradient against lag, with its paths, the fitted line, the noise floor and the wanted lag."""
    verdict = layer.verdict
    drawn = [*_measured(found, layer), *_fitted(layer)]
    start, wanted = verdict.start, verdict.start + found.wanted_lag
    ends = [value[start] for part in "hc" if (value := found.get(f"lag/{layer.key}/{part}")) is not None]
    floor = float(np.hypot.reduce(ends)) * (verdict.noise or 0)
    last = max(line.x[-1] for line in drawn)
    caption = (
        "How much the loss at one step depends on what the layer held k steps before: a line that falls is a "
        "gradient that vanishes, one that rises a gradient that explodes. Thick: median over sequences and "
        "positions; band: 10% to 90%."
    )
    if any(f"lag/{layer.key}/{path}" in found.arrays for path in PARTS[2:]):
        caption += (
            " Along the carry: what arrives by the carry alone; through the gates: by at least one hop "
            "through them; both of the loss at the position with the most steps before it."
        )
    if verdict.fit:
        caption += (
            f" The thin line without marks: the fitted exponential, times {shown(verdict.rate)} per step."
        )
    if start:
        caption += f" The loss reads the layer {start} steps before its position: its lags count from there."
    if wanted > last:
        caption += f" The wanted lag, {found.wanted_lag}, is beyond the lags measured."
    return lines(
        f"Gradient against lag: {layer.label}",
        caption,
        Axes(
            x="lag k (steps from the loss back to the state)",
            y="gradient norm ‖∂L<sub>j</sub>/∂s<sub>j−k</sub>‖",
            levels=(("noise floor", floor),) if 0 < floor < np.inf else (),
            uprights=(("wanted lag", wanted),) if wanted <= last else (),
        ),
        drawn,
        layer.key,
    )


def _measured(found: Measurement, layer: Layer) -> Iterator[Line]:
    for arm, part in enumerate(PARTS):
        y, low, high = (found.get(f"lag/{layer.key}/{part}{end}") for end in ("", "_low", "_high"))
        if y is not None:
            name, first = part_name(layer, part), int(part == "gates")  # there is no hop in no step
            yield Line(name=name, x=np.arange(first, y.size), y=y[first:], low=low, high=high, arm=arm)


def _fitted(layer: Layer) -> Iterator[Line]:
    verdict = layer.verdict
    if verdict.fit and verdict.rate:
        first, last, start = verdict.fit
        x = np.arange(first, last + 1)
        name = f"fit: {pace(verdict)}"
        yield Line(name=name, x=x, y=np.exp(start + (x - first) * np.log(verdict.rate)), arm=FIT, thin=True)


def pace(verdict: Verdict) -> str:
    """How fast a gradient changes: `half-life 14.2 (13–15.5) steps`."""
    half, rate = verdict.half_life, verdict.rate
    if half is not None and np.isfinite(half):
        return f"half-life {with_interval(half, verdict.half_life_interval)} steps"
    if rate is None:
        return "no rate"
    return f"doubles every {shown(np.log(2) / np.log(rate))} steps" if rate > 1 else "stays as it is"


def maps(found: Measurement, layer: Layer) -> Iterator[Drawing]:
    """The gradient over time and training, and over time and units."""
    kept = found.get(f"training/{layer.key}/t")
    for part in PARTS:
        over = found.get(f"training/{layer.key}/{part}")
        steps = found.get(f"training/{layer.key}/{'split_' * (part in PARTS[2:])}steps")
        if over is not None and steps is not None and kept is not None:
            yield heat(
                f"Gradient over time and training, {part_name(layer, part)}: {layer.label}",
                "Each column is one look during training, each row a time step: dark rows are steps to which "
                "the loss sends no gradient back, and which learn nothing from it." + _looks(found, steps),
                Grid(
                    x=steps,
                    y=kept,
                    z=over.T,
                    x_title="training step",
                    y_title="time step t",
                    most=most_of(len(found.layers)),
                ),
                layer.key,
            )
    units = found.get(f"unit/{layer.key}")
    if units is not None:
        s = state(layer, "c" if layer.kind == "LSTM" else "h")
        yield heat(
            f"Gradient over time and units, {s}: {layer.label}",
            "Each row is a unit: rows that stay bright far from the loss are units that carry the gradient "
            "through time.",
            Grid(
                x=np.arange(len(units)),
                y=np.arange(units.shape[1]),
                z=units.T,
                x_title="time step t",
                y_title="unit",
                z_title=f"mean of |∂L/∂{s}|",
                most=most_of(len(found.layers)),
            ),
            layer.key,
        )


def by_layer(found: Measurement) -> Iterator[Drawing]:
    """The gradient over layers and time, for h and for c."""
    for part in PARTS[:2]:
        rows = [(layer, found.get(f"time/{layer.key}/{part}")) for layer in found.layers]
        there = [(layer, row) for layer, row in rows if row is not None]
        if not there:
            continue
        T = max(row.size for _, row in there)
        labels = [layer.label for layer, _ in there]
        yield heat(
            f"Gradient over time and layers, {part_name(there[0][0], part)}",
            "The gradient of the whole loss at every time step: a row that darkens to the left (in reverse, "
            "to the right) loses it on the way back; a row darker than another gets less of it.",
            Grid(
                x=np.arange(T),
                y=np.arange(len(there)),
                z=np.stack([np.pad(row, (0, T - row.size), constant_values=-1) for _, row in there]),
                x_title="time step t",
                names=labels if len(set(labels)) == len(labels) else [layer.key for layer, _ in there],
            ),
        )


def training(found: Measurement, layer: Layer) -> Iterator[Drawing]:
    """The half-life against training step."""
    steps, half = (found.get(f"training/{layer.key}/{name}") for name in ("steps", "half_life"))
    if steps is not None and half is not None:
        yield lines(
            f"Half-life during training: {layer.label}",
            "After so many steps back in time half of the gradient is left; higher is longer memory."
            + _looks(found, steps),
            Axes(
                x="training step",
                y="half-life (time steps)",
                levels=(("wanted lag", found.wanted_lag),),
                gap=NO_HALF_LIFE,
            ),
            [Line(name="half-life", x=steps, y=half, arm=0)],
            layer.key,
        )


def clipping(found: Measurement) -> Iterator[Drawing]:
    """The norm of the gradient of all weights before and after clipping."""
    steps = found.get("training/clip_steps")
    there = [(name, found.get(f"training/{name}")) for name in ("before", "after")]
    drawn = [
        Line(name=f"{name} clipping", x=steps, y=norm, arm=arm)
        for arm, (name, norm) in enumerate(there)
        if norm is not None and steps is not None
    ]
    if drawn:
        yield lines(
            "Gradient norm before and after clipping",
            "The norm of the gradient of all weights together: where the lines part, the step was clipped."
            + _looks(found, drawn[0].x),
            Axes(x="training step", y="gradient norm"),
            drawn,
        )


def _looks(found: Measurement, steps: np.ndarray) -> str:
    """Of which training steps there is something to draw, if it is not of all that were looked at."""
    looked = len(found.arrays[LOOKED])
    if len(steps) == looked:
        return ""
    drawn = f"the {len(steps)} are drawn that have this at the same time steps"
    return f" Of {looked} training steps looked at, {drawn}."


def state(layer: Layer, part: str) -> str:
    """How a state is written: those of a model without recurrent layers are its inputs."""
    return "x" if layer.kind == "input" else part


def part_name(layer: Layer, part: str) -> str:
    """What a gradient is with respect to, or by which path it came."""
    paths = {"carry": "along the carry", "gates": "through the gates"}
    return paths.get(part, f"with respect to {state(layer, part)}")
