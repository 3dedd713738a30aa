"""The bytes inside an object that is plain, gzip, BGZF or bzip2, in bounded memory.

Sources: RFC 1952 (gzip) and SAM specification v1, section 4.1 (BGZF). The kind is told by the
first bytes, never by the name. BGZF blocks are inflated and checked one by one; data that ends
inside a block, or a BGZF file without its end-of-file block, is half a file and refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from lakeq.errors import BadSource

if TYPE_CHECKING:
    from lakeq.storage import SourceObject

READ_BYTES = 1 << 20
BLOCK_LIMIT_BYTES = 1 << 16  # both ends of a BGZF block, by the specification
PIECE_BYTES = 1 << 18  # what one step of plain gzip may put out
EMPTY_BLOCKS_LIMIT = 1024  # blocks or members that hold nothing; more is a bomb
BGZF_MAGIC = b"\x1f\x8b\x08\x04"
HEADER = struct.Struct("<4s6xH2sHH")  # of a block whose only extra field is BC
TRAILER = struct.Struct("<II")
GZIP_MAGIC = b"\x1f\x8b"
BZIP2_MAGIC = b"BZh"
EOF_BLOCK = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
CUT_HINT = "the object was cut short: fetch or upload it again and compare its size"


def pieces(
    source: SourceObject, progress: Callable[[int], None] = lambda _: None
) -> Iterator[bytes]:
    """Yield the inflated content of `source` in order, in pieces of at most 1 MiB, none empty.

    `progress` is told the raw bytes consumed so far. Raises `BadSource`, which names the byte of
    the raw object, for data that is cut short, damaged, or made of empty blocks.
    """
    with source.open() as stream:
        head = _read_at_least(stream, b"", 18)
        if head.startswith(BZIP2_MAGIC):
            yield from _Bzip2(source.uri, stream, head, progress).pieces()
        elif not head.startswith(GZIP_MAGIC):
            yield from _plain(stream, head, progress)
        elif block_size(head, 0) is None:
            yield from _Gzip(source.uri, stream, head, progress).pieces()
        else:
            yield from _Blocks(source.uri, stream, head, progress).pieces()


def _read_at_least(stream: BinaryIO, held: bytes, size: int) -> bytes:
    """`held` and more of the stream until `size` bytes are there or the stream ends."""
    while len(held) < size:
        more = stream.read(READ_BYTES)
        if not more:
            break
        held = held + more if held else more
    return held


def _plain(stream: BinaryIO, head: bytes, progress: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    while head:
        done += len(head)
        yield head
        progress(done)
        head = stream.read(READ_BYTES)


def block_size(data: bytes, start: int) -> int | None:
    """The size of the BGZF block at `start`, or None when no BC field says it."""
    if len(data) < start + 18 or not data[start + 3] & 4:
        return None
    extra = struct.unpack_from("<H", data, start + 10)[0]
    at = start + 12
    end = min(at + extra, len(data))
    while at + 4 <= end:
        tag, size = data[at : at + 2], struct.unpack_from("<H", data, at + 2)[0]
        if tag == b"BC" and size == 2 and at + 6 <= end:
            return int(struct.unpack_from("<H", data, at + 4)[0]) + 1
        at += 4 + size
    return None


def blocks_of(uri: str, stream: BinaryIO) -> Iterator[bytes]:
    """The inflated content of the BGZF blocks of `stream`, one by one."""
    head = _read_at_least(stream, b"", 18)
    return _Blocks(uri, stream, head, lambda _: None).pieces()


def _isal() -> tuple[Any, Any]:
    """The inflater and its error, which its annotations call an instance."""
    from isal import isal_zlib

    return isal_zlib, isal_zlib.error


class _Blocks:
    """A BGZF stream, block by block."""

    def __init__(
        self, uri: str, stream: BinaryIO, head: bytes, progress: Callable[[int], None]
    ) -> None:
        self.uri, self.stream, self.data, self.progress = uri, stream, head, progress
        self.isal_zlib, self.inflate_error = _isal()
        self.base = 0  # raw offset of data[0]
        self.at = 0  # where the next block starts in data
        self.empty = 0
        self.last_was_eof = False

    def pieces(self) -> Iterator[bytes]:
        while self._fill(18):
            size = self._size()
            content = self._sound(size)
            if content is None:
                content = self._inflate(size)
            self.last_was_eof = size == len(EOF_BLOCK) and not content
            self.at += size
            if content:
                yield content
            else:
                self._count_empty()
        if not self.last_was_eof:
            raise BadSource(
                "the BGZF end-of-file block is missing",
                self._where(),
                CUT_HINT + "; a whole file that never had the block is repaired by bgzip",
            )

    def _fill(self, size: int) -> bool:
        """Make `size` bytes from `at` available; False at a clean end of the stream."""
        if len(self.data) - self.at >= size:
            return True
        self.base += self.at
        self.data = _read_at_least(self.stream, self.data[self.at :], size)
        self.at = 0
        self.progress(self.base)
        if self.data and len(self.data) < size:
            raise BadSource("the data ends inside a BGZF block", self._where(), CUT_HINT)
        return bool(self.data)

    def _size(self) -> int:
        magic, extra, field, length, size = HEADER.unpack_from(self.data, self.at)
        if magic == BGZF_MAGIC and extra == 6 and field == b"BC" and length == 2 and size > 25:
            self._fill(size + 1)
            return int(size) + 1
        return self._unusual_size()

    def _unusual_size(self) -> int:
        """The size of a block that has other extra fields, or is none."""
        if self.data[self.at : self.at + 2] != GZIP_MAGIC:
            raise self._damaged("no BGZF block starts here")
        extra = int(struct.unpack_from("<H", self.data, self.at + 10)[0])
        self._fill(12 + extra)
        size = block_size(self.data, self.at)
        if size is None or size < extra + 20:
            raise self._damaged("this BGZF block does not say its size")
        self._fill(size)
        return size

    def _sound(self, size: int) -> bytes | None:
        """The content of a block without fault, in one call, which checks its CRC32; else None."""
        start, end = self.at, self.at + size
        length = int.from_bytes(self.data[end - 4 : end], "little")
        if length > BLOCK_LIMIT_BYTES:
            return None
        try:
            block = memoryview(self.data)[start:end]
            content: bytes = self.isal_zlib.decompress(block, 31, length + 1)
        except self.inflate_error:
            return None
        return content if len(content) == length else None

    def _inflate(self, size: int) -> bytes:
        """The content of a block, step by step: says what is wrong with it."""
        isal_zlib, inflate_error = self.isal_zlib, self.inflate_error
        extra = self.data[self.at + 10] | self.data[self.at + 11] << 8
        end = self.at + size
        crc, length = TRAILER.unpack_from(self.data, end - 8)
        if length > BLOCK_LIMIT_BYTES:
            raise self._damaged(f"this BGZF block claims {length} bytes, more than 65536")
        inflater = isal_zlib.decompressobj(-15)
        deflated = memoryview(self.data)[self.at + 12 + extra : end - 8]
        try:  # one byte more than claimed is enough to see a false claim
            content: bytes = inflater.decompress(deflated, length + 1)
        except inflate_error as error:
            raise self._damaged("this BGZF block does not inflate") from error
        if len(content) != length or not inflater.eof:
            raise self._damaged(f"this BGZF block does not hold the {length} bytes it claims")
        if isal_zlib.crc32(content) != crc:
            raise self._damaged("this BGZF block fails its CRC32")
        return content

    def _count_empty(self) -> None:
        self.empty += 1
        if self.empty > EMPTY_BLOCKS_LIMIT:
            raise _too_many_empty(self._where())

    def _where(self) -> str:
        return f"{self.uri}, byte {self.base + self.at}"

    def _damaged(self, what: str) -> BadSource:
        return BadSource(what, self._where(), "the object is damaged: fetch it again")


class _Gzip:
    """A gzip stream of one or more members that are not BGZF blocks."""

    def __init__(
        self, uri: str, stream: BinaryIO, head: bytes, progress: Callable[[int], None]
    ) -> None:
        self.uri, self.stream, self.data, self.progress = uri, stream, head, progress
        self.done = 0  # raw bytes before `data`
        self.empty = 0

    def pieces(self) -> Iterator[bytes]:
        while self._more():
            if not self.data.startswith(GZIP_MAGIC):
                if len(self.data) == 1:
                    raise BadSource("the gzip data ends in a header", self._where(), CUT_HINT)
                raise BadSource(
                    "bytes that are not gzip follow the gzip data",
                    self._where(),
                    "the object is damaged: fetch it again",
                )
            held = False
            for content in self._member():
                held = True
                yield content
            self.empty += not held
            if self.empty > EMPTY_BLOCKS_LIMIT:
                raise _too_many_empty(self._where())

    def _member(self) -> Iterator[bytes]:
        isal_zlib, inflate_error = _isal()
        inflater = isal_zlib.decompressobj(31)
        while not inflater.eof:
            if not self.data and not inflater.unconsumed_tail and not self._more():
                raise BadSource("the gzip data ends inside a member", self._where(), CUT_HINT)
            data = inflater.unconsumed_tail + self.data
            try:
                content: bytes = inflater.decompress(data, PIECE_BYTES)
            except inflate_error as error:
                raise BadSource(
                    f"the gzip data does not inflate: {error}",
                    self._where(),
                    "the object is damaged: fetch it again",
                ) from error
            self.done += len(self.data)
            self.data = b""
            if content:
                yield content
        self.data = inflater.unused_data
        self.done -= len(self.data)

    def _more(self) -> bool:
        if len(self.data) < 2:
            self.data = _read_at_least(self.stream, self.data, len(self.data) + 1)
            self.progress(self.done)
        return bool(self.data)

    def _where(self) -> str:
        return f"{self.uri}, byte {self.done}"


class _Bzip2:
    """One or more bzip2 streams; slow, and not what a VCF should be in, but unambiguous."""

    def __init__(
        self, uri: str, stream: BinaryIO, head: bytes, progress: Callable[[int], None]
    ) -> None:
        self.uri, self.stream, self.data, self.progress = uri, stream, head, progress
        self.done = 0  # raw bytes before `data`
        self.empty = 0

    def pieces(self) -> Iterator[bytes]:
        while self.data or self._more():
            held = False
            for content in self._member():
                held = True
                yield content
            self.empty += not held
            if self.empty > EMPTY_BLOCKS_LIMIT:
                raise _too_many_empty(self._where())

    def _member(self) -> Iterator[bytes]:
        from bz2 import BZ2Decompressor

        inflater = BZ2Decompressor()
        while not inflater.eof:
            if inflater.needs_input and not self.data and not self._more():
                raise BadSource("the bzip2 data ends inside a stream", self._where(), CUT_HINT)
            data = self.data if inflater.needs_input else b""
            try:
                content = inflater.decompress(data, PIECE_BYTES)
            except OSError as error:
                what = "the bzip2 data does not inflate"
                raise BadSource(what, self._where(), "fetch the object again") from error
            if data:
                self.done += len(data)
                self.data = b""
            if content:
                yield content
        self.data = inflater.unused_data
        self.done -= len(self.data)

    def _more(self) -> bool:
        self.data = self.stream.read(READ_BYTES)
        self.progress(self.done)
        return bool(self.data)

    def _where(self) -> str:
        return f"{self.uri}, byte {self.done}"


def _too_many_empty(where: str) -> BadSource:
    return BadSource(
        f"more than {EMPTY_BLOCKS_LIMIT} compressed blocks that hold nothing",
        where,
        "no writer makes such a file; if you trust it, inflate and compress it again with bgzip",
    )
