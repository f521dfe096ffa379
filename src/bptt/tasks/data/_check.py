"""What is wrong with a folder of data files, all of it at once."""

import hashlib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from ._find import present
from ._idx import DataError
from ._sets import File, data_set
from ._verify import verify


@dataclass(frozen=True)
class FileCheck:
    """One file: its path (None if it is missing), what is wrong with it, and what is worth knowing."""

    name: str
    path: Path | None
    problem: str | None = None
    note: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the file is there, sound and the right one."""
        return self.problem is None


@dataclass(frozen=True)
class Check:
    """The files of one folder, each with what is wrong with it."""

    folder: Path
    files: tuple[FileCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every file is there, sound and the right one."""
        return all(file.ok for file in self.files)


def check(folder: str | PathLike[str], name: str = "mnist") -> Check:
    """Read every file of a data set and say what is wrong with each.

    A file passes if its unpacked bytes are the known ones. How it was compressed does not matter; a .gz
    that is not the one first published gets a note.

    Args:
        folder: the folder with the files, or one that holds it as mnist/, MNIST/raw/ or raw/.
        name: "mnist".

    Returns:
        The folder that was checked and its files; a file that is there both plain and as .gz counts as two.

    Raises:
        ValueError: if there is no such data set.
        NotADirectoryError: if `folder` is not a folder.
    """
    known, root = data_set(name), Path(folder).expanduser()
    if not root.is_dir():
        raise NotADirectoryError(f"the folder to check must exist, got {str(folder)!r}")

    def held(place: Path) -> int:
        return sum(bool(present(place, file)) for file in known.files)

    fullest = max((root / usual for usual in known.folders), key=held)
    checks: list[FileCheck] = []
    for file, expected in known.files.items():
        paths = present(fullest, file)
        checks += [_check_file(file, expected, path) for path in paths]
        if not paths:
            checks.append(FileCheck(file, None, f"{fullest / file}: missing, and so is {file}.gz"))
    return Check(fullest, tuple(checks))


def _check_file(name: str, known: File, path: Path) -> FileCheck:
    try:
        verify(known, path)
    except (DataError, OSError) as error:
        return FileCheck(name, path, str(error))
    if path.suffix != ".gz":
        return FileCheck(name, path)
    md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    if md5 == known.gz_md5:
        return FileCheck(name, path)
    note = f"compressed anew: MD5 {md5}, {known.gz_md5} as first published; the unpacked bytes are the same"
    return FileCheck(name, path, note=note)
