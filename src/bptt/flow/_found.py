"""What the search for NaN and Inf finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Pass = Literal["forward", "backward"]

_GATES = {
    "i": "input gate i",
    "f": "forget gate f",
    "g": "candidate gate g",
    "o": "output gate o",
    "r": "reset gate r",
    "z": "update gate z",
    "n": "new gate n",
    "h": "new state h",
}


@dataclass(frozen=True)
class NonFinite:
    """The first value of a forward and a backward pass that is NaN or infinite.

    Attributes:
        during: `"forward"`, or `"backward"` for the gradient of the loss with respect to what is named here.
        what: `"batch"`, `"parameter"`, `"output"` or `"input"` of a module, `"loss"`; in a recurrent layer
            `"input"`, `"initial state h"`, `"initial cell c"`, `"input projection"`,
            `"recurrent projection"`, `"pre-activation"`, `"cell c"`, `"state h"`, or a weight such as
            `"w_hh"` as it served the call.
        name: of the part of the batch, the parameter, or the module; `""` for the batch or the model itself.
        value: inf, −inf or NaN.
        index: of the value in its tensor, which is `(T, B, ·)` in a recurrent layer.
        before: finite values that it was computed from, by name, of its step and sequence. In the forward
            pass of a recurrent layer: x, and h and c before the step; `x_g`, `h_g` and `a_g`, the projections
            and the pre-activation of gate g; `c_next`. In its backward pass also `dh[t]`, `dc[t]` and
            `da_g[t]`, the gradients at step t, which may be the one that comes before in that pass. For an
            output: what the module was given, or the gradient that arrived before.
        call: which forward call of the module, from 0; None for what is none's.
        layer, direction, gate: in a recurrent layer, as in a `Flow`; the gate is one of i f g o, r z n, or h
            for the new state of an RNN, and None for what is no projection or pre-activation.
        step, sequence: whose value, counted in the input; None where shapes do not tell.
    """

    during: Pass
    what: str
    name: str
    value: float
    index: tuple[int, ...]
    before: Mapping[str, Tensor]
    call: int | None = None
    layer: int | None = None
    direction: int | None = None
    gate: str | None = None
    step: int | None = None
    sequence: int | None = None

    def __str__(self) -> str:
        return self.sentence

    @property
    def largest(self) -> dict[str, float]:
        """The largest size of each of the values before."""
        return {key: each.abs().max().item() for key, each in self.before.items() if each.numel()}

    @property
    def sentence(self) -> str:
        """What and where it is, and how large the values before it are."""
        gradient = "the gradient of the loss with respect to " if self.during == "backward" else ""
        sizes = ", ".join(f"|{key}| ≤ {size:.2g}" for key, size in self.largest.items())
        return (
            f"the first value that is not finite is {gradient}{self._subject}{self._place} in the "
            f"{self.during} pass: {self.value:g}{f'; before it {sizes}' if sizes else ''}"
        )

    @property
    def _subject(self) -> str:
        owner = repr(self.name) if self.name else "the model"
        if self.what == "batch":
            return f"part {owner} of the batch" if self.name else "the batch"
        if self.what in ("parameter", "loss"):
            return f"parameter {owner}" if self.name else "the loss"
        again = f" in its call {self.call}" if self.call else ""
        if self.layer is None:
            return f"the {self.what} of {owner}{again}"
        gate = "" if self.gate is None else f" of the {_GATES[self.gate]}"
        reverse = " in reverse" if self.direction else ""
        return f"the {self.what}{gate} of layer {self.layer}{reverse} of {owner}{again}"

    @property
    def _place(self) -> str:
        step = "" if self.step is None else f" at step {self.step}"
        sequence = "" if self.sequence is None else f" of sequence {self.sequence}"
        return step + sequence or (f" at index {self.index}" if self.index else "")
