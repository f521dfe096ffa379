"""A download that resumes, tries one address after another, and leaves a file only once it is verified."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from os import PathLike
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ._idx import DataError

Progress = Callable[[str, int, int | None], object]
_CHUNK = 1 << 16


class DownloadError(RuntimeError):
    """No address gave the file; says which failed and why."""


class _AddressError(Exception):
    """This address failed; the next may not."""


def download(
    urls: Sequence[str],
    path: str | PathLike[str],
    *,
    verify: Callable[[Path], object],
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Path:
    """Download one file from the first address that has it.

    Bytes gather in `<path>.part`, which stays when a connection is cut and is continued by the next address
    or the next call (HTTP Range; a server that knows no ranges starts it over). The file gets its name once
    it is complete and `verify` has passed it. A second call for the same path, of another process too, waits
    for the first and takes what that brought.

    Args:
        urls: http or https addresses of the same file, tried in order.
        path: where to put it; its folder is made.
        verify: called with the complete `.part`; raises DataError if that is not the file.
        progress: called with the file's name, the bytes so far and their total, None where the server does
            not tell.
        timeout: seconds to wait for a silent server.

    Returns:
        The path.

    Raises:
        ValueError: if there is no address, or one is neither http nor https.
        DownloadError: if every address fails; names each with its reason.
        OSError: if the file cannot be written.
    """
    if not urls or not all(url.startswith(("http://", "https://")) for url in urls):
        raise ValueError(f"urls must be at least one http or https address, got {list(urls)!r}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")

    def report(done: int, total: int | None) -> None:
        if progress is not None:
            progress(path.name, done, total)

    there_before = path.exists()
    failures: list[str] = []
    with _alone(part):
        if path.exists() and not there_before:
            verify(path)
            return path
        for url in urls:
            try:
                _complete(url, part, verify, report, timeout)
            except (_AddressError, DataError) as error:
                failures.append(f"{url}: {error}")
            else:
                part.replace(path)
                return path
        if _size(part):
            failures.append(f"{_size(part)} bytes are kept in {part}; the next call continues there")
    raise DownloadError("\n  ".join([f"{path.name} could not be downloaded", *failures]))


@contextmanager
def _alone(part: Path) -> Iterator[None]:
    """Hold `part`, made if need be, until it is complete or given up; another process waits meanwhile."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not (part.exists() and os.path.samestat(os.fstat(file.fileno()), part.stat())):
                continue  # Whoever held it has given it its name, or removed it.
            try:
                yield
            finally:
                if part.exists() and not _size(part):
                    part.unlink()
            return


def _complete(
    url: str,
    part: Path,
    verify: Callable[[Path], object],
    report: Callable[[int, int | None], None],
    timeout: float,
) -> None:
    """Fill `part` from one address and verify it; what does not verify is not kept."""
    while True:
        resumed = _size(part) > 0
        _transfer(url, part, report, timeout)
        try:
            verify(part)
        except DataError:
            os.truncate(part, 0)
            if not resumed:
                raise
        else:
            return


def _transfer(url: str, part: Path, report: Callable[[int, int | None], None], timeout: float) -> None:
    """Append to `part` what this address still has of it."""
    start = _size(part)
    headers = {"User-Agent": "bptt"} | ({"Range": f"bytes={start}-"} if start else {})
    with _network():
        try:
            response = urlopen(Request(url, headers=headers), timeout=timeout)
        except HTTPError as error:
            error.close()
            if start and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return  # Nothing is left to send: `part` is complete, or not this file; verifying tells.
            raise
    with response:
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            sent = response.headers.get("Content-Range", "")
            if not sent.startswith(f"bytes {start}-"):
                raise _AddressError(f"Content-Range must start at byte {start}, got {sent!r}")
        else:
            start = 0
        total = None if response.length is None else start + response.length
        done = start
        report(done, total)
        with part.open("ab" if start else "wb") as file:
            while chunk := _read(response):
                file.write(chunk)
                done += len(chunk)
                report(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _AddressError(f"the connection was cut after {done} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    with _network():
        return response.read(_CHUNK)


@contextmanager
def _network() -> Iterator[None]:
    """Tell the network's failures from those of the disk, which no other address can mend."""
    try:
        yield
    except (OSError, HTTPException) as error:
        raise _AddressError(str(error) or type(error).__name__) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
