"""Which files and row groups a query read, out of how many: byte ranges laid over the footers."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeq.snapshot import DataFile, TableSnapshot

Range = tuple[str, int, int]  # path, offset, length


@dataclass(frozen=True, slots=True)
class Usage:
    """What was read of a query's tables.

    A file counts as read when any byte of it was, its footer included; a row group when a byte of
    one of its column chunks was. `bytes_total` is the size of all files of the tables.
    """

    bytes_total: int
    files_read: int
    files_total: int
    row_groups_read: int
    row_groups_total: int


def usage(tables: Iterable[TableSnapshot], reads: Iterable[Range]) -> Usage:
    """What `reads` touched of `tables`; a file of two of the tables counts once."""
    files = {file.path: file for table in tables for file in table.files}
    ranges: dict[str, list[tuple[int, int]]] = {}
    for path, offset, length in reads:
        ranges.setdefault(path, []).append((offset, offset + length))
    return Usage(
        bytes_total=sum(file.size_bytes for file in files.values()),
        files_read=len(ranges.keys() & files.keys()),
        files_total=len(files),
        row_groups_read=_row_groups_read(files, ranges),
        row_groups_total=sum(len(file.footer.rows) for file in files.values()),
    )


def _row_groups_read(
    files: Mapping[str, DataFile], ranges: Mapping[str, list[tuple[int, int]]]
) -> int:
    """A read up to the end of a file is for its footer, however much it takes before that."""
    read = 0
    for path, taken in ranges.items():
        if path in files:
            size = files[path].size_bytes
            chunks = [(start, end) for start, end in taken if end < size]
            read += _touched(_row_group_spans(files[path]), chunks)
    return read


def _row_group_spans(file: DataFile) -> list[tuple[int, int]]:
    """First byte and end of each row group, in file order."""
    footer = file.footer
    width = len(footer.leaves)
    spans = []
    for number in range(len(footer.rows)):
        part = slice(number * width, (number + 1) * width)
        starts, lengths = footer.offsets[part], footer.lengths[part]
        spans.append((min(starts), max(map(sum, zip(starts, lengths, strict=True)))))
    return spans


def _touched(spans: list[tuple[int, int]], taken: list[tuple[int, int]]) -> int:
    """How many of the disjoint, ascending `spans` share a byte with any range of `taken`."""
    starts = [start for start, _ in spans]
    ends = [end for _, end in spans]
    touched: set[int] = set()
    for start, end in taken:
        touched.update(range(bisect_right(ends, start), bisect_left(starts, end)))
    return len(touched)
