"""Folders that a command is given: where one holds one study, that; where one is misspelt, the nearest."""

import os
from collections.abc import Iterable
from pathlib import Path

from ._errors import CommandError, closest

_RUNS = Path("runs")  # where `bptt run` puts studies that are given no other place
_MARKS = ("study.json", "spec.json")


def check_there(folders: Iterable[Path]) -> None:
    """Make sure that folders of results exist.

    Raises:
        CommandError: naming the first that does not, and the nearest that does.
    """
    for folder in folders:
        if not folder.exists():
            place = next(place for place in (folder, *folder.parents) if place.parent.is_dir())
            near = _nearest(folder, place)
            raise CommandError(
                f"{folder} must be a study folder or a run folder, but there is no {place}."
                + (f" Did you mean {str(near)!r}?" if near is not None else "")
            )


def only_study(folder: Path) -> Path:
    """The one study in a folder; the folder itself if it is a study, a run or holds no study.

    Raises:
        CommandError: if it holds several, naming them.
    """
    if any((folder / mark).is_file() for mark in _MARKS):
        return folder
    found = _studies(folder)
    if len(found) > 1:
        listed = ", ".join(map(str, found))
        raise CommandError(f"{folder} must hold one study, or be one, but it holds {len(found)}: {listed}")
    return found[0] if found else folder


def _studies(folder: Path) -> list[Path]:
    """The study folders in a folder, however deep, hidden ones aside."""
    found = {file.parent for file in folder.glob("[!.]*/study.json")}  # links among them
    for place, inner, files in os.walk(folder):
        found |= {Path(place)} if "study.json" in files else set()
        inner[:] = [] if {*_MARKS} & {*files} else [name for name in inner if name[0] != "."]
    return sorted(found)


def _nearest(folder: Path, place: Path) -> Path | None:
    """What was meant by `folder`, of which `place` is the first part that is not there."""
    if not folder.is_absolute() and (_RUNS / folder).exists():
        return _RUNS / folder
    names = {str(each): each for each in sorted(place.parent.iterdir()) if each.is_dir()}
    for study in _studies(_RUNS):
        for name in (str(study), str(study.relative_to(_RUNS)), study.name):
            names.setdefault(name, study)
    close = closest(str(place), names) + closest(str(folder), names)
    return next((names[name] for name in close if _holds_results(names[name])), None)


def _holds_results(folder: Path) -> bool:
    # Looked for no deeper than results lie: what is beside may be a whole home.
    return any(any(folder.glob(f"{below}{mark}")) for below in ("", "*/", "*/*/") for mark in _MARKS)
