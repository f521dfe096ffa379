"""Reading measurements: a damaged or foreign file is refused by name."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._files import DamagedError, ReportError, need, need_number, parse_object, read_bytes
from ._arrays import GATES, check, expected, read_arrays
from ._measurement import Layer, Measurement, Remedy, Verdict

FORMAT = 2  # of bptt.flow.examine

VERDICTS = ("vanishing", "preserved", "exploding", "non-finite", "no gradient")
INPUTS = ("text", "image", "values", "tokens")


def load(folder: Path) -> Measurement:
    """Read a folder with flow.json and flow.npz.

    Raises:
        ReportError: if one is absent, damaged or foreign.
    """
    try:
        page = parse_object(read_bytes(folder / "flow.json"), "flow.json")
        return _measurement(_Fields(page, "flow.json"), read_bytes(folder / "flow.npz"))
    except DamagedError as error:
        raise ReportError(f"{folder}: {error}") from None


class _Fields:
    """The fields of an object of flow.json; DamagedError for one that is absent or of another type."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def text(self, key: str) -> str:
        return need(self.values, key, str, self.where)

    def among(self, key: str, *words: str) -> str:
        if (word := self.text(key)) not in words:
            raise self.wrong(key, f"one of {', '.join(words)}", word)
        return word

    def truth(self, key: str) -> bool:
        return need(self.values, key, bool, self.where)

    def whole(self, key: str) -> int:
        return need(self.values, key, int, self.where)

    def null(self, key: str) -> bool:
        return self.values.get(key) is None

    def number(self, key: str, signed: bool = False) -> float | None:
        """None for null; NaN never."""
        return None if self.null(key) else self._number(key, self.values[key], signed)

    def row(self, key: str, size: int, signed: bool = False) -> tuple[float, ...] | None:
        if self.null(key):
            return None
        row = need(self.values, key, list, self.where)
        if len(row) != size:
            raise self.wrong(key, f"{size} numbers", row)
        return tuple(self._number(key, each, signed) for each in row)

    def object(self, key: str) -> "_Fields":
        return _Fields(need(self.values, key, dict, self.where), f"{self.where}: {key}")

    def objects(self, key: str) -> "list[_Fields]":
        rows = need(self.values, key, list, self.where)
        if not all(isinstance(each, dict) for each in rows):
            raise self.wrong(key, "a list of objects", rows)
        return [_Fields(each, f"{self.where}: {key}[{at}]") for at, each in enumerate(rows)]

    def wrong(self, key: str, rule: str, got: Any) -> DamagedError:
        shown = json.dumps(got, ensure_ascii=False)[:60]
        return DamagedError(f"{self.where}: {key} must be {rule}, got {shown}")

    def _number(self, key: str, value: Any, signed: bool) -> float:
        number = need_number(value, f"{self.where}: {key}")
        if not (number >= 0 or (signed and number < 0)):
            raise self.wrong(key, "a number" if signed else "a number of at least 0", value)
        return number


def _measurement(page: _Fields, raw: bytes) -> Measurement:
    if (version := page.whole("format")) != FORMAT:
        raise page.wrong("format", f"{FORMAT} (bptt flow writes it again)", version)
    layers = tuple(_layer(each) for each in page.objects("layers"))
    keys = [layer.key for layer in layers]
    if not layers or len(set(keys)) < len(keys):
        raise page.wrong("layers", "one or more, each with a key of its own", keys)
    if (wanted := page.whole("wanted_lag")) < 1:
        raise page.wrong("wanted_lag", "at least 1", wanted)
    shown = page.object("input")
    arrays = read_arrays(raw)
    check(arrays, expected((layer.key, layer.kind) for layer in layers))
    for key in keys:
        if f"lag/{key}/h" not in arrays:
            raise DamagedError(f"flow.npz lacks lag/{key}/h")
    found = Measurement(
        name=page.text("name"),
        sentence=page.text("sentence"),
        within_reach=page.truth("within_reach"),
        wanted_lag=wanted,
        layers=layers,
        frame=_frame(page),
        shown=shown.among("kind", *INPUTS),
        text="" if shown.null("text") else shown.text("text"),
        shape=_shape(shown),
        nonfinite="" if page.null("nonfinite") else page.object("nonfinite").text("sentence"),
        arrays=arrays,
        raw=raw,
    )
    _check_lags(found)
    _check_reach(found, shown)
    return found


def _layer(layer: _Fields) -> Layer:
    verdict = layer.object("verdict")
    found = Verdict(
        kind=verdict.among("kind", *VERDICTS),
        sentence=verdict.text("sentence"),
        half_life=verdict.number("half_life"),
        half_life_interval=verdict.row("half_life_interval", 2),
        rate=verdict.number("rate"),
        rate_interval=verdict.row("rate_interval", 2),
        fit=verdict.row("fit", 3, signed=True),
        start=0 if verdict.null("start") else verdict.whole("start"),
        reach=verdict.number("reach"),
        noise=verdict.number("noise"),
        within_reach=verdict.truth("within_reach"),
        remedies=tuple(
            Remedy(
                each.text("name"),
                "" if each.null("action") else each.text("action"),
                each.text("reason"),
                each.number("value", signed=True),
            )
            for each in verdict.objects("remedies")
        ),
    )
    if found.fit and not (found.rate and np.isfinite([*found.fit, found.rate]).all()):
        raise verdict.wrong("fit", "null without a finite rate above 0", found.fit)
    if found.start < 0:
        raise verdict.wrong("start", "at least 0", found.start)
    return Layer(layer.text("key"), layer.text("label"), layer.among("kind", *GATES), found)


def _shape(shown: _Fields) -> tuple[int, ...]:
    sides = shown.row("shape", 2) or ()
    if not all(side.is_integer() and side >= 1 for side in sides):
        raise shown.wrong("shape", "two whole numbers of at least 1", sides)
    return tuple(map(int, sides))


def _check_lags(found: Measurement) -> None:
    for layer in found.layers:
        K, verdict = len(found.arrays[f"lag/{layer.key}/h"]), layer.verdict
        first, last = verdict.fit[:2] if verdict.fit else (0, 1)
        if verdict.start >= K or not 0 <= first < last < max(K, 2):
            raise DamagedError(
                f"flow.json: start and fit of {layer.key} must be lags of {K}, 0 <= first < last, got "
                f"{verdict.start} and {verdict.fit}"
            )


def _frame(page: _Fields) -> tuple[tuple[str, str], ...]:
    rows = need(page.values, "frame", list, page.where)
    for row in rows:
        if not (isinstance(row, list) and len(row) == 2 and all(isinstance(each, str) for each in row)):
            raise page.wrong("frame", "a list of pairs of texts", row)
    return tuple((name, value) for name, value in rows)


def _check_reach(found: Measurement, shown: _Fields) -> None:
    norms = found.arrays.get("reach/norms")
    if norms is None:
        return
    T, last = norms.shape[1], found.arrays["reach/at"][-1]
    if found.arrays["reach/at"][0] < 0 or last >= T:
        raise DamagedError(f"flow.npz: reach/at must hold steps of the input, 0 <= step < {T}, got {last}")
    if found.shown == "text" and len(found.text) != T:
        raise shown.wrong("text", f"{T} characters, one for each step of reach/norms", found.text)
    if found.shown == "image" and np.prod(found.shape) != T:
        raise shown.wrong("shape", f"that of an image of {T} pixels, the steps of reach/norms", found.shape)
