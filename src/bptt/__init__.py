"""Control, measure and speed up backpropagation through time."""

import lazy_loader

# Submodules load at first use, so that `bptt --help` never waits for torch. The public names stand in
# __init__.pyi, which type checkers read too.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
