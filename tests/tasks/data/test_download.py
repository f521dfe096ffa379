"""A download resumes, moves on to the next address, and leaves no file that was not verified."""

import hashlib
import socket
import threading
from pathlib import Path

import pytest

from bptt.tasks import data

CONTENT = bytes(range(256)) * 2000  # several reads long
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def verify(path: Path) -> None:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != DIGEST:
        raise data.DataError(path, "SHA-256", DIGEST, digest)


def part_of(path: Path) -> Path:
    return path.with_name(path.name + ".part")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "file.bin"


def test_a_file_arrives_whole_with_its_progress(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    seen: list[tuple[str, int, int | None]] = []
    done = data.download(
        [server.url("file.bin")], path, verify=verify, progress=lambda *told: seen.append(told)
    )
    assert done == path
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]
    assert seen[0] == ("file.bin", 0, len(CONTENT))
    assert seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert len(seen) > 3


def test_after_a_cut_the_next_call_continues(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    server.cut_after = [300_000]
    with pytest.raises(data.DownloadError) as caught:
        data.download([server.url("file.bin")], path, verify=verify)
    message = str(caught.value)
    assert "file.bin could not be downloaded" in message
    assert f"{server.url('file.bin')}: the connection was cut after 300000 of 512000 bytes" in message
    assert f"300000 bytes are kept in {part_of(path)}; the next call continues there" in message
    assert not path.exists()
    seen: list[tuple[str, int, int | None]] = []
    data.download([server.url("file.bin")], path, verify=verify, progress=lambda *told: seen.append(told))
    assert path.read_bytes() == CONTENT
    assert server.log == [("file.bin", None, 300_000), ("file.bin", "bytes=300000-", 212_000)]
    assert seen[0] == ("file.bin", 300_000, 512_000)
    assert not part_of(path).exists()


def test_after_a_cut_the_next_address_continues(server, path: Path) -> None:
    server.files |= {"a": CONTENT, "b": CONTENT}
    server.cut_after = [100_000]
    data.download([server.url("a"), server.url("b")], path, verify=verify)
    assert path.read_bytes() == CONTENT
    assert server.log == [("a", None, 100_000), ("b", "bytes=100000-", 412_000)]


def test_a_second_download_waits_for_the_first_and_takes_its_file(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    others: list[Path] = []
    other = threading.Thread(
        target=lambda: others.append(data.download([server.url("file.bin")], path, verify=verify))
    )

    def progress(_name: str, done: int, _total: int | None) -> None:
        if not done:
            other.start()
            other.join(0.5)

    data.download([server.url("file.bin")], path, verify=verify, progress=progress)
    other.join()
    assert others == [path]
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]
    assert server.log == [("file.bin", None, len(CONTENT))]


def test_a_server_without_ranges_starts_over(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    server.ranges = False
    path.parent.mkdir(parents=True)
    part_of(path).write_bytes(CONTENT[:1000])
    data.download([server.url("file.bin")], path, verify=verify)
    assert path.read_bytes() == CONTENT
    assert server.log == [("file.bin", "bytes=1000-", len(CONTENT))]


def test_a_complete_part_is_only_verified(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    path.parent.mkdir(parents=True)
    part_of(path).write_bytes(CONTENT)
    data.download([server.url("file.bin")], path, verify=verify)
    assert path.read_bytes() == CONTENT
    assert server.log == [("file.bin", "bytes=512000-", 0)]


@pytest.mark.parametrize("stale", [b"x" * 1000, b"x" * 600_000], ids=["shorter", "longer"])
def test_a_part_of_something_else_is_thrown_away(stale: bytes, server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    path.parent.mkdir(parents=True)
    part_of(path).write_bytes(stale)
    data.download([server.url("file.bin")], path, verify=verify)
    assert path.read_bytes() == CONTENT
    assert server.log[-1] == ("file.bin", None, len(CONTENT))


def test_a_wrong_file_is_not_kept_and_the_next_address_is_asked(server, path: Path) -> None:
    server.files |= {"wrong": b"<html>not here</html>", "right": CONTENT}
    data.download([server.url("wrong"), server.url("right")], path, verify=verify)
    assert path.read_bytes() == CONTENT
    assert server.log == [("wrong", None, 21), ("right", None, len(CONTENT))]


def test_when_every_address_fails_each_is_named_with_its_reason(server, path: Path) -> None:
    server.files["wrong"] = b"something else"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"what was here before")
    nobody = "http://127.0.0.1:1/file.bin"
    with pytest.raises(data.DownloadError) as caught:
        data.download([server.url("missing"), server.url("wrong"), nobody], path, verify=verify)
    _, first, second, third = str(caught.value).splitlines()
    assert first == f"  {server.url('missing')}: HTTP Error 404: Not Found"
    assert second.startswith(f"  {server.url('wrong')}: {part_of(path)}: SHA-256: expected {DIGEST}, got ")
    assert third.startswith(f"  {nobody}: ")
    assert "refused" in third
    assert path.read_bytes() == b"what was here before"
    assert not part_of(path).exists()


def test_a_range_from_another_place_is_refused(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    server.shift = 7
    path.parent.mkdir(parents=True)
    part_of(path).write_bytes(CONTENT[:1000])
    with pytest.raises(data.DownloadError, match="Content-Range must start at byte 1000, got 'bytes 1007-"):
        data.download([server.url("file.bin")], path, verify=verify)
    assert part_of(path).read_bytes() == CONTENT[:1000]


def test_a_server_that_tells_no_length(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    server.tell_length = False
    seen: list[tuple[str, int, int | None]] = []
    data.download([server.url("file.bin")], path, verify=verify, progress=lambda *told: seen.append(told))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("file.bin", len(CONTENT), None)


def test_a_silent_server_is_left_after_the_timeout(server, path: Path, tmp_path: Path) -> None:
    server.files["file.bin"] = CONTENT
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/file.bin"
        data.download([url, server.url("file.bin")], path, verify=verify, timeout=0.2)
        with pytest.raises(data.DownloadError, match=f"{url}: .*timed out"):
            data.download([url], tmp_path / "other", verify=verify, timeout=0.2)
    assert path.read_bytes() == CONTENT


def test_a_disk_that_cannot_be_written_is_not_the_address_s_fault(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT
    part_of(path).mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        data.download([server.url("file.bin"), server.url("b")], path, verify=verify)
    assert len(server.log) <= 1


def test_an_interrupt_keeps_what_has_arrived(server, path: Path) -> None:
    server.files["file.bin"] = CONTENT

    def interrupt(name: str, done: int, total: int | None) -> None:
        if done > 200_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        data.download([server.url("file.bin")], path, verify=verify, progress=interrupt)
    assert not path.exists()
    assert CONTENT.startswith(part_of(path).read_bytes())
    assert part_of(path).stat().st_size > 200_000


@pytest.mark.parametrize("urls", [[], ["ftp://host/file"], ["http://host/file", "/etc/passwd"]])
def test_addresses_are_http(urls: list[str], path: Path) -> None:
    with pytest.raises(ValueError, match="urls must be at least one http or https address, got "):
        data.download(urls, path, verify=verify)
    assert not path.parent.exists()
