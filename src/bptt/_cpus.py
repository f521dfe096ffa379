"""The CPUs that this process may use."""

import os
from pathlib import Path

_SYSTEM = Path("/sys/devices/system/cpu")


def available_cpus() -> int:
    """How many there are; two of them may be threads of one core."""
    return len(_allowed())


def available_cores(system: Path = _SYSTEM) -> int:
    """How many cores they belong to, or where nothing tells, as many as there are CPUs.

    Args:
        system: where Linux describes its CPUs.
    """
    allowed = _allowed()
    try:
        return len({(system / f"cpu{n}/topology/thread_siblings_list").read_text() for n in allowed})
    except OSError:
        return len(allowed)


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
