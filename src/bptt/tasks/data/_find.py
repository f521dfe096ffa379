"""Where data lies: the folder that was named, else $BPTT_DATA, else the cache."""

import os
from os import PathLike
from pathlib import Path

from ._sets import data_set


def roots(data: str | PathLike[str] | None = None) -> list[Path]:
    """The folders that data is looked for in, first to last.

    Args:
        data: a folder; then it is the only one.

    Returns:
        `[data]`; without it $BPTT_DATA, if that is set, and the cache, ($XDG_CACHE_HOME or ~/.cache)/bptt.
    """
    if data is not None:
        return [Path(data).expanduser()]
    named = os.environ.get("BPTT_DATA")
    return [*([Path(named).expanduser()] if named else []), cache()]


def cache() -> Path:
    """The folder that downloads go to unless told otherwise."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "bptt"


def present(folder: Path, file: str) -> list[Path]:
    """The plain file and the .gz in `folder`, those that are there."""
    return [path for path in (folder / file, folder / f"{file}.gz") if path.is_file()]


def find(name: str, data: str | PathLike[str] | None = None) -> dict[str, Path]:
    """Find the files of a data set, without reading them.

    Args:
        name: "mnist".
        data: the only folder to look in, with its mnist/, MNIST/raw/ and raw/; else those of `roots`.

    Returns:
        Standard file name → path, all in one folder; a plain file is preferred to its .gz.

    Raises:
        ValueError: if there is no such data set.
        FileNotFoundError: if no folder holds all the files; says where it looked and what was missing.
    """
    known = data_set(name)
    partial = ""
    for root in roots(data):
        for folder in (root / usual for usual in known.folders):
            found = {file: paths[0] for file in known.files if (paths := present(folder, file))}
            if len(found) == len(known.files):
                return found
            if found:
                partial += f"; {folder} lacks {', '.join(file for file in known.files if file not in found)}"
    looked = ", ".join(f"{root}{'' if root.is_dir() else ' (no such folder)'}" for root in roots(data))
    raise FileNotFoundError(
        f"{name} must be in the folder given as data, else in $BPTT_DATA or the cache, as "
        f"{', '.join(known.files)} (each may end in .gz); looked in {looked}{partial}; "
        f"`bptt data fetch {name}` downloads it"
    )
