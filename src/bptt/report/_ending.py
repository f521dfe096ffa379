"""How a run ended, or was left: what done.json, failed.json and the checkpoints say, none of it trusted."""

import hashlib
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from ._files import DamagedError, need, need_numbers, need_text_or_null, read_object, sha256


class Status(StrEnum):
    """How a run ended, or why it has no end."""

    COMPLETED = "completed"
    SOLVED = "solved"
    DIVERGED = "non-finite"
    FAILED = "failed"
    UNFINISHED = "unfinished"
    MISSING = "missing"
    DAMAGED = "damaged"

    @property
    def finished(self) -> bool:
        """True for a run that trained as long as it was meant to."""
        return self in (Status.COMPLETED, Status.SOLVED)

    @property
    def ended(self) -> bool:
        """True for a run that will not go on: finished, or stopped by a non-finite loss or gradient."""
        return self.finished or self is Status.DIVERGED


_ENDINGS = {
    "completed": Status.COMPLETED,
    "solved": Status.SOLVED,
    "non-finite loss": Status.DIVERGED,
    "non-finite gradient": Status.DIVERGED,
}
_CHECKPOINTS = ("state.pt", "state.prev.pt")
_NOTHING = hashlib.sha256().hexdigest()
_SEAL = b"bptt run state, sha256 "


def read_done(folder: Path, spec: str, curves: Mapping[str, np.ndarray], epochs: int) -> dict[str, Any]:
    """What done.json says, checked against its own hash, the spec's, the metrics and the weights."""
    done = read_object(folder / "done.json")
    _check_seal(done)
    if need(done, "spec", str, "done.json") != spec:
        raise DamagedError("done.json is another run's: its spec is not that of spec.json")
    word = need(done, "status", str, "done.json")
    if word not in _ENDINGS:
        raise DamagedError(f"done.json: status must be one of {', '.join(_ENDINGS)}, got {word!r}")
    status, epoch = _ENDINGS[word], need(done, "epoch", int, "done.json")
    hashes = _check_hashes(folder, done)
    if status.finished and epoch != epochs:
        raise DamagedError(f"metrics.jsonl must have {epoch} lines, as done.json says, got {epochs}")
    best = need(done, "best", dict, "done.json") if done.get("best") is not None else {}
    best_epoch = need(best, "epoch", int, "done.json: best") if best else None
    best_valid = need_numbers(best, "valid", "done.json: best") if best else {}
    if best_epoch is not None:
        _check_best(best_epoch, best_valid, curves, epochs)
    step = need(done, "step", int, "done.json")
    test = need_numbers(done, "test", "done.json") if done.get("test") is not None else {}
    return {
        "status": status,
        "reason": f"{word.removeprefix('non-finite ')} at step {step}, in epoch {epoch}"
        if status is Status.DIVERGED
        else "",
        "best_epoch": best_epoch,
        "best": best_valid,
        "test": test,
        "metrics_sha256": hashes["metrics"],
        "weights_sha256": hashes["weights"],
        "flow_sha256": need_text_or_null({"flow_sha256": None} | done, "flow_sha256", "done.json"),
        "environment_changed": bool(done.get("environment_changed")),
    }


def read_interrupted(folder: Path, epochs: int) -> dict[str, Any]:
    """What is known of a run without done.json; damaged when `bptt resume` could not go on with it."""
    _check_checkpoints(folder)
    if not (folder / "failed.json").exists():
        after = f"after epoch {epochs}" if epochs else "before the end of its first epoch"
        return {"status": Status.UNFINISHED, "reason": f"stopped, or still running, {after}"}
    failed = read_object(folder / "failed.json")
    return {
        "status": Status.FAILED,
        "reason": need(failed, "error", str, "failed.json"),
        "traceback": str(failed.get("traceback", "")),
    }


def _check_seal(done: Mapping[str, Any]) -> None:
    seal = need(done, "sha256", str, "done.json")
    page = {key: value for key, value in done.items() if key != "sha256"}
    text = json.dumps(page, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != seal:
        raise DamagedError("done.json has been changed: its sha256 is not that of its other fields")


def _check_hashes(folder: Path, done: Mapping[str, Any]) -> dict[str, str]:
    hashes = {name: need_text_or_null(done, f"{name}_sha256", "done.json") for name in ("metrics", "weights")}
    for name, file in (("metrics", "metrics.jsonl"), ("weights", "weights.safetensors")):
        if not hashes[name]:
            continue
        if not (folder / file).exists():
            if hashes[name] == _NOTHING:  # a run that ended in its first epoch has no metrics.jsonl
                continue
            raise DamagedError(f"{file} is absent, though done.json says that the run ended with one")
        if sha256(folder / file) != hashes[name]:
            raise DamagedError(
                f"{file} has changed since the run ended: its SHA-256 is not that of done.json"
            )
    return hashes


def _check_best(
    epoch: int, valid: Mapping[str, float], curves: Mapping[str, np.ndarray], epochs: int
) -> None:
    if not 1 <= epoch <= epochs:
        raise DamagedError(f"done.json: best.epoch must be one of the {epochs} of metrics.jsonl, got {epoch}")
    measured = {
        key.removeprefix("valid."): float(values[epoch - 1])
        for key, values in curves.items()
        if key.startswith("valid.")
    }
    for key in sorted(measured.keys() | valid.keys()):
        here, there = valid.get(key, "nothing"), measured.get(key, "nothing")
        if here != there and not _both_nan(here, there):
            raise DamagedError(
                f"done.json: best.valid.{key} must be that of epoch {epoch} in metrics.jsonl, "
                f"{there}, got {here}"
            )


def _both_nan(one: float | str, two: float | str) -> bool:
    return isinstance(one, float) and isinstance(two, float) and math.isnan(one) and math.isnan(two)


def _check_checkpoints(folder: Path) -> None:
    """One good checkpoint is enough to go on, and a run copied without any is no damage."""
    refusals = []
    for name in _CHECKPOINTS:
        try:
            refusal = _refusal((folder / name).read_bytes())
        except FileNotFoundError:  # perhaps it is being replaced at this moment
            continue
        except OSError as error:
            refusal = f"cannot be read: {error.strerror}"
        if not refusal:
            return
        refusals.append(f"{name} {refusal}")
    if refusals:
        raise DamagedError("; ".join(refusals) + ": there is no checkpoint left to go on from")


def _refusal(state: bytes) -> str:
    """What is wrong with a checkpoint; a good one ends with the SHA-256 of all before it, in words."""
    body, seal = state[: -len(_SEAL) - 64], state[-len(_SEAL) - 64 :]
    if not seal.startswith(_SEAL):
        return "is cut short, or was not written by bptt"
    if seal.removeprefix(_SEAL) != hashlib.sha256(body).hexdigest().encode():
        return "is damaged: its SHA-256 does not match its seal"
    return ""
