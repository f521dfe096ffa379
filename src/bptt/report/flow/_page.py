"""The page of gradient flow: verdicts first, then the figures, then how it was measured."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .._html import embedded, render
from .._look import look
from .._plots import checked
from .._tables import Cell, Table
from ._arrays import expected
from ._drawing import Drawing
from ._dynamics import gates, jacobians, lyapunov
from ._gradients import by_layer, clipping, lag, maps, training
from ._measurement import Layer, Measurement
from ._reach import reach
from ._together import differences, layers, together, verdicts


def page(measurements: Sequence[tuple[Measurement, str]]) -> str:
    """The HTML of measurements, each with the name of the file of its arrays."""
    every = [each for each, _ in measurements]
    several = len(every) > 1
    return render(
        "flow/_page.html.j2",
        title=f"Gradient flow: {', '.join(each.name for each in every)}",
        looks=[look(index) for index in range(max(7, len(every)))],
        measurements=[_section(n, each, file) for n, (each, file) in enumerate(measurements, start=1)],
        verdicts=verdicts(every),
        differences=differences(every) if several else None,
        figures=[_figure(each) for each in together(every)] if several else [],
        choices=[(key, pairs[0][2].label) for key, pairs in layers(every).items()] if several else [],
    )


def _section(number: int, found: Measurement, file: str) -> dict[str, Any]:
    groups = {
        "How far back the gradient reaches": [lag(found, layer) for layer in found.layers],
        "Where the gradient is": [*by_layer(found), *_of_layers(maps, found)],
        "What each output depends on": [],
        "Gates": _of_layers(gates, found),
        "Jacobians and exponents": _of_layers(_dynamics, found),
        "During training": [*_of_layers(training, found), *clipping(found)],
    }
    asked = reach(found)
    return {
        "id": f"measurement-{number}",
        "found": found,
        "file": file,
        "choices": [(layer.key, layer.label) for layer in found.layers],
        "groups": {name: [_figure(each) for each in drawn] for name, drawn in groups.items()},
        "reach": asked,
        "reach_data": embedded(asked.data) if asked else "",
        "frame": Table(("What", "How"), tuple((Cell(name), Cell(value)) for name, value in found.frame)),
        "arrays": _arrays(found),
    }


def _of_layers(draw: Callable[[Measurement, Layer], Iterator[Drawing]], found: Measurement) -> list[Drawing]:
    return [each for layer in found.layers for each in draw(found, layer)]


def _dynamics(found: Measurement, layer: Layer) -> Iterator[Drawing]:
    yield from jacobians(found, layer)
    yield from lyapunov(found, layer)


def _figure(drawing: Drawing) -> dict[str, Any]:
    return {"drawing": drawing, "plot": embedded(checked(drawing.data, drawing.layout))}


def _arrays(found: Measurement) -> Table:
    """What the file of arrays holds."""
    known = expected((layer.key, layer.kind) for layer in found.layers)
    rows = (
        (
            Cell(name),
            Cell(" × ".join(map(str, array.shape)), str(array.dtype)),
            Cell(known[name].what if name in known else "not known to this page, and not drawn"),
        )
        for name, array in sorted(found.arrays.items())
    )
    return Table(("Array", "Shape", "What it holds"), tuple(rows))
