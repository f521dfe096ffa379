"""Measurements of layers as they are initialised: what was measured, and its median and spread over seeds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ._curves import WHOLE_RANGE
from ._files import DamagedError, need, need_number, read_object
from ._study import Arm, Study

#: What a row of `measured.json` has, and what it is.
QUANTITIES = {
    "weight_hh": "‖∂L/∂W_hh‖, recurrent weights",
    "first_h": "‖∂L/∂h₀‖, hidden state before the first step",
    "first_c": "‖∂L/∂c₀‖, cell state before the first step",
    "last_h": "‖∂L/∂h_T‖, last hidden state",
}
#: What follows from them, seed by seed.
DERIVED = {
    "kept": "‖∂L/∂h₀‖ / ‖∂L/∂h_T‖, share that reaches the first hidden state",
    "ratio": "‖∂L/∂W_hh‖ as a multiple of that of",  # the first arm
}


@dataclass(frozen=True)
class Spread:
    """Of `n` seeds, each of shape (steps,): median and, as in other figures, the band; NaN where n is 0."""

    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What the runs of a study have measured.

    `rows` are as measured, one for each arm, seed, length and draw of coins. `missing` names the runs that
    have not been measured or cannot be read, with the reason.
    """

    study: Study
    rows: tuple[Mapping[str, Any], ...]
    missing: Mapping[str, str]

    @property
    def steps(self) -> tuple[int, ...]:
        """Every length measured."""
        return tuple(sorted({row["steps"] for row in self.rows}))

    def of(self, arm: Arm, quantity: str) -> np.ndarray:
        """`(seeds, steps)`: of each seed the mean over its draws of coins; NaN where there is none."""
        if quantity == "kept":
            return _divided(self.of(arm, "first_h"), self.of(arm, "last_h"))
        if quantity == "ratio":
            return _divided(self.of(arm, "weight_hh"), self.of(self.study.arms[0], "weight_hh"))
        places = {T: at for at, T in enumerate(self.steps)}
        seeds = {seed: at for at, seed in enumerate(self.study.seeds)}
        sums, draws = np.zeros((2, len(seeds), len(places)))
        for row in self.rows:
            if row["arm"] == arm.name and row[quantity] is not None:
                sums[seeds[row["seed"]], places[row["steps"]]] += row[quantity]
                draws[seeds[row["seed"]], places[row["steps"]]] += 1
        return _divided(sums, draws)

    def spread(self, arm: Arm, quantity: str) -> Spread:
        """Median and band over seeds."""
        table = self.of(arm, quantity)
        n = (~np.isnan(table)).sum(axis=0)
        tails = 0.0 if len(table) <= WHOLE_RANGE else 0.1
        found = np.full((3, table.shape[1]), np.nan)
        if n.any():
            found[:, n > 0] = np.nanquantile(table[:, n > 0], (tails, 0.5, 1 - tails), axis=0)
        low, median, high = found
        return Spread(median, low, high, n)


def measurement(study: Study) -> Measurement:
    """Read what the runs of a study have measured."""
    rows: list[Mapping[str, Any]] = []
    missing = {}
    for run in study.runs:
        path = study.folder / run.name / "measured.json"
        if not path.exists():
            missing[run.name] = "it has not been measured"
            continue
        try:
            rows += [{"arm": run.arm, "seed": run.seed, **row} for row in _rows(path, run.arm, run.seed)]
        except DamagedError as error:
            missing[run.name] = str(error)
    return Measurement(study=study, rows=tuple(rows), missing=missing)


def _rows(path: Path, arm: str, seed: int) -> list[dict[str, Any]]:
    page = read_object(path)
    text = json.dumps(
        {key: page[key] for key in page if key != "sha256"}, sort_keys=True, separators=(",", ":")
    )
    if hashlib.sha256(text.encode()).hexdigest() != page.get("sha256"):
        raise DamagedError(f"{path.name} has been changed: its sha256 is not that of its other keys")
    spec = need(page, "spec", dict, path.name)
    if (spec.get("arm"), spec.get("seed")) != (arm, seed):
        raise DamagedError(f"{path.name} is another run's: {spec.get('arm')}, seed {spec.get('seed')}")
    return [
        {key: need(row, key, int, path.name) for key in ("steps", "coin")}
        | {
            key: None if row.get(key) is None else need_number(row[key], f"{path.name}: {key}")
            for key in QUANTITIES
        }
        for row in need(page, "rows", list, path.name)
    ]


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return above / below
