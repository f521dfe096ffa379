"""One run folder, read without trusting it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ._ending import Status, read_done, read_interrupted
from ._files import (
    DamagedError,
    need,
    need_number,
    need_numbers,
    need_text_or_null,
    parse_object,
    read_bytes,
    read_object,
)
from ._watched import Seen, read_seen


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run folder says.

    `curves` maps `valid.accuracy`, `train.loss`, `grad_norm.median`, … to one float64 value per epoch, the
    first being epoch 1. A damaged run keeps no curves: nothing of it enters a number. `timing_damage` says
    what is wrong with timing.jsonl; no result depends on the clock, so the run is not damaged by it. `seen`
    is what a watched run saw of its gradients: nothing if `flow_damage` says what is wrong with flow.jsonl,
    on which no other number depends.
    """

    arm: str
    seed: int
    name: str
    status: Status
    reason: str = ""
    traceback: str = ""
    curves: Mapping[str, np.ndarray] = field(default_factory=dict)
    epochs: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)
    spec_hash: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    environment_changed: bool = False
    command: str = ""
    best_epoch: int | None = None
    best: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)
    metrics_sha256: str = ""
    weights_sha256: str = ""
    steps_per_second: float | None = None
    timing_damage: str = ""
    flow_sha256: str = ""
    seen: tuple[Seen, ...] = ()
    flow_damage: str = ""


def load_run(folder: Path, *, arm: str, seed: int, name: str) -> Run:
    """Read a run folder.

    Args:
        folder: where the run's files lie; it need not exist.
        arm: the arm the run belongs to.
        seed: its seed.
        name: what to call the run in messages, usually `<arm>/seed-<n>`.

    Returns:
        The run. A folder that is absent gives a missing run, and one with an unreadable file a damaged run
        whose reason names the file: neither raises.
    """
    try:
        if not folder.is_dir() or not any(folder.iterdir()):
            return Run(arm=arm, seed=seed, name=name, status=Status.MISSING, reason="it has not been started")
        return _read(folder, arm=arm, seed=seed, name=name)
    except OSError as error:
        reason = f"the folder cannot be read: {error.strerror}"
        return Run(arm=arm, seed=seed, name=name, status=Status.DAMAGED, reason=reason)
    except DamagedError as error:
        return Run(arm=arm, seed=seed, name=name, status=Status.DAMAGED, reason=str(error))


def _read(folder: Path, *, arm: str, seed: int, name: str) -> Run:
    record = read_object(folder / "spec.json")
    spec = need(record, "spec", dict, "spec.json")
    spec_hash = need(record, "hash", str, "spec.json")
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != spec_hash:
        raise DamagedError("spec.json has been changed: its spec does not match its hash")
    for key, expected in (("arm", arm), ("seed", seed)):
        if spec.get(key, expected) != expected:
            raise DamagedError(
                f"spec.json belongs to another run: {key} must be {expected!r}, got {spec[key]!r}"
            )
    ended = (folder / "done.json").exists()
    curves = _read_metrics(folder / "metrics.jsonl", ended=ended)
    epochs = len(next(iter(curves.values()), ()))
    facts = read_done(folder, spec_hash, curves, epochs) if ended else read_interrupted(folder, epochs)
    speed, timing_damage = _read_speed(folder / "timing.jsonl")
    seen, flow_damage = read_seen(folder, facts.get("flow_sha256", ""))
    return Run(
        arm=arm,
        seed=seed,
        name=name,
        curves=curves,
        epochs=epochs,
        spec=spec,
        spec_hash=spec_hash,
        environment=need(record, "environment", dict, "spec.json"),
        command=need_text_or_null(record, "command", "spec.json"),
        steps_per_second=speed,
        timing_damage=timing_damage,
        seen=seen,
        flow_damage=flow_damage,
        **facts,
    )


def _read_metrics(path: Path, *, ended: bool) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    lines = read_bytes(path).split(b"\n")
    torn = lines.pop()
    if torn and ended:
        raise DamagedError(
            f"metrics.jsonl, line {len(lines) + 1} is cut off, though done.json says that the run ended"
        )
    rows: list[dict[str, float]] = []
    for number, line in enumerate(lines, start=1):
        where = f"metrics.jsonl, line {number}"
        row = parse_object(line, where)
        epoch = need(row, "epoch", int, where)
        if epoch != number:
            raise DamagedError(f"{where}: epoch must be {number}, got {epoch}")
        values = {
            f"{group}.{key}": value
            for group in ("valid", "train", "grad_norm", "p")
            for key, value in need_numbers(row, group, where).items()
        }
        values["clipped"] = need_number(row.get("clipped"), f"{where}: clipped")
        if rows and values.keys() != rows[0].keys():
            odd = sorted(values.keys() ^ rows[0].keys())
            raise DamagedError(
                f"{where}: its fields must be those of line 1; {', '.join(odd)} only in one of them"
            )
        rows.append(values)
    return {key: np.array([row[key] for row in rows], dtype=np.float64) for key in (rows[0] if rows else ())}


def _read_speed(path: Path) -> tuple[float | None, str]:
    """The median speed in steps per second, or what is wrong with the file."""
    if not path.exists():
        return None, ""
    speeds = []
    try:
        for number, line in enumerate(read_bytes(path).split(b"\n")[:-1], start=1):
            where = f"timing.jsonl, line {number}"
            row = parse_object(line, where)
            speeds.append(need_number(row.get("steps_per_second"), f"{where}: steps_per_second"))
    except DamagedError as error:
        return None, str(error)
    return (float(np.median(speeds)) if speeds else None), ""
