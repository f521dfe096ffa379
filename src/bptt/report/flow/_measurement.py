"""A measurement of gradient flow: what is known of it once its files are read and checked."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ._words import exact, shown


@dataclass(frozen=True)
class Remedy:
    """What may help: its name, what to do, the reason, and the number to use, if there is one."""

    name: str
    action: str
    reason: str
    value: float | None

    @property
    def number(self) -> str:
        """The value in words, whole if it is, as a lag is; empty if there is none."""
        if self.value is None:
            return ""
        return exact(self.value) if self.value.is_integer() else shown(self.value)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on a layer: lags and the half-life in steps, the rate as a factor per step.

    `fit` is (first lag, last lag, natural log of the value at the first lag); `noise` is relative to the
    value at lag `start`, from which the wanted lag and `reach` count.
    """

    kind: str
    sentence: str
    half_life: float | None
    half_life_interval: tuple[float, ...] | None
    rate: float | None
    rate_interval: tuple[float, ...] | None
    fit: tuple[float, ...] | None
    start: int
    reach: float | None
    noise: float | None
    within_reach: bool
    remedies: tuple[Remedy, ...]


@dataclass(frozen=True)
class Layer:
    """A layer in one direction: its `key` in the names of arrays, its `label` for people.

    `kind` is LSTM, GRU, RNN, or input for a model as a whole, whose states are its inputs.
    """

    key: str
    label: str
    kind: str
    verdict: Verdict

    @property
    def said(self) -> str:
        """The verdict's sentence, without the label that it may begin with."""
        rest = self.verdict.sentence.removeprefix(f"{self.label}: ")
        return rest[:1].upper() + rest[1:]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What flow.json says, the arrays of flow.npz, and the bytes of that file.

    `shown` is the kind of the input that `reach/…` is about, with its text or the shape of its image;
    `nonfinite` is a sentence, empty if all is finite.
    """

    name: str
    sentence: str
    within_reach: bool
    wanted_lag: int
    layers: tuple[Layer, ...]
    frame: tuple[tuple[str, str], ...]
    shown: str
    text: str
    shape: tuple[int, ...]
    nonfinite: str
    arrays: Mapping[str, np.ndarray]
    raw: bytes

    @property
    def profile(self) -> str:
        """Of the experiment whose run it is of; empty if it is of none."""
        return dict(self.frame).get("profile", "")

    def get(self, name: str) -> np.ndarray | None:
        """An array in float64; None if it is absent."""
        array = self.arrays.get(name)
        return None if array is None else array.astype(np.float64)
