"""Downloading a data set, only when asked."""

import shlex
from collections.abc import Sequence
from functools import partial
from os import PathLike
from pathlib import Path

from ._download import DownloadError, Progress, download
from ._find import cache
from ._idx import DataError
from ._sets import DataSet, File, data_set
from ._verify import verify


def fetch(
    name: str,
    dest: str | PathLike[str] | None = None,
    *,
    urls: Sequence[str] | None = None,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download the files of a data set that are not there yet, each verified before it gets its name.

    Args:
        name: "mnist".
        dest: the data folder, as in --data and $BPTT_DATA; the files go to <dest>/<name>. None is the cache.
        urls: addresses of folders that hold the files as .gz, tried in order for each file; None is the
            known mirrors.
        progress: called with a file's name, the bytes so far and their total, None where the server does
            not tell.
        timeout: seconds to wait for a silent server.

    Returns:
        The folder that holds the files.

    Raises:
        ValueError: if there is no such data set, or an address is neither http nor https.
        DataError: if an uncompressed file is there and is damaged or another: it would be read before the
            download, and is not ours to remove.
        DownloadError: if every address fails for a file; says which and why, and what to do by hand. A later
            call continues.
        OSError: if a file cannot be written.
    """
    known = data_set(name)
    folder = (cache() if dest is None else Path(dest).expanduser()) / name
    for file, expected in known.files.items():
        plain, packed = folder / file, folder / f"{file}.gz"
        if plain.exists():
            verify(expected, plain)
        elif not _sound(expected, packed):
            addresses = [
                f"{url.rstrip('/')}/{packed.name}" for url in (known.mirrors if urls is None else urls)
            ]
            try:
                download(
                    addresses, packed, verify=partial(verify, expected), progress=progress, timeout=timeout
                )
            except DownloadError as error:
                raise DownloadError(f"{error}\n{_by_hand(known, folder)}") from error
    return folder


def _by_hand(known: DataSet, folder: Path) -> str:
    return (
        f"try again later, or bring {', '.join(known.files)} (each may end in .gz) from elsewhere, "
        f"put into {folder}; `bptt data check {shlex.quote(str(folder))}` then says whether they are right"
    )


def _sound(known: File, path: Path) -> bool:
    try:
        verify(known, path)
    except (DataError, FileNotFoundError):
        return False
    return True
