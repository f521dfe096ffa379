"""The figures of gradients over training, of studies whose runs were watched."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from ._curves import Figure, SeedLine, arm_curves, spread_words
from ._files import file_names
from ._run import Run
from ._study import Study
from ._watched import HALF_LIFE, SHARE

MOST = 1000  # training steps drawn of an arm; more are neither seen nor worth their bytes

_TITLES = {
    HALF_LIFE: "Half-life of the gradient, back in time",
    SHARE: "The carry’s share of the gradient at early time steps",
}
_ABOUT = {
    HALF_LIFE: (
        "The number of time steps, back from the last one, over which the gradient of the loss with "
        "respect to the layer’s state (an LSTM’s c, else h) halves, by a line through its logarithms: "
        "median over the sequences of the batch, on the training step as it was taken, without the "
        "paths blocked in it. The longer it is, the longer ago is what the layer can learn from, but "
        "only where the loss reads the last time steps alone: with a loss at every time step, each "
        "state also gets the gradient of its own."
    ),
    SHARE: (
        "Of the gradient of the loss with respect to the layer’s state (an LSTM’s c, a GRU’s h) at "
        "early time steps, the part that came back along the carry alone: ‖carry‖ / (‖carry‖ + "
        "‖gates‖), where gates is all that passed through a gate at least once. Each norm is the median "
        "over the sequences of the batch, then over the early time steps. Split with all paths open, "
        "also in arms that block some."
    ),
}


def gradient_figures(study: Study) -> tuple[Figure, ...]:
    """The half-life of the gradient, and the carry's share of it, against training steps.

    There is one figure of each for every layer and direction of any arm, and none of what no run has.
    """
    layers = list(dict.fromkeys(seen.layer for run in study.runs for seen in run.seen))
    suffixes = [f"-{name}" for name in file_names(layers)] if len(layers) > 1 else [""] * len(layers)
    made: list[Figure] = []
    for quantity in (HALF_LIFE, SHARE):
        about = _ABOUT[quantity]
        for layer, suffix in zip(layers, suffixes, strict=True):
            figure = _figure(study, quantity, layer, suffix, about)
            if figure is not None:
                made.append(figure)
                about = "As above."
    return tuple(made)


def _figure(study: Study, quantity: str, layer: str, suffix: str, about: str) -> Figure | None:
    lines = {
        arm: [line for run in study.of(arm) if (line := _line(run, quantity, layer)).x.size]
        for arm in study.arms
    }
    arms = arm_curves(study, lambda arm: _thinned(lines[arm]))
    if not arms:
        return None
    notes = [about, _early(study, layer) if quantity == SHARE else ""]
    if any(_steps(each).size > MOST for each in lines.values()):
        notes.append(f"{MOST} evenly spaced training steps of an arm are drawn; all are in gradients.csv.")
    half_life = quantity == HALF_LIFE
    figure = Figure(
        key=quantity.replace("_", "-") + suffix,
        title=_TITLES[quantity] + (f": {_named(layer)}" if suffix else ""),
        axis="time steps, log scale" if half_life else "",
        percent=not half_life,
        log=half_life,
        arms=arms,
        spread=spread_words(study),
        unit="training step",
        about=" ".join(filter(None, notes)),
    )
    values = np.concatenate([line.values for arm in arms for line in arm.seeds])
    return _with_ceiling(figure, values[np.isfinite(values)]) if np.isinf(values).any() else figure


def _with_ceiling(figure: Figure, numbers: np.ndarray) -> Figure:
    """The figure with room for half-lives of inf above its numbers."""
    low, high = (numbers.min(), numbers.max()) if numbers.size else (10.0, 100.0)
    ceiling, endless = 2 * float(high), "does not fall"
    return replace(
        figure,
        ceiling=ceiling,
        limits=(float(low) / 1.5, 2 * ceiling),
        endless=endless,
        levels=((endless, ceiling),),
        about=f"{figure.about} Where the gradient does not fall, it counts as longer than any number.",
    )


def _line(run: Run, quantity: str, layer: str) -> SeedLine:
    there = [seen for seen in run.seen if seen.layer == layer and quantity in seen.values]
    steps = np.array([seen.step for seen in there], dtype=np.int64)
    return SeedLine(run.seed, steps, np.array([seen.values[quantity] for seen in there]), run.status)


def _thinned(lines: Sequence[SeedLine]) -> list[SeedLine]:
    steps = _steps(lines)
    if steps.size > MOST:
        steps = steps[np.linspace(0, steps.size - 1, MOST).round().astype(int)]
    kept = [(line, np.isin(line.x, steps)) for line in lines]
    return [replace(line, x=line.x[at], values=line.values[at]) for line, at in kept if at.any()]


def _steps(lines: Sequence[SeedLine]) -> np.ndarray:
    return reduce(np.union1d, (line.x for line in lines), np.array([], dtype=np.int64))


def _early(study: Study, layer: str) -> str:
    """Which time steps are early, with their numbers if these are always the same."""
    found = {
        (seen.early, seen.end)
        for run in study.runs
        for seen in run.seen
        if seen.layer == layer and SHARE in seen.values
    }
    sentence = "Early is the tenth of the time steps kept that the layer runs through first"
    if len(found) > 1:
        return f"{sentence}."
    (((first, last), end),) = found
    span = f"t = {first}" if first == last else f"t = {first} to {last}"
    return f"{sentence}: {span}, where the sequence ends at t = {end}."


def _named(layer: str) -> str:
    """`core, layer 0 in reverse` for `core:0:1`."""
    name, number, direction = layer.rsplit(":", 2) if layer.count(":") > 1 else (layer, "", "0")
    return (f"{name}, layer {number}" if number else name) + (" in reverse" if direction == "1" else "")
