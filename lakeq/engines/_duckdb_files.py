"""The data files of one query as DuckDB sees them: `lakeq://0`, `lakeq://1`, and nothing else.

DuckDB asks for byte ranges; they are fetched here, counted, and held against the CRC-32 of the
column chunks and the footer that were kept when the file was written, before DuckDB sees a byte:
DuckDB 1.5.5 checks no page and can end the process on a damaged page header. What would pass the
query's allowance is not fetched at all.

DuckDB reads column chunks whole, several in one range where they are near each other. A range
that cuts through a chunk, as its file cache may ask for, is widened to whole chunks.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from fsspec import AbstractFileSystem
from isal.isal_zlib import crc32

from lakeq import _parquet_thrift
from lakeq.engines import Read
from lakeq.errors import BadLake

if TYPE_CHECKING:
    from lakeq.engines._meter import Meter
    from lakeq.snapshot import DataFile
    from lakeq.storage.ranges import Ranges

SCHEME = "lakeq"
DAMAGED_HINT = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)  # a data file never changes
_GONE = "a data file is damaged"


def address(number: int) -> str:
    """The name that DuckDB knows the file `number` by: without any letter that it may read into."""
    return f"{SCHEME}://{number}"


class Files(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """The file system of one query; read by DuckDB's threads at once."""

    protocol = SCHEME
    cachable = False  # fsspec would hand out one of the same arguments again

    def __init__(
        self, files: Sequence[DataFile], ranges: Ranges, meter: Meter | None = None
    ) -> None:
        super().__init__()
        self.files = files
        self.reads: list[Read] = []
        self.failure: Exception | None = None  # what went wrong first, before DuckDB words it
        self._ranges = ranges
        self._meter = meter
        self._layouts: dict[int, _Layout] = {}
        self._lock = threading.Lock()

    def open(self, path: str, mode: str = "rb", **_options: object) -> _Handle:
        """A handle of one of the files, to read."""
        if mode != "rb":
            raise PermissionError(f"{path} is only there to be read")
        return _Handle(self, self._number(path))

    def info(self, path: str, **_options: object) -> dict[str, object]:
        """Name, size and kind, as the snapshot has them; nothing is asked."""
        return {"name": path, "size": self.files[self._number(path)].size_bytes, "type": "file"}

    def exists(self, path: str, **_options: object) -> bool:
        """Whether it is a file of the query."""
        return self._digits(path).isdecimal() and int(self._digits(path)) < len(self.files)

    def isfile(self, path: str) -> bool:
        """As `exists`."""
        return self.exists(path)

    def isdir(self, _path: str) -> bool:
        """There are no folders."""
        return False

    def modified(self, _path: str) -> datetime:
        """The same for all."""
        return _EPOCH

    def glob(self, path: str, **_options: object) -> list[str]:
        """The file itself: no name has a pattern in it."""
        return [self._digits(path)] if self.exists(path) else []

    @staticmethod
    def _digits(path: str) -> str:
        return path.removeprefix(f"{SCHEME}://")

    def _number(self, path: str) -> int:
        if not self.exists(path):
            raise FileNotFoundError(path)
        return int(self._digits(path))

    def fetch(self, number: int, offset: int, length: int) -> bytes:
        """Bytes of a data file, sound and counted."""
        with self._noting():
            return self._fetch(number, offset, length)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Keep the first failure: of what DuckDB makes of it only the text is left."""
        try:
            yield
        except Exception as error:
            self.failure = self.failure or error
            raise

    def _fetch(self, number: int, offset: int, length: int) -> bytes:
        file = self.files[number]
        layout = self._layout(number, file)
        if offset + length == file.size_bytes:
            return self._take(file, offset, length)  # the end, for the footer
        start, end = layout.widened(offset, offset + length)
        data = self._take(file, start, end - start)
        layout.check(file, start, data)
        return data if end - start == length else data[offset - start : offset - start + length]

    def tail(self, number: int, length: int) -> bytes:
        """The last `length` bytes, or more, so that all of the footer is among them."""
        file = self.files[number]
        footer = file.footer
        length = min(file.size_bytes, max(length, footer.size_bytes))
        data = self.fetch(number, file.size_bytes - length, length)
        with self._noting():
            _check_footer(file, data)
        return data

    def _take(self, file: DataFile, offset: int, length: int) -> bytes:
        if self._meter is not None:
            self._meter.take(length)
        data = self._ranges.read(file.path, file.size_bytes, offset, length)
        self.reads.append(Read(file.path, offset, length))
        return data

    def _layout(self, number: int, file: DataFile) -> _Layout:
        with self._lock:
            if number not in self._layouts:
                self._layouts[number] = _Layout(file)
            return self._layouts[number]


class _Handle:
    """One open file; it keeps the end of the file, which DuckDB reads again for a long footer."""

    closed = False

    def __init__(self, files: Files, number: int) -> None:
        self._files = files
        self._number = number
        self._at = 0
        self._end = b""
        self.size = files.files[number].size_bytes

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place, as of any file."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """The place of the next byte."""
        return self._at

    def seekable(self) -> bool:
        """Any place can be read."""
        return True

    def read(self, length: int = -1) -> bytes:
        """The next bytes."""
        left = max(0, self.size - self._at)
        length = left if length < 0 else min(length, left)
        data = self._read(length)
        self._at += length
        return data

    def _read(self, length: int) -> bytes:
        end = self._at + length
        if end == self.size and not self._end:
            self._end = self._files.tail(self._number, length)
        inside = self._at - (self.size - len(self._end))
        if self._end and inside >= 0 and end > self.size - self._files_footer():
            return self._end[inside : inside + length]
        return self._files.fetch(self._number, self._at, length)

    def _files_footer(self) -> int:
        """Bytes of the footer; unknown ones are taken for the 8 at the end."""
        return self._files.files[self._number].footer.size_bytes or 8

    def close(self) -> None:
        """Let go of the end."""
        self._end = b""
        self.closed = True


class _Chunk(NamedTuple):
    """Where a column chunk lies, and its place among the file's."""

    start: int
    end: int
    place: int


class _Layout:
    """The column chunks of one file by their place."""

    def __init__(self, file: DataFile) -> None:
        footer = file.footer
        spans = zip(footer.offsets, footer.lengths, range(len(footer.offsets)), strict=True)
        self.chunks = sorted(_Chunk(at, at + size, place) for at, size, place in spans)
        self.starts = [chunk.start for chunk in self.chunks]

    def widened(self, start: int, end: int) -> tuple[int, int]:
        """The range from `start` to `end`, with all of the chunks that it touches."""
        touched = self._touched(start, end)
        if not touched:
            return start, end
        return min(start, touched[0].start), max(end, *(chunk.end for chunk in touched))

    def _touched(self, start: int, end: int) -> list[_Chunk]:
        first = max(0, bisect_right(self.starts, start) - 1)
        last = bisect_left(self.starts, end)
        return [chunk for chunk in self.chunks[first:last] if chunk.end > start]

    def check(self, file: DataFile, start: int, data: bytes) -> None:
        """Raise `BadLake` when a chunk in `data`, which begins at `start`, is not as written."""
        view = memoryview(data)
        sums = file.footer.crc32s
        for chunk in self._touched(start, start + len(data)):
            found = view[chunk.start - start : chunk.end - start]
            if sums:
                wrong = "" if crc32(found) == sums[chunk.place] else "not what was written"
            else:
                wrong = _wrong_pages(found)
            if wrong:
                width = len(file.footer.leaves)
                column = file.footer.leaves[chunk.place % width].path
                where = f"row group {chunk.place // width}, column {column}"
                raise BadLake(f"{_GONE}: {where}: {wrong}", file.path, DAMAGED_HINT)


def _wrong_pages(chunk: memoryview) -> str:
    """What is wrong with the pages of a chunk of a file whose checksums nobody kept."""
    at = 0
    try:
        while at < len(chunk):
            page = _parquet_thrift.page(chunk, at)
            start = at + page.header_length
            at = start + page.length
            if at > len(chunk):
                return "a page is longer than its column"
            if page.crc is not None and crc32(chunk[start:at]) != page.crc:
                return "a page has another CRC"
    except ValueError as error:
        return str(error)
    return ""


def _check_footer(file: DataFile, tail: bytes) -> None:
    footer = file.footer
    if footer.footer_crc32 is not None and footer.size_bytes:
        if crc32(tail[-footer.size_bytes :]) == footer.footer_crc32:
            return
        wrong: Any = "the footer is not what was written"
    else:
        wrong = _wrong_footer(file, tail)
    if wrong:
        raise BadLake(f"{_GONE}: {wrong}", file.path, DAMAGED_HINT)


def _wrong_footer(file: DataFile, tail: bytes) -> str:
    """What is wrong with a footer that nobody kept a checksum of."""
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or length > file.size_bytes:
        return "it does not end as Parquet does"
    if length > len(tail):
        return ""  # its length was not known: DuckDB reads on
    try:
        found = _parquet_thrift.footer(tail[-length:-8])
    except ValueError as error:
        return f"footer: {error}"
    places = [(column.offset, column.length) for g in found.groups for column in g.columns]
    known = list(zip(file.footer.offsets, file.footer.lengths, strict=True))
    return "" if places == known else "the footer is another one than was planned with"
