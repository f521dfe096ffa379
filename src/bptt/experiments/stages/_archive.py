"""A study in one file, with all that it can be gone on with."""

import lzma
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from ... import train

_LEFT = (".lock", "state.prev.pt")  # nothing that the other files do not say
_STATE = "state.pt"


def pack(study: Path, archive: Path) -> None:
    """Write a study folder into a .tar.xz, whole or not at all; ended runs without their state.

    Raises:
        OSError: if it cannot be written.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.tmp")
    try:
        with tarfile.open(temporary, "w:xz") as file:
            for path in sorted(study.rglob("*")):
                if path.is_file() and _belongs(path):
                    file.add(path, path.relative_to(study.parent).as_posix())
        temporary.replace(archive)
    finally:
        temporary.unlink(missing_ok=True)


def unpack(archive: Path, out: Path) -> None:
    """Make the folder `out` of what `pack` wrote, whole or not at all.

    Raises:
        train.RunError: if the archive is damaged, or none of a stage.
        OSError: if it cannot be read, or `out` not be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=".") as folder:
        try:
            with tarfile.open(archive, "r:xz") as file:
                file.extractall(folder, filter="data")
        except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
            raise train.RunError(f"{archive} is damaged, or no archive of a stage: {error}") from error
        Path(folder).rename(out)
        Path(folder).mkdir()  # to be removed


def _belongs(path: Path) -> bool:
    if path.name in _LEFT or path.name.startswith("."):
        return False
    return path.name != _STATE or not (path.parent / "done.json").exists()
