"""All 70,000 images of MNIST in memory."""

from os import PathLike
from typing import NamedTuple

import torch
from torch import Tensor

from ._find import find
from ._sets import data_set
from ._verify import verify


class MNIST(NamedTuple):
    """MNIST in bytes: images (N, 28, 28) and labels (N,), 60,000 to train and 10,000 to test."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


def load_mnist(data: str | PathLike[str] | None = None) -> MNIST:
    """Read MNIST and make sure that it is MNIST.

    Args:
        data: where to look, as in `find`.

    Returns:
        The images and labels.

    Raises:
        DataError: if a file is damaged, or sound but not MNIST's (the sets that borrow its file names).
        FileNotFoundError: if the files are not found.
    """
    paths = find("mnist", data)
    arrays = [verify(known, paths[name]) for name, known in data_set("mnist").files.items()]
    return MNIST(*(torch.from_numpy(array.copy()) for array in arrays))
