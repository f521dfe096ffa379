"""Sequential and permuted MNIST hold exactly the images of the files, in the published split and order."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from bptt import tasks
from bptt.tasks.data import MNIST

PERMUTATION_784 = "0699c91f2ebafd2a8cae401008b99266dc7a2b11f233319c843e10b08859132f"
PERMUTATION_196 = "eec351060f693c1ee8f4d423567854d26530a9fa450985dcbefa5022cae16321"
SOME = torch.tensor([0, 1, 123, 9_999])


@pytest.fixture(scope="module")
def pmnist(mnist_folder: Path) -> tasks.DigitTask:
    return tasks.pmnist(data=mnist_folder)


def test_the_published_split(smnist: tasks.DigitTask, mnist: MNIST) -> None:
    assert smnist.sizes == {"train": 50_000, "valid": 10_000, "test": 10_000}
    held = {
        "train": (mnist.train_images[:50_000], mnist.train_labels[:50_000]),
        "valid": (mnist.train_images[50_000:], mnist.train_labels[50_000:]),
        "test": (mnist.test_images, mnist.test_labels),
    }
    for split, (images, labels) in held.items():
        y = torch.cat([batch.y for batch in smnist.batches(split, 5_000)])
        assert torch.equal(y, labels.long())
        x = smnist.batch(split, SOME).x
        assert torch.equal(x.squeeze(-1).T, images[SOME].flatten(1) / 255)


def test_pixels_are_read_row_by_row_in_zero_to_one(smnist: tasks.DigitTask, mnist: MNIST) -> None:
    x, y, lengths = smnist.batch("train", torch.arange(100))
    assert x.shape == (784, 100, 1)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    assert y.shape == (100,)
    assert lengths is None
    assert (x.min(), x.max()) == (0, 1)
    assert x[5 * 28 + 14, 0, 0] == mnist.train_images[0, 5, 14] / 255
    assert (smnist.steps, smnist.input_size, smnist.output_size, smnist.readout) == (784, 1, 10, "last")


def test_a_smaller_image_is_the_mean_of_its_blocks(mnist_folder: Path, mnist: MNIST) -> None:
    images = (mnist.train_images[SOME].double() / 255).unsqueeze(1)
    for side in (14, 7, 4):
        x = tasks.smnist(resize=side, data=mnist_folder).batch("train", SOME).x
        expected = F.interpolate(images, size=(side, side), mode="area").flatten(1)
        assert x.shape == (side * side, 4, 1)
        assert torch.allclose(x.squeeze(-1).T.double(), expected, atol=1e-7, rtol=0)


def test_rows_are_read_whole(mnist_folder: Path, mnist: MNIST) -> None:
    task = tasks.smnist(rows=True, data=mnist_folder)
    x = task.batch("valid", SOME).x
    assert (task.steps, task.input_size) == (28, 28)
    assert x.is_contiguous()
    assert torch.equal(x.transpose(0, 1), mnist.train_images[50_000:][SOME] / 255)


def test_every_image_is_permuted_alike(pmnist: tasks.DigitTask, smnist: tasks.DigitTask) -> None:
    order = pmnist.permutation
    assert order is not None
    assert hashlib.sha256(order.numpy().astype("<i8").tobytes()).hexdigest() == PERMUTATION_784
    assert torch.equal(order.sort().values, torch.arange(784))
    assert smnist.permutation is None
    for split in ("train", "valid", "test"):
        plain, permuted = (task.batch(split, SOME) for task in (smnist, pmnist))
        assert torch.equal(permuted.x, plain.x[order])
        assert torch.equal(permuted.y, plain.y)


def test_the_permutation_never_changes(pmnist: tasks.DigitTask, mnist_folder: Path) -> None:
    assert pmnist.describe()["permutation"] == {"seed": 0, "sha256": PERMUTATION_784}
    small = tasks.pmnist(resize=14, data=mnist_folder)
    assert small.describe()["permutation"] == {"seed": 0, "sha256": PERMUTATION_196}
    other = tasks.pmnist(permutation_seed=1, data=mnist_folder)
    assert other.describe()["permutation"]["sha256"] != PERMUTATION_784
    assert other.fingerprint() != pmnist.fingerprint()


def test_fingerprints_never_change(smnist: tasks.DigitTask, pmnist: tasks.DigitTask) -> None:
    assert smnist.fingerprint() == "04530d5babfe110a3e07fde1dc1fecbdb5f19760bff2a1b41a9c9978877dd3ab"
    assert pmnist.fingerprint() == "d023369cb549ba35b4fc1bf66259719b570eec1b725fa89d180d09bdf122560c"


def test_chance_is_answering_with_the_class_shares(smnist: tasks.DigitTask) -> None:
    y = torch.cat([batch.y for batch in smnist.batches("train", 10_000)])
    batch = tasks.Batch(torch.zeros(784, len(y), 1), y)
    output = (torch.bincount(y).double() / len(y)).log().expand(len(y), 10)
    scores = smnist.metrics(output, batch)
    measured = {name: (total / count).item() for name, (total, count) in scores.items()}
    assert measured == pytest.approx(smnist.chance(), rel=1e-6)
    assert smnist.loss(output, batch).item() == pytest.approx(smnist.chance()["loss"], rel=1e-6)
    assert 0.1 < smnist.chance()["accuracy"] < 0.12


def test_an_epoch_visits_every_image_once(smnist: tasks.DigitTask) -> None:
    order = smnist.train_indices(1, 128, seed=0)
    assert len(order) == smnist.iterations(128) == 391
    assert [len(indices) for indices in order] == [128] * 390 + [80]
    assert torch.equal(torch.cat(order).sort().values, torch.arange(50_000))


def test_files_that_only_borrow_the_names_of_mnist_are_refused(mnist_folder: Path, tmp_path: Path) -> None:
    for file in mnist_folder.iterdir():
        if "train-labels" not in file.name:
            (tmp_path / file.name).symlink_to(file)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes((2049).to_bytes(4, "big") + (60_000).to_bytes(4, "big") + bytes(60_000))
    with pytest.raises(ValueError, match=f"{labels}: SHA-256 of the unpacked file: expected 65a50c.*, got "):
        tasks.smnist(data=tmp_path)


def test_a_damaged_file_is_refused_by_name(mnist_folder: Path, tmp_path: Path) -> None:
    for file in mnist_folder.iterdir():
        shutil.copyfile(file, tmp_path / file.name)
    damaged = tmp_path / "t10k-labels-idx1-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(ValueError, match=f"{damaged}: gzip data: expected a complete stream"):
        tasks.pmnist(data=tmp_path)


def test_all_bad_arguments_are_told_at_once_and_before_any_file_is_read(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"pmnist: resize must be one of 28, 14, 7, 4, got 13; rows .*; perm"
    ):
        tasks.pmnist(resize=13, rows=1, permutation_seed="a", data=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^smnist: resize must be one of 28, 14, 7, 4, got True$"):
        tasks.smnist(resize=True, data=tmp_path)


def test_missing_data_says_where_it_looked_and_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=f"looked in {tmp_path}; `bptt data fetch mnist` downloads it"
    ):
        tasks.smnist(data=tmp_path)
