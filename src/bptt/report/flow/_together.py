"""Run against run: several measurements on the same axes."""

from collections.abc import Iterator, Sequence

import numpy as np

from .._tables import Cell, Table
from ._drawing import Drawing
from ._dynamics import KEPT, PER_STEP
from ._gradients import NO_HALF_LIFE, state
from ._lines import Axes, Line, lines
from ._measurement import Layer, Measurement
from ._words import exact, shown, with_interval

Pair = tuple[int, Measurement, Layer]  # the number of the measurement, and a layer of it


def layers(measurements: Sequence[Measurement]) -> dict[str, list[Pair]]:
    """The layers by key, with every measurement that has one of this key."""
    found: dict[str, list[Pair]] = {}
    for number, each in enumerate(measurements):
        for layer in each.layers:
            found.setdefault(layer.key, []).append((number, each, layer))
    return found


def together(measurements: Sequence[Measurement]) -> Iterator[Drawing]:
    """Gradient against lag, half-life during training and exponents, a figure each per layer."""
    for key, pairs in layers(measurements).items():
        first = pairs[0][2]
        label = first.label
        for part in "hc":
            yield from _figure(
                key,
                pairs,
                f"lag/{key}/{part}",
                f"Gradient with respect to {state(first, part)} against lag: {label}",
                "A line for each measurement, the median over sequences and positions: the one that stays "
                "higher further to the right reaches further back.",
                Axes(x="lag k (steps from the loss back to the state)", y="gradient norm"),
            )
        yield from _figure(
            key,
            pairs,
            f"training/{key}/half_life",
            f"Half-life during training: {label}",
            "After so many steps back in time half of the gradient is left; higher is longer memory.",
            Axes(x="training step", y="half-life (time steps)", gap=NO_HALF_LIFE),
            f"training/{key}/steps",
        )
        yield from _figure(
            key,
            pairs,
            f"lyapunov/{key}/exponents",
            f"Lyapunov exponents: {label}",
            "Growth per step of small changes in the long run, fastest direction first: below 0 they die "
            "out, above 0 they grow.",
            Axes(x="exponent number", y=PER_STEP, log=False, levels=KEPT),
        )


def _figure(
    key: str, pairs: Sequence[Pair], name: str, title: str, caption: str, axes: Axes, x_name: str = ""
) -> Iterator[Drawing]:
    first = 1 if name.startswith("lyapunov") else 0
    drawn = []
    for number, found, _ in pairs:
        y, x = found.get(name), found.get(x_name)
        if y is not None:
            x = np.arange(first, first + y.size) if x is None else x
            drawn.append(Line(name=found.name, x=x, y=y, arm=number))
    if drawn:
        yield lines(title, caption, axes, drawn, key)


def on_the_whole(measurements: Sequence[Measurement]) -> str:
    """How many of several are within reach, in one sentence."""
    lags = {each.wanted_lag for each in measurements}
    lag = f"A lag of {lags.pop()}" if len(lags) == 1 else "The wanted lag"
    reached = sum(each.within_reach for each in measurements)
    return f"{lag} is within reach in {reached} of {len(measurements)} measurements."


def verdicts(measurements: Sequence[Measurement]) -> Table:
    """The numbers of every verdict, a row for each layer of each measurement."""
    several = len(measurements) > 1
    rows = []
    for each in measurements:
        for layer in each.layers:
            verdict = layer.verdict
            rows.append(
                (
                    Cell(layer.label, each.name if several else ""),
                    Cell(verdict.kind),
                    Cell(with_interval(verdict.half_life, verdict.half_life_interval)),
                    Cell(with_interval(verdict.rate, verdict.rate_interval)),
                    Cell("not reached" if verdict.reach is None else exact(verdict.reach)),
                    Cell(shown(verdict.noise)),
                    Cell(f"{each.wanted_lag}", "within reach" if verdict.within_reach else "out of reach"),
                )
            )
    columns = (
        "Layer",
        "Verdict",
        "Half-life (steps)",
        "Factor per step",
        "First lag under the floor",
        "Floor (of the value at lag 0)",
        "Wanted lag",
    )
    return Table(columns, tuple(rows))


def differences(measurements: Sequence[Measurement]) -> Table:
    """What differs in their frames, but for the cost, which is never the same."""
    frames = [dict(each.frame) | {"wanted lag": str(each.wanted_lag)} for each in measurements]
    keys = dict.fromkeys(key for frame in frames for key in frame if key != "cost")
    rows = [
        (Cell(key), *(Cell(frame.get(key, "—")) for frame in frames))
        for key in keys
        if len({frame.get(key) for frame in frames}) > 1
    ]
    return Table(("In the frame", *(each.name for each in measurements)), tuple(rows))
