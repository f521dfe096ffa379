"""Who serves a call: the fastest backend that can, or the one that was named."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch._C._functorch import peek_interpreter_stack

from . import _reference
from ._call import Backend, Call
from ._cudnn import Cudnn
from ._native import Native
from ._triton import Triton


class Reference:
    """The plain time loop; it refuses nothing that the checks let through."""

    name = "reference"

    def missing(self) -> str | None:
        return None

    def refuses(self, call: Call) -> str | None:
        if call.arguments["memory"] == "low" and peek_interpreter_stack() is not None:
            return 'memory="low" recomputes through saved tensor hooks, which torch.func transforms refuse'
        return None

    def run(self, call: Call) -> Any:
        return getattr(_reference, call.op)(**call.arguments)


@dataclass(frozen=True)
class Explanation:
    """Who serves a call, and why the others do not.

    Attributes:
        call: the op, sizes, dtype and device.
        backend: the name of the one that serves it, or None if nobody can.
        reasons: for every other backend, fastest first, why not.
        how: in which of its ways the backend serves it, if it has several.
    """

    call: str
    backend: str | None
    reasons: Mapping[str, str]
    how: str | None = None

    def __str__(self) -> str:
        lines = [f"{self.call}: served by {self.backend or 'nobody'}"]
        if self.how is not None:
            lines.append(f"  {self.how}")
        lines += [f"  not {name}: {reason}" for name, reason in self.reasons.items()]
        return "\n".join(lines)


_cudnn, _triton = Cudnn(), Triton()
_backends: list[Backend] = [Native(), _cudnn, _triton, Reference()]  # fastest first
_asked_for: str | None = None  # by use_backend


def register_backend(backend: Backend) -> Callable[[], None]:
    """Offer `backend` every call before those registered earlier.

    Returns:
        A function that takes the backend out again.

    Raises:
        ValueError: if its name is taken.
    """
    if backend.name in _names():
        raise ValueError(f"a backend's name must be new, got {backend.name!r}, which is registered")
    _backends.insert(0, backend)

    def undo() -> None:
        if backend in _backends:
            _backends.remove(backend)

    return undo


def backends() -> list[tuple[str, str | None]]:
    """Every backend, fastest first, with what this machine lacks to run it (None: nothing)."""
    return [(backend.name, backend.missing()) for backend in _backends]


@contextmanager
def use_backend(name: str | None) -> Iterator[None]:
    """Inside, a call that names no backend is one that names this one; with None, the fastest again.

    It holds for the whole process, like the number of threads, and contexts must nest.

    Raises:
        ValueError: if there is no backend of that name.
    """
    global _asked_for
    _check_name(name)
    before, _asked_for = _asked_for, name
    try:
        yield
    finally:
        _asked_for = before


def explain_call(call: Call) -> Explanation:
    chosen: str | None = None
    how: str | None = None
    reasons: dict[str, str] = {}
    for backend in _backends:
        reason = _objection(backend, call, named=_asked_for is not None)
        if _asked_for not in (None, backend.name):
            reason = f"{_asked_for} was asked for"
        if reason is not None:
            reasons[backend.name] = reason
        elif chosen is None:
            chosen = backend.name
            how = _triton.how(call) if backend is _triton else None
        else:
            reasons[backend.name] = f"{chosen} is preferred"
    return Explanation(str(call), chosen, reasons, how)


def serve(call: Call, backend: str | None) -> Any:
    """Run `call` on the named backend, or on the fastest that can."""
    backend = _asked_for if backend is None else backend
    _check_name(backend)
    reasons = []
    for candidate in _backends:
        if backend not in (None, candidate.name):
            continue
        reason = _objection(candidate, call, named=backend is not None)
        if reason is None:
            return candidate.run(call)
        reasons.append(f"{candidate.name}: {reason}")
    raise RuntimeError(f"{call} cannot be served: " + "; ".join(reasons))


def _check_name(name: str | None) -> None:
    if name is not None and name not in _names():
        known = ", ".join(map(repr, _names()))
        raise ValueError(f"backend must be None or one of {known}, got {name!r}")


def _names() -> list[str]:
    return [backend.name for backend in _backends]


def _objection(backend: Backend, call: Call, *, named: bool) -> str | None:
    """Why a backend does not serve a call, if only because a later one does better and it is not named."""
    reason = backend.missing() or backend.refuses(call)
    if reason is None and backend is _cudnn and not named:
        later = _objection(_triton, call, named=True)
        if later is None and _triton.in_one_kernel(call):
            return "triton runs the whole sequence in one kernel"
    return reason
