"""Folders that a command is given: a misspelt one is answered with the nearest that is there."""

from collections.abc import Iterable
from pathlib import Path

from ._errors import CommandError, nearest


def check_there(folders: Iterable[Path]) -> None:
    """Make sure that folders of results exist.

    Raises:
        CommandError: naming the first that does not, and the nearest name beside where it should lie.
    """
    for folder in folders:
        if folder.exists():
            continue
        place = next(place for place in (folder, *folder.parents) if place.parent.is_dir())
        beside = sorted(str(each) for each in place.parent.iterdir() if each.is_dir())
        raise CommandError(
            f"{folder} must be a study folder or a run folder, but there is no {place}."
            f"{nearest(str(place), beside)}"
        )
