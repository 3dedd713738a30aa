"""A proxy in front of an S3 endpoint that counts: an independent witness of what is asked for."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

_OWN = ("connection", "transfer-encoding", "content-length", "date", "server")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that passed: what was asked, and the bytes of the answer's body.

    `payer` is who agreed to pay.
    """

    method: str
    path: str
    query: dict[str, str]
    range: str
    sent: int
    payer: str = ""


@dataclass(slots=True)
class CountingProxy:
    """Passes requests on and notes them; who does not pay for `paid` buckets is forbidden."""

    url: str = ""
    paid: frozenset[str] = frozenset()
    requests: list[Asked] = field(default_factory=list)

    def listed(self) -> list[str]:
        """The prefixes that were listed, as bucket/prefix, in turn."""
        listings = [r for r in self.requests if r.query.get("list-type") == "2"]
        return [r.path.strip("/") + "/" + r.query.get("prefix", "") for r in listings]

    def read(self, suffix: str = "") -> list[Asked]:
        """The reads of objects whose keys end so."""
        return [
            r
            for r in self.requests
            if r.method == "GET" and "list-type" not in r.query and r.path.endswith(suffix)
        ]


@contextmanager
def counting_proxy(endpoint_url: str) -> Iterator[CountingProxy]:
    """Pass on to `endpoint_url` until the block ends."""
    state = CountingProxy()
    target = urlsplit(endpoint_url).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            """Stay quiet."""

        def do_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            payer = self.headers.get("x-amz-request-payer", "")
            if self.path.split("/")[1].split("?")[0] in state.paid and payer != "requester":
                self.send_response(403)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            client = http.client.HTTPConnection(target)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
            client.request(self.command, self.path, body, headers)
            answer = client.getresponse()
            data = answer.read()
            parts = urlsplit(self.path)
            query = {k: v[0] for k, v in parse_qs(parts.query, keep_blank_values=True).items()}
            asked = self.headers.get("Range", "")
            path = unquote(parts.path)
            state.requests.append(Asked(self.command, path, query, asked, len(data), payer))
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in _OWN:
                    self.send_header(name, value)
            size = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self.send_header("Content-Length", size or str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            client.close()

    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.do_any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
