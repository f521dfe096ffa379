"""Every row of the GPU's table: checked, then timed, then recorded."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..._cuda_graphs import recorded
from ..._versions import installed
from .._check import MismatchError
from .._measure import Pairs, Work, measure
from .._record import RecordError, read, write
from ._rows import TOLERANCE, Row
from ._sides import Side, steps
from ._training import train_beside


def run(
    out: Path,
    wanted: Sequence[Row],
    device: str,
    *,
    pairs: int,
    seconds: float,
    tell: Callable[[str], object],
) -> bool:
    """Measure the rows that a record lacks, until the time is over.

    Args:
        out: the record, whole after every row.
        wanted: the rows.
        device: where, `"cuda"`; on a CPU nothing is recorded in graphs.
        pairs: of timings.
        seconds: after which no row is begun.
        tell: is given a line for each row.

    Returns:
        Whether all are there.

    Raises:
        RecordError: if the record is from another machine.
        MismatchError: if two sides do not compute the same.
    """
    here = machine(device)
    document = read(out) if out.exists() else {"format": 1, "machine": here, "rows": []}
    if document["machine"] != here:
        raise RecordError(f"{out} comes from another machine or library: name or remove another")
    began = time.monotonic()
    for number, row in enumerate(wanted, start=1):
        if any(all(old[key] == value for key, value in row.words().items()) for old in document["rows"]):
            continue
        if time.monotonic() - began > seconds:
            tell("the time is over; the same command goes on")
            return False
        document["rows"].append({**row.words(), "pairs": pairs, **_measured(row, device, pairs)})
        write(out, document)
        tell(f"{number}/{len(wanted)} {_line(document['rows'][-1])}")
    return True


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on."""
    gpu = device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else device,
        "bptt": installed("bptt"),
        "torch": torch.__version__,
        "triton": installed("triton"),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
    }


def _measured(row: Row, device: str, pairs: int) -> dict[str, Any]:
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=row.precision == "tf32"):
        if row.cell == "step":
            ours, rival = steps(row, device)
            return _timed(ours, rival, device, pairs)
        if row.cell == "train":
            _, rival = steps(row, device)
            times, each = train_beside(row, device, rival, _clock(device), pairs)
            return {**_told(times), "bytes_per_replica": each}
        mine, theirs = (Side(row, device, ours=ours) for ours in (True, False))
        error = _difference(row, mine, theirs)
        called = _timed(mine.both, theirs.both, device, pairs)
        # A graph repeats what the device does, without what the host takes to ask for it.
        both = _timed(_recorded(mine.both, device), _recorded(theirs.both, device), device, pairs)
        forward = _timed(_recorded(mine.forward, device), _recorded(theirs.forward, device), device, pairs)
        served = mine.served_by
    T = row.shape.T
    return {
        "called": called,
        "ratio": both["ratio"],
        "ours_us": both["ours_us"],
        "rival_us": both["rival_us"],
        "forward_us_per_step": forward["ours_us"] / T,
        "backward_us_per_step": (both["ours_us"] - forward["ours_us"]) / T,
        "rival_forward_us_per_step": forward["rival_us"] / T,
        "rival_backward_us_per_step": (both["rival_us"] - forward["rival_us"]) / T,
        "served_by": served,
        "max_error": error,
    }


def _difference(row: Row, mine: Side, theirs: Side) -> float:
    """The largest difference of y, and without blocking of the gradients, relative to the largest entry."""
    pairs = [(mine.forward(), theirs.forward())]
    if row.p == 0:
        pairs += list(zip(mine.both(), theirs.both(), strict=True))
    worst = 0.0
    for ours, rival in pairs:
        error = ((ours.double() - rival.double()).abs().max() / rival.double().abs().max()).item()
        if not error <= TOLERANCE[row.precision]:
            raise MismatchError(f"{row}: a difference of {error:.2g}, at most {TOLERANCE[row.precision]:g}")
        worst = max(worst, error)
    return worst


def _recorded(work: Work, device: str) -> Work:
    return recorded(work, torch.device(device, 0), warm_ups=3)


def _timed(ours: Work, rival: Work, device: str, pairs: int) -> dict[str, Any]:
    return _told(measure(ours, rival, pairs=pairs, clock=_clock(device)))


def _told(times: Pairs) -> dict[str, Any]:
    return {
        "ratio": asdict(times.ratio),
        "ours_us": statistics.median(times.ours) * 1e6,
        "rival_us": statistics.median(times.rival) * 1e6,
    }


def _clock(device: str) -> Callable[[], float]:
    """Seconds by the device's own events, once it has done all that it was given."""
    if device != "cuda":
        return time.perf_counter
    began = torch.cuda.Event(enable_timing=True)
    began.record()

    def reached() -> float:
        now = torch.cuda.Event(enable_timing=True)
        now.record()
        now.synchronize()
        return began.elapsed_time(now) / 1e3

    return reached


def _line(row: dict[str, Any]) -> str:
    ratio = row["ratio"]
    what = f"{row['cell']} {row['shape']} {row['precision']}, p {row['p']:g}, {row['replicas']} at once"
    line = (
        f"{what}, against {row['rival']}: {ratio['median']:.2f} "
        f"[{ratio['lower']:.2f}, {ratio['upper']:.2f}], {row['ours_us']:.0f} µs"
    )
    if "served_by" not in row:
        return line
    return (
        f"{line}; {row['served_by']}, a step {row['forward_us_per_step']:.2f} µs forward, "
        f"{row['backward_us_per_step']:.2f} µs back"
    )
