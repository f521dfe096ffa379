"""Studies in one file, with all that they can be gone on with."""

import hashlib
import lzma
import shutil
import tarfile
from itertools import count
from pathlib import Path

from ... import train
from .. import _stored, _study
from .._spec import Spec

_LEFT = (".lock", "state.prev.pt")  # nothing that the other files do not say
_STATE = "state.pt"
_NOTE = ".archive"  # the hash of the archive that holds what the folder held, or has gone on from


def pack(out: Path, archive: Path) -> None:
    """Write a folder of studies into a .tar.xz, whole or not at all; ended runs without their state.

    Raises:
        OSError: if it cannot be written.
    """
    archive.parent.mkdir(parents=True, exist_ok=True)
    temporary = archive.with_name(f".{archive.name}.tmp")
    try:
        with tarfile.open(temporary, "w:xz") as file:
            for path in sorted(out.rglob("*")):
                if path.is_file() and _belongs(path):
                    file.add(path, path.relative_to(out).as_posix())
        temporary.replace(archive)
    finally:
        temporary.unlink(missing_ok=True)
    _note(out, archive)


def unpack(archive: Path, out: Path, spec: Spec) -> Path | None:
    """Make the folder `out` what an archive holds, unless it is the folder that went on from it.

    Args:
        archive: what `pack` wrote.
        out: the folder for study folders.
        spec: what the archive must be of.

    Raises:
        train.RunError: if the archive is damaged, or of something else; nothing is changed.
        OSError: if it cannot be read, or `out` not be written.

    Returns:
        Where what `out` held before was moved, if it was.
    """
    noted = out / _NOTE
    if noted.exists() and noted.read_text(encoding="utf-8") == _hash(archive):
        return None
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:xz") as file:
            file.extractall(fresh, filter="data")
        _check(archive, fresh, spec)
        aside = _aside(out)
        fresh.rename(out)
    except (tarfile.TarError, lzma.LZMAError, EOFError, ValueError) as error:
        raise train.RunError(f"{archive} is damaged, or no archive of a stage: {error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    _note(out, archive)
    return aside


def _check(archive: Path, fresh: Path, spec: Spec) -> None:
    folders = sorted(path.name for path in fresh.iterdir())
    if folders != [spec.folder] or not (fresh / spec.folder / _study.NAME).exists():
        listed = ", ".join(folders[:3]) or "nothing"
        raise train.RunError(f"{archive} must hold the study {spec.folder} alone, got {listed}")
    stored = _stored.read(fresh / spec.folder).spec
    for section, asked in spec.base.items():
        for key, value in asked.items():
            held = stored.base[section].get(key)
            if held != value:
                raise train.RunError(f"{archive} must be of {section}.{key} = {value}, got {held}")


def _aside(out: Path) -> Path | None:
    if not out.exists():
        return None
    free = next(path for n in count(1) if not (path := out.with_name(f"{out.name}.before-{n}")).exists())
    return out.rename(free)


def _note(out: Path, archive: Path) -> None:
    (out / _NOTE).write_text(_hash(archive), encoding="utf-8")


def _hash(archive: Path) -> str:
    return hashlib.sha256(archive.read_bytes()).hexdigest()


def _belongs(path: Path) -> bool:
    if path.name in _LEFT or path.name.startswith("."):
        return False
    return path.name != _STATE or not (path.parent / "done.json").exists()
