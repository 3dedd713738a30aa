"""AWS Lambda's Invoke, over HTTP, for one handler: what boto3 calls is really run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LIMIT_BYTES = 6 * 1024 * 1024  # of a call that waits for its answer, each way

Handler = Callable[[Mapping[str, Any], Any], Any]


@dataclass
class Function:
    """What the server runs, and what it saw; `fail` decides the answer to a call beforehand."""

    handler: Handler
    name: str = "lakeq-parts"
    memory_limit_in_mb: int = 3008
    fail: Callable[[int], tuple[int, dict[str, str], bytes] | None] = lambda _number: None
    sizes: list[tuple[int, int]] = field(default_factory=list)  # of event and answer
    calls: int = 0
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def invoked(self, name: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, as Lambda answers."""
        with self.lock:
            self.calls += 1
            number = self.calls
        if name != self.name:
            return _refusal(404, "ResourceNotFoundException", f"Function not found: {name}")
        if len(body) > LIMIT_BYTES:
            return _refusal(413, "RequestTooLargeException", f"{len(body)} bytes")
        if (told := self.fail(number)) is not None:
            return told
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(0.05)
            answer = json.dumps(self.handler(json.loads(body), self)).encode()
        except Exception as error:  # noqa: BLE001  # as Lambda tells it
            return crash(type(error).__name__, str(error))
        finally:
            with self.lock:
                self.at_once -= 1
        if len(answer) > LIMIT_BYTES:
            return crash("Function.ResponseSizeTooLarge", f"{len(answer)} bytes")
        self.sizes.append((len(body), len(answer)))
        return 200, {}, answer


def crash(kind: str, words: str) -> tuple[int, dict[str, str], bytes]:
    """The answer of Lambda to a call whose function failed."""
    told = {"errorType": kind, "errorMessage": words}
    return 200, {"X-Amz-Function-Error": "Unhandled"}, json.dumps(told).encode()


def _refusal(status: int, kind: str, words: str) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps({"Type": "User", "Message": words}).encode()
    return status, {"x-amzn-ErrorType": kind}, body


def throttled() -> tuple[int, dict[str, str], bytes]:
    """The answer of Lambda to one call too many."""
    return _refusal(429, "TooManyRequestsException", "Rate Exceeded.")


@contextmanager
def lambda_server(function: Function) -> Iterator[Function]:
    """Serve `function` on a free port of the loopback."""

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            name = self.path.split("/functions/")[1].split("/")[0]
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, headers, answer = function.invoked(name, body)
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(answer))}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    function.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield function
    finally:
        server.shutdown()
        server.server_close()
