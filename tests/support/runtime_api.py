"""The API that AWS Lambda gives a runtime, on the loopback: one event after the other.

As in "Using the Lambda runtime API for custom runtimes" of the AWS Lambda Developer Guide,
version 2018-06-01.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any

ROOT = "/2018-06-01/runtime/"


@dataclass
class RuntimeApi:
    """Events that wait for a runtime, and what it answered: `("response" or "error", body)`."""

    address: str = ""
    events: Queue[tuple[dict[str, Any], float]] = field(default_factory=Queue)
    answers: Queue[tuple[str, Any]] = field(default_factory=Queue)

    def invoke(
        self, event: dict[str, Any], patience_s: float = 120, *, left_s: float = 300
    ) -> tuple[str, Any]:
        """What the runtime answers to `event`; it is told that it has `left_s` for it."""
        self.events.put((event, left_s))
        return self.answers.get(timeout=patience_s)


@contextmanager
def runtime_api() -> Iterator[RuntimeApi]:
    """The API, until the end of the block."""
    api = RuntimeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            event, left_s = api.events.get()
            body = json.dumps(event).encode()
            self.send_response(200)
            self.send_header("Lambda-Runtime-Aws-Request-Id", "request-1")
            deadline = str(int((time.time() + left_s) * 1000))
            self.send_header("Lambda-Runtime-Deadline-Ms", deadline)
            arn = "arn:aws:lambda:us-east-1:123456789012:function:lakeq"
            self.send_header("Lambda-Runtime-Invoked-Function-Arn", arn)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            api.answers.put((self.path.rpartition("/")[2], json.loads(body)))
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    api.address = f"127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
