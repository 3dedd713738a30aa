"""A Spark Connect server of lakeq's own: pysail in a child process, one for each way to reach S3.

A child, not a thread: credentials and endpoint reach Sail by its environment only, what it reads
from files can be counted from outside, and it can be ended while a query runs. It ends by itself
when its standard input closes, which the death of this process does too.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lakeq.engines._aws import credentials
from lakeq.errors import QueryFailed, UsageError

if TYPE_CHECKING:
    from lakeq.config import Settings

START = """
import sys
from pysail.spark import SparkConnectServer
server = SparkConnectServer("127.0.0.1", 0)
server.start(background=True)
print(server.listening_address[1], flush=True)
sys.stdin.read()
"""
# Footers as lakeq plans them (16 KiB from the end, for each query), and no statistics of the data.
SAIL = {
    "SAIL_PARQUET__METADATA_SIZE_HINT": "16384",
    "SAIL_PARQUET__FILE_METADATA_CACHE__TYPE": "none",
    "SAIL_PARQUET__FILE_STATISTICS_CACHE__TYPE": "none",
    "SAIL_PARQUET__PUSHDOWN_FILTERS": "false",
    "SAIL_PARQUET__SCHEMA_FORCE_VIEW_TYPES": "false",
}
MODES = ("local", "local-cluster")


@dataclass
class Server:
    """A running Sail: its port, and what it has read from files."""

    process: subprocess.Popen[str]
    port: int
    environment: Mapping[str, str] = field(repr=False, default_factory=dict)

    @property
    def remote(self) -> str:
        """Its address, as Spark Connect writes it."""
        return f"sc://127.0.0.1:{self.port}"

    def read_bytes(self) -> int | None:
        """Bytes that it took from files since it began; None where the system does not tell."""
        try:
            lines = Path(f"/proc/{self.process.pid}/io").read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        return int(lines[0].removeprefix("rchar: "))

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """End it, and whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


_servers: dict[tuple[tuple[str, str], ...], Server] = {}
_lock = threading.Lock()


def server(settings: Settings) -> Server:
    """The server for `settings`, started when there is none; a dead one is replaced."""
    wanted = environment(settings)
    key = tuple(sorted(wanted.items()))
    with _lock:
        found = _servers.get(key)
        if found is None or not found.alive():
            found = _servers[key] = _start(wanted)
        return found


def stop(old: Server) -> None:
    """End a server; the next query gets a new one."""
    with _lock:
        for key, known in list(_servers.items()):
            if known is old:
                del _servers[key]
    old.stop()


@atexit.register
def _stop_all() -> None:
    for known in list(_servers.values()):
        stop(known)


def environment(settings: Settings) -> dict[str, str]:
    """What the child's environment says besides what this process has: how S3 is reached."""
    s3 = settings.s3
    found = dict(SAIL)
    if settings.spark.remote in MODES:
        found["SAIL_MODE"] = settings.spark.remote
    if settings.threads:
        found["SAIL_EXECUTION__DEFAULT_PARALLELISM"] = str(settings.threads)
    keys = credentials(s3)
    if keys.access_key:
        found |= {
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        }
        if keys.token:
            found["AWS_SESSION_TOKEN"] = keys.token
    else:
        found["AWS_SKIP_SIGNATURE"] = "true"
    found["AWS_REGION"] = s3.region or keys.region or "us-east-1"
    if s3.requester_pays:
        found["AWS_REQUEST_PAYER"] = "true"
    if s3.endpoint_url:
        found["AWS_ENDPOINT"] = found["AWS_ENDPOINT_URL"] = s3.endpoint_url
        found["AWS_VIRTUAL_HOSTED_STYLE_REQUEST"] = "false"
        if s3.endpoint_url.startswith("http://"):
            found["AWS_ALLOW_HTTP"] = "true"
    return found


def _start(wanted: Mapping[str, str]) -> Server:
    from importlib.util import find_spec

    if find_spec("pysail") is None:
        hint = "pip install 'lakeq[spark]', or name a cluster: spark.remote = \"sc://host:15002\""
        raise UsageError("pysail is not installed", "--engine spark", hint)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SAIL_"))}
    process = subprocess.Popen(
        [sys.executable, "-c", START],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,  # ^C in the terminal is this process's to handle
        env={"RUST_LOG": "off", **kept, **wanted},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.strip().isdigit():
        process.wait()
        what = f"Sail did not start: exit code {process.returncode}"
        raise QueryFailed(what, "--engine spark", "python -m pysail spark server says why")
    return Server(process, int(line), wanted)
