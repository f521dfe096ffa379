"""The tensors of a batch or an output, and the step and sequence that their values belong to."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

Part = Tensor | PackedSequence


@dataclass(frozen=True)
class Spot:
    """A value of a tensor: where it lies, and whose it is, as far as shapes tell."""

    index: tuple[int, ...]
    step: int | None
    sequence: int | None
    value: float


def parts(value: Any, name: str = "") -> Iterator[tuple[str, Part]]:
    """The tensors in a tensor, tuple, list or map, with their fields, positions or keys."""
    if isinstance(value, Part):
        yield name, value
        return
    if isinstance(value, tuple | list):
        value = dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from parts(each, f"{name}.{key}" if name else str(key))


class Places(NamedTuple):
    """T steps and B sequences as the tensors of a model have them; None where there are none."""

    T: int | None
    B: int | None
    batch_first: bool
    lengths: Tensor | None

    @classmethod
    def of(cls, batch: Any, *, batch_first: bool, recurrent: bool) -> "Places":
        """Those of the batch's first part, the input, and its part `lengths`, if it has one."""
        found = dict(parts(batch))
        x = next(iter(found.values()), None)
        lengths = found.get("lengths")
        lengths = lengths if isinstance(lengths, Tensor) else None
        if isinstance(x, PackedSequence):
            return cls(len(x.batch_sizes), int(x.batch_sizes[0]), batch_first, None)
        if x is None or x.dim() == 0:
            return cls(None, None, batch_first, lengths)
        if x.dim() == 1 or (x.dim() == 2 and x.is_floating_point()):
            return cls(len(x), None, False, None) if recurrent else cls(None, len(x), False, lengths)
        B, T = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
        return cls(T, B, batch_first, lengths)

    def first(self, part: Part, *, padding: bool = False) -> Spot | None:
        """The first value that is not finite, in the order of steps; with `padding`, beyond lengths, too."""
        tensor = part.data if isinstance(part, PackedSequence) else part.detach()
        if not (tensor.is_floating_point() or tensor.is_complex()):
            return None
        tensor = tensor.to_dense() if tensor.layout != torch.strided else tensor
        timed = not isinstance(part, PackedSequence) and self._timed(tensor)
        bad = ~tensor.isfinite()
        if timed and self.batch_first:
            bad = bad.transpose(0, 1)
        if timed and self.lengths is not None and not padding:
            valid = torch.arange(self.T or 0, device=bad.device)[:, None] < self.lengths.to(bad.device)
            bad = bad & valid.view(*valid.shape, *(1,) * (bad.dim() - 2))
        if not bad.any():
            return None
        row = bad.nonzero()[0].tolist()
        step, sequence = self._whose(part, row, timed)
        index = (row[1], row[0], *row[2:]) if timed and self.batch_first else tuple(row)
        value = tensor[index]
        return Spot(index, step, sequence, (value.abs() if value.is_complex() else value).item())

    def row(self, part: Part, spot: Spot) -> Tensor:
        """What a tensor holds for the step and sequence of a spot; all of it where shapes do not tell."""
        tensor = (part.data if isinstance(part, PackedSequence) else part).detach()
        at: tuple[int, ...] = ()
        if isinstance(part, PackedSequence):
            if spot.step is not None and spot.sequence is not None:
                order = part.unsorted_indices
                place = spot.sequence if order is None else int(order[spot.sequence])
                at = (int(part.batch_sizes[: spot.step].sum()) + place,)
        elif spot.step is not None and spot.sequence is not None and self._timed(tensor):
            at = (spot.sequence, spot.step) if self.batch_first else (spot.step, spot.sequence)
        elif self.B is None and spot.step is not None and tensor.shape[:1] == (self.T,):
            at = (spot.step,)
        elif spot.sequence is not None and tensor.shape[:1] == (self.B,):
            at = (spot.sequence,)
        return tensor[at].clone()

    def _timed(self, tensor: Tensor) -> bool:
        sizes = (self.B, self.T) if self.batch_first else (self.T, self.B)
        return tensor.shape[:2] == sizes

    def _whose(self, part: Part, row: list[int], timed: bool) -> tuple[int | None, int | None]:
        if isinstance(part, PackedSequence):
            ends = part.batch_sizes.cumsum(0)
            step = int((ends <= row[0]).sum())
            place = row[0] - int(ends[step] - part.batch_sizes[step])
            return step, place if part.sorted_indices is None else int(part.sorted_indices[place])
        if timed:
            return row[0], row[1]
        if self.B is None and part.shape[:1] == (self.T,):
            return row[0], 0
        return None, row[0] if self.B is not None and part.shape[:1] == (self.B,) else None
