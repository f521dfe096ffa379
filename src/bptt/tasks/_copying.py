"""The copying task: ten symbols, a long wait, a signal, and the same ten symbols from memory."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ..streams import stream
from ._checks import one_of, refuse, whole
from ._registry import register
from ._task import Batch, Task

SYMBOLS = 8  # the symbols are 1..8
BLANK = 0
DELIMITER = 9
RECALL = 10  # symbols to remember


@register("copying")
def copying(
    delay: int,
    *,
    encoding: Literal["scalar", "onehot"] = "scalar",
    train_size: int = 100_000,
    valid_size: int = 5_000,
    iterations: int = 1_000,
    seed: int = 0,
) -> Task:
    """The copying task of the h-detach paper: T = delay + 20 steps of which the last 10 count.

    One sequence::

        input    s_1 … s_10   0 × (delay − 1)   9   0 × 10         s uniform over 1..8
        target   0 × (delay + 10)                   s_1 … s_10     9 classes, 0..8

    The loss is the cross-entropy, averaged over all T steps; the accuracy counts the last 10 steps alone.
    An epoch is a fixed number of batches drawn with replacement. Validation is the only held-out set, as in
    the paper: it selects the model and is what its figures show.

    Args:
        delay: steps from the last symbol to the delimiter, ≥ 1; the papers use 100 and 300.
        encoding: "scalar" feeds the token itself, x (T, B, 1) in 0..9, as the papers do; "onehot" feeds x
            (T, B, 10).
        train_size: fixed training sequences.
        valid_size: held-out sequences.
        iterations: batches in an epoch.
        seed: of the sequences, which are part of the task; the same for every run.

    Returns:
        The task, its readout "each".

    Raises:
        ValueError: if an argument is out of its range; all problems at once.

    Source: Kanuparthi et al., "h-detach", ICLR 2019 (sizes and epochs as in the authors' code);
        Hochreiter & Schmidhuber 1997 and Arjovsky et al. 2016 (arXiv 1511.06464) for the task.
    """
    refuse(
        "copying",
        whole("delay", delay, 1),
        one_of("encoding", encoding, ("scalar", "onehot")),
        whole("train_size", train_size, 1),
        whole("valid_size", valid_size, 1),
        whole("iterations", iterations, 1),
        whole("seed", seed, 0),
    )
    return _Copying(delay, encoding, {"train": train_size, "valid": valid_size}, iterations, seed)


class _Copying(Task):
    def __init__(self, delay: int, encoding: str, sizes: dict[str, int], iterations: int, seed: int) -> None:
        super().__init__(
            name="copying",
            description=f"Recall {RECALL} symbols after {delay} steps",
            source="Kanuparthi et al., ICLR 2019 (arXiv 1810.03023)",
            arguments={
                "delay": delay,
                "encoding": encoding,
                "train_size": sizes["train"],
                "valid_size": sizes["valid"],
                "iterations": iterations,
                "seed": seed,
            },
            steps=delay + 2 * RECALL,
            input_size=1 if encoding == "scalar" else DELIMITER + 1,
            output_size=SYMBOLS + 1,
            readout="each",
            sizes=sizes,
            # A sequence is its ten symbols; the rest is the same for all and laid around them in a batch.
            tensors={
                split: torch.randint(
                    1,
                    SYMBOLS + 1,
                    (size, RECALL),
                    generator=stream(seed, f"copying.{split}"),
                    dtype=torch.uint8,
                    device="cpu",
                )
                for split, size in sizes.items()
            },
        )
        self._iterations = iterations

    def iterations(self, batch_size: int) -> int:
        refuse(self.name, whole("batch_size", batch_size, 1))
        return self._iterations

    def train_indices(self, epoch: int, batch_size: int, seed: int) -> list[Tensor]:
        """The order of one epoch: `iterations` batches drawn with replacement."""
        self._check_order(epoch, batch_size, seed)
        shape = (self._iterations, batch_size)
        generator = stream(seed, "data", epoch)
        drawn = torch.randint(self.sizes["train"], shape, generator=generator, device="cpu")
        return list(drawn.to(self.device).unbind())

    def _batch(self, split: str, indices: Tensor) -> Batch:
        symbols = self._tensors[split].index_select(0, indices).T.long()
        tokens = symbols.new_full((self.steps, len(indices)), BLANK)
        target = tokens.clone()
        tokens[:RECALL] = symbols
        tokens[-RECALL - 1] = DELIMITER
        target[-RECALL:] = symbols
        x = tokens.unsqueeze(-1) if self.input_size == 1 else F.one_hot(tokens, self.input_size)
        return Batch(x.float(), target)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        self._check_output(output, batch)
        return F.cross_entropy(output.flatten(0, 1), batch.y.flatten())

    def losses(self, output: Tensor, batch: Batch) -> Tensor:
        self._check_output(output, batch)
        return F.cross_entropy(output.flatten(0, 1), batch.y.flatten(), reduction="none").view_as(batch.y)

    def metrics(self, output: Tensor, batch: Batch) -> dict[str, tuple[Tensor, int]]:
        self._check_output(output, batch)
        output = output.detach()
        loss = F.cross_entropy(output.flatten(0, 1), batch.y.flatten(), reduction="sum")
        correct = output[-RECALL:].argmax(-1).eq(batch.y[-RECALL:])
        return {"loss": (loss, batch.y.numel()), "accuracy": (correct.sum(), correct.numel())}

    def chance(self) -> dict[str, float]:
        """Blank for certain until the end, then any symbol: 10 ln 8 / T and 1/8."""
        return {"loss": RECALL * math.log(SYMBOLS) / self.steps, "accuracy": 1 / SYMBOLS}
