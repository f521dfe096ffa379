"""What a recording holds."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Flow:
    """The gradient of a loss with respect to the states of one layer in one direction, at every time step.

    With `T` steps, `B` sequences and `H` hidden units (`P` projected ones for h):

    Attributes:
        name: of the module in the model; `""` for the model itself.
        layer: which of the module's layers, from 0.
        direction: 0, or 1 for the reverse one. Steps are those of the input in both.
        call: which forward call of the module in the recording, from 0.
        backward: which backward pass through that call, from 0.
        h: ‖dL/dh_t‖₂ of each sequence, `(T, B)` in float64: the total gradient, through all that uses h_t; 0
            beyond the length of a sequence.
        c: ‖dL/dc_t‖₂ likewise, of an LSTM; else None.
        lengths: `(B,)`, if the sequences have lengths of their own.
        dh, dc: the gradients themselves, `(T, B, H)`, if they were asked for.
    """

    name: str
    layer: int
    direction: int
    call: int
    backward: int
    h: Tensor
    c: Tensor | None
    lengths: Tensor | None
    dh: Tensor | None = None
    dc: Tensor | None = None


@dataclass(frozen=True)
class Call:
    """A forward call of a recurrent module."""

    name: str
    number: int
    lengths: Tensor | None

    def flow(
        self, key: tuple[int, int], backward: int, gradients: Mapping[str, Tensor], scale: float, full: bool
    ) -> Flow:
        """The flow of one backward pass, of the gradients of the states h and, of an LSTM, c."""
        true = {path: gradient.detach() / scale for path, gradient in gradients.items()}
        sizes = {path: norms(gradient) for path, gradient in true.items()}
        layer, direction = key
        return Flow(
            self.name,
            layer,
            direction,
            self.number,
            backward,
            sizes["h"],
            sizes.get("c"),
            self.lengths,
            true["h"] if full else None,
            true.get("c") if full else None,
        )


def key_of(name: str, layer: int, direction: int) -> str:
    """The module's name (or `model`), layer and direction, with colons between."""
    return f"{name or 'model'}:{layer}:{direction}"


def median_of(values: Tensor, there: Tensor | None = None) -> Tensor:
    """(…, M, B) → (…, M): of the sequences that are there, NaN where one is; not told which, of no NaN."""
    return quantile_of(values, 0.5, there)


def quantile_of(values: Tensor, q: float, there: Tensor | None = None) -> Tensor:
    """As `median_of`: the value that a share q is below, or halfway between two if it is all up to one.

    Unlike an interpolated one, it is the same of every sequence twice.
    """
    numbers = values.cpu().numpy()  # which sorts several times faster than torch
    unknown = np.isnan(numbers)
    counted = ~unknown if there is None else np.broadcast_to(there.cpu().numpy(), numbers.shape)
    ordered = np.sort(np.where(counted, numbers, np.nan), -1)
    n = counted.sum(-1, keepdims=True)
    below = np.round(n * q, 9)  # 0.1 · 30 is 3
    places = np.ceil(below) - 1, np.floor(below)
    low, high = (
        np.take_along_axis(ordered, np.clip(at, 0, np.maximum(n - 1, 0)).astype(int), -1)[..., 0]
        for at in places
    )
    quantile = np.where((counted & unknown).any(-1), np.nan, np.where(low == high, low, low / 2 + high / 2))
    return torch.from_numpy(quantile).to(values)


def norms(gradient: Tensor) -> Tensor:
    """(T, B, H) → (T, B), in float64, where no square overflows or vanishes."""
    return torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float64)
