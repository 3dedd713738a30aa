"""Byte ranges of files whose size is known, on disk or on S3, each in one request."""

from __future__ import annotations

import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from lakeq.errors import BadLake, BadSource, NotFound, StorageUnavailable
from lakeq.storage import attempts, exactly, kept
from lakeq.storage.s3 import body_errors, called, payer, split_uri

if TYPE_CHECKING:
    from lakeq.catalog import Access
    from lakeq.config import S3Settings

MISSING_HINT = "see: lakeq verify; what can be ingested again: lakeq verify --repair"


class Ranges:
    """The files of a lake, read by many threads at once. Nothing is asked before it is read.

    A file of another size than it should have, one that is missing and one that changes between
    two reads are `BadLake`. On S3 a range is one GET, without a HEAD before the first.
    """

    def __init__(self, settings: S3Settings) -> None:
        self._settings = settings
        self._clients: dict[str, tuple[Any, Access]] = {}
        self._etags: dict[str, str] = {}
        self._lock = threading.Lock()
        self.signed = False  # whether a request carried credentials

    def read(self, path: str, size_bytes: int, offset: int, length: int) -> bytes:
        """`length` bytes at `offset` of a file of `size_bytes`."""
        if not length:
            return b""
        if "://" in path:
            return self._get(path, size_bytes, offset, length)
        return _pread(path, size_bytes, offset, length)

    def _get(self, path: str, size_bytes: int, offset: int, length: int) -> bytes:
        last: Exception | None = None
        for _ in attempts():
            try:
                response = self._response(path, offset, length)
                total = str(response.get("ContentRange", "")).rpartition("/")[2]
                if total != str(size_bytes):
                    response["Body"].close()
                    raise _resized(path, total, size_bytes)
                with self._lock:
                    self._etags.setdefault(path, response["ETag"])
                return exactly(response["Body"].read, length, path, offset)
            except BadSource as error:
                raise BadLake(error.what, path, MISSING_HINT) from error
            except body_errors() as error:
                last = error
        what = f"the connection breaks at byte {offset}"
        raise StorageUnavailable(what, path, "try again later") from last

    def _response(self, path: str, offset: int, length: int) -> Any:
        bucket, key = split_uri(f"s3://{path.partition('://')[2]}")  # s3a:// is Hadoop's word
        client, access = self._client(bucket)
        arguments = {"Bucket": bucket, "Key": key, **payer(access)}
        arguments["Range"] = f"bytes={offset}-{offset + length - 1}"
        if path in self._etags:
            arguments["IfMatch"] = self._etags[path]
        try:
            return called(partial(client.get_object, **arguments), path, access)
        except NotFound as error:
            raise BadLake("a file of the lake is missing", path, MISSING_HINT) from error
        except BadSource as error:  # of another version, or shorter than `offset`
            raise BadLake("a data file is not what was written", path, MISSING_HINT) from error

    def _client(self, bucket: str) -> tuple[Any, Access]:
        with self._lock:
            if bucket not in self._clients:
                self._clients[bucket] = kept.buckets(self._settings).own_client(bucket)
                self.signed = self.signed or self._clients[bucket][1] != "anonymous"
            return self._clients[bucket]


def _pread(path: str, size_bytes: int, offset: int, length: int) -> bytes:
    """Opened anew each time: thousands of files at once would be too many to keep open."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError as error:
        raise BadLake("a file of the lake is missing", path, MISSING_HINT) from error
    except OSError as error:
        what = f"cannot read: {error.strerror}"
        raise StorageUnavailable(what, path, "check the disk") from error
    try:
        there = os.fstat(handle).st_size
        if there != size_bytes:
            raise _resized(path, str(there), size_bytes)
        parts = []
        while length:
            part = os.pread(handle, length, offset)
            if not part:
                raise _resized(path, str(offset), size_bytes)
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    except OSError as error:
        what = f"cannot read: {error.strerror}"
        raise StorageUnavailable(what, path, "check the disk") from error
    finally:
        os.close(handle)


def _resized(path: str, there: str, size_bytes: int) -> BadLake:
    what = f"a data file is damaged: {there or 'unknown'} bytes, the manifest says {size_bytes}"
    return BadLake(what, path, MISSING_HINT)
