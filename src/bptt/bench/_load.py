"""What other processes do to the machine meanwhile, which no timing survives."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from .. import ops
from .._cpus import available_cores

AVERAGE = 0.3  # of the load over the last minute, beside what this process itself causes
SHARE = 0.1  # of one CPU, taken by others
CORES = 0.8  # of one, for each thread


class LoadedError(RuntimeError):
    """Other processes take too much of the machine for a timing to mean anything."""


class Meter(Protocol):
    """What is known of the load."""

    @property
    def pause(self) -> float:
        """For how many seconds to look at an idle machine before a row."""
        ...

    def average(self) -> float:
        """The load over the last minute, without what this process can have caused."""
        ...

    def watch(self) -> Callable[[], float]:
        """Begin to watch.

        Returns:
            A function that tells the share of one CPU that other processes have used since.
        """
        ...

    def cores(self, threads: int) -> float:
        """How many cores so many threads compute on now.

        A scheduler may leave two of them on one for seconds.
        """
        ...


class System:
    """The meter of the machine: `/proc/stat` on Linux, elsewhere the load average alone."""

    pause = 0.5

    def average(self) -> float:
        # A process that has used s seconds of CPU has added at most s/60 to the average of a minute.
        return max(0.0, os.getloadavg()[0] - _own() / 60)

    def watch(self) -> Callable[[], float]:
        began, own = time.monotonic(), _own()
        every = _every() if sys.platform.startswith("linux") else None

        def share() -> float:
            seconds = max(time.monotonic() - began, 1e-9)
            mine = (_own() - own) / seconds
            used = os.getloadavg()[0] if every is None else (_every() - every) / seconds
            return max(0.0, used - mine)

        return share

    def cores(self, threads: int) -> float:
        try:
            return threads if threads == 1 else ops.fma_peak(threads) / ops.fma_peak(1)
        except RuntimeError:  # without the kernels nothing tells
            return threads


def look(meter: Meter) -> float:
    """The share of one CPU that others use while this process rests."""
    share = meter.watch()
    time.sleep(meter.pause)
    return share()


def loaded(share: float, average: float = 0.0) -> str | None:
    """Why the machine is too loaded, or None.

    Args:
        share: of one CPU, used by other processes.
        average: the load of the last minute.
    """
    if share > SHARE:
        return f"other processes may use at most {100 * SHARE:g} % of one CPU, got {100 * share:.0f} %"
    if average > AVERAGE:
        return f"the load average of the last minute must be at most {AVERAGE}, got {average:.2f}"
    return None


def crowded(cores: float, threads: int) -> str | None:
    """Why so many threads do not compute side by side, or None."""
    wanted = CORES * min(threads, available_cores())
    if cores < wanted:
        return f"{threads} threads must compute on at least {wanted:g} cores, got {cores:.1f}"
    return None


def _own() -> float:
    """CPU seconds of this process and its children so far."""
    return sum(os.times()[:4])


def _every() -> float:
    """CPU seconds of all processes so far, and those that the host took away."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
