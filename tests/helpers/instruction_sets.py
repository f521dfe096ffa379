"""The instruction sets of the native kernels that this CPU has."""

from contextlib import contextmanager

import pytest

from bptt.ops import _shared_library as native

ISAS = native.instruction_sets() if native.MISSING is None else []
each_isa = pytest.mark.parametrize("isa", ISAS)


@contextmanager
def using(isa):
    before = native.instruction_set()
    native.use_instruction_set(isa)
    try:
        yield
    finally:
        native.use_instruction_set(before)
