"""The study folder: which runs belong together, and whether a folder is ours to go on in."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import train
from ._document import MEASURED, SECTIONS, arm_key
from ._labels import check_labels
from ._spec import Run, Spec

NAME = "study.json"


class StudyError(RuntimeError):
    """A folder that cannot be used as asked: of another spec, damaged, or no study at all."""


@dataclass(frozen=True)
class Study:
    """What `study.json` says: the spec, its runs, and the commands that asked for them, oldest first."""

    folder: Path
    spec: Spec
    task: Mapping[str, Any]
    runs: tuple[Run, ...]
    data: Path | None
    commands: tuple[str, ...]

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the study alone, once whoever holds it is done.

        Raises:
            StudyError: if its folder cannot be made.
        """
        with ExitStack() as stack:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(train.locked(self.folder, wait=True))
            except OSError as error:
                raise StudyError(f"{self.folder / NAME} cannot be written: {error.strerror}") from error
            yield

    def write(self) -> None:
        """Write `study.json`, whole or not at all.

        Raises:
            StudyError: if it cannot be written.
        """
        document = {
            "experiment": self.spec.experiment,
            "profile": self.spec.profile,
            "title": self.spec.title,
            "commands": list(self.commands),
            "data": None if self.data is None else str(self.data),
            "spec": self.spec.document(),
            "task": dict(self.task),
            "arms": [_arm_entry(arm.name, arm.label, arm.detach) for arm in self.spec.arms],
            "seeds": list(self.spec.seeds),
            "runs": [{"arm": run.arm, "seed": run.seed, "folder": run.folder} for run in self.runs],
        }
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        path = self.folder / NAME
        try:
            train.write_whole(path, text.encode())
        except OSError as error:
            raise StudyError(f"{path} cannot be written: {error.strerror}") from error
        except train.DiskFullError as error:
            raise StudyError(str(error)) from error


def joined(old: Study, new: Study) -> Study:
    """Both together: other seeds and other arms of the same protocol.

    Raises:
        StudyError: if `new` is of another spec, naming the keys that differ, or an arm of it has the label
            of another arm there.
    """
    shared = {arm.name for arm in old.spec.arms} & {arm.name for arm in new.spec.arms}
    _refuse_if_different(old.folder, _protocol(old.spec, shared), _protocol(new.spec, shared))
    _refuse_other_data(old, new)
    arms = {arm.name: arm for arm in old.spec.arms} | {arm.name: arm for arm in new.spec.arms}
    seeds = tuple(sorted({*old.spec.seeds, *new.spec.seeds}))
    # What blocks nothing comes first, whichever was typed first: the others are compared with it.
    ordered = tuple(sorted(arms.values(), key=lambda arm: arm.detach is not None))
    if twins := check_labels(ordered):
        listed = "\n".join(f"  {problem}" for problem in twins)
        raise StudyError(f"{old.folder} cannot take these arms beside its own:\n{listed}")
    spec = replace(new.spec, arms=ordered, seeds=seeds)
    wanted = {run.folder for run in (*old.runs, *new.runs)}
    runs = tuple(run for run in spec.runs if run.folder in wanted)
    commands = tuple(dict.fromkeys((*old.commands, *new.commands)))
    return replace(new, spec=spec, task=old.task, runs=runs, commands=commands)


def check_folders(folder: Path, runs: Iterable[Run]) -> None:
    """Make sure that no run folder that exists belongs to another spec; a damaged one is left to its run.

    Raises:
        StudyError: naming the first that does, and the keys that differ.
    """
    for run in runs:
        place = folder / run.folder
        with suppress(OSError, train.RunError):
            written = train.read_spec(place)["spec"]
            _refuse_if_different(place, written, run.document, out=folder)


def _refuse_other_data(old: Study, new: Study) -> None:
    if new.spec.measured:
        return
    expected, described = old.task["fingerprint"], old.spec.arms[0].task
    for run in new.runs:
        task = dict(run.document["task"])
        fingerprint = task.pop("fingerprint")
        if task == described and fingerprint != expected:
            was = f"{old.folder} was begun with data of fingerprint {expected}, got {fingerprint}"
            raise StudyError(f"{was}{_advice(old.folder)}")


def _protocol(spec: Spec, arms: Iterable[str]) -> dict[str, Any]:
    """What all runs of a study have in common, and these of its arms."""
    document = spec.document()
    common = {key: document[key] for key in ("experiment", "profile", "device")} | document["base"]
    own = {arm_key(name): dict(document["arms"][name]) for name in arms}
    for arm in own.values():
        del arm["label"]
    return common | own


def _refuse_if_different(
    folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], *, out: Path | None = None
) -> None:
    old, new = dict(_leaves(before)), dict(_leaves(now))
    there = {key: repr(old[key]) if key in old else "nothing" for key in old | new}
    asked = {key: repr(new[key]) if key in new else "nothing" for key in old | new}
    different = [key for key in there if there[key] != asked[key]]
    common = tuple(f".{key}" for key in different if key.partition(".")[0] in (*SECTIONS, *MEASURED))
    told = [key for key in different if not (key.startswith("arms.") and key.endswith(common))]
    if told:
        lines = "\n".join(f"  {key}: {there[key]} there, {asked[key]} asked for" for key in told)
        raise StudyError(f"{folder} belongs to another spec:\n{lines}{_advice(out or folder)}")


def _advice(folder: Path) -> str:
    place = folder.parent
    other = place.with_name(f"{place.name}-variant") if place.name else place / "variant"
    return f"\na variant needs a folder of its own, for example --out {other}; or ask for what is there"


def _leaves(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _arm_entry(name: str, label: str, detach: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"name": name, "label": label} | ({} if detach is None else {"detach": dict(detach)})
