"""Our layers with `memory="low"`, which is an argument of the ops."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import ops


class _Low:
    """Asks the others for the same call in little memory."""

    name = "memory-low"

    def missing(self) -> str | None:
        return None

    def refuses(self, call: ops.Call) -> str | None:
        return "it is asked for already" if call.arguments["memory"] == "low" else None

    def run(self, call: ops.Call) -> Any:
        return getattr(ops, call.op)(**{**call.arguments, "memory": "low"})


@contextmanager
def low_memory() -> Iterator[None]:
    """Inside, every op computes with `memory="low"`."""
    undo = ops.register_backend(_Low())
    try:
        yield
    finally:
        undo()
