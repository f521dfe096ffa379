"""Whether a file is what its name says."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ._idx import DataError, decode, read_payload
from ._sets import File


def verify(known: File, path: Path) -> NDArray[np.uint8]:
    """Decode the file at `path` and make sure that it is `known`; it may be compressed in another way.

    Raises:
        DataError: if it is damaged, or sound but another file.
    """
    payload = read_payload(path)
    values = decode(payload, known.kind, path)
    if values.shape != known.shape:
        raise DataError(path, f"count of {known.kind}", _times(known.shape), _times(values.shape))
    digest = hashlib.sha256(payload).hexdigest()
    if digest != known.sha256:
        raise DataError(path, "SHA-256 of the unpacked file", known.sha256, digest)
    return values


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
