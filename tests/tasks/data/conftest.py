"""A server on this machine that can cut, ignore and refuse, and small IDX files."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Idx = Callable[..., bytes]


@pytest.fixture(scope="session")
def idx() -> Idx:
    """Bytes of an IDX file: magic number, sizes, data (zeros unless given)."""

    def make(magic: int, *shape: int, data: bytes | None = None) -> bytes:
        count = 1
        for size in shape:
            count *= size
        header = b"".join(number.to_bytes(4, "big") for number in (magic, *shape))
        return header + (bytes(count) if data is None else data)

    return make


@dataclass
class Server:
    """Files by path, how to misbehave, and a log of (path, Range header, bytes sent)."""

    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: list[int] = field(
        default_factory=list
    )  # for the next requests: bytes sent before the line drops
    ranges: bool = True
    shift: int = 0  # serve a range this many bytes off
    tell_length: bool = True
    log: list[tuple[str, str | None, int]] = field(default_factory=list)
    port: int = 0

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.port}/{path}"


def answer(server: Server, request: BaseHTTPRequestHandler) -> None:
    path, asked = request.path.lstrip("/"), request.headers.get("Range")
    content = server.files.get(path)
    if content is None:
        server.log.append((path, asked, 0))  # before the answer, which lets the client go on
        request.send_error(404)
        return
    start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and server.ranges else 0
    if start and start >= len(content):
        server.log.append((path, asked, 0))
        request.send_error(416)
        return
    start += server.shift if start else 0
    body = content[start:]
    sent = body[: server.cut_after.pop(0)] if server.cut_after else body
    server.log.append((path, asked, len(sent)))
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if server.tell_length:
        request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(sent)


@pytest.fixture
def server(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on 127.0.0.1, reached without a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(state, self)

        def log_message(self, *args: object) -> None:
            """Say nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.port = listening.server_address[1]
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield state
        finally:
            listening.shutdown()
            thread.join()


@pytest.fixture
def linked(mnist_folder: Path, tmp_path: Path) -> Path:
    """A folder with links to the four real files, to be damaged one by one."""
    folder = tmp_path / "linked"
    folder.mkdir()
    for file in mnist_folder.iterdir():
        (folder / file.name).symlink_to(file)
    return folder
