"""An S3 endpoint on the loopback (moto): buckets that a test fills and forgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from tests.support import canary
from tests.support.data import ROOT

CREDENTIALS = canary.variables()  # what lakeq signs with; the tests' own client has others
REGION = "us-east-1"
_NUMBERS = count()  # of all servers: in one process moto's share their buckets


@dataclass(slots=True)
class S3:
    """A running endpoint; moto does not check signatures, so anonymous and signed both work."""

    endpoint_url: str
    client: Any

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"lakeq-test-{next(_NUMBERS)}"
        self.client.create_bucket(Bucket=name)
        return name

    def put(self, bucket: str, key: str, body: bytes | Path) -> str:
        """Store an object; returns its s3:// URI."""
        data = body.read_bytes() if isinstance(body, Path) else body
        self.client.put_object(Bucket=bucket, Key=key, Body=data)
        return f"s3://{bucket}/{key}"

    def keys(self, bucket: str) -> list[str]:
        """The keys in a bucket, sorted."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return sorted(item["Key"] for page in pages for item in page.get("Contents", ()))


def signed(s3: S3, *, warehouse: bool = False) -> dict[str, Any]:
    """What `lakeq.connect` takes to sign requests to `s3`; with a `warehouse` of its own there."""
    reached: dict[str, Any] = {"s3_endpoint_url": s3.endpoint_url, "s3_anon": False}
    return reached | ({"warehouse": f"s3://{s3.bucket()}/warehouse"} if warehouse else {})


@contextmanager
def moto_server() -> Iterator[S3]:
    """Start moto on a free port of the loopback; stopped at the end of the block."""
    lock_queues()
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield _at(f"http://{host}:{port}")
    finally:
        server.stop()


def _at(endpoint_url: str) -> S3:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id="tests-own-client",
        aws_secret_access_key="tests-own-secret",
    )
    return S3(endpoint_url, client)


@cache
def lock_queues() -> None:
    """Let moto's queues delete under their lock.

    It builds the list of the messages that are left without it: what is sent meanwhile is lost,
    and what is deleted meanwhile is there again.
    """
    from moto.sqs.models import Queue

    delete = Queue.delete_message

    def locked(self: Any, receipt_handle: str) -> None:
        with self._messages_lock:
            delete(self, receipt_handle)

    Queue.delete_message = locked  # type: ignore[method-assign]  # moto has no other way


_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
from tests.support.s3 import lock_queues
logging.disable()
lock_queues()
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@contextmanager
def moto_process() -> Iterator[S3]:
    """Start moto in a process of its own, which ends with the block or with this process."""
    import subprocess
    import sys

    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield _at(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.stdin.close()
        process.wait(timeout=60)
