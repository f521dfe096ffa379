"""The small files of a run folder, and reading a run back."""

import datetime
import hashlib
import json
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import _files, _json
from ._environment import Environment
from ._errors import RunError, describe

SPEC, METRICS, TIMING, FLOW = "spec.json", "metrics.jsonl", "timing.jsonl", "flow.jsonl"
WEIGHTS, DONE, FAILED = "weights.safetensors", "done.json", "failed.json"


def spec_hash(spec: Mapping[str, Any]) -> str:
    """The sha256 of a spec, whatever the order of its keys."""
    return hashlib.sha256(_json.canonical(spec)).hexdigest()


def read_spec(folder: Path | str) -> dict[str, Any]:
    """spec.json of a run folder, its hash checked.

    Raises:
        RunError: if it is missing, damaged or does not match its hash.
    """
    path = Path(folder) / SPEC
    page = read_page(path, "hash", "spec")
    if page is None:
        raise RunError(f"{folder} is not a run folder: it has no {SPEC}")
    if spec_hash(page["spec"]) != page["hash"]:
        raise RunError(f"{path} is damaged: its spec does not match its hash")
    return page


def write_spec(folder: Path, spec: Mapping[str, Any], environment: Environment, command: str | None) -> None:
    page = {"hash": spec_hash(spec), "spec": spec, "environment": environment, "command": command}
    _files.write_whole(folder / SPEC, _json.page(page))


def read_metrics(folder: Path | str) -> list[dict[str, Any]]:
    """The epochs written so far, non-finite numbers as floats, without a line that is still being written.

    Raises:
        RunError: if a whole line is damaged.
    """
    return _read_lines(Path(folder) / METRICS)


def read_flow(folder: Path | str) -> list[dict[str, Any]]:
    """What was seen of the gradients through time so far, as `flow.Reading.row` tells it; none if unwatched.

    Layers whose paths were split at a step also have the medians `carry` and `gates`.

    Raises:
        RunError: if a whole line is damaged.
    """
    return _read_lines(Path(folder) / FLOW)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    try:
        lines = [json.loads(line) for line in whole.splitlines()]
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict):
            raise RunError(f"{path} is damaged: line {number} must be a JSON object, got {line!r}")
    return [_json.number(line) for line in lines]


def record_failure(folder: Path | str, error: BaseException, *, epoch: int = 0, step: int = 0) -> None:
    """Write failed.json, which the next attempt removes."""
    page = {
        "error": describe(error),
        "traceback": "".join(traceback.format_exception(error)),
        "epoch": epoch,
        "step": step,
        "time": now(),
    }
    _files.write_whole(Path(folder) / FAILED, _json.page(page))


def read_failure(folder: Path | str) -> dict[str, Any] | None:
    """failed.json of a run folder, or None if its last attempt did not fail."""
    return read_page(Path(folder) / FAILED)


def now() -> str:
    """UTC in ISO 8601, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_page(path: Path, *keys: str) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is no such file.

    Raises:
        RunError: if it cannot be read, is something else, or lacks one of `keys`.
    """
    try:
        page = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    if not isinstance(page, dict) or not page.keys() >= set(keys):
        raise RunError(f"{path} is damaged: it must have the keys {', '.join(keys)}")
    return page
