"""What may be around a whole Level II object: gzip, bzip2 or compress (.Z), undone as a stream.

Sources: RFC 1952, the bzip2 format, and compress 4.0 (LZW of 9 to 16 bits). An object that is cut
short gives all that its bytes decide; damaged data is `BadSource` with the raw byte.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from lakeq.errors import BadSource

READ_BYTES = 1 << 18
PIECE_BYTES = 1 << 20  # of output in one step
EMPTY_LIMIT = 1024  # members that hold nothing; more is a bomb
_KINDS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\x1f\x9d", "compress"))
_HINT = "the object is damaged: fetch it again"


class Content:
    """The content of an object as one stream; `outer` names what was around it, or is empty.

    `at` counts the bytes given out; `cut` says that the packed data ended before its end.
    """

    def __init__(
        self,
        uri: str,
        stream: BinaryIO,
        limit_bytes: int,
        progress: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.uri = uri
        self.at = 0
        self.cut = False
        self._stream = stream
        self._limit = limit_bytes
        self._progress = progress
        self._raw = 0
        head = self._more(3)
        self.outer = next((name for magic, name in _KINDS if head.startswith(magic)), "")
        opened = {"gzip": self._gzip, "bzip2": self._bzip2, "compress": self._compress}
        self._pieces = opened.get(self.outer, self._plain)(head)
        self._held = b""

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only where the content ends."""
        if size <= 0:
            return b""
        parts, missing = [], size
        while missing:
            if not self._held:
                self._held = next(self._pieces, b"")
                if not self._held:
                    break
            part = self._held[:missing]
            self._held = self._held[missing:]
            parts.append(part)
            missing -= len(part)
        self.at += size - missing
        if self.at > self._limit:
            what = f"the volume inflates to more than {self._limit:,} bytes"
            hint = "no radar writes that; if you trust it, raise the table's option "
            raise BadSource(what, self.uri, hint + "volume_limit_bytes in a catalog")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _more(self, size: int = READ_BYTES) -> bytes:
        data = self._stream.read(size)
        self._raw += len(data)
        self._progress(self._raw)
        return data

    def _plain(self, head: bytes) -> Iterator[bytes]:
        while head:
            yield head
            head = self._more()

    def _gzip(self, head: bytes) -> Iterator[bytes]:
        return self._members(head, _Gzip, b"\x1f\x8b")

    def _bzip2(self, head: bytes) -> Iterator[bytes]:
        return self._members(head, _Bzip2, _KINDS[1][0])

    def _members(
        self, data: bytes, inflater: Callable[[], _Inflater], magic: bytes
    ) -> Iterator[bytes]:
        empty = 0
        while data := data if len(data) >= len(magic) else data + self._more():
            if not data.startswith(magic):
                if not data.strip(b"\0"):
                    return  # padding
                raise BadSource(f"bytes that are not {self.outer} follow", self._where(), _HINT)
            member = inflater()
            held = False
            while not member.eof:
                if not data and not member.waiting and not (data := self._more()):
                    self.cut = True
                    return
                try:
                    piece = member.inflate(data, PIECE_BYTES)
                except (zlib.error, OSError, ValueError, EOFError) as error:
                    what = f"the {self.outer} data does not inflate"
                    raise BadSource(what, self._where(), _HINT) from error
                data = b""
                held = held or bool(piece)
                if piece:
                    yield piece
            data = member.rest
            empty += not held
            if empty > EMPTY_LIMIT:
                what = f"more than {EMPTY_LIMIT} {self.outer} members that hold nothing"
                raise BadSource(what, self._where(), "no writer makes such a file")

    def _compress(self, head: bytes) -> Iterator[bytes]:
        from lakeq.formats._nexrad_lzw import inflate

        return inflate(head, self._more, self._damaged)

    def _damaged(self, what: str) -> BadSource:
        return BadSource(what, self._where(), _HINT)

    def _where(self) -> str:
        return f"{self.uri}, before byte {self._raw}"


class _Inflater(Protocol):
    """One member of a packed stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def waiting(self) -> bool: ...
    @property
    def rest(self) -> bytes: ...
    def inflate(self, data: bytes, limit: int) -> bytes: ...


class _Gzip:
    """A member of a gzip stream; its CRC is checked at its end."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def waiting(self) -> bool:
        return bool(self._inflater.unconsumed_tail)

    @property
    def rest(self) -> bytes:
        return self._inflater.unused_data

    def inflate(self, data: bytes, limit: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, limit)


class _Bzip2:
    """One bzip2 stream; each of its blocks is checked."""

    def __init__(self) -> None:
        self._inflater = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def waiting(self) -> bool:
        return not self._inflater.needs_input

    @property
    def rest(self) -> bytes:
        return self._inflater.unused_data

    def inflate(self, data: bytes, limit: int) -> bytes:
        return self._inflater.decompress(data, limit)
