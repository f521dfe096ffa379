"""Ctrl-C and SIGTERM as a request, so that a run stops between two steps."""

import signal
import threading
from types import TracebackType
from typing import Any, Self


class StopRequested(Exception):  # noqa: N818 - a request, not an error; it never leaves this package
    """Raised by `StopSignals.check` where stopping is safe."""


class StopSignals:
    """While entered, a first SIGINT or SIGTERM sets `requested`, and a second stops the process at once.

    Signals that the process ignores (`nohup`) stay ignored. Outside the main thread nothing can be caught and
    signals do what they did before.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def check(self) -> None:
        """Raise `StopRequested` if a signal came."""
        if self.requested:
            raise StopRequested

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (None, signal.SIG_IGN):
                    self._before[number] = before
                    signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _on_signal(self, *_: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
