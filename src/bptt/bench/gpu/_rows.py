"""What is measured on a GPU."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .._case import Shape

DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "tf32": torch.float32,
    "float32": torch.float32,
}
# Of the largest entry: rounding to as many bits, over hundreds of steps.
TOLERANCE = {"bfloat16": 0.1, "float16": 0.02, "tf32": 0.02, "float32": 1e-3}
_SMALL = (Shape(120, 100, 1, 128), Shape(784, 100, 1, 100))
_COPYING = Shape(320, 100, 1, 128)
_LARGE = Shape(1024, 64, 512, 512)


@dataclass(frozen=True)
class Row:
    """What is measured.

    Attributes:
        cell: the recurrence, or for whole steps of the papers' training of an LSTM `"step"`, called on
            both sides, or `"train"`, by `bptt.train.fit_replicas` on ours.
        shape: its sizes, of one replica.
        precision: a key of `DTYPES`.
        rival: a backend of `bptt.ops`, or `"loop"`, the papers'.
        p: probability of blocking h at a step, on our side.
        replicas: that run at once on our side, one after the other on the rival's.
        ours: the backend on our side, None for the one that the op chooses.
    """

    cell: str
    shape: Shape
    precision: str
    rival: str
    p: float = 0.0
    replicas: int = 1
    ours: str | None = "triton"

    def words(self) -> dict[str, Any]:
        return {**asdict(self), "shape": str(self.shape)}


def rows() -> Iterator[Row]:
    """The table of the papers' shapes, replicas, a large shape, and a step of training."""
    for shape in _SMALL:
        for cell in ("lstm", "gru", "rnn"):
            for precision in DTYPES:
                for p in (0.0, 0.5):
                    yield Row(cell, shape, precision, "cudnn", p)
        for precision in ("bfloat16", "float32"):
            yield Row("lstm", shape, precision, "cudnn", replicas=10)
    for precision in ("bfloat16", "tf32"):
        yield Row("lstm", _LARGE, precision, "cudnn", ours=None)
        yield Row("lstm", _LARGE, precision, "cudnn")
    for precision in ("bfloat16", "float32"):
        yield Row("step", _COPYING, precision, "loop", 0.5)
        for replicas in (1, 15):
            yield Row("train", _COPYING, precision, "loop", 0.5, replicas)
