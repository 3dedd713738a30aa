"""The bytes of one scan of one file: which ranges DuckDB requests, and which of them for sure.

The rules are those of DuckDB 1.5.5 with `prefetch_all_parquet_files` on and its file cache off
(parquet_reader.cpp, `LoadMetadata` and `Scan`; thrift_tools.hpp, `ReadAheadBuffer`), and those of
the file system that serves it (`engines/_duckdb_files.py`):

- opening a file reads its end, 16,384 bytes or a thousandth of the file, or all of a longer footer;
- without filters, columns that make up more than 95 % of a row group read all of it at once;
- else each column is a range, and ranges up to 16,384 bytes apart become one; a column with a
  filter of its own stays apart;
- where a filter tests rows, ranges are read when a row first needs them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lakeq.snapshot import Footer

FOOTER_BYTES = 1 << 14
MAX_FOOTER_BYTES = 1 << 18
FOOTER_SHARE = 1000
GAP_BYTES = 1 << 14
WHOLE_GROUP_SHARE = 0.95
ATHENA_SMALL_BYTES = 3 << 20
ATHENA_GAP_BYTES = 1 << 20
ATHENA_BUFFER_BYTES = 8 << 20
ATHENA_FOOTER_BYTES = 48 << 10


class Interval(NamedTuple):
    """From what is surely read to what is read at the most."""

    low: int
    high: int

    def __add__(self, other: object) -> Interval:
        assert isinstance(other, Interval)
        return Interval(self.low + other.low, self.high + other.high)


class Cost(NamedTuple):
    """Bytes and requests of a part of a scan."""

    bytes: Interval
    requests: Interval

    def __add__(self, other: object) -> Cost:
        assert isinstance(other, Cost)
        return Cost(self.bytes + other.bytes, self.requests + other.requests)


NOTHING = Cost(Interval(0, 0), Interval(0, 0))


class Range(NamedTuple):
    """A column chunk that a row group's scan asks for; `tested` by a filter of its own."""

    offset: int
    length: int
    tested: bool = False


def footer(size_bytes: int, footer_bytes: int) -> Cost:
    """What opening a file takes; a footer of unknown length (0) is taken for a short one."""
    share = min(max(size_bytes // FOOTER_SHARE, FOOTER_BYTES), MAX_FOOTER_BYTES)
    first = min(max(1 << (share - 1).bit_length(), footer_bytes), size_bytes)
    return Cost(Interval(first, first), Interval(1, 1))


def span(footer_: Footer, group: int) -> int:
    """Bytes from the first of a row group's column chunks to the end of its last one."""
    width = len(footer_.leaves)
    part = slice(group * width, (group + 1) * width)
    starts, lengths = footer_.offsets[part], footer_.lengths[part]
    return max(map(sum, zip(starts, lengths, strict=True))) - min(starts)


def whole_group(wanted: Sequence[Range], span: int) -> bool:
    """Whether DuckDB would rather read all of a row group that no filter touches."""
    return sum(each.length for each in wanted) / span > WHOLE_GROUP_SHARE if span else False


def merged(wanted: Sequence[Range]) -> list[Range]:
    """The ranges that DuckDB requests for the column chunks `wanted`, in its order of columns.

    A chunk that is near to several ranges joins the first of them in the file.
    """
    heads: list[Range] = []
    for each in wanted:
        near = [] if each.tested else [n for n, head in enumerate(heads) if _near(head, each)]
        if not near:
            heads.append(each)
            continue
        number = min(near, key=lambda n: heads[n].offset)
        head = heads[number]
        start = min(head.offset, each.offset)
        end = max(head.offset + head.length, each.offset + each.length)
        heads[number] = Range(start, end - start)
    return heads


def _near(head: Range, each: Range) -> bool:
    return (
        not head.tested
        and each.offset <= head.offset + head.length + GAP_BYTES
        and head.offset <= each.offset + each.length + GAP_BYTES
    )


def athena_opened(size_bytes: int, footer_bytes: int) -> int:
    """Bytes that Athena reads of a file to open it; all of a small one (`ATHENA_SMALL_BYTES`)."""
    if size_bytes <= ATHENA_SMALL_BYTES:
        return size_bytes
    return ATHENA_FOOTER_BYTES + (footer_bytes if footer_bytes > ATHENA_FOOTER_BYTES else 0)


def athena_file(size_bytes: int, footer_bytes: int, wanted: Iterable[tuple[int, int]]) -> int:
    """Bytes that Athena reads of a file for the chunks `wanted`, as (offset, length).

    The rules are those of Trino's Parquet reader, which Athena's engine version 3 comes from:

    - a file of at most 3 MiB is read whole (parquet.small-file-threshold);
    - of others the last 48 KiB are read first, and a footer that is longer once more, whole
      (MetadataReader);
    - chunks of up to 8 MiB (parquet.max-buffer-size) that are at most 1 MiB apart
      (parquet.max-merge-distance) are read as one, with what lies between them, as long as all of
      it is at most 8 MiB; larger chunks are read by themselves (AbstractParquetDataSource).
    """
    total = athena_opened(size_bytes, footer_bytes)
    if size_bytes <= ATHENA_SMALL_BYTES:
        return total
    start = end = -1
    for offset, length in sorted(wanted):
        if length > ATHENA_BUFFER_BYTES:
            total += length
        elif end >= 0 and offset <= end + ATHENA_GAP_BYTES and _fits(start, end, offset + length):
            end = max(end, offset + length)
        else:
            total += end - start
            start, end = offset, offset + length
    return total + end - start


def _fits(start: int, end: int, new_end: int) -> bool:
    return max(end, new_end) - start <= ATHENA_BUFFER_BYTES
