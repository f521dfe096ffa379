"""`bptt.flow.watch` in the loops and logs of others; each part loads its own package at first use."""

from ._lazy import __all__ as __all__
from ._lazy import __dir__ as __dir__
from ._lazy import __getattr__ as __getattr__
