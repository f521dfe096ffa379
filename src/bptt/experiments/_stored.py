"""Reading `study.json` back: a study, or the reason why it is none."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ._check import check
from ._document import sections, table
from ._problems import SpecError, first_line
from ._study import NAME, Study, StudyError


def read(folder: Path) -> Study:
    """Read a study folder back, its spec validated like any other.

    Raises:
        StudyError: if the folder holds no study, or one that is damaged or that this version does not accept.
    """
    path = folder / NAME
    try:
        return _study(folder, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise StudyError(
            f"{folder} must be a study folder or one of its run folders, found no {path}"
        ) from error
    except SpecError as error:
        raise StudyError(
            f"{path} must hold a spec that this version of bptt and this machine accept:\n{error}"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise StudyError(f"{path} must be a study written by bptt: {first_line(error)}") from error


class _MalformedError(ValueError):
    pass


def _study(folder: Path, document: Any) -> Study:
    if not isinstance(document, dict):
        raise _MalformedError(f"it must be an object, got {repr(document)[:80]}")
    written = _need(document, "spec", dict)
    base = _need(written, "base", dict, "spec.")
    for section in sections(base):
        _need(base, section, dict, "spec.base.")
    profile = _need(document, "profile", str)
    spec, problems = check(_unfolded(written), profile, _need(written, "device", str, "spec."))
    if problems:
        raise SpecError(problems)
    listed = [_need(entry, "folder", str, "runs.") for entry in _need(document, "runs", list)]
    runs = tuple(run for run in spec.runs if run.folder in listed)
    if not listed or len(runs) != len(listed):
        known = ", ".join(run.folder for run in spec.runs)
        raise _MalformedError(
            f"runs must be at least one of {known}, each once, got {', '.join(listed) or 'none'}"
        )
    commands = _need(document, "commands", list)
    if not commands or not all(isinstance(command, str) for command in commands):
        raise _MalformedError(f"commands must be at least one string, got {repr(commands)[:80]}")
    task = _need(document, "task", dict)
    if not spec.measured:
        _need(task, "fingerprint", str, "task.")
    data = None if document.get("data", "") is None else Path(_need(document, "data", str))
    return Study(folder, replace(spec, base=base), task, runs, data, tuple(commands))


def _need(document: Any, key: str, kind: type, prefix: str = "") -> Any:
    words = {dict: "an object", list: "a list", str: "a string"}[kind]
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        raise _MalformedError(f"{prefix}{key} must be {words}, got {repr(value)[:80]}")
    return value


def _unfolded(written: Mapping[str, Any]) -> dict[str, Any]:
    # The complete spec of a study in the form of a spec file; its arms are complete by themselves.
    arms = {
        name: {key: value for key, value in arm.items() if value is not None}
        if isinstance(arm, dict)
        else arm
        for name, arm in table(written.get("arms")).items()
    }
    about = {key: written.get("experiment" if key == "name" else key) for key in ("name", "title", "source")}
    empty: dict[str, Any] = {section: {} for section in sections(table(written.get("base")))}
    return {"experiment": about, "seeds": written.get("seeds"), "arms": arms} | empty
