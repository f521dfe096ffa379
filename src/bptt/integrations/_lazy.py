"""The public names of `__init__.pyi`, each loaded at first use, so that no optional package must be there."""

from pathlib import Path

import lazy_loader

_STUB = Path(__file__).with_name("__init__.pyi")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub("bptt.integrations", str(_STUB))
