"""A small S3-like server that counts what it sends: an independent witness of scanned bytes."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


@dataclass(slots=True)
class Served:
    """One request: its method, its headers by lower-case name, and the bytes that were sent."""

    method: str
    headers: Mapping[str, str]
    sent: int


@dataclass(slots=True)
class CountingServer:
    """Serves the files below `root` as /bucket/key; answers `status` instead when it is set.

    Each answer takes `delay_s` to begin.
    """

    root: Path
    url: str = ""
    status: int = 0
    delay_s: float = 0.0
    requests: list[Served] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """Bytes of all bodies sent."""
        return sum(request.sent for request in self.requests)


def _part(path: Path, first: int, last: int) -> bytes:
    with path.open("rb") as file:
        file.seek(first)
        return file.read(last + 1 - first)


@contextmanager
def counting_server(root: Path) -> Iterator[CountingServer]:
    """Serve `root` on a free port of the loopback until the block ends."""
    state = CountingServer(root)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, *, body: bool) -> None:
            time.sleep(state.delay_s)
            path = state.root / unquote(urlsplit(self.path).path).lstrip("/")
            status = state.status or (200 if path.is_file() else 404)
            headers = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
            size = path.stat().st_size if status == 200 else 0
            first, last = 0, size - 1
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if wanted and status == 200:
                first, last = int(wanted[1]), min(int(wanted[2]), size - 1)
                headers["Content-Range"] = f"bytes {first}-{last}/{size}"
                status = 206
            data = _part(path, first, last) if size else b""
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(data))}).items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)
            sent = len(data) if body else 0
            headers_sent = {name.lower(): value for name, value in self.headers.items()}
            state.requests.append(Served(self.command, headers_sent, sent))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
