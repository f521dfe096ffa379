"""What an epoch adds up to, and the two files that only grow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

from . import _files, _json
from ._errors import RunError


@dataclass(frozen=True)
class Series:
    """Steps of one run: of each its loss, its gradient's norm, and the sums and counts of its metrics."""

    losses: list[float]
    norms: list[float]
    sums: Mapping[str, list[float]]
    counts: Mapping[str, list[int]]

    @property
    def finite(self) -> int:
        """How many steps come before the first whose loss or gradient is not finite."""
        pairs = zip(self.losses, self.norms, strict=True)
        return next((i for i, pair in enumerate(pairs) if not all(map(isfinite, pair))), len(self.losses))


class Sums:
    """Sums and counts of named metrics, added on their device so that no step waits for it."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, metrics: Mapping[str, tuple[Tensor, int]]) -> None:
        for name, (value, count) in metrics.items():
            value = value.detach().double()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            self.counts[name] = self.counts.get(name, 0) + int(count)

    def add_series(self, name: str, values: Sequence[float], count: int) -> None:
        total = float(self.sums.get(name, 0.0))
        for value in values:  # in this order, and not by sum(), which newer Pythons round less
            total += value
        self.sums[name] = torch.tensor(total, dtype=torch.float64, device="cpu")
        self.counts[name] = self.counts.get(name, 0) + count

    def means(self) -> dict[str, float]:
        return {name: float(value) / self.counts[name] for name, value in self.sums.items()}


class Tally:
    """What the unfinished epoch has come to: part of the run's state."""

    def __init__(self) -> None:
        self.metrics = Sums()
        self.norms: list[float] = []
        self.clipped = 0
        self.seconds = 0.0

    def add(
        self, metrics: Mapping[str, tuple[Tensor, int]], norm: float, clipped: bool, seconds: float
    ) -> None:
        self.metrics.add(metrics)
        self.norms.append(norm)
        self.clipped += clipped
        self.seconds += seconds

    def add_series(self, series: Series, number: int, limit: float, seconds: float) -> None:
        """Add the first `number` steps of a series, one after the other."""
        for name, values in series.sums.items():
            self.metrics.add_series(name, values[:number], sum(series.counts[name][:number]))
        self.norms += series.norms[:number]
        self.clipped += sum(norm > limit for norm in series.norms[:number])
        self.seconds += seconds

    def norm_record(self) -> dict[str, Any]:
        """Gradient norms before clipping, and the share of steps that were clipped."""
        return {
            "grad_norm": {"mean": fmean(self.norms), "median": median(self.norms), "max": max(self.norms)},
            "clipped": self.clipped / len(self.norms),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "sums": {name: value.cpu() for name, value in self.metrics.sums.items()},
            "counts": self.metrics.counts,
            "norms": torch.tensor(self.norms, dtype=torch.float64),
            "clipped": self.clipped,
            "seconds": self.seconds,
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any], device: torch.device) -> "Tally":
        tally = cls()
        tally.metrics.sums = {name: value.to(device) for name, value in state["sums"].items()}
        tally.metrics.counts = dict(state["counts"])
        tally.norms = state["norms"].tolist()
        tally.clipped = state["clipped"]
        tally.seconds = state["seconds"]
        return tally


class Log:
    """metrics.jsonl or flow.jsonl, with the length and hash of all that was ever written to it."""

    def __init__(self, path: Path, position: Mapping[str, Any] | None = None) -> None:
        """Open the file at a recorded position, and cut off what was written after it.

        Raises:
            RunError: if what was written before it is no longer there, bit for bit.
        """
        self.path = path
        position = position or {"length": 0, "sha256": hashlib.sha256().hexdigest()}
        written = path.read_bytes() if path.exists() else b""
        self._length: int = position["length"]
        self._hash = hashlib.sha256(written[: self._length])
        if len(written) < self._length or self._hash.hexdigest() != position["sha256"]:
            raise RunError(
                f"{path} is damaged: its first {self._length} bytes must be those that the last checkpoint "
                f"recorded, got others ({len(written)} in all); put a good copy back, or delete "
                f"{path.parent} to start the run over"
            )
        if len(written) > self._length:
            _files.cut(path, self._length)

    @property
    def position(self) -> dict[str, Any]:
        return {"length": self._length, "sha256": self._hash.hexdigest()}

    def append(self, record: Mapping[str, Any]) -> None:
        data = _json.line(record)
        _files.append(self.path, data, sync=True)
        self._length += len(data)
        self._hash.update(data)


class TimingLog:
    """timing.jsonl: what depends on the clock, one whole line for each finished epoch."""

    def __init__(self, path: Path, epochs: int) -> None:
        """Keep the whole lines of the first `epochs` epochs; a kill may have left more, or half a line."""
        self.path = path
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if _epoch(line) in range(1, epochs + 1)]
        if kept != lines:
            _files.write_whole(path, b"".join(kept))

    def append(self, record: Mapping[str, Any]) -> None:
        _files.append(self.path, _json.line(record), sync=False)


def _epoch(line: bytes) -> Any:
    try:
        return json.loads(line)["epoch"] if line.endswith(b"\n") else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
