"""Files that are either whole or not there, and one process to a folder."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ._errors import DiskFullError, LockedError


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file; at every instant, power cuts included, its name holds all of the old or all of the new.

    Raises:
        DiskFullError: if there is no space; the old file is as it was.
    """
    with _full_disk_named(path):
        temporary = _write_beside(path, data)
        temporary.replace(path)
        _sync_folder(path.parent)


def rotate(path: Path, previous: Path, data: bytes) -> None:
    """As `write_whole`, and what `path` held becomes `previous`.

    Between the two renames only `previous` exists, and it then holds the newest good file: at every instant
    one of the two names holds it.
    """
    with _full_disk_named(path):
        temporary = _write_beside(path, data)
        if path.exists():
            path.replace(previous)
        temporary.replace(path)
        _sync_folder(path.parent)


def append(path: Path, data: bytes, *, sync: bool) -> None:
    """Add to the end of a file; on failure it is cut back to what it was.

    Raises:
        DiskFullError: if there is no space.
    """
    with _full_disk_named(path), _opened(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND) as file:
        before = os.fstat(file).st_size
        try:
            _write_all(file, data)
            if sync:
                os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, before)
            raise


def cut(path: Path, length: int) -> None:
    """Shorten a file to its first `length` bytes."""
    with _opened(path, os.O_WRONLY) as file:
        os.ftruncate(file, length)
        os.fsync(file)


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder alone; the lock goes with the process, however it ends.

    Args:
        folder: of a run, or of a study.
        wait: for whoever holds it, instead of raising.

    Raises:
        LockedError: if another process holds it, naming that process.
    """
    with _opened(folder / ".lock", os.O_RDWR | os.O_CREAT) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
            raise LockedError(f"{folder} is being trained by another process (pid {holder})") from error
        with suppress(OSError):  # on a full disk the lock holds all the same, only without the name
            os.ftruncate(file, 0)
            os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        yield


def _write_beside(path: Path, data: bytes) -> Path:
    # One fixed name: what a killed process left is overwritten by the next.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with _opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            _write_all(file, data)
            os.fsync(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    # Makes the renames survive a power cut.
    with _opened(folder, os.O_RDONLY) as file:
        os.fsync(file)


def _write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags, 0o666)
    try:
        yield file
    finally:
        os.close(file)


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(
            f"no space left while writing {path}; what the folder held is untouched: "
            "free some space and do the same again, which goes on from there"
        ) from error
