"""A raw object as the ingest reads it: watched by a lease, its length and checksum compared."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import BinaryIO, cast
from zlib import crc32

from lakeq.errors import StorageUnavailable
from lakeq.storage import STREAM_BUFFER_BYTES, Reader, SourceObject

Check = Callable[[], None]


@dataclass
class Counted:
    """Bytes read of an object, and how often a reading of it began."""

    bytes: int = 0
    opened: int = 0


def watched(source: SourceObject, check: Check, counted: Counted | None = None) -> SourceObject:
    """`source`, each read of which calls `check` first: it raises when the work is to end.

    A stream read to its end is held against the object's length and, where S3 has one, its
    CRC-32: `StorageUnavailable` when they differ.
    """
    reader = _Watched(source, source.reader, check, counted or Counted())
    return replace(source, reader=reader)


@dataclass
class _Watched:
    source: SourceObject
    reader: Reader
    check: Check
    counted: Counted = field(default_factory=Counted)

    def open(self) -> BinaryIO:
        self.check()
        self.counted.opened += 1
        stream = _Stream(self.reader.open(), self)
        return cast("BinaryIO", io.BufferedReader(stream, STREAM_BUFFER_BYTES))

    def read_range(self, offset: int, length: int) -> bytes:
        self.check()
        data = self.reader.read_range(offset, length)
        self.counted.bytes += len(data)
        return data


class _Stream(io.RawIOBase):
    """A sequential stream; its end is checked."""

    def __init__(self, stream: BinaryIO, watched_: _Watched) -> None:
        self._stream = stream
        self._watched = watched_
        self._at = 0
        self._crc = 0
        self._done = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase's stub
        """Fill `buffer` as far as the next read goes; 0 at the end of the object."""
        self._watched.check()
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        self._watched.counted.bytes += len(data)
        if self._watched.source.crc32:
            self._crc = crc32(data, self._crc)
        if not self._done and (not data or self._at >= self._watched.source.size_bytes):
            self._done = True
            self._compare()
        return len(data)

    def _compare(self) -> None:
        source = self._watched.source
        hint = "it is read again"
        if self._at != source.size_bytes:
            what = f"{self._at:,} bytes came of the {source.size_bytes:,} that S3 tells"
            raise StorageUnavailable(what, source.uri, hint)
        found = base64.b64encode(self._crc.to_bytes(4, "big")).decode()
        if source.crc32 and found != source.crc32:
            what = f"the bytes have CRC-32 {found}, and S3 tells {source.crc32}"
            raise StorageUnavailable(what, source.uri, hint)

    def close(self) -> None:
        """Give the connection back."""
        if not self.closed:
            self._stream.close()
        super().close()
