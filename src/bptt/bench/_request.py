"""What is asked for, and the rows that it comes to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from .._cpus import available_cpus
from ._case import Case, Cell, Mode, Shape
from ._rivals import COMPILED_STEPS, RIVALS, WATCHED, refusal

_COPYING, _PIXELS = Shape(120, 100, 1, 128), Shape(784, 100, 1, 100)
_PAPER: dict[str, tuple[Shape, ...]] = {
    "lstm": (
        _COPYING,
        Shape(320, 100, 1, 128),
        _PIXELS,
        Shape(200, 64, 128, 256),
        Shape(100, 32, 512, 512),
        Shape(120, 1, 1, 128),
        Shape(120, 8, 1, 128),
    ),
    "gru": (_COPYING, _PIXELS),
    "rnn": (_COPYING, _PIXELS),
}
_GRID = tuple(
    Shape(100, B, I, H)
    for H in (16, 32, 64, 100, 128, 256, 512)
    for B in (1, 8, 32, 100, 256)
    for I in (1, H)
)
Row = tuple[Case, str]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What `bptt bench` is to measure.

    Args:
        shapes: `"paper"`, `"grid"`, or sizes as `T,B,I,H` with `;` between them.
        p: probabilities of blocking; None for those that fit: 0, and 0.5 beside it or alone for the paper's
            shapes and for a step.
        threads: numbers of threads; None for torch's own and 1.
        cells: which recurrences; None for those that fit the shapes.
        memory: of the ops.
        rivals: who runs beside us; None for those that fit. A row that a rival cannot run is left out.
        pairs: of timings.
        mode: forward and backward, forward alone, or a whole step of training.
        layers: stacked ones.
        bidirectional: whether they run both ways.
        packed: whether the sequences are packed, with lengths uniform in [T/4, T].
        flow: in a step of training, whether plain steps are timed beside watched ones, at the shape of
            copying and p = 0 unless others are named.

    Raises:
        ValueError: naming everything that does not fit.
    """

    shapes: str = "paper"
    p: tuple[float, ...] | None = None
    threads: tuple[int, ...] | None = None
    cells: tuple[str, ...] | None = None
    memory: tuple[str, ...] = ("fast",)
    rivals: tuple[str, ...] | None = None
    pairs: int = 15
    mode: Mode = "train"
    layers: int = 1
    bidirectional: bool = False
    packed: bool = False
    flow: bool = False

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise ValueError("\n".join(problems))
        if not self.rows():
            raise ValueError(f"no rival can run what is asked for: {self._refused()}")

    def rows(self) -> list[Row]:
        """Every case with its rival, in the order of the table."""
        return list(dict.fromkeys(self._fitted()))

    def _fitted(self) -> Iterator[Row]:
        for case in self._cases():
            for rival in self._rivals(case):
                steps = case.shape.T if rival != "compiled" else min(case.shape.T, COMPILED_STEPS)
                fitted = replace(case, shape=replace(case.shape, T=steps))
                if refusal(fitted, rival) is None:
                    yield fitted, rival

    def _cases(self) -> Iterator[Case]:
        p, threads = self.p or self._usual_p(), self.threads or usual_threads()
        for cell, shapes in self._shapes().items():
            for shape in shapes:
                for count in threads:
                    for probability in p:
                        for memory in self.memory:
                            yield Case(
                                _one_of(cell, Cell),
                                shape,
                                float(probability),
                                count,
                                _one_of(memory, Literal["fast", "low"]),
                                self.mode,
                                self.layers,
                                self.bidirectional,
                                self.packed,
                            )

    def _shapes(self) -> dict[str, tuple[Shape, ...]]:
        if self.shapes == "paper":
            steps = _PAPER["lstm"][: 1 if self.flow else 3]
            table = {"lstm": steps} if self.mode == "step" else _PAPER
            return {cell: shapes for cell, shapes in table.items() if cell in (self.cells or table)}
        shapes = _GRID if self.shapes == "grid" else parse_shapes(self.shapes)
        return dict.fromkeys(self.cells or (("lstm", "gru") if self.shapes == "grid" else ("lstm",)), shapes)

    def _usual_p(self) -> tuple[float, ...]:
        if self.mode == "step" and not self.flow:
            return (0.5,)
        return (0.0, 0.5) if self.shapes == "paper" and self.mode == "train" else (0.0,)

    def _rivals(self, case: Case) -> tuple[str, ...]:
        if self.rivals is not None:
            return self.rivals
        if self.flow:
            return tuple(WATCHED)
        if case.memory == "low":
            return ("memory-fast",)
        if case.mode == "step":
            return ("loop",)
        return ("torch", "torch-no-onednn", "loop", "reference") if self.shapes == "paper" else ("torch",)

    def _refused(self) -> str:
        reasons = [refusal(case, rival) for case in self._cases() for rival in self._rivals(case)]
        return next((reason for reason in reasons if reason is not None), "no row is left")

    def _problems(self) -> Iterator[str]:
        try:
            shapes = [shape for some in self._shapes().values() for shape in some]
        except ValueError as error:
            yield str(error)
            shapes = []
        cpus = available_cpus()
        yield from _strangers("cells", self.cells or (), get_args(Cell))
        yield from _strangers("memory", self.memory, ("fast", "low"))
        yield from _strangers("rivals", self.rivals or (), RIVALS)
        yield from _outside("p", self.p or (), 0, 1)
        yield from _outside("threads", self.threads or (), 1, cpus)
        yield from _outside("pairs", (self.pairs,), 1, 10_000)
        yield from _outside("layers", (self.layers,), 1, 64)
        for name in ("p", "threads", "cells", "memory", "rivals"):
            if getattr(self, name) == ():
                yield f"{name} must name at least one, got none"
        if self.mode == "forward" and any(self.p or ()):
            yield "p must be 0 in a forward pass, which has no gradient to block"
        if self.flow and self.mode != "step":
            yield f'mode must be "step" with flow, got "{self.mode}"'
        if self.mode == "step":
            if set(self.cells or ("lstm",)) != {"lstm"} or self.packed or self.bidirectional:
                yield "a step is that of the papers: an LSTM in one direction, and nothing packed"
            if any(shape.I != 1 or shape.T < 21 for shape in shapes):
                yield "the shapes of a step must have I = 1 and T ≥ 21: those of copying and pixel MNIST"


def parse_shapes(text: str) -> tuple[Shape, ...]:
    """Sizes as `T,B,I,H`, with `;` between several.

    Raises:
        ValueError: if they are not four whole numbers, each at least 1.
    """
    shapes = []
    for part in filter(None, (part.strip() for part in text.split(";"))):
        numbers = [number.strip() for number in part.split(",")]
        if len(numbers) != 4 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
            break
        shapes.append(Shape(*map(int, numbers)))
    else:
        if shapes:
            return tuple(shapes)
    raise ValueError(
        "shapes must be paper, grid, or four whole numbers T,B,I,H with ; between several, such as "
        f"120,100,1,128;784,100,1,100, got {text!r}"
    )


def usual_threads() -> tuple[int, ...]:
    """All CPUs that this process may use, and one."""
    return tuple(dict.fromkeys((available_cpus(), 1)))


def _strangers(name: str, given: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    for word in given:
        if word not in known:
            yield f"{name} must be among {', '.join(known)}, got {word!r}"


def _outside(name: str, given: Sequence[float], least: float, most: float) -> Iterator[str]:
    for number in given:
        if not least <= number <= most:
            yield f"{name} must be from {least} to {most}, got {number:g}"


def _one_of(word: Any, kind: Any) -> Any:
    if word not in get_args(kind):
        raise ValueError(f"expected one of {', '.join(get_args(kind))}, got {word!r}")
    return word
