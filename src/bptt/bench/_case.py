"""What is measured: cells, sizes, and everything else that a row of the table names."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Cell = Literal["lstm", "gru", "rnn"]
Mode = Literal["train", "forward", "step"]
GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Shape:
    """`T` steps, `B` sequences, `I` inputs, `H` hidden units."""

    T: int
    B: int
    I: int
    H: int

    def __str__(self) -> str:
        return f"{self.T},{self.B},{self.I},{self.H}"


@dataclass(frozen=True)
class Case:
    """Our side of a row.

    Attributes:
        cell: which recurrence.
        shape: its sizes; the input needs a gradient where I > 1.
        p: probability of blocking h at a step, as h-detach does.
        threads: of torch and of our kernels.
        memory: of the op.
        mode: `"train"` is forward and backward, `"forward"` forward without a graph, `"step"` a whole step of
            training.
        layers: stacked ones.
        bidirectional: whether they run both ways.
        packed: whether the sequences are packed, with lengths uniform in [T/4, T].
    """

    cell: Cell
    shape: Shape
    p: float = 0.0
    threads: int = 1
    memory: Literal["fast", "low"] = "fast"
    mode: Mode = "train"
    layers: int = 1
    bidirectional: bool = False
    packed: bool = False

    @property
    def plain(self) -> bool:
        """Whether it is one layer, one way, over whole sequences."""
        return self.layers == 1 and not self.bidirectional and not self.packed

    @property
    def needs_input_gradient(self) -> bool:
        return self.shape.I > 1 and self.mode == "train"

    def words(self) -> dict[str, Any]:
        """As JSON holds it."""
        said = asdict(self)
        said["shape"] = str(self.shape)
        said["variant"] = {name: said.pop(name) for name in ("layers", "bidirectional", "packed")}
        return said

    def __str__(self) -> str:
        variant = [f"{self.layers} layers"] * (self.layers > 1)
        variant += ["bidirectional"] * self.bidirectional + ["packed"] * self.packed
        low = ["memory low"] * (self.memory == "low")
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        parts = [f"{self.cell} {self.shape}", *variant, f"p {self.p:g}", threads, *low, self.mode]
        return ", ".join(parts)
