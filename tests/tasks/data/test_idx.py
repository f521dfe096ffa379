"""The IDX reader reads gzip and plain, and refuses what is damaged: file, rule, expected, got."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bptt.tasks import data

Idx = Callable[..., bytes]
PIXELS = bytes(range(2 * 3 * 4))


def write(folder: Path, content: bytes, name: str = "some-idx") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["file", "file.gz"])
def test_gzip_and_plain_by_content_whatever_the_name(
    pack: Callable[[bytes], bytes], name: str, idx: Idx, tmp_path: Path
) -> None:
    images = data.read_images(write(tmp_path, pack(idx(2051, 2, 3, 4, data=PIXELS)), name))
    assert images.dtype == np.uint8
    assert images.shape == (2, 3, 4)
    assert images.ravel().tolist() == list(PIXELS)
    labels = data.read_labels(write(tmp_path, pack(idx(2049, 4, data=b"\x00\x09\x05\x05")), name))
    assert labels.tolist() == [0, 9, 5, 5]


def test_real_files(mnist_folder: Path) -> None:
    images = data.read_images(mnist_folder / "t10k-images-idx3-ubyte.gz")
    labels = data.read_labels(mnist_folder / "t10k-labels-idx1-ubyte.gz")
    assert images.shape == (10_000, 28, 28)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize(
    ("magic", "shape", "content", "message"),
    [
        (2049, (2, 3, 4), PIXELS, "magic number of IDX images: expected 2051, got 2049"),
        (2052, (2, 3, 4), PIXELS, "magic number of IDX images: expected 2051, got 2052"),
        (
            2051,
            (2, 3, 4),
            PIXELS[:-1],
            "short file: expected 24 bytes of data (2 × 3 × 4, as the header says), got 23",
        ),
        (2051, (2, 3, 4), PIXELS + b"\n", "trailing bytes: expected 24 bytes of data (2 × 3 × 4,"),
        (
            2051,
            (3, 3, 4),
            PIXELS,
            "short file: expected 36 bytes of data (3 × 3 × 4, as the header says), got 24",
        ),
        (
            2051,
            (1, 3, 4),
            PIXELS,
            "trailing bytes: expected 12 bytes of data (1 × 3 × 4, as the header says), got 24",
        ),
        (2051, (2**32 - 1,) * 3, PIXELS, "short file: expected 79228162458924105385300197375 bytes"),
        (2051, (0, 28, 28), b"", "number of bytes: expected at least 1, got 0 × 28 × 28"),
    ],
    ids=["labels", "magic", "cut", "extra", "count-high", "count-low", "overflow", "none"],
)
def test_damaged_images(
    magic: int, shape: tuple[int, ...], content: bytes, message: str, idx: Idx, tmp_path: Path
) -> None:
    path = write(tmp_path, idx(magic, *shape, data=content))
    with pytest.raises(data.DataError) as caught:
        data.read_images(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("magic", "count", "content", "message"),
    [
        (2051, 3, b"\x01\x02\x03", "magic number of IDX labels: expected 2049, got 2051"),
        (
            2049,
            4,
            b"\x01\x02\x03",
            "short file: expected 4 bytes of data (4, as the header says), got 3 bytes",
        ),
        (
            2049,
            2,
            b"\x01\x02\x03",
            "trailing bytes: expected 2 bytes of data (2, as the header says), got 3 bytes",
        ),
        (2049, 3, b"\x01\x0a\x02", "label 1: expected 0..9, got 10"),
    ],
    ids=["images", "short", "extra", "label"],
)
def test_damaged_labels(
    magic: int, count: int, content: bytes, message: str, idx: Idx, tmp_path: Path
) -> None:
    path = write(tmp_path, idx(magic, count, data=content))
    with pytest.raises(data.DataError) as caught:
        data.read_labels(path)
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("size", [0, 3, 15])
def test_a_file_without_a_whole_header(size: int, idx: Idx, tmp_path: Path) -> None:
    path = write(tmp_path, idx(2051, 2, 3, 4)[:size])
    with pytest.raises(
        ValueError, match=rf"size of the header of IDX images: expected 16 bytes, got {size} bytes"
    ):
        data.read_images(path)


def test_damaged_gzip(idx: Idx, tmp_path: Path) -> None:
    packed = gzip.compress(idx(2051, 2, 3, 4, data=PIXELS))
    flipped = bytearray(packed)
    flipped[-6] ^= 1  # in the checksum
    broken = bytearray(packed)
    broken[10] ^= 0xFF  # in the first block
    for content in (packed[:-9], bytes(flipped), bytes(broken), packed + b"more"):
        path = write(tmp_path, content)
        with pytest.raises(data.DataError) as caught:
            data.read_images(path)
        assert str(caught.value).startswith(
            f"{path}: gzip data: expected a complete stream with the right checksum"
        )


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        data.read_labels(tmp_path / "nowhere")
