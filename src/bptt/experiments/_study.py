"""The study folder: which runs belong together, and whether a folder is ours to go on in."""

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import train
from ._check import check
from ._document import SECTIONS, table
from ._problems import SpecError
from ._spec import Run, Spec


class StudyError(RuntimeError):
    """A folder that cannot be used as asked: of another spec, damaged, or no study at all."""


@dataclass(frozen=True)
class Study:
    """What `study.json` says: the spec, its runs, and how they were asked for."""

    folder: Path
    spec: Spec
    task: Mapping[str, Any]
    runs: tuple[Run, ...]
    data: Path | None
    command: str

    def write(self) -> None:
        """Write `study.json`, whole or not at all.

        Raises:
            StudyError: if it cannot be written.
        """
        document = {
            "experiment": self.spec.experiment,
            "profile": self.spec.profile,
            "title": self.spec.title,
            "command": self.command,
            "data": None if self.data is None else str(self.data),
            "spec": self.spec.document(),
            "task": dict(self.task),
            "arms": [_arm_entry(arm.name, arm.label, arm.detach) for arm in self.spec.arms],
            "seeds": list(self.spec.seeds),
            "runs": [{"arm": run.arm, "seed": run.seed, "folder": run.folder} for run in self.runs],
        }
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        path = self.folder / "study.json"
        temporary = self.folder / f".study.json.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise StudyError(f"{path} cannot be written: {error.strerror}") from error


def read(folder: Path) -> Study:
    """Read a study folder back, its spec validated like any other.

    Raises:
        StudyError: if the folder holds no readable study.
        SpecError: if this version of bptt does not accept the spec in it.
    """
    path = folder / "study.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        profile, written = document["profile"], document["spec"]
        listed = {entry["folder"] for entry in document["runs"]}
        data, task, command = document["data"], document["task"], document["command"]
    except FileNotFoundError as error:
        raise StudyError(
            f"{folder} must be a study folder or one of its run folders, found no {path}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(
            f"{path} must be a study written by bptt, got {type(error).__name__}: {error}"
        ) from error
    spec, problems = check(_unfold(written), profile, written.get("device", "cpu"))
    if problems:
        raise SpecError(problems, f"{path}")
    runs = tuple(run for run in spec.runs if run.folder in listed)
    return Study(folder, spec, task, runs, None if data is None else Path(data), command)


def joined(study: Study) -> Study:
    """The study together with what its folder already holds of the same protocol: other seeds, other arms.

    Raises:
        StudyError: if the folder belongs to another spec, naming the keys that differ.
    """
    if not (study.folder / "study.json").exists():
        return study
    old = read(study.folder)
    arms = {arm.name: arm for arm in old.spec.arms} | {arm.name: arm for arm in study.spec.arms}
    before, now = old.spec.document(), study.spec.document()
    shared = before["arms"].keys() & now["arms"].keys()
    for document in (before, now):
        document["arms"] = {name: document["arms"][name] for name in sorted(shared)}
        for arm in document["arms"].values():
            del arm["label"]
        for key in ("seeds", "title", "source"):
            del document[key]
    _refuse_if_different(study.folder, before, now)
    spec = replace(
        study.spec,
        arms=tuple(arms.values()),
        seeds=tuple(sorted({*old.spec.seeds, *study.spec.seeds})),
    )
    wanted = {run.folder for run in (*old.runs, *study.runs)}
    return replace(study, spec=spec, runs=tuple(run for run in spec.runs if run.folder in wanted))


def check_folders(folder: Path, runs: Iterable[Run]) -> None:
    """Make sure that no run folder that exists belongs to another spec.

    Raises:
        StudyError: naming the first that does, and the keys that differ.
    """
    for run in runs:
        place = folder / run.folder
        if (place / "spec.json").exists():
            written = train.read_spec(place)["spec"]
            _refuse_if_different(place, written, run.document)


def _refuse_if_different(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = dict(_leaves(before)), dict(_leaves(now))
    there = {key: repr(old[key]) if key in old else "nothing" for key in old | new}
    asked = {key: repr(new[key]) if key in new else "nothing" for key in old | new}
    lines = [
        f"  {key}: {there[key]} there, {asked[key]} asked for" for key in there if there[key] != asked[key]
    ]
    if lines:
        told = "\n".join(lines)
        raise StudyError(
            f"{folder} belongs to another spec:\n{told}\nuse another folder (--out), or those values"
        )


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _arm_entry(name: str, label: str, detach: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"name": name, "label": label} | ({} if detach is None else {"detach": dict(detach)})


def _unfold(written: Mapping[str, Any]) -> dict[str, Any]:
    # The complete spec of a study, put back into the form of a spec file.
    arms = {
        name: {key: value for key, value in table(arm).items() if value is not None}
        for name, arm in table(written.get("arms")).items()
    }
    about = {key: written.get("experiment" if key == "name" else key) for key in ("name", "title", "source")}
    empty: dict[str, Any] = {section: {} for section in SECTIONS}
    return {"experiment": about, "seeds": written.get("seeds"), "arms": arms} | empty
