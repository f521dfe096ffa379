"""Digits read as a sequence: pixel by pixel or row by row, in order or permuted."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..streams import stream
from ._checks import flag, one_of, refuse, whole
from ._task import Batch, Task

SIDE = 28
SIDES = (28, 14, 7, 4)  # they divide 28, and a block's sum fits in int16
CLASSES = 10

# The permutations that seed 0 stands for, so that no release of torch can quietly redefine a task.
FIXED_PERMUTATIONS = {
    (784, 0): "0699c91f2ebafd2a8cae401008b99266dc7a2b11f233319c843e10b08859132f",
    (196, 0): "eec351060f693c1ee8f4d423567854d26530a9fa450985dcbefa5022cae16321",
    (49, 0): "97c9a5bdf2d3cc4dcdab7d02c5eb2013d34be15bd6912266470bbfb0ed570088",
    (16, 0): "b146343d1e5d972c6468d1ea9dafb794db8b2a3a0ddea5ca4a79ce2d051ed779",
}


class DigitTask(Task):
    """Ten classes of digits, (N, 28, 28) images in bytes, read in T steps of I pixels in [0, 1].

    Pixels stay on the device as the whole numbers they are (bytes, or sums of k × k bytes) and become
    float32 batch by batch: a quarter of the memory, and a hash that no rounding can change.

    Args:
        splits: split → (images (N, 28, 28) uint8, labels (N,) uint8).
        resize: the side the images are reduced to, by the mean of k × k blocks; 28 leaves them as they are.
        rows: one step reads a row instead of a pixel.
        permutation_seed: what fixes the order of the pixels; None reads them in their own.
    """

    def __init__(
        self,
        name: str,
        *,
        data: str,
        source: str,
        splits: Mapping[str, tuple[Tensor, Tensor]],
        resize: int,
        rows: bool,
        permutation_seed: int | None = None,
    ) -> None:
        steps, width = (resize, resize) if rows else (resize * resize, 1)
        arguments: dict[str, Any] = {"resize": resize, "rows": rows}
        tensors: dict[str, Tensor] = {
            "scale": torch.tensor(255.0 * (SIDE // resize) ** 2, dtype=torch.float32, device="cpu")
        }
        order = None
        if permutation_seed is not None:
            arguments["permutation_seed"] = permutation_seed
            order = tensors["permutation"] = fixed_permutation(resize * resize, permutation_seed)
        for split, (images, labels) in splits.items():
            pixels = _block_sums(images, resize).flatten(1)
            pixels = pixels if order is None else pixels[:, order]
            tensors[f"{split}.x"] = pixels.reshape(-1, steps, width)
            tensors[f"{split}.y"] = labels.long()
        reading = f"{steps} {'rows' if rows else 'pixels'} of {resize}×{resize}"
        reading += ", permuted" if order is not None else ""
        super().__init__(
            name=name,
            description=f"Classify digits of {data}: {reading}",
            source=source,
            arguments=arguments,
            steps=steps,
            input_size=width,
            output_size=CLASSES,
            readout="last",
            sizes={split: len(labels) for split, (_, labels) in splits.items()},
            tensors=tensors,
        )

    @property
    def permutation(self) -> Tensor | None:
        """Which pixel stands at each place of the sequence, (resize²,), or None in the images' own order."""
        return self._tensors.get("permutation")

    @property
    def image(self) -> tuple[int, int] | None:
        if self.arguments["rows"] or self.permutation is not None:
            return None
        return self.arguments["resize"], self.arguments["resize"]

    def describe(self) -> dict[str, Any]:
        """Everything that a report must show, with the permutation's seed and hash if there is one."""
        description = super().describe()
        if self.permutation is not None:
            seed, digest = self.arguments["permutation_seed"], permutation_hash(self.permutation)
            description["permutation"] = {"seed": seed, "sha256": digest}
        return description

    def _batch(self, split: str, indices: Tensor) -> Batch:
        pixels = self._tensors[f"{split}.x"].index_select(0, indices).transpose(0, 1).contiguous()
        # By a tensor on the device: by a Python number a GPU would multiply by a rounded reciprocal instead.
        x = pixels.float() / self._tensors["scale"]
        return Batch(x, self._tensors[f"{split}.y"].index_select(0, indices))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        self._check_output(output, batch)
        return F.cross_entropy(output, batch.y)

    def metrics(self, output: Tensor, batch: Batch) -> dict[str, tuple[Tensor, int]]:
        self._check_output(output, batch)
        output, count = output.detach(), len(batch.y)
        loss = F.cross_entropy(output, batch.y, reduction="sum")
        return {"loss": (loss, count), "accuracy": (output.argmax(-1).eq(batch.y).sum(), count)}

    def chance(self) -> dict[str, float]:
        """Answering with the class shares of the training set: their entropy, and the largest of them."""
        labels = self._tensors["train.y"]
        shares = [count / len(labels) for count in torch.bincount(labels, minlength=CLASSES).tolist()]
        return {"loss": -sum(p * math.log(p) for p in shares if p), "accuracy": max(shares)}


def refuse_reading(name: str, resize: object, rows: object, permutation_seed: object = 0) -> None:
    """Raise one ValueError for all that is wrong with the arguments the digit tasks share."""
    refuse(
        name,
        one_of("resize", resize, SIDES),
        flag("rows", rows),
        whole("permutation_seed", permutation_seed, 0),
    )


def fixed_permutation(length: int, seed: int) -> Tensor:
    """The permutation (length,) that `seed` stands for, the same in every run and on every machine.

    Raises:
        RuntimeError: if torch no longer draws the permutation that defines the task.
    """
    order = torch.randperm(length, generator=stream(seed, "pixel permutation"), device="cpu")
    expected, got = FIXED_PERMUTATIONS.get((length, seed)), permutation_hash(order)
    if expected is not None and got != expected:
        raise RuntimeError(
            f"the permutation of {length} pixels with seed {seed} must have SHA-256 {expected}, got {got}: "
            f"torch {torch.__version__} draws another one, so this would be another task"
        )
    return order


def permutation_hash(order: Tensor) -> str:
    """The SHA-256 of a permutation as little-endian 64-bit integers."""
    return hashlib.sha256(order.cpu().numpy().astype("<i8").data).hexdigest()


def _block_sums(images: Tensor, side: int) -> Tensor:
    """Sums over square blocks, (N, 28, 28) → (N, side, side): exact, where a mean of bytes would round."""
    block = SIDE // side
    if block == 1:
        return images
    return images.view(-1, side, block, side, block).sum((2, 4), dtype=torch.int16)
