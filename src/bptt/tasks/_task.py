"""What a task is: fixed data, a batch by indices, a loss, metrics, and the score of not looking."""

import copy
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, Self

import torch
from torch import Tensor

from ..streams import stream
from ._checks import refuse, whole


class Batch(NamedTuple):
    """One batch: inputs x (T, B, I) float or (T, B) tokens, targets y, and lengths (B,) where they differ."""

    x: Tensor
    y: Tensor
    lengths: Tensor | None = None


class Task(ABC):
    """A long-range task over fixed data: T steps, B sequences a batch, I inputs, O outputs.

    The data is made once and is part of the task; only the order of training depends on a run's seed. A
    batch is indexed out of tensors that already lie on the device.

    Args:
        name: what the task is registered as.
        description: one sentence for reports.
        source: the paper, or the data, that the task is taken from.
        arguments: every argument that made the task, as JSON values.
        steps: T.
        input_size: I; the width of x.
        output_size: O; what the model must return at a step.
        readout: "each" if the loss reads an output (T, B, O), "last" if it reads (B, O).
        sizes: sequences in "train", "valid" and, where the task has a third set, "test".
        tensors: all data by name, which `to` moves and `fingerprint` hashes.
        vocabulary: the number of tokens, if x holds tokens.
    """

    def __init__(
        self,
        *,
        name: str,
        description: str,
        source: str,
        arguments: Mapping[str, Any],
        steps: int,
        input_size: int,
        output_size: int,
        readout: Literal["each", "last"],
        sizes: Mapping[str, int],
        tensors: Mapping[str, Tensor],
        vocabulary: int | None = None,
    ) -> None:
        self.name = name
        self.description = description
        self.source = source
        self.arguments = dict(arguments)
        self.steps = steps
        self.input_size = input_size
        self.output_size = output_size
        self.readout: Literal["each", "last"] = readout
        self.sizes = dict(sizes)
        self.vocabulary = vocabulary
        self._tensors = dict(tensors)
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        arguments = ", ".join(f"{key}={value!r}" for key, value in self.arguments.items())
        return f"{self.name}({arguments})"

    @property
    def image(self) -> tuple[int, int] | None:
        """Height and width, if the steps of a sequence are the pixels of an image, row by row."""
        return None

    @property
    def device(self) -> torch.device:
        """Where the data lies."""
        return next(iter(self._tensors.values())).device

    def to(self, device: torch.device | str) -> Self:
        """The task with all its data on `device`, itself if it is there; this one stays as it is."""
        tensors = {name: tensor.to(device) for name, tensor in self._tensors.items()}
        if all(tensors[name] is tensor for name, tensor in self._tensors.items()):
            return self
        moved = copy.copy(self)
        moved._tensors = tensors
        return moved

    def fingerprint(self) -> str:
        """The SHA-256 of all a model can see: shapes, data and permutation; the same on every machine."""
        if self._fingerprint is None:
            frame = [self.name, self.steps, self.input_size, self.output_size, self.readout, self.sizes]
            digest = hashlib.sha256(json.dumps(frame, sort_keys=True).encode())
            for name, tensor in sorted(self._tensors.items()):
                values = tensor.cpu().contiguous().numpy()
                values = values.astype(values.dtype.newbyteorder("<"), copy=False)
                digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
                digest.update(values.data)
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def describe(self) -> dict[str, Any]:
        """Everything that a report must show, as JSON values."""
        return {
            "name": self.name,
            "description": self.description,
            "source": self.source,
            "arguments": dict(self.arguments),
            "steps": self.steps,
            "input_size": self.input_size,
            "output_size": self.output_size,
            "readout": self.readout,
            "sizes": dict(self.sizes),
            "chance": self.chance(),
            "fingerprint": self.fingerprint(),
        }

    def iterations(self, batch_size: int) -> int:
        """The number of batches in one epoch of training."""
        refuse(self.name, whole("batch_size", batch_size, 1))
        return -(-self.sizes["train"] // batch_size)

    def train_indices(self, epoch: int, batch_size: int, seed: int) -> list[Tensor]:
        """The order of one epoch: a shuffle of the training set, its last batch short if need be.

        Args:
            epoch: which epoch, counted from 0 or 1 as the caller likes.
            batch_size: sequences a batch.
            seed: the run's seed.

        Returns:
            One tensor of indices (B,) a batch, on the task's device; it depends on the arguments alone.

        Raises:
            ValueError: if an argument is not a whole number in its range.
        """
        self._check_order(epoch, batch_size, seed)
        order = torch.randperm(self.sizes["train"], generator=stream(seed, "data", epoch), device="cpu")
        return list(order.to(self.device).split(batch_size))

    def batches(self, split: str, batch_size: int) -> Iterator[Batch]:
        """All of a split once, in order, for evaluation.

        Args:
            split: a key of `sizes`.
            batch_size: sequences a batch; the last may be smaller.

        Returns:
            An iterator of batches.

        Raises:
            ValueError: if the split is absent, or batch_size is not a whole number ≥ 1.
        """
        self._check_split(split)
        refuse(self.name, whole("batch_size", batch_size, 1))
        everything = torch.arange(self.sizes[split], device=self.device)
        return (self.batch(split, indices) for indices in everything.split(batch_size))

    def batch(self, split: str, indices: Tensor) -> Batch:
        """The sequences `indices` of a split: indexing on the device and nothing else.

        Args:
            split: a key of `sizes`.
            indices: (B,) whole numbers in [0, sizes[split]), best on the task's device.

        Returns:
            The batch, time-major.

        Raises:
            TypeError: if indices is no tensor of whole numbers.
            ValueError: if the split is absent, or indices is not (B,).
            IndexError: if an index is out of range (on a GPU: torch's own device error).
        """
        self._check_split(split)
        return self._batch(split, self._checked(indices, split))

    @abstractmethod
    def _batch(self, split: str, indices: Tensor) -> Batch:
        """`batch`, its arguments checked."""

    @abstractmethod
    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean loss over the batch, a scalar with a gradient.

        Args:
            output: (T, B, O) where `readout` is "each", else (B, O).
            batch: what `batch` gave.

        Returns:
            A scalar.

        Raises:
            ValueError: if the output has another shape.
        """

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of each sequence `(B,)`, or of each step `(T, B)` if the task has one, with a gradient.

        Args:
            output, batch: as in `loss`, which is the mean of these.

        Returns:
            As many losses.

        Raises:
            ValueError: if the output has another shape.
        """
        self._check_output(output, batch)
        each = 1 if self.readout == "each" else 0

        def one(tensor: Tensor, dim: int, place: int) -> Tensor:
            return tensor.narrow(dim, place, 1)

        found = []
        for place in range(batch.x.shape[1]):
            lengths = None if batch.lengths is None else one(batch.lengths, 0, place)
            alone = Batch(one(batch.x, 1, place), one(batch.y, each, place), lengths)
            found.append(self.loss(one(output, each, place), alone))
        return torch.stack(found)

    @abstractmethod
    def metrics(self, output: Tensor, batch: Batch) -> dict[str, tuple[Tensor, int]]:
        """Name → (sum, count), so that batches of any sizes add up; the mean is sum / count.

        Args:
            output: as in `loss`.
            batch: what `batch` gave.

        Returns:
            At least "loss", and "accuracy" as a share of 1; the sums carry no gradient and wait for nothing.

        Raises:
            ValueError: if the output has another shape.
        """

    @abstractmethod
    def chance(self) -> dict[str, float]:
        """What the best predictor that never looks at x scores: the expected value of each metric."""

    def _check_split(self, split: str) -> None:
        if split not in self.sizes:
            raise ValueError(f"{self.name}: split must be one of {', '.join(self.sizes)}, got {split!r}")

    def _checked(self, indices: Tensor, split: str) -> Tensor:
        if not isinstance(indices, Tensor) or indices.dtype not in (torch.int32, torch.int64):
            got = str(indices.dtype) if isinstance(indices, Tensor) else type(indices).__name__
            raise TypeError(f"{self.name}: indices must be a tensor of int64 or int32, got {got}")
        if indices.dim() != 1:
            raise ValueError(f"{self.name}: indices must have shape (B,), got {tuple(indices.shape)}")
        size, indices = self.sizes[split], indices.to(self.device)
        if indices.device.type == "cpu" and len(indices):  # a GPU would have to be waited for
            least, most = (int(index) for index in indices.aminmax())
            if not 0 <= least <= most < size:
                raise IndexError(
                    f"{self.name}: indices must satisfy 0 <= index < {size}, the size of {split!r}, "
                    f"got values from {least} to {most}"
                )
        return indices

    def _check_order(self, epoch: int, batch_size: int, seed: int) -> None:
        refuse(
            self.name,
            whole("epoch", epoch, 0, below=2**32),
            whole("batch_size", batch_size, 1),
            whole("seed", seed, 0),
        )

    def _check_output(self, output: Tensor, batch: Batch) -> None:
        if self.readout == "each":
            rule, expected = "(T, B, O)", (self.steps, batch.y.shape[-1], self.output_size)
        else:
            rule, expected = "(B, O)", (batch.y.shape[0], self.output_size)
        if tuple(output.shape) != expected:
            raise ValueError(
                f"{self.name}: output must have shape {rule} = {expected}, got {tuple(output.shape)}"
            )
