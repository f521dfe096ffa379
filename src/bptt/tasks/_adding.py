"""The adding problem: the sum of the two marked numbers in a long sequence."""

import torch
from torch import Tensor

from ..streams import stream
from ._checks import refuse, whole
from ._registry import register
from ._task import Batch, Task

TOLERANCE = 0.04


@register("adding")
def adding(
    length: int,
    *,
    train_size: int = 100_000,
    valid_size: int = 10_000,
    test_size: int = 10_000,
    seed: int = 0,
) -> Task:
    """The adding problem: add the two numbers that are marked, one in each half of T = length steps.

    x (T, B, 2) holds numbers uniform over [0, 1) and a mark, 1 at two steps and 0 elsewhere; one step is
    drawn from the first ⌊T/2⌋ and one from the rest. The target is the sum of the two numbers; the loss is
    the squared error. Accuracy is the share of sequences with an absolute error below 0.04. Answering 1
    always has the loss 1/6, the variance of the sum, and the accuracy 1 − 0.96² = 0.0784.

    The training numbers stay on the device in float32: 4 · length · train_size bytes.

    Args:
        length: T ≥ 2.
        train_size: fixed training sequences; an epoch is a shuffle of them.
        valid_size: sequences for validation.
        test_size: sequences for the test.
        seed: of the sequences, which are part of the task.

    Returns:
        The task, its readout "last" and its output of size 1.

    Raises:
        ValueError: if an argument is out of its range; all problems at once.

    Source: Hochreiter & Schmidhuber 1997, experiment 4, as restated by Le et al. 2015 (arXiv 1504.00941). The
        threshold is from 1997, where the target was half the sum; on the sum it is the stricter.
    """
    refuse(
        "adding",
        whole("length", length, 2),
        whole("train_size", train_size, 1),
        whole("valid_size", valid_size, 1),
        whole("test_size", test_size, 1),
        whole("seed", seed, 0),
    )
    return _Adding(length, {"train": train_size, "valid": valid_size, "test": test_size}, seed)


class _Adding(Task):
    def __init__(self, length: int, sizes: dict[str, int], seed: int) -> None:
        tensors: dict[str, Tensor] = {}
        for split, size in sizes.items():
            generator = stream(seed, f"adding.{split}")
            half = length // 2
            first = torch.randint(half, (size,), generator=generator, device="cpu")
            second = torch.randint(half, length, (size,), generator=generator, device="cpu")
            tensors[f"{split}.marks"] = torch.stack((first, second), dim=1)
            tensors[f"{split}.numbers"] = torch.rand(
                size, length, generator=generator, dtype=torch.float32, device="cpu"
            )
        super().__init__(
            name="adding",
            description=f"Add the two marked numbers among {length}",
            source="Hochreiter & Schmidhuber 1997; Le et al. 2015 (arXiv 1504.00941)",
            arguments={
                "length": length,
                **{f"{split}_size": size for split, size in sizes.items()},
                "seed": seed,
            },
            steps=length,
            input_size=2,
            output_size=1,
            readout="last",
            sizes=sizes,
            tensors=tensors,
        )

    def _batch(self, split: str, indices: Tensor) -> Batch:
        numbers = self._tensors[f"{split}.numbers"].index_select(0, indices)
        marks = self._tensors[f"{split}.marks"].index_select(0, indices)
        marked = torch.zeros_like(numbers).scatter_(1, marks, 1.0)
        x = torch.stack((numbers.T, marked.T), dim=-1)
        return Batch(x, numbers.gather(1, marks).sum(1))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        self._check_output(output, batch)
        return (output.squeeze(-1) - batch.y).square().mean()

    def metrics(self, output: Tensor, batch: Batch) -> dict[str, tuple[Tensor, int]]:
        self._check_output(output, batch)
        error = output.detach().squeeze(-1) - batch.y
        count = len(error)
        return {"loss": (error.square().sum(), count), "accuracy": (error.abs().lt(TOLERANCE).sum(), count)}

    def chance(self) -> dict[str, float]:
        """Always answering 1, the mean of the sum."""
        return {"loss": 1 / 6, "accuracy": 1 - (1 - TOLERANCE) ** 2}
