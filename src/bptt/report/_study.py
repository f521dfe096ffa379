"""Study folders: which runs were expected, and what became of each."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ._files import DamagedError, ReportError, need, need_text_or_null, read_object
from ._run import Run, load_run


@dataclass(frozen=True)
class Arm:
    """One of the things a study compares: `name` in folders, `label` for people."""

    name: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study folder as read: every expected run is in `runs`, whatever state it is in."""

    folder: Path
    name: str
    profile: str
    title: str
    commands: tuple[str, ...]
    spec: Mapping[str, Any]
    task: Mapping[str, Any]
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    runs: tuple[Run, ...]
    strays: tuple[str, ...] = ()

    def of(self, arm: Arm) -> tuple[Run, ...]:
        """The runs of one arm, in the order of the study's seeds."""
        return tuple(run for run in self.runs if run.arm == arm.name)

    def train(self, key: str, arm: Arm) -> Any:
        """The value of `[train] key` for an arm, by the study's spec, else by the arm's runs; else None."""
        for spec in self.specs(arm):
            section = spec.get("train")
            if isinstance(section, Mapping) and key in section:
                return section[key]
        return None

    def specs(self, arm: Arm) -> list[Mapping[str, Any]]:
        """What is known to specify one arm: its part of the study's spec, then the specs of its runs."""
        arms = self.spec.get("arms")
        own = arms.get(arm.name) if isinstance(arms, Mapping) else None
        return [
            spec for spec in (own, *(run.spec for run in self.of(arm))) if isinstance(spec, Mapping) and spec
        ]

    def horizon(self, arm: Arm) -> int:
        """The number of epochs the runs of `arm` were given; the longest seen if no spec says."""
        given = self.train("epochs", arm)
        return given if isinstance(given, int) else max((run.epochs for run in self.of(arm)), default=0)

    @property
    def measured(self) -> bool:
        """Whether its runs measure layers as they are, instead of training a model."""
        base = self.spec.get("base")
        return isinstance(base, Mapping) and "measure" in base

    @property
    def score(self) -> str:
        """What runs are judged by: `accuracy`, or `loss` for a task that has none."""
        curves = [run.curves for run in self.runs if run.curves]
        return "accuracy" if not curves or any("valid.accuracy" in each for each in curves) else "loss"

    def chance(self, metric: str) -> float | None:
        """What a model that has learned nothing scores, if the task says."""
        values = self.task.get("chance")
        value = values.get(metric) if isinstance(values, Mapping) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def load(dirs: Path | str | Iterable[Path | str]) -> tuple[Study, ...]:
    """Read studies.

    Args:
        dirs: study folders (with a `study.json`), folders with studies somewhere inside, or run folders
            (with a `spec.json`), one or several in any mixture; a study named twice is read once, and a
            folder that `write` has made is passed over.

    Returns:
        The studies, in the order given; those of one folder by name. A run with an unreadable file is in
        its study as a damaged run.

    Raises:
        ReportError: a path is none of these, or its `study.json` is unreadable; all of them are named.
    """
    studies: dict[Path, Study] = {}
    wrong: list[str] = []
    pages: list[str] = []
    for given in [dirs] if isinstance(dirs, Path | str) else dirs:
        path = Path(given)
        try:
            found = _find(path)
        except OSError as error:
            wrong.append(f"{path} cannot be read: {error.strerror}")
            continue
        if not found and is_page(path):
            pages.append(str(path))
        elif not found:
            wrong.append(
                f"{path} must be a study folder (with study.json), a folder of such folders, or a run folder "
                f"(with spec.json); {_what(path)}"
            )
        for folder in found:
            try:
                studies.setdefault(folder.resolve(), _load_study(folder))
            except DamagedError as error:
                wrong.append(f"{folder}: {error}")
    if wrong:
        raise ReportError("\n".join(wrong))
    if not studies:
        only = f"only reports: {', '.join(pages)}" if pages else "none"
        raise ReportError(f"a report needs at least one study folder or run folder, got {only}")
    return tuple(studies.values())


def is_page(folder: Path) -> bool:
    """Whether a folder holds what `write` writes: a page with its tables."""
    beside = (folder, *folder.glob("*/")) if (folder / "index.html").is_file() else ()
    return any((place / name).is_file() for place in beside for name in ("runs.csv", "norms.csv"))


def _find(path: Path) -> list[Path]:
    if (path / "study.json").is_file() or (path / "spec.json").is_file():
        return [path]
    found = {
        file.parent for file in path.glob("[!.]*/study.json")
    }  # links among them, which a walk passes by
    for place, inner, files in os.walk(path):
        inner[:] = [] if {"study.json", "spec.json"} & set(files) else [n for n in inner if n[0] != "."]
        found |= {Path(place)} if "study.json" in files else set()
    return sorted(found)


def _what(path: Path) -> str:
    if not path.exists():
        return "it does not exist"
    return "it has neither, and no study lies in it" if path.is_dir() else "it is a file"


def _load_study(folder: Path) -> Study:
    if not (folder / "study.json").is_file():
        return _lone_run(folder)
    document = read_object(folder / "study.json")
    here = "study.json"
    experiment, profile = need(document, "experiment", str, here), need(document, "profile", str, here)
    arms = tuple(_arm(each) for each in need(document, "arms", list, here))
    if len({arm.name for arm in arms}) != max(len(arms), 1):
        raise DamagedError(
            f"{here}: arms must be at least one, each with its own name, got {[a.name for a in arms]}"
        )
    seeds = tuple(_whole(seed, f"{here}: seeds") for seed in need(document, "seeds", list, here))
    runs = tuple(_expected_run(folder, each, arms) for each in need(document, "runs", list, here))
    listed = {run.name for run in runs}
    if len(listed) != max(len(runs), 1):
        raise DamagedError(
            f"{here}: runs must be at least one, each in its own folder, got {[r.name for r in runs]}"
        )
    present = (
        file.parent.relative_to(folder).as_posix() for file in sorted(folder.glob("*/seed-*/spec.json"))
    )
    return Study(
        folder=folder,
        name=f"{experiment}-{profile}",
        profile=profile,
        title=str(document.get("title") or experiment),
        commands=_commands(document),
        spec=need(document, "spec", dict, here),
        task=need(document, "task", dict, here),
        arms=arms,
        seeds=seeds,
        runs=runs,
        strays=tuple(name for name in present if name not in listed),
    )


def _arm(value: object) -> Arm:
    if not isinstance(value, Mapping):
        raise DamagedError(f"study.json: an arm must be an object, got {value!r}")
    name = need(value, "name", str, "study.json: arms")
    return Arm(name, str(value.get("label") or name))


def _commands(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Every command that the study was made by; before there could be several it was one, or null."""
    if "command" in document and "commands" not in document:
        one = need_text_or_null(document, "command", "study.json")
        return (one,) if one else ()
    several = need(document, "commands", list, "study.json")
    for command in several:
        if not isinstance(command, str):
            raise DamagedError(f"study.json: commands must be texts, got {command!r}")
    return tuple(several)


def _whole(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise DamagedError(f"{what} must be whole numbers, got {value!r}")
    return value


def _expected_run(folder: Path, value: object, arms: Sequence[Arm]) -> Run:
    if not isinstance(value, Mapping):
        raise DamagedError(f"study.json: a run must be an object, got {value!r}")
    where = "study.json: runs"
    arm, name = need(value, "arm", str, where), need(value, "folder", str, where)
    seed = need(value, "seed", int, where)
    if arm not in {each.name for each in arms}:
        raise DamagedError(f"{where}: {name} belongs to the arm {arm!r}, which is not among the arms")
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise DamagedError(f"{where}: a folder must lie inside the study, got {name!r}")
    return load_run(folder / name, arm=arm, seed=seed, name=name)


def _lone_run(folder: Path) -> Study:
    """A run folder by itself, as a study of one run; its arm and seed are read off `<arm>/seed-<n>`."""
    place = folder.resolve()
    digits = place.name.removeprefix("seed-")
    seed = int(digits) if digits.isdecimal() else 0
    arm = Arm(place.parent.name, place.parent.name)
    name = f"{arm.name}/{place.name}"
    home = place.parents[1] if len(place.parents) > 1 else place
    if (home / "study.json").is_file():
        study = _load_study(home)
        mine = tuple(run for run in study.runs if (home / run.name).resolve() == place)
        if mine:
            arms = tuple(each for each in study.arms if each.name == mine[0].arm)
            return replace(study, folder=folder, arms=arms, seeds=(mine[0].seed,), runs=mine, strays=())
    run = load_run(folder, arm=arm.name, seed=seed, name=name)
    return Study(
        folder=folder,
        name=f"{arm.name}-{place.name}",
        profile=str(run.spec.get("profile") or ""),
        title=f"One run: {arm.name}, {place.name}",
        commands=(run.command,) if run.command else (),
        spec=run.spec,
        task={},
        arms=(arm,),
        seeds=(seed,),
        runs=(run,),
    )
