"""What one snapshot of a table holds: its columns, files, row groups and column chunks.

Light on purpose: a read of an unchanged snapshot must import neither PyIceberg nor pyarrow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


class Chunk(NamedTuple):
    """One column chunk: a leaf column's bytes within one row group of one file.

    `column` is the top-level column, `path` its dotted Parquet path (`het.list.element`).
    The chunk lies at `offset` (dictionary page included), `length` compressed bytes long.
    """

    column: str
    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class RowGroup:
    """One row group: its rows and its column chunks in file order."""

    rows: int
    chunks: tuple[Chunk, ...]


class Leaf(NamedTuple):
    """One leaf column of a file: its top-level column and its dotted Parquet path."""

    column: str
    path: str


class Bounds(NamedTuple):
    """What a footer says of the values of one column chunk.

    `low` and `high` are values that occur, None where the footer has none: numbers as stored
    (microseconds and days since 1970 for times, decimals without their point), text, booleans.
    `nulls` is -1 where unknown.
    """

    low: int | float | str | bool | None
    high: int | float | str | bool | None
    nulls: int
    all_null: bool = False


@dataclass(frozen=True)
class Footer:
    """The layout of one Parquet file, packed: made into `RowGroup`s only when asked.

    `rows` has one number per row group; `offsets`, `lengths` and, where they are known, `bounds`
    have one entry per row group and leaf, row group by row group. `size_bytes` is the footer's own
    length with its 8 last bytes, 0 where it is not known. `crc32s` are those of the column chunks,
    in the same order, and `footer_crc32` that of the footer; empty and None where nothing was kept.
    """

    leaves: tuple[Leaf, ...]
    rows: Sequence[int]
    offsets: Sequence[int]
    lengths: Sequence[int]
    bounds: Sequence[Bounds | None] = ()
    size_bytes: int = 0
    crc32s: Sequence[int] = ()
    footer_crc32: int | None = None

    def row_groups(self) -> tuple[RowGroup, ...]:
        """The row groups in file order."""
        width = len(self.leaves)
        groups = []
        for number, rows in enumerate(self.rows):
            part = slice(number * width, (number + 1) * width)
            columns = zip(self.leaves, self.offsets[part], self.lengths[part], strict=True)
            chunks = tuple(Chunk(leaf.column, leaf.path, at, size) for leaf, at, size in columns)
            groups.append(RowGroup(rows, chunks))
        return tuple(groups)

    def column_bytes(self, columns: Collection[str] | None = None) -> int:
        """Compressed bytes of the named top-level columns, or of all, over all row groups."""
        if columns is None:
            return sum(self.lengths)
        wanted = frozenset(columns)
        width = len(self.leaves)
        return sum(
            sum(self.lengths[index::width])
            for index, leaf in enumerate(self.leaves)
            if leaf.column in wanted
        )


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a snapshot.

    `path` is absolute: a local path, or an s3:// URI. `partition` holds the values of the table's
    partition columns by name. `source` is the object whose rows the file holds, or None where it
    holds rows of several: then `members` has each of them with its rows, and is empty only for a
    file that another tool wrote. `order` is what a compacted file is sorted by, else empty.
    """

    path: str
    size_bytes: int
    rows: int
    footer: Footer = field(repr=False, compare=False)
    partition: tuple[tuple[str, str | None], ...] = ()
    source: str | None = None
    members: tuple[tuple[str, int], ...] = ()
    order: str = ""

    @property
    def contents(self) -> tuple[tuple[str, int], ...]:
        """The objects whose rows the file holds, each with the number of them."""
        return self.members if self.source is None else ((self.source, self.rows),)

    @cached_property
    def row_groups(self) -> tuple[RowGroup, ...]:
        """The row groups in file order."""
        return self.footer.row_groups()


class SnapshotColumn(NamedTuple):
    """One top-level column: its Iceberg field id, its name and its DuckDB type."""

    field_id: int
    name: str
    duckdb_type: str


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """A table as of one snapshot: `files` hold its rows, in the order they were added.

    `committed_at` is UTC. A column that a file lacks is NULL in all its rows: match columns to
    files by `field_id`, never by name.
    """

    name: str
    snapshot_id: int
    committed_at: datetime
    columns: tuple[SnapshotColumn, ...]
    files: Sequence[DataFile]

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, footers included."""
        known: int | None = getattr(self.files, "size_bytes", None)
        return sum(file.size_bytes for file in self.files) if known is None else known


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """One line of a table's history; `committed_at` is UTC, totals are those after the commit."""

    snapshot_id: int
    committed_at: datetime
    operation: str
    rows: int
    files: int
    size_bytes: int
