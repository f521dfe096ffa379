"""A call of an op, and what a backend must offer to serve it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


@dataclass(frozen=True)
class Call:
    """An op and its checked arguments: what a backend accepts or refuses."""

    op: str
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        x: Tensor = self.arguments["x"]
        H = self.arguments["w_hh"].shape[0] // GATES[self.op]
        sizes = (*x.shape, H)
        return (
            f"{self.op} with (T, B, I, H) = {sizes}, {str(x.dtype).removeprefix('torch.')}, {x.device.type}"
        )


class Backend(Protocol):
    """An implementation of the recurrences."""

    @property
    def name(self) -> str: ...

    def missing(self) -> str | None:
        """What this machine lacks to run the backend, or None."""
        ...

    def refuses(self, call: Call) -> str | None:
        """Why this call cannot be served, or None."""
        ...

    def run(self, call: Call) -> Any:
        """Serve a call that was not refused, with the outputs of the reference."""
        ...
