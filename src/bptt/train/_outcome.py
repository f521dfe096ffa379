"""done.json: how a run ended, sealed, and whether the files beside it are still those it tells of."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _files, _folder, _json
from ._errors import RunError

STATUSES = ("completed", "solved", "non-finite loss", "non-finite gradient")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended (done.json).

    Attributes:
        folder: the run folder.
        spec: the hash of the spec that it is the end of.
        status: `"completed"`, `"solved"`, `"non-finite loss"` or `"non-finite gradient"`.
        epoch: the last epoch, from 1.
        step: the last optimiser step; for a non-finite status the one that was not taken.
        best: `{"epoch": …, "valid": {…}}` of the best epoch by validation, or None if there was none.
        test: the test split's metrics with the best weights, or None without a test split or a best epoch.
        non_finite: for a non-finite status `{"loss": …, "grad_norm": …}` at that step, or `{"valid_loss": …}`
            after the last epoch.
        metrics_sha256: of metrics.jsonl.
        weights_sha256: of weights.safetensors, or None if no epoch was the best.
        environment_changed: whether the run was resumed under another environment.
        flow_sha256: of flow.jsonl, or None if the run was not watched.
    """

    folder: Path
    spec: str
    status: str
    epoch: int
    step: int
    best: Mapping[str, Any] | None
    test: Mapping[str, float] | None
    non_finite: Mapping[str, float] | None
    metrics_sha256: str
    weights_sha256: str | None
    environment_changed: bool
    flow_sha256: str | None = None


def write_outcome(folder: Path, page: Mapping[str, Any]) -> None:
    """Write done.json, its last key the sha256 of all the others in canonical JSON."""
    _files.write_whole(folder / _folder.DONE, _json.page({**page, "sha256": _seal(page)}))


def read_outcome(folder: Path | str) -> Outcome | None:
    """How the run in a folder ended, or None if it has not.

    Raises:
        RunError: if done.json is damaged: not as it was written, by its own sha256.
    """
    folder = Path(folder)
    path = folder / _folder.DONE
    page = _folder.read_page(path, *(key for key in _RULES if key not in _OPTIONAL), "sha256")
    if page is None:
        return None
    seal = page.pop("sha256")
    if seal != _seal(page):
        raise RunError(f"{path} is damaged: its sha256 is not that of its other keys")
    for key, (rule, holds) in _RULES.items():
        if key in page and not holds(page[key]):
            raise RunError(f"{path} is damaged: {key} must be {rule}, got {page[key]!r}")
    best = page["best"] and {"epoch": page["best"]["epoch"], "valid": _json.number(page["best"]["valid"])}
    return Outcome(
        folder=folder,
        spec=page["spec"],
        status=page["status"],
        epoch=page["epoch"],
        step=page["step"],
        best=best,
        test=_json.number(page["test"]),
        non_finite=_json.number(page.get("non_finite")),
        metrics_sha256=page["metrics_sha256"],
        weights_sha256=page["weights_sha256"],
        environment_changed=page["environment_changed"],
        flow_sha256=page.get("flow_sha256"),
    )


def verify_outcome(folder: Path | str) -> Outcome | None:
    """How the run in a folder ended, every file that says so checked; None if it has not ended.

    done.json is checked against its own sha256 and the spec's in spec.json, metrics.jsonl, flow.jsonl and
    weights.safetensors against theirs in done.json, and the best epoch against its line in metrics.jsonl.

    Args:
        folder: the run folder.

    Returns:
        The outcome, which can be relied on.

    Raises:
        RunError: naming the file that is damaged or missing.
    """
    outcome = read_outcome(folder)
    if outcome is None:
        return None
    if outcome.spec != _folder.read_spec(folder)["hash"]:
        raise RunError(
            f"{outcome.folder / _folder.DONE} is another run's: its spec is not that of {_folder.SPEC}"
        )
    _check_file(outcome.folder / _folder.METRICS, outcome.metrics_sha256)
    if outcome.flow_sha256 is not None:
        _check_file(outcome.folder / _folder.FLOW, outcome.flow_sha256)
    if outcome.weights_sha256 is not None:
        _check_file(outcome.folder / _folder.WEIGHTS, outcome.weights_sha256)
    if outcome.best is not None:
        _check_best(outcome.folder / _folder.DONE, outcome.best, _folder.read_metrics(folder))
    return outcome


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError as error:
        if sha256 == hashlib.sha256().hexdigest():  # a run that ended before its first line wrote none
            return
        raise RunError(f"{path} is missing, and {_folder.DONE} says that the run ended with it") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    if found != sha256:
        raise RunError(f"{path} is damaged: its sha256 is not that of {_folder.DONE}")


def _check_best(path: Path, best: Mapping[str, Any], lines: list[dict[str, Any]]) -> None:
    told = [line.get("valid") for line in lines if line.get("epoch") == best["epoch"]]
    if _json.canonical(told) != _json.canonical([best["valid"]]):
        raise RunError(
            f"{path} is damaged: best must be an epoch of {_folder.METRICS} and its valid, "
            f"got epoch {best['epoch']} with {best['valid']!r}"
        )


def _seal(page: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json.canonical(page)).hexdigest()


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(number, int | float) and not isinstance(number, bool)
        for number in _json.number(value).values()
    )


def _digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _best(value: Any) -> bool:
    return isinstance(value, dict) and _count(value.get("epoch")) and _numbers(value.get("valid"))


_NUMBERS = "numbers by name"
_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "spec": ("64 hexadecimal digits", _digest),
    "status": ("one of " + ", ".join(STATUSES), lambda value: value in STATUSES),
    "epoch": ("an integer ≥ 0", _count),
    "step": ("an integer ≥ 0", _count),
    "best": ("null or an epoch and its valid", lambda value: value is None or _best(value)),
    "test": (f"null or {_NUMBERS}", lambda value: value is None or _numbers(value)),
    "metrics_sha256": ("64 hexadecimal digits", _digest),
    "weights_sha256": ("null or 64 hexadecimal digits", lambda value: value is None or _digest(value)),
    "environment_changed": ("true or false", lambda value: isinstance(value, bool)),
    "non_finite": (_NUMBERS, _numbers),
    "flow_sha256": ("64 hexadecimal digits", _digest),
}
_OPTIONAL = ("non_finite", "flow_sha256")
