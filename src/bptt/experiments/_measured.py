"""Running a study of measurements, here and one after the other: seconds each, and nothing to take up."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import train
from ._event import Event
from ._measure import Measure, measure
from ._problems import first_line
from ._spec import Run
from ._study import Study

_NAME = "measured.json"


def execute(study: Study, observe: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
    """Measure every run that has not been, telling what becomes of each."""
    left = []
    for run in study.runs:
        folder = study.folder / run.folder
        try:
            done = _is_done(folder / _NAME, run)
        except ValueError as error:
            text = f"{first_line(error)}; move {folder} away and run again to measure it anew"
            observe(Event("failed", run, folder, text=text))
            continue
        observe(Event("skip" if done else "queue", run, folder, text="already measured" if done else ""))
        if not done:
            left.append(run)
    for run in left:
        folder = study.folder / run.folder
        if stopping():
            observe(Event("stopped", run, folder, text="before it was measured"))
            continue
        try:
            _write(folder / _NAME, run, study.commands[-1])
        except Exception as error:
            observe(Event("failed", run, folder, text=f"{type(error).__name__}: {first_line(error)}"))
        else:
            observe(Event("end", run, folder, text="measured"))


def _write(path: Path, run: Run, command: str) -> None:
    section = run.document["measure"]
    rows = measure(section, run.document["detach"], run.seed)
    asked = Measure(**section)
    config = train.Config(epochs=1, seed=run.seed, precision=asked.precision, threads=asked.threads)
    page = {
        "spec": run.document,
        "hash": train.spec_hash(run.document),
        "environment": train.environment(config),
        "command": command,
        "rows": [{key: _json(value) for key, value in row.items()} for row in rows],
    }
    page["sha256"] = train.spec_hash(page)
    path.parent.mkdir(parents=True, exist_ok=True)
    train.write_whole(path, (json.dumps(page, indent=1, allow_nan=False) + "\n").encode())


def _is_done(path: Path, run: Run) -> bool:
    """Whether a run has been measured; ValueError if its file is damaged or another run's."""
    try:
        page: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(page, dict) or page.get("sha256") != _seal(page):
        raise ValueError(f"{path} is damaged: its sha256 is not that of its other keys")
    if page["hash"] != train.spec_hash(run.document):
        raise ValueError(f"{path} is another run's: its spec is not that of {run.name}")
    return True


def _seal(page: Mapping[str, Any]) -> str:
    return train.spec_hash({key: value for key, value in page.items() if key != "sha256"})


def _json(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
