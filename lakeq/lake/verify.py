"""The files of a table, and each held against what was written: its bytes, its pages, its rows.

A Parquet file is read once, from its first byte to its last, in pieces: the sum over all bytes is
held against the checksum of the commit, the CRC of every page against the page, the values of
flat columns against the rows of their group, and the footer's rows against the manifest.
Sources: apache/parquet-format, parquet.thrift (PageHeader.crc, over the compressed bytes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

from lakeq import _parquet_thrift
from lakeq.errors import BadLake, NotFound
from lakeq.lake.commit import load_metadata, manifest_files, manifests_of, source_of
from lakeq.lake.inside import footer_bytes

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata

    from lakeq._parquet_thrift import Column, FileFooter, Group
    from lakeq.lake.commit import Contents
    from lakeq.lake.io import WarehouseIO
    from lakeq.lake.pointers import Checksum
    from lakeq.snapshot import DataFile

Allow = Callable[[int, int], None]  # bytes and files that are about to be read

PIECE_BYTES = 1 << 20
HEADER_BYTES = 64 << 10  # a page header is some 30 bytes; statistics of long texts make it longer
MISSING = "missing"
DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Listed:
    """A data file as the manifests have it; `current` unless only old snapshots name it."""

    path: str
    size_bytes: int
    rows: int
    sources: tuple[str, ...] = ()
    current: bool = True


@dataclass(slots=True)
class Checked:
    """What came of one file: `problem` is empty when it is sound, `detail` says what was found.

    `verified` is False when there was no checksum to hold it against.
    """

    bytes_read: int = 0
    problem: str = ""
    detail: list[str] = field(default_factory=list)
    verified: bool = True

    @property
    def told(self) -> str:
        """What was found, in words."""
        return "; ".join(self.detail) or "it is not there"

    def fail(self, detail: str) -> None:
        """Note damage."""
        self.problem = DAMAGED
        self.detail.append(detail)


class _Stream:
    """A file read once, in order; everything that passes is summed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._ahead = b""
        self._sum = hashlib.sha256()
        self.at = 0  # of the next byte that `take` gives
        self.read = 0

    def _fill(self, wanted: int) -> None:
        while len(self._ahead) < wanted:
            piece = self._file.read(max(PIECE_BYTES, wanted - len(self._ahead)))
            if not piece:
                return
            self._sum.update(piece)
            self.read += len(piece)
            self._ahead += piece

    def peek(self, length: int) -> bytes:
        """The next bytes, fewer only at the end; they stay."""
        self._fill(length)
        return self._ahead[:length]

    def take(self, length: int) -> Iterator[bytes]:
        """The next bytes in pieces."""
        while length:
            self._fill(1)
            if not self._ahead:
                raise ValueError("the file ends too early")
            piece = self._ahead[:length]
            self._ahead = self._ahead[len(piece) :]
            self.at += len(piece)
            length -= len(piece)
            yield piece

    def skip_to(self, place: int) -> None:
        """Pass over the bytes before `place`."""
        if place < self.at:
            raise ValueError(f"two columns lie over each other at byte {place}")
        for _ in self.take(place - self.at):
            pass

    def finish(self) -> str:
        """The sum over all bytes of the file, read to its end."""
        self._ahead = b""
        while piece := self._file.read(PIECE_BYTES):
            self._sum.update(piece)
            self.read += len(piece)
        return self._sum.hexdigest()


def check_file(files: WarehouseIO, path: str, checksum: Checksum | None) -> Checked:
    """Hold a file that is not Parquet, such as a manifest, against its checksum."""
    found = Checked(verified=checksum is not None)
    try:
        with files.stream(path) as file:
            _compare(_Stream(file), checksum, found)
    except NotFound:
        found.problem = MISSING
    return found


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file that a table's snapshots name; `metadata` by path, checked before it is read.

    `rows` are those of the current snapshot, by its summary. What a damaged file of the metadata
    names is not among them.
    """

    metadata: dict[str, Checked]
    files: tuple[Listed, ...]
    rows: int | None


class _Metadata:
    """Files of a table's metadata, each checked once; somebody is asked before they are read."""

    def __init__(
        self,
        files: WarehouseIO,
        checksum: Callable[[str], Checksum | None],
        allow: Allow | None,
    ) -> None:
        self.checked: dict[str, Checked] = {}
        self._files = files
        self._checksum = checksum
        self._allow = allow

    def size(self, path: str) -> int:
        """Bytes of a file as they were written; 0 where nobody kept that."""
        known = self._checksum(path)
        return 0 if known is None else known.size_bytes

    def ask(self, sizes: Mapping[str, int]) -> None:
        """Ask whether files of these sizes may be read, as far as they were not."""
        new = [size for path, size in sizes.items() if path not in self.checked]
        if self._allow is not None and new:
            self._allow(sum(new), len(new))

    def sound(self, path: str) -> bool:
        """Whether a file is what was written."""
        if path not in self.checked:
            self.checked[path] = check_file(self._files, path, self._checksum(path))
        return not self.checked[path].problem


def inventory(
    files: WarehouseIO,
    location: str,
    contents: Contents | None,
    checksum: Callable[[str], Checksum | None],
    allow: Allow | None = None,
) -> Inventory:
    """What the table whose metadata file is at `location` consists of.

    `allow` is told how many bytes and files of the metadata are about to be read, and may refuse.

    `contents` are the objects of each file where a side file tells them; for others the manifest
    does, if there is one object only. `BadLake` when metadata that is what was written, or has no
    checksum, cannot be followed.
    """
    seen = _Metadata(files, checksum, allow)
    seen.ask({location: seen.size(location)})
    if not seen.sound(location):
        return Inventory(seen.checked, (), None)
    metadata = load_metadata(files, location)
    seen.ask({s.manifest_list: seen.size(s.manifest_list) for s in metadata.snapshots})
    found: dict[str, Listed] = {}
    current = metadata.current_snapshot_id
    whole = True
    for snapshot in sorted(metadata.snapshots, key=lambda s: s.snapshot_id != current):
        manifests = manifests_of(files, snapshot) if seen.sound(snapshot.manifest_list) else ()
        seen.ask({each.manifest_path: each.manifest_length for each in manifests})
        for manifest in manifests:
            if manifest.manifest_path in seen.checked or not seen.sound(manifest.manifest_path):
                continue
            for file in manifest_files(files, manifest):
                inside = [source for source, _ in (contents or {}).get(file.file_path, ())]
                source = source_of(metadata.schema(), file)
                sources = tuple(inside or ([source] if source else []))
                size, rows = file.file_size_in_bytes, file.record_count
                live = snapshot.snapshot_id == current
                found.setdefault(file.file_path, Listed(file.file_path, size, rows, sources, live))
        whole = whole and not any(each.problem for each in seen.checked.values())
    return Inventory(seen.checked, tuple(found.values()), _rows(metadata) if whole else None)


def _rows(metadata: TableMetadata) -> int | None:
    snapshot = metadata.current_snapshot()
    summary = snapshot.summary if snapshot else None
    total = summary.additional_properties.get("total-records") if summary else None
    return None if total is None else int(total)


def check_data(files: WarehouseIO, file: Listed | DataFile, checksum: Checksum | None) -> Checked:
    """Hold a data file against its checksum, its own page CRCs and the manifest's rows."""
    found = Checked(verified=checksum is not None)
    try:
        there = files.size(file.path)
        if there != file.size_bytes:
            found.fail(f"{there} bytes, the manifest says {file.size_bytes}")
        layout = _layout(files, file.path, there, file.rows, found)
        with files.stream(file.path) as opened:
            stream = _Stream(opened)
            if layout is not None:
                _check_pages(stream, layout, found)
            _compare(stream, checksum, found)
    except (NotFound, FileNotFoundError):
        found.problem = MISSING
    return found


def _compare(stream: _Stream, checksum: Checksum | None, found: Checked) -> None:
    digest = stream.finish()
    found.bytes_read += stream.read
    if checksum is None:
        return
    if stream.read != checksum.size_bytes:
        found.fail(f"{stream.read} bytes, {checksum.size_bytes} were written")
    elif digest != checksum.sha256:
        found.fail("its sha256 is not that of what was written")


def _layout(
    files: WarehouseIO, path: str, size_bytes: int, rows: int, found: Checked
) -> FileFooter | None:
    try:
        footer = _parquet_thrift.footer(footer_bytes(files, path, size_bytes)[:-8])
    except (ValueError, BadLake) as error:
        found.fail(f"footer: {error.what if isinstance(error, BadLake) else error}")
        return None
    if footer.rows != rows:
        found.fail(f"{footer.rows} rows, the manifest says {rows}")
    return footer


def _check_pages(stream: _Stream, footer: FileFooter, found: Checked) -> None:
    """Every page of every column chunk, in the order of the file."""
    for number, group, column in _parquet_thrift.in_file_order(footer):
        where = f"row group {number}, column {column.path}"
        try:
            stream.skip_to(column.offset)
            _check_chunk(stream, group, column, column.path in footer.flat)
        except ValueError as error:
            found.fail(f"{where}: {error}")
            if stream.at > column.offset + column.length:
                return


def _check_chunk(stream: _Stream, group: Group, column: Column, flat: bool) -> None:
    end = column.offset + column.length
    values = page_number = 0
    while stream.at < end:
        at = stream.at
        page = _parquet_thrift.page(stream.peek(min(HEADER_BYTES, end - at)), 0)
        if page.header_length + page.length > end - at:
            raise ValueError(f"page {page_number} at byte {at} is longer than its column")
        for _ in stream.take(page.header_length):
            pass
        crc = 0
        for piece in stream.take(page.length):
            crc = crc32(piece, crc)
        if page.crc is not None and crc != page.crc:
            raise ValueError(f"page {page_number} at byte {at} has another CRC")
        values += page.values
        page_number += 1
    if values != column.values:
        raise ValueError(f"{values} values in its pages, the footer says {column.values}")
    if flat and values != group.rows:
        raise ValueError(f"{values} values, its row group has {group.rows} rows")
