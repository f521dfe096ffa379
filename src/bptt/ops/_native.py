"""The backend of C++ kernels, for the CPU."""

from torch import Tensor

from . import _shared_library
from ._kernels import Kernels


class Native(Kernels):
    """Serves float32 and float64 on the CPU, without a projection."""

    name = "native"

    def missing(self) -> str | None:
        return _shared_library.MISSING

    def refuses_tensor(self, x: Tensor) -> str | None:
        if not x.is_cpu:
            return f"it runs on the CPU, got {x.device}"
        if x.dtype not in _shared_library.DTYPES:
            return f"it computes in float32 and float64, got {x.dtype}"
        return None
