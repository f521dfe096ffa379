"""The IDX format of MNIST: a big-endian header, then bytes; gzipped or plain."""

import gzip
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["images", "labels"]
_MAGIC: dict[Kind, int] = {"images": 2051, "labels": 2049}
_CLASSES = 10


class DataError(ValueError):
    """A file that is damaged or not the one it should be: says the file, rule, expected and got."""

    def __init__(self, file: object, rule: str, expected: object, got: object) -> None:
        self.file, self.rule = str(file), rule
        super().__init__(f"{file}: {rule}: expected {expected}, got {got}")


def read_images(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of images, gzipped or plain.

    Args:
        path: the file; its first bytes, not its name, say whether it is gzipped.

    Returns:
        (N, rows, columns) bytes.

    Raises:
        DataError: if the file is damaged or does not hold images.
        FileNotFoundError: if there is no such file.
    """
    return decode(read_payload(path), "images", path)


def read_labels(path: str | PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of labels 0..9, gzipped or plain.

    Args:
        path: the file; its first bytes, not its name, say whether it is gzipped.

    Returns:
        (N,) bytes.

    Raises:
        DataError: if the file is damaged, does not hold labels, or holds one above 9.
        FileNotFoundError: if there is no such file.
    """
    return decode(read_payload(path), "labels", path)


def read_payload(path: str | PathLike[str]) -> bytes:
    """The bytes of a file, unpacked if they are gzipped.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        DataError: if the compressed data is damaged or cut short.
        FileNotFoundError: if there is no such file.
    """
    raw = Path(path).read_bytes()
    if not raw.startswith(b"\x1f\x8b"):
        return raw
    try:
        return gzip.decompress(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(path, "gzip data", "a complete stream with the right checksum", error) from error


def decode(payload: bytes, kind: Kind, file: str | PathLike[str]) -> NDArray[np.uint8]:
    """Decode the unpacked bytes of an IDX file.

    Args:
        payload: header and data.
        kind: "images" for magic number 2051, "labels" for 2049.
        file: what error messages call the file.

    Returns:
        (N, rows, columns) bytes for images, (N,) for labels; read-only, sharing memory with the payload.

    Raises:
        DataError: if the magic number is another, the size is not what the header promises, there are no
            items, or a label is above 9.
    """
    axes = 3 if kind == "images" else 1
    header = 4 + 4 * axes
    if len(payload) < header:
        raise DataError(file, f"size of the header of IDX {kind}", f"{header} bytes", f"{len(payload)} bytes")
    magic, *shape = struct.unpack_from(f">{1 + axes}I", payload)
    if magic != _MAGIC[kind]:
        raise DataError(file, f"magic number of IDX {kind}", _MAGIC[kind], magic)
    expected, got = int(np.prod(shape, dtype=object)), len(payload) - header
    if got != expected:
        rule = "short file" if got < expected else "trailing bytes"
        promise = f"{expected} bytes of data ({' × '.join(map(str, shape))}, as the header says)"
        raise DataError(file, rule, promise, f"{got} bytes")
    if expected == 0:
        raise DataError(file, "number of bytes", "at least 1", f"{' × '.join(map(str, shape))}")
    values = np.frombuffer(payload, np.uint8, offset=header).reshape(shape)
    if kind == "labels" and values.max() >= _CLASSES:
        place = int(np.argmax(values >= _CLASSES))
        raise DataError(file, f"label {place}", f"0..{_CLASSES - 1}", int(values[place]))
    return values
