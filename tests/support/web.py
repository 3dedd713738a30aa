"""A web server on the loopback that does as a test tells it: answers, breaks, forgets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DATA = bytes(range(256)) * 1000  # what every object holds unless a test says otherwise


@dataclass
class Script:
    """What the server holds and does, and the requests that came: method, path, headers."""

    objects: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    answers: list[Callable[[BaseHTTPRequestHandler], bool]] = field(default_factory=list)
    know_if_match: bool = True
    know_ranges: bool = True
    url: str = ""

    def etag(self, path: str) -> str:
        return self.etags.get(path, '"1"')


def _handler(script: Script) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.respond(body=False)

        def do_GET(self) -> None:
            self.respond(body=True)

        def respond(self, body: bool) -> None:
            path = self.path.partition("?")[0]
            script.requests.append((self.command, self.path, dict(self.headers)))
            if script.answers and script.answers.pop(0)(self):
                return
            data = script.objects.get(path)
            match = self.headers.get("If-Match")
            if data is None:
                send(self, 404)
            elif script.know_if_match and match and match != script.etag(path):
                send(self, 412)
            else:
                self.send_data(path, data, body)

        def send_data(self, path: str, data: bytes, body: bool) -> None:
            status, part = 200, data
            wanted = self.headers.get("Range")
            if wanted and script.know_ranges:
                start, _, end = wanted.removeprefix("bytes=").partition("-")
                status, part = 206, data[int(start) : int(end) + 1]
            headers = {"ETag": script.etag(path), "Content-Length": str(len(part))}
            send(self, status, part if body else b"", headers)

    return Handler


def send(
    handler: BaseHTTPRequestHandler,
    status: int,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bool:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)
    return True


def answer(status: int, code: str = "", **headers: str) -> Callable[[Any], bool]:
    """One answer in S3's words; botocore reads a HEAD's only from its status."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said {code}</Message></Error>"

    def give(handler: BaseHTTPRequestHandler) -> bool:
        body = b"" if handler.command == "HEAD" else text.encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(handler, status, body, {"Content-Type": "application/xml", **named})

    return give


def cut_after(sent: int) -> Callable[[Any], bool]:
    """Promise everything, send some bytes, close the connection."""

    def give(handler: BaseHTTPRequestHandler) -> bool:
        start = int(handler.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", '"1"')
        handler.send_header("Content-Length", str(len(DATA) - start))
        handler.end_headers()
        handler.wfile.write(DATA[start : start + sent])
        handler.close_connection = True
        return True

    return give


def as_usual(_: Any) -> bool:
    return False


@contextmanager
def serve() -> Iterator[Script]:
    """The server, for the length of the block."""
    script = Script()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(script))
    script.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
