"""The small files of a run folder, and reading a run back."""

import datetime
import hashlib
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _files, _json
from ._environment import Environment
from ._errors import RunError

SPEC, METRICS, TIMING = "spec.json", "metrics.jsonl", "timing.jsonl"
WEIGHTS, DONE, FAILED = "weights.safetensors", "done.json", "failed.json"

_SPEC_KEYS = ("hash", "spec")
_DONE_KEYS = (
    "status",
    "epoch",
    "step",
    "best",
    "test",
    "metrics_sha256",
    "weights_sha256",
    "environment_changed",
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended (done.json).

    Attributes:
        folder: the run folder.
        status: `"completed"`, `"solved"`, `"non-finite loss"` or `"non-finite gradient"`.
        epoch: the last epoch, from 1.
        step: the last optimiser step; for a non-finite status the one that was not taken.
        best: `{"epoch": …, "valid": {…}}` of the best epoch by validation, or None if there was none.
        test: the test split's metrics with the best weights, or None without a test split or a best epoch.
        non_finite: `{"loss": …, "grad_norm": …}` at that step, for a non-finite status.
        metrics_sha256: of metrics.jsonl.
        weights_sha256: of weights.safetensors, or None if no epoch was the best.
        environment_changed: whether the run was resumed under another environment.
    """

    folder: Path
    status: str
    epoch: int
    step: int
    best: Mapping[str, Any] | None
    test: Mapping[str, float] | None
    non_finite: Mapping[str, float] | None
    metrics_sha256: str
    weights_sha256: str | None
    environment_changed: bool


def spec_hash(spec: Mapping[str, Any]) -> str:
    """The sha256 of a spec, whatever the order of its keys."""
    return hashlib.sha256(_json.canonical(spec)).hexdigest()


def read_spec(folder: Path | str) -> dict[str, Any]:
    """spec.json of a run folder, its hash checked.

    Raises:
        RunError: if it is missing, damaged or does not match its hash.
    """
    path = Path(folder) / SPEC
    page = _read(path, *_SPEC_KEYS)
    if page is None:
        raise RunError(f"{folder} is not a run folder: it has no {SPEC}")
    if spec_hash(page["spec"]) != page["hash"]:
        raise RunError(f"{path} is damaged: its spec does not match its hash")
    return page


def write_spec(folder: Path, spec: Mapping[str, Any], environment: Environment, command: str | None) -> None:
    page = {"hash": spec_hash(spec), "spec": spec, "environment": environment, "command": command}
    _files.write_whole(folder / SPEC, _json.page(page))


def read_outcome(folder: Path | str) -> Outcome | None:
    """How the run in a folder ended, or None if it has not.

    Raises:
        RunError: if done.json is damaged.
    """
    folder = Path(folder)
    page = _read(folder / DONE, *_DONE_KEYS)
    if page is None:
        return None
    best = page["best"] and {"epoch": page["best"]["epoch"], "valid": _json.number(page["best"]["valid"])}
    return Outcome(
        folder=folder,
        status=page["status"],
        epoch=page["epoch"],
        step=page["step"],
        best=best,
        test=_json.number(page["test"]),
        non_finite=_json.number(page.get("non_finite")),
        metrics_sha256=page["metrics_sha256"],
        weights_sha256=page["weights_sha256"],
        environment_changed=page["environment_changed"],
    )


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The epochs written so far, non-finite numbers as floats, without a line that is still being written.

    Raises:
        RunError: if a whole line is damaged.
    """
    path = Path(folder) / METRICS
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    try:
        return [_json.number(json.loads(line)) for line in whole.splitlines()]
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error


def record_failure(folder: Path | str, error: BaseException, *, epoch: int = 0, step: int = 0) -> None:
    """Write failed.json, which the next attempt removes."""
    page = {
        "error": f"{type(error).__name__}: {error}",
        "traceback": "".join(traceback.format_exception(error)),
        "epoch": epoch,
        "step": step,
        "time": now(),
    }
    _files.write_whole(Path(folder) / FAILED, _json.page(page))


def read_failure(folder: Path | str) -> dict[str, Any] | None:
    """failed.json of a run folder, or None if its last attempt did not fail."""
    return _read(Path(folder) / FAILED)


def now() -> str:
    """UTC in ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _read(path: Path, *keys: str) -> dict[str, Any] | None:
    try:
        page = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not isinstance(page, dict) or not page.keys() >= set(keys):
        raise RunError(f"{path} is damaged: it must have the keys {', '.join(keys)}")
    return page
