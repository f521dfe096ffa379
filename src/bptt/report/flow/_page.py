"""The page of gradient flow: verdicts first, then the figures, then how it was measured."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .._html import embedded, render
from .._look import look
from .._plots import checked
from .._tables import Cell, Table
from .._verdict import caution
from ._arrays import expected
from ._drawing import Drawing
from ._dynamics import gates, jacobians, lyapunov
from ._gradients import by_layer, clipping, lag, maps, training
from ._measurement import Layer, Measurement
from ._reach import reach
from ._together import differences, layers, on_the_whole, together, verdicts


def page(measurements: Sequence[tuple[Measurement, str]]) -> str:
    """The HTML of measurements, each with the name of the file of its arrays."""
    every = [each for each, _ in measurements]
    several = len(every) > 1
    sections = [_section(n, each, file) for n, (each, file) in enumerate(measurements, start=1)]
    return render(
        "flow/_page.html.j2",
        title=f"Gradient flow: {', '.join(each.name for each in every)}",
        looks=[look(index) for index in range(max(7, len(every)))],
        measurements=sections,
        cautions=_by(sections, lambda found: caution(found.profile)),
        opening=on_the_whole(every) if several else every[0].sentence,
        reached=all(each.within_reach for each in every),
        sentences=_by(sections, lambda found: found.sentence) if several else {},
        verdicts=verdicts(every),
        differences=differences(every) if several else None,
        figures=[_figure(each) for each in together(every)] if several else [],
        choices=[(key, pairs[0][2].label) for key, pairs in layers(every).items()] if several else [],
    )


def _by(
    sections: Sequence[dict[str, Any]], said: Callable[[Measurement], str]
) -> dict[str, list[dict[str, Any]]]:
    """The sections by what is said of their measurements."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in sections:
        found.setdefault(said(each["found"]), []).append(each)
    return found


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
        "frame": _told(each for each in found.frame if not _is_setting(each[0])),
        "settings": _told(each for each in found.frame if _is_setting(each[0])),
        "arrays": _arrays(found),
    }


def _is_setting(name: str) -> bool:
    """Whether it is one of many that a run was made with, such as `train.epochs`."""
    return re.fullmatch(r"\w+\.\w+", name) is not None


def _told(rows: Iterable[tuple[str, str]]) -> Table:
    return Table(("What", "How"), tuple((Cell(name), Cell(value)) for name, value in rows))


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
