"""The writer of one Parquet file of a table, with its checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

from lakeq.lake import geoparquet
from lakeq.lake.columns import leaves
from lakeq.lake.inside import ORDER_KEY, SOURCES_KEY, chunk_start
from lakeq.lake.io import WarehouseIO, is_s3, sync
from lakeq.lake.layout import (
    aligned,
    file_bytes,
    first_change,
    in_slices,
    layout,
    least_rows,
    row_group_rows,
    smallest_rows,
)
from lakeq.lake.pages import PageWriter
from lakeq.lake.pointers import Checksum, os_error
from lakeq.types import stands_for

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakeq.catalog import Table
    from lakeq.lake.session import Session

ROW_GROUP_BYTES = 16 << 20  # compressed; DESIGN: 10 to 40 MB
BUFFER_BYTES = 192 << 20  # of Arrow memory in one writer before a row group is written anyway
MERGED_ZSTD_LEVEL = 6  # of compacted files at least: written once, read often; 2.5 % less than 3
_VALUE_BYTES = 8  # of a page: our own writer cuts pages by values
OF_PARTS = re.compile(r"parts-[0-9a-f]{16}/[0-9]+-[0-9]+/")  # where workers write; lake/parts.py
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
    """Makes the new data files of one table, below its `location`.

    `folder` is one below the table's data for files of which another process tells the committer.
    """

    table: Table
    schema: pa.Schema
    location: str
    files: WarehouseIO
    session: Session
    folder: str = ""

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
        path = "/".join(filter(None, [self.location, "data", self.folder, *folders, name]))
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
        cuts: Cuts | None = None,
    ) -> FileWriter:
        """A new file for rows of several objects, whose batches have `_source` as last column.

        It lies in `folder`, below the table's data; `schema` where the file lacks newer columns;
        `number` orders the files of one commit, which share the `cuts` between their row groups.
        """
        name = f"{number:05d}-{_slug(stem)}-{os.urandom(8).hex()}.parquet"
        path = "/".join(filter(None, [self.location, "data", folder, name]))
        self.session.record(path)
        scratch = self.session.scratch
        schema = self.schema if schema is None else schema
        return FileWriter(self.table, schema, path, None, self.files, scratch, order, cuts)

    def folder_of(self, path: str) -> str:
        """The folder of a data file below the table's data, as `merged` takes it."""
        inner = path.removeprefix(f"{self.location}/data/")
        return OF_PARTS.sub("", inner).rpartition("/")[0] if inner != path else ""


def _slug(text: str) -> str:
    """The letters and digits of `text`: safe in any path, URI and glob."""
    return _UNSAFE.sub("-", text)[:48].strip("-") or "x"


class Cuts:
    """How many rows each row group is to have, in turn, over the files that they are written to."""

    def __init__(self, rows: Iterable[int]) -> None:
        self._rows = iter(rows)
        self.left = next(self._rows, 0)  # rows until the next cut; 0: none is wanted any more

    def passed(self, rows: int) -> None:
        """So many rows are written."""
        self.left -= min(rows, self.left)
        if not self.left:
            self.left = next(self._rows, 0)


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
        cuts: Cuts | None = None,
    ) -> None:
        self._table = table
        self._schema = schema
        self._path = path
        self._source = source
        self._files = files
        self._order = order
        self._cuts = cuts
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
        self._smallest_rows = sys.maxsize if source is None else smallest_rows(table)
        self._leaves = leaves(  # None: pyarrow's writer is needed
            schema,
            layout(table, schema),
            aligned(table, schema),
            smallest=self._smallest_rows > 0,
        )
        self._writer: PageWriter | pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Add rows; a row group is written when enough are there.

        Raises `StorageUnavailable` when the disk is full.
        """
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        self.pending_bytes += batch.nbytes
        while self._pending_rows >= self._most_rows():
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
        pending = _joined(self._pending)
        count = self._rows_of_group(pending)
        rows, rest = pending.slice(0, count), pending.slice(count)
        self._write_group(rows)
        if self._cuts is not None:
            self._cuts.passed(rows.num_rows)
        self._pending = rest.to_batches()
        self._pending_rows = rest.num_rows
        self.pending_bytes = rest.nbytes

    def _most_rows(self) -> int:
        """So many pending rows make a row group."""
        cut = 0 if self._cuts is None else self._cuts.left
        return cut or self._limit + self._least

    def _rows_of_group(self, pending: pa.Table) -> int:
        """How many of the pending rows make the next row group.

        Where names are slices it ends with the rows of a name, as soon as it has the least
        number, unless one name alone fills it.
        """
        if self._cuts is not None and self._cuts.left:
            return self._cuts.left
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
                if self._source is None:
                    level = max(level, MERGED_ZSTD_LEVEL)
                self._writer = PageWriter(
                    self._sink, self._leaves, level, size // _VALUE_BYTES, self._smallest_rows
                )
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


def _joined(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """The batches as one table; whole numbers take the room that the widest of them need."""
    import pyarrow as pa

    if all(batch.schema.equals(batches[0].schema) for batch in batches):
        return pa.Table.from_batches(batches)
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    return pa.concat_tables(tables, promote_options="permissive")


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
            file.seek(chunk_start(column))
            sums.append(fast_crc32(file.read(column.total_compressed_size)))
    return tuple(sums)


def _notes(members: Sequence[tuple[str, int]], order: str) -> dict[str, str]:
    """What the footer of a file with the rows of several objects says of it."""
    notes = {SOURCES_KEY: json.dumps(members, separators=(",", ":"), ensure_ascii=False)}
    return notes | ({ORDER_KEY: order} if order else {})
