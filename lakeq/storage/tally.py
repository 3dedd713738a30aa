"""Requests to S3, counted as they leave: how many of which price, and whether they were signed."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

_FREE = frozenset({"DeleteObject", "DeleteObjects", "AbortMultipartUpload"})
_READS = frozenset({"GetObject", "HeadObject", "HeadBucket"})  # all else is priced as a PUT


class Requests(NamedTuple):
    """Requests at the price of a GET and of a PUT; a LIST has that of a PUT, a DELETE is free.

    `signed_gets` and `signed_puts` are those among them that the caller's account pays for.
    """

    gets: int = 0
    puts: int = 0
    signed_gets: int = 0
    signed_puts: int = 0

    def since(self, before: Requests) -> Requests:
        """Those that came after `before`."""
        return Requests(*(now - then for now, then in zip(self, before, strict=True)))

    def plus(self, other: Requests) -> Requests:
        """Both together."""
        return Requests(*(one + more for one, more in zip(self, other, strict=True)))


class Tally:
    """What the clients of one `Buckets` or of several have asked, repeats included."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sum = Requests()
        self._bytes = 0

    @property
    def bytes_read(self) -> int:
        """Bytes of metadata, manifests and footers read so far, on S3 or a disk."""
        return self._bytes

    def read(self, size: int) -> None:
        """Count `size` bytes."""
        with self._lock:
            self._bytes += size

    @property
    def requests(self) -> Requests:
        """All up to now."""
        return self._sum

    def add(self, requests: Requests) -> None:
        """Count `requests` that another process made."""
        with self._lock:
            self._sum = self._sum.plus(requests)

    def watch(self, client: Any, *, signed: bool) -> None:
        """Count the requests of a boto3 client."""

        def note(event_name: str, **_more: object) -> None:
            operation = event_name.rpartition(".")[2]
            if operation in _FREE:
                return
            one = Requests(1, 0, signed, 0) if operation in _READS else Requests(0, 1, 0, signed)
            with self._lock:
                self._sum = self._sum.plus(one)

        client.meta.events.register("before-send.s3", note)
