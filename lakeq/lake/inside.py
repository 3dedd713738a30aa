"""What the footer of a Parquet file of a table tells: its layout, bounds, objects and order."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from lakeq import _packed_files as packing
from lakeq import _parquet_thrift
from lakeq.errors import BadLake
from lakeq.lake.io import WarehouseIO
from lakeq.lake.pointers import Checksum
from lakeq.snapshot import Bounds, DataFile, Footer, Leaf

if TYPE_CHECKING:
    import pyarrow.parquet as pq

FOOTER_GUESS_BYTES = 64 << 10
MAX_FOOTER_BYTES = 64 << 20  # SAFETY.md, T5
DAMAGED_HINT = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
SOURCES_KEY = "lakeq.sources"  # in a footer: JSON [[object, rows], ...]
ORDER_KEY = "lakeq.order"  # in a footer: what the rows are sorted by
_WHOLE = frozenset({"NONE", "INT", "DATE", "TIMESTAMP", "DECIMAL"})  # stored as whole numbers


def members_of(metadata: pq.FileMetaData) -> tuple[tuple[str, int], ...]:
    """The objects that a file's footer names, with their rows; none when it names none."""
    return members_in((metadata.metadata or {}).get(SOURCES_KEY.encode(), b""))


def members_in(text: str | bytes) -> tuple[tuple[str, int], ...]:
    """The objects that a note of a footer names, with their rows."""
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
    offsets = [chunk_start(chunk) for chunk in chunks]
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


class BoundKind(NamedTuple):
    """How bounds of a leaf are kept (a kind of `_packed_files`) and stored (a type of numpy)."""

    kind: int
    stored: str


NO_KIND = BoundKind(packing.NO_BOUND, "")
_STORED = {"INT32": "<i4", "INT64": "<i8", "FLOAT": "<f4", "DOUBLE": "<f8", "BOOLEAN": "u1"}


def bound_kinds(tail: bytes) -> list[BoundKind]:
    """For each leaf of a file how its bounds become what `Footer.bounds` has.

    `tail` is the file's footer with length and magic.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pq.read_metadata(pa.BufferReader(b"PAR1" + tail)).schema
    return [_bound_kind(schema.column(number)) for number in range(len(schema))]


def _bound_kind(column: Any) -> BoundKind:
    reader = _bound_reader(column)
    kinds = {
        _text: packing.TEXT,
        _real: packing.REAL,
        int: packing.NUMBER,
        bool: packing.TRUTH,
    }
    if reader is None:
        return NO_KIND
    return BoundKind(kinds[reader], _STORED.get(column.physical_type, ""))


def _text(raw: bytes | str) -> str | None:
    try:
        return raw.decode() if isinstance(raw, bytes) else raw
    except UnicodeDecodeError:
        return None


def _real(raw: float) -> float | None:
    """A bound that is not a number orders nothing."""
    return float(raw) if raw == raw else None  # noqa: PLR0124  # how a NaN shows


def chunk_start(chunk: Any) -> int:
    """Where a column chunk begins, its dictionary page included."""
    dictionary = chunk.dictionary_page_offset
    return int(chunk.data_page_offset if dictionary is None else dictionary)


class Inside(NamedTuple):
    """What a data file's footer tells: its layout, its objects if several, what it is sorted by."""

    footer: Footer
    members: tuple[tuple[str, int], ...]
    order: str


def with_inside(file: DataFile, inside: Inside) -> DataFile:
    """`file` with what its footer tells; its one object is told by the manifest."""
    members = () if file.source is not None else inside.members
    return replace(file, footer=inside.footer, members=members, order=inside.order)


def read_inside(
    files: WarehouseIO, path: str, size_bytes: int, checksum: Checksum | None = None
) -> Inside:
    """The footer of one data file, from its last bytes; `BadLake` when it is damaged."""
    return inside_in(footer_bytes(files, path, size_bytes), path, size_bytes, checksum)


def inside_in(tail: bytes, path: str, size_bytes: int, checksum: Checksum | None = None) -> Inside:
    """What the footer `tail` tells, with its length and magic; `BadLake` when it is damaged.

    pyarrow, which is three times as fast, ends the process on some damaged footers, so it is given
    only those whose checksum is right; a footer without one is read by our own reader.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if checksum is not None:
        if crc32(tail) != checksum.footer_crc32:
            raise BadLake("the footer of a data file is not what was written", path, DAMAGED_HINT)
        metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + tail))
        return inside_of(metadata, size_bytes, checksum)
    try:
        found = _parquet_thrift.footer(tail[:-8])
    except ValueError as error:
        raise BadLake(f"a data file is damaged: {error}", path, DAMAGED_HINT) from error
    members = members_in(found.notes.get(SOURCES_KEY, ""))
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


def footer_bytes(
    files: WarehouseIO, path: str, size_bytes: int, guess_bytes: int = FOOTER_GUESS_BYTES
) -> bytes:
    """The footer with its length and magic; `BadLake` when the file does not end in one.

    One that is longer than `guess_bytes` takes a second read.
    """
    tail = files.read_tail(path, size_bytes, guess_bytes)
    needed = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or needed > min(size_bytes, MAX_FOOTER_BYTES):
        raise BadLake("a data file is not Parquet", path, DAMAGED_HINT)
    if needed > len(tail):
        tail = files.read_tail(path, size_bytes, needed)
    return tail[-needed:]
