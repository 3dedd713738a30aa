"""The writer of one Parquet file of a table, with its checksums, and the reader of footers."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from lakeq import _parquet_thrift
from lakeq.errors import BadLake
from lakeq.lake import geoparquet
from lakeq.lake.columns import leaves
from lakeq.lake.io import WarehouseIO, is_s3, sync
from lakeq.lake.layout import (
    aligned,
    file_bytes,
    first_change,
    in_slices,
    layout,
    least_rows,
    row_group_rows,
)
from lakeq.lake.pages import PageWriter
from lakeq.lake.pointers import Checksum, os_error
from lakeq.snapshot import Bounds, Footer, Leaf
from lakeq.types import stands_for

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakeq.catalog import Table
    from lakeq.lake.session import Session

ROW_GROUP_BYTES = 16 << 20  # compressed; DESIGN: 10 to 40 MB
BUFFER_BYTES = 192 << 20  # of Arrow memory in one writer before a row group is written anyway
_VALUE_BYTES = 8  # of a page: our own writer cuts pages by values
FOOTER_GUESS_BYTES = 64 << 10
MAX_FOOTER_BYTES = 64 << 20  # SAFETY.md, T5
DAMAGED_HINT = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
SOURCES_KEY = "lakeq.sources"  # in a footer: JSON [[object, rows], ...]
ORDER_KEY = "lakeq.order"  # in a footer: what the rows are sorted by
_WHOLE = frozenset({"NONE", "INT", "DATE", "TIMESTAMP", "DECIMAL"})  # stored as whole numbers
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class NewFile:
    """A finished data file that no snapshot names yet.

    `members` are the objects that its rows come from, each with the number of its rows; `order`
    is what a compacted file is sorted by, else empty.
    """

    path: str
    members: tuple[tuple[str, int], ...]
    size_bytes: int
    metadata: pq.FileMetaData
    order: str = ""
    checksum: Checksum | None = None

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return int(self.metadata.num_rows)


@dataclass(frozen=True, slots=True)
class TableWriter:
    """Makes the new data files of one table, below its `location`."""

    table: Table
    schema: pa.Schema
    location: str
    files: WarehouseIO
    session: Session

    def open(self, source: str, partition: Sequence[str], number: int) -> FileWriter:
        """A new file for rows of one object and one partition value.

        `number` orders the files of one ingest. The name is for the eye: what a file holds is
        written in the manifest.
        """
        folders = [
            f"{_slug(column)}-{_slug(value)}"
            for column, value in zip(self.table.partition_by, partition, strict=True)
        ]
        stem = _slug(source.rpartition("/")[2].partition(".")[0])
        name = f"{number:05d}-{stem}-{os.urandom(8).hex()}.parquet"
        path = "/".join([self.location, "data", *folders, name])
        self.session.record(path)
        scratch = self.session.scratch
        return FileWriter(self.table, self.schema, path, source, self.files, scratch)

    def merged(
        self,
        folder: str,
        stem: str,
        order: str = "",
        schema: pa.Schema | None = None,
        number: int = 0,
    ) -> FileWriter:
        """A new file for rows of several objects, whose batches have `_source` as last column.

        It lies in `folder`, below the table's data; `schema` where the file lacks newer columns;
        `number` orders the files of one commit.
        """
        name = f"{number:05d}-{_slug(stem)}-{os.urandom(8).hex()}.parquet"
        path = "/".join(filter(None, [self.location, "data", folder, name]))
        self.session.record(path)
        scratch = self.session.scratch
        schema = self.schema if schema is None else schema
        return FileWriter(self.table, schema, path, None, self.files, scratch, order)

    def folder_of(self, path: str) -> str:
        """The folder of a data file below the table's data, as `merged` takes it."""
        inner = path.removeprefix(f"{self.location}/data/")
        return inner.rpartition("/")[0] if inner != path else ""


def _slug(text: str) -> str:
    """The letters and digits of `text`: safe in any path, URI and glob."""
    return _UNSAFE.sub("-", text)[:48].strip("-") or "x"


class FileWriter:
    """Writes the rows of one object and one partition value of one table into one file.

    Batches have the catalog's columns; `_source` is added here, unless `source` is None: then the
    batches bring it, and the file's footer names the objects. A local file is written where it
    stays, one for S3 in `scratch` first. Nothing refers to the file before a commit does.
    """

    def __init__(
        self,
        table: Table,
        schema: pa.Schema,
        path: str,
        source: str | None,
        files: WarehouseIO,
        scratch: Path,
        order: str = "",
    ) -> None:
        self._table = table
        self._schema = schema
        self._path = path
        self._source = source
        self._files = files
        self._order = order
        self._members: Counter[str] = Counter()
        self._local = scratch / f"{uuid.uuid4()}.parquet" if is_s3(path) else Path(path)
        self._limit = row_group_rows(table)
        self._slices = table.sort_by[0] if in_slices(table) else ""
        self._least = least_rows(table)
        self._buffer_bytes = int(table.options.get("buffer_bytes", BUFFER_BYTES))
        self._file_bytes = file_bytes(table)
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = 0
        self.pending_bytes = 0
        self._bytes_per_row = 0.0  # compressed, of the row groups written so far
        self._written_rows = 0
        self._written_bytes = 0
        self._leaves = leaves(
            schema, layout(table, schema), aligned(table, schema)
        )  # None: pyarrow's writer is needed
        self._writer: PageWriter | pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; a row group is written when enough are there.

        Raises `StorageUnavailable` when the disk is full.
        """
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.pending_bytes += batch.nbytes
        while self._pending_rows >= self._limit + self._least:
            self.flush()
        if self.pending_bytes >= self._buffer_bytes or self._expected_bytes() >= ROW_GROUP_BYTES:
            self.flush()

    @property
    def full(self) -> bool:
        """Whether the next rows belong in another file."""
        return self._written_bytes > self._file_bytes

    def _expected_bytes(self) -> float:
        return self._bytes_per_row * self._pending_rows

    def flush(self) -> None:
        """Write a row group of what is pending: as many rows as belong in one."""
        if not self._pending_rows:
            return
        import pyarrow as pa

        pending = pa.Table.from_batches(self._pending)
        count = self._rows_of_group(pending)
        rows, rest = pending.slice(0, count), pending.slice(count)
        self._write_group(rows)
        self._pending = rest.to_batches()
        self._pending_rows = rest.num_rows
        self.pending_bytes = rest.nbytes

    def _rows_of_group(self, pending: pa.Table) -> int:
        """How many of the pending rows make the next row group.

        Where names are slices it ends with the rows of a name, as soon as it has the least
        number, unless one name alone fills it.
        """
        if self._slices:
            most = self._limit + self._least
            found = first_change(pending[self._slices], self._least, most)
            if found or pending.num_rows <= most:
                return found or pending.num_rows
        return self._limit

    def _write_group(self, rows: pa.Table) -> None:
        import pyarrow as pa

        columns = [*rows.columns]
        if self._source is None:
            self._count(columns[-1])
        else:
            columns.append(_repeated(self._source, rows.num_rows))
            self._members[self._source] += rows.num_rows
        if self._leaves is None:  # pyarrow writes what it is given
            columns = [
                part if pa.types.is_dictionary(part.type) else part.cast(field.type)
                for field, part in zip(self._schema, columns, strict=True)
            ]
        try:
            group = pa.Table.from_arrays(columns, schema=self._typed(columns))
            self._writer_of(group.schema).write_table(group, row_group_size=max(1, rows.num_rows))
            self._written_rows += group.num_rows
            self._written_bytes = self._sink.tell()
            self._bytes_per_row = self._written_bytes / self._written_rows
        except OSError as error:
            raise os_error(error, f"cannot write: {error}", self._path) from error

    def _count(self, sources: pa.ChunkedArray) -> None:
        for found in sources.value_counts().to_pylist():
            self._members[found["values"]] += found["counts"]

    @cached_property
    def _sink(self) -> Any:
        import pyarrow as pa

        try:
            self._local.parent.mkdir(parents=True, exist_ok=True)
            return pa.OSFile(str(self._local), "wb")
        except OSError as error:
            raise os_error(error, f"cannot write: {error}", self._local) from error

    def _typed(self, columns: Sequence[Any]) -> pa.Schema:
        """The file's schema, with narrower types where `columns` have them."""
        import pyarrow as pa

        return pa.schema(
            field.with_type(column.type) if stands_for(column.type, field.type) else field
            for field, column in zip(self._schema, columns, strict=True)
        )

    def _writer_of(self, schema: pa.Schema) -> PageWriter | pq.ParquetWriter:
        """The writer of the file, begun with its first batch."""
        if self._writer is None:
            arguments = layout(self._table, self._schema)
            if self._leaves is None:
                import pyarrow.parquet as pq

                self._writer = pq.ParquetWriter(self._sink, schema, **arguments)
            else:
                level, size = arguments["compression_level"], arguments["data_page_size"]
                self._writer = PageWriter(self._sink, self._leaves, level, size // _VALUE_BYTES)
        return self._writer

    def close(self) -> NewFile:
        """Finish the file: on the disk, or in S3, when this returns."""
        while self._pending_rows:
            self.flush()
        members = tuple(sorted(self._members.items()))
        writer = self._writer_of(self._schema)
        try:
            if self._source is None:
                writer.add_key_value_metadata(_notes(members, self._order))
            if geo := geoparquet.notes(self._table):
                writer.add_key_value_metadata(geo)
            writer.close()
            self._sink.close()
            with self._local.open("rb") as file:
                sync(file.fileno())
                checksum = checksum_of(file)
                checksum = checksum._replace(chunk_crc32s=_chunk_sums(file, self._metadata(writer)))
                if not is_s3(self._path):
                    written = os.fstat(file.fileno()).st_mtime_ns
                    checksum = checksum._replace(mtime_ns=written)
        except OSError as error:
            raise os_error(error, f"cannot write: {error}", self._path) from error
        metadata = self._metadata(writer)
        if is_s3(self._path):
            self._files.upload(self._local, self._path)
            self._local.unlink()
        size = checksum.size_bytes
        return NewFile(self._path, members, size, metadata, self._order, checksum)

    @staticmethod
    def _metadata(writer: PageWriter | pq.ParquetWriter) -> pq.FileMetaData:
        return writer.metadata if isinstance(writer, PageWriter) else writer.writer.metadata

    def abort(self) -> None:
        """Drop the file, however far it got."""
        self._pending = []
        self._pending_rows = self.pending_bytes = 0
        if "_sink" in self.__dict__:
            self._sink.close()
        self._local.unlink(missing_ok=True)


def _repeated(text: str, rows: int) -> pa.Array:
    """`text`, `rows` times; `pyarrow.repeat` would import pandas to look at it."""
    import pyarrow as pa

    data = text.encode()
    ends = len(data).to_bytes(4, sys.byteorder)
    buffers = [None, pa.py_buffer(bytes(4) + ends), pa.py_buffer(data)]
    values = pa.Array.from_buffers(pa.string(), 1, buffers)
    numbers = pa.Array.from_buffers(pa.int32(), rows, [None, pa.py_buffer(bytes(4 * rows))])
    return pa.DictionaryArray.from_arrays(numbers, values, safe=False)


def checksum_of(file: BufferedReader) -> Checksum:
    """The checksums of an open Parquet file."""
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 8))
    length = int.from_bytes(file.read(8)[:4], "little") + 8
    file.seek(max(0, size - length))
    return Checksum(size, digest, crc32(file.read(length)))


def _chunk_sums(file: BufferedReader, metadata: pq.FileMetaData) -> tuple[int, ...]:
    """The CRC-32 of each column chunk of a file that was just written."""
    from isal.isal_zlib import crc32 as fast_crc32

    sums = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in map(group.column, range(metadata.num_columns)):
            file.seek(_start(column))
            sums.append(fast_crc32(file.read(column.total_compressed_size)))
    return tuple(sums)


def _notes(members: Sequence[tuple[str, int]], order: str) -> dict[str, str]:
    """What the footer of a file with the rows of several objects says of it."""
    notes = {SOURCES_KEY: json.dumps(members, separators=(",", ":"), ensure_ascii=False)}
    return notes | ({ORDER_KEY: order} if order else {})


def members_of(metadata: pq.FileMetaData) -> tuple[tuple[str, int], ...]:
    """The objects that a file's footer names, with their rows; none when it names none."""
    return _members((metadata.metadata or {}).get(SOURCES_KEY.encode(), b""))


def _members(text: str | bytes) -> tuple[tuple[str, int], ...]:
    try:
        return tuple((str(source), int(rows)) for source, rows in json.loads(text or "[]"))
    except (ValueError, TypeError) as error:
        raise BadLake(f"a file's list of objects is damaged: {error}") from error


def order_of(metadata: pq.FileMetaData) -> str:
    """What a file's footer says it is sorted by; empty when it says nothing."""
    return bytes((metadata.metadata or {}).get(ORDER_KEY.encode(), b"")).decode()


def footer_of(metadata: pq.FileMetaData, size_bytes: int) -> Footer:
    """The layout that the Parquet footer of a file of `size_bytes` describes.

    The footer of a file just written does not know its own length: it is what follows the last
    column chunk, since lakeq writes nothing between.
    """
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    width = metadata.num_columns
    chunks = [group.column(number) for group in groups for number in range(width)]
    schema = [metadata.schema.column(number) for number in range(width)]
    readers = [_bound_reader(column) for column in schema] * len(groups)
    offsets = [_start(chunk) for chunk in chunks]
    lengths = [chunk.total_compressed_size for chunk in chunks]
    end = max((at + size for at, size in zip(offsets, lengths, strict=True)), default=4)
    return Footer(
        leaves=tuple(Leaf(column.path.partition(".")[0], column.path) for column in schema),
        rows=[group.num_rows for group in groups],
        offsets=offsets,
        lengths=lengths,
        bounds=[_bounds(chunk, read) for chunk, read in zip(chunks, readers, strict=True)],
        size_bytes=metadata.serialized_size + 8 if metadata.serialized_size else size_bytes - end,
    )


def _bounds(chunk: Any, read: Callable[[Any], Any] | None) -> Bounds | None:
    """What the footer says of the values of a chunk, if it says anything."""
    statistics = chunk.statistics if chunk.is_stats_set else None
    if statistics is None:
        return None
    nulls = int(statistics.null_count) if statistics.has_null_count else -1
    all_null = nulls == chunk.num_values
    if read is None or not statistics.has_min_max:
        return Bounds(None, None, nulls, all_null)
    low, high = read(statistics.min_raw), read(statistics.max_raw)
    if low is None or high is None:
        return Bounds(None, None, nulls, all_null)
    return Bounds(low, high, nulls, all_null)


def _bound_reader(column: Any) -> Callable[[Any], Any] | None:
    """How the bounds of a leaf become plain values; None where they would mislead or do not order.

    Values of lists are none of the list's own; decimals are numbers of their last digit.
    """
    kind, logical = column.physical_type, column.logical_type.type
    if column.max_repetition_level:
        return None
    if kind == "BYTE_ARRAY":
        return _text if logical == "STRING" else None
    if kind in ("FLOAT", "DOUBLE"):
        return _real
    if kind in ("INT32", "INT64") and logical in _WHOLE:
        return int
    return bool if kind == "BOOLEAN" else None


def _text(raw: bytes | str) -> str | None:
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        return None


def _real(raw: float) -> float | None:
    """A bound that is not a number orders nothing."""
    return float(raw) if raw == raw else None  # noqa: PLR0124  # how a NaN shows


def _start(chunk: Any) -> int:
    dictionary = chunk.dictionary_page_offset
    return int(chunk.data_page_offset if dictionary is None else dictionary)


class Inside(NamedTuple):
    """What a data file's footer tells: its layout, its objects if several, what it is sorted by."""

    footer: Footer
    members: tuple[tuple[str, int], ...]
    order: str


def read_inside(
    files: WarehouseIO, path: str, size_bytes: int, checksum: Checksum | None = None
) -> Inside:
    """The footer of one data file, from its last bytes; `BadLake` when it is damaged.

    pyarrow, which is three times as fast, ends the process on some damaged footers, so it is given
    only those whose checksum is right; a footer without one is read by our own reader.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tail = footer_bytes(files, path, size_bytes)
    if checksum is not None:
        if crc32(tail) != checksum.footer_crc32:
            raise BadLake("the footer of a data file is not what was written", path, DAMAGED_HINT)
        metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + tail))
        return inside_of(metadata, size_bytes, checksum)
    try:
        found = _parquet_thrift.footer(tail[:-8])
    except ValueError as error:
        raise BadLake(f"a data file is damaged: {error}", path, DAMAGED_HINT) from error
    members = _members(found.notes.get(SOURCES_KEY, ""))
    return Inside(_layout_of(found, len(tail)), members, found.notes.get(ORDER_KEY, ""))


def inside_of(
    metadata: pq.FileMetaData, size_bytes: int, checksum: Checksum | None = None
) -> Inside:
    """What a footer that pyarrow has read tells, of a file of `size_bytes`, with what was kept."""
    footer = footer_of(metadata, size_bytes)
    if checksum is not None and len(checksum.chunk_crc32s) == len(footer.lengths):
        crc32s, crc = checksum.chunk_crc32s, checksum.footer_crc32
        footer = replace(footer, crc32s=crc32s, footer_crc32=crc)
    return Inside(footer, members_of(metadata), order_of(metadata))


def _layout_of(found: _parquet_thrift.FileFooter, size_bytes: int) -> Footer:
    """The layout, without bounds: a footer that nothing vouches for prunes no row."""
    columns = [column for group in found.groups for column in group.columns]
    return Footer(
        leaves=tuple(Leaf(path.partition(".")[0], path) for path in found.leaves),
        rows=[group.rows for group in found.groups],
        offsets=[column.offset for column in columns],
        lengths=[column.length for column in columns],
        size_bytes=size_bytes,
    )


def read_metadata(
    files: WarehouseIO, path: str, size_bytes: int, checksum: Checksum | None = None
) -> pq.FileMetaData:
    """The whole footer of one data file, by pyarrow; `BadLake` when it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    read_inside(files, path, size_bytes, checksum)
    tail = footer_bytes(files, path, size_bytes)
    return pq.read_metadata(pa.BufferReader(b"PAR1" + tail))


def footer_bytes(files: WarehouseIO, path: str, size_bytes: int) -> bytes:
    """The footer with its length and magic; `BadLake` when the file does not end in one."""
    tail = files.read_tail(path, size_bytes, FOOTER_GUESS_BYTES)
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or needed > min(size_bytes, MAX_FOOTER_BYTES):
        raise BadLake("a data file is not Parquet", path, DAMAGED_HINT)
    if needed > len(tail):
        tail = files.read_tail(path, size_bytes, needed)
    return tail[-needed:]
