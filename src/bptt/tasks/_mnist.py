"""MNIST as a sequence of pixels, in order and permuted."""

from os import PathLike

from torch import Tensor

from . import data as datasets
from ._images import DigitTask, refuse_reading
from ._registry import register

TRAIN = 50_000  # the first of the 60,000; the other 10,000 are for validation
SOURCE = "LeCun et al. 1998; split and scaling of Kanuparthi et al., ICLR 2019 (arXiv 1810.03023)"


@register("smnist")
def smnist(*, resize: int = 28, rows: bool = False, data: str | PathLike[str] | None = None) -> DigitTask:
    """Sequential MNIST: an image read pixel by pixel, its class asked for at the end.

    x (T, B, I) holds pixels in [0, 1], neither centred nor scaled further; T = 784 and I = 1 unless told
    otherwise. Trained on the first 50,000 images of the training file, validated on its last 10,000, tested
    on the t10k file.

    Args:
        resize: the side the images are reduced to, by the mean of square blocks: 28, 14, 7 or 4.
        rows: read a row at each step, T = I = resize.
        data: a folder with the four MNIST files, or one that holds it; else $BPTT_DATA, then the cache.

    Returns:
        The task, its readout "last".

    Raises:
        ValueError: if an argument is out of its range, or a file is damaged or not MNIST's.
        FileNotFoundError: if the files are not found; `bptt data fetch mnist` downloads them.

    Source: Le et al. 2015 (arXiv 1504.00941); Kanuparthi et al., "h-detach", ICLR 2019.
    """
    refuse_reading("smnist", resize, rows)
    return DigitTask("smnist", data="MNIST", source=SOURCE, splits=_splits(data), resize=resize, rows=rows)


@register("pmnist")
def pmnist(
    *,
    resize: int = 28,
    rows: bool = False,
    permutation_seed: int = 0,
    data: str | PathLike[str] | None = None,
) -> DigitTask:
    """Permuted MNIST: `smnist` with the pixels of every image in one fixed random order.

    The permutation belongs to the task and not to a run: runs with other seeds solve the same task. It is
    drawn from its own seed for each image size, and its hash stands in `describe()`. With `rows` the
    permuted pixels are cut into resize steps of resize pixels.

    Args:
        resize: the side the images are reduced to before they are permuted: 28, 14, 7 or 4.
        rows: read `resize` pixels at each step.
        permutation_seed: what fixes the order.
        data: a folder with the four MNIST files, or one that holds it; else $BPTT_DATA, then the cache.

    Returns:
        The task, its readout "last".

    Raises:
        ValueError: if an argument is out of its range, or a file is damaged or not MNIST's.
        FileNotFoundError: if the files are not found; `bptt data fetch mnist` downloads them.
        RuntimeError: if torch no longer draws the permutation that seed 0 stands for.

    Source: Le et al. 2015 (arXiv 1504.00941); Kanuparthi et al., "h-detach", ICLR 2019.
    """
    refuse_reading("pmnist", resize, rows, permutation_seed)
    return DigitTask(
        "pmnist",
        data="MNIST",
        source=SOURCE,
        splits=_splits(data),
        resize=resize,
        rows=rows,
        permutation_seed=permutation_seed,
    )


def _splits(data: str | PathLike[str] | None) -> dict[str, tuple[Tensor, Tensor]]:
    mnist = datasets.load_mnist(data)
    images, labels = mnist.train_images, mnist.train_labels
    return {
        "train": (images[:TRAIN], labels[:TRAIN]),
        "valid": (images[TRAIN:], labels[TRAIN:]),
        "test": (mnist.test_images, mnist.test_labels),
    }
