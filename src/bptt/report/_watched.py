"""flow.jsonl of a run: its gradients through time at some training steps, none of it trusted."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ._files import DamagedError, need, need_number, parse_object, read_bytes

HALF_LIFE, SHARE = "half_life", "carry_share"
_FOREVER = 1e100  # time steps, which no axis need hold
_NORMS = frozenset({"h", "c", "carry", "gates"})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One layer in one direction at one training step.

    `values` has `half_life` in time steps: inf where the gradient does not fall towards earlier ones, NaN
    where there is too little of it to say. Where the gradient was split, it also has the norms of its two
    parts, `carry` and `gates`, each the median over the earliest tenth of the time steps kept, which are
    those from `early[0]` to `early[1]` of a sequence that ends at `end`, and `carry_share`, that of the
    first in the sum of both: NaN where that is 0 or not finite.
    """

    step: int
    layer: str
    early: tuple[int, int]
    end: int
    values: Mapping[str, float]


def read_seen(folder: Path, seal: str) -> tuple[tuple[Seen, ...], str]:
    """Read the flow.jsonl of a run folder; a line that is still being written is no line.

    Args:
        folder: of the run.
        seal: the file's SHA-256 by done.json; empty if the run has not ended, or was not watched.

    Returns:
        What was seen, by step and layer; and what is wrong with the file, of which then nothing is believed.
    """
    path = folder / "flow.jsonl"
    if not seal and not path.exists():
        return (), ""
    try:
        return tuple(_read(read_bytes(path), seal)), ""
    except DamagedError as error:
        return (), str(error)


def _read(data: bytes, seal: str) -> Iterator[Seen]:
    if seal and hashlib.sha256(data).hexdigest() != seal:
        raise DamagedError("flow.jsonl has changed since the run ended: its SHA-256 is not that of done.json")
    before = 0
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        where = f"flow.jsonl, line {number}"
        row = parse_object(line, where)
        step = need(row, "step", int, where)
        if not before < step < 2**53:
            raise DamagedError(f"{where}: step must be above that of the line before, {before}, got {step}")
        before = step
        layers = need(row, "layers", dict, where)
        for key in layers:
            yield _seen(step, key, need(layers, key, dict, where), f"{where}: {key}")


def _seen(step: int, key: str, layer: Mapping[str, Any], where: str) -> Seen:
    forth = -1 if key.endswith(":1") else 1  # from the step that the direction runs through first
    t = need(layer, "t", list, where)
    if not t or not all(type(each) is int for each in t) or not all(a < b for a, b in pairwise([-1, *t])):
        raise DamagedError(f"{where}: t must be time steps that rise from 0 or above, got {str(t)[:60]}")
    t = t[::forth]
    series = {
        path: _norms(layer[path], len(t), f"{where}: {path}")[::forth] for path in _NORMS & layer.keys()
    }
    n = -(-len(t) // 10)
    values = {HALF_LIFE: _half_life(need(layer, HALF_LIFE, object, where), series, f"{where}: {HALF_LIFE}")}
    if {"carry", "gates"} <= series.keys():
        with np.errstate(over="ignore"):
            carry, gates = (float(np.median(series[path][:n])) for path in ("carry", "gates"))
        share = carry / (carry + gates) if 0 < carry + gates < np.inf else np.nan
        values |= {"carry": carry, "gates": gates, SHARE: share}
    early = min(t[0], t[n - 1]), max(t[0], t[n - 1])
    return Seen(step=step, layer=key, early=early, end=t[-1], values=values)


def _norms(values: object, size: int, where: str) -> np.ndarray:
    if not isinstance(values, list) or len(values) != size:
        raise DamagedError(f"{where} must be {size} numbers, one for each of t")
    norms = np.array([np.nan if each is None else need_number(each, where) for each in values])
    if (norms < 0).any():
        raise DamagedError(f"{where} must be at least 0, got {norms.min():g}")
    return norms


def _half_life(value: object, series: Mapping[str, np.ndarray], where: str) -> float:
    """In time steps; null, by the norms that it was made of, is inf or NaN."""
    if value is not None:
        number = need_number(value, where)
        if number < 1 / _FOREVER:
            raise DamagedError(f"{where} must be above 0, got {number:g}")
        return np.inf if number >= _FOREVER else number
    norms = series.get("c", series.get("h", np.empty(0)))[::-1]
    there = np.flatnonzero(np.isfinite(norms) & (norms > 0))
    return np.inf if there.size > 1 and there[1] == there[0] + 1 else np.nan
