"""Which partitions of a table are due to be compacted: those whose files are not sorted ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lakeq.lake.layout import file_bytes
from lakeq.maintain import order as order_of

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from lakeq.catalog import Table
    from lakeq.snapshot import DataFile, TableSnapshot

FooterOf = Callable[[str, int], "pq.FileMetaData"]


@dataclass(frozen=True, slots=True)
class Group:
    """The files of one partition."""

    partition: tuple[tuple[str, str | None], ...]
    files: tuple[DataFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the files."""
        return sum(file.size_bytes for file in self.files)


def due(snapshot: TableSnapshot, table: Table, footer_of: FooterOf) -> list[Group]:
    """The partitions to compact, the smallest first."""
    order = order_of.text(table)
    found = [group for group in groups(snapshot) if _is_due(group, table, order, footer_of)]
    return sorted(found, key=lambda group: (group.size_bytes, str(group.partition)))


def groups(snapshot: TableSnapshot) -> list[Group]:
    """The files of the snapshot by partition."""
    parted: dict[tuple[tuple[str, str | None], ...], list[DataFile]] = {}
    for file in snapshot.files:
        parted.setdefault(file.partition, []).append(file)
    return [Group(partition, tuple(files)) for partition, files in parted.items()]


def runs(group: Group, table: Table) -> list[tuple[DataFile, ...]]:
    """The files of a partition, in runs that follow each other in the first column of the order.

    Each run sorted by itself, one after the other, they are sorted: then as little as one object's
    rows is held at a time. All files are one run where the footers do not tell.
    """
    ranges = [_range(file, table) for file in group.files]
    known = [found for found in ranges if found is not None]
    if len(known) < len(ranges):
        return [group.files]
    found: list[list[DataFile]] = []
    last: Any = None
    for (low, high), file in sorted(zip(known, group.files, strict=True), key=lambda each: each[0]):
        if found and low <= last:
            found[-1].append(file)
            last = max(last, high)
        else:
            found.append([file])
            last = high
    return [tuple(files) for files in found]


def _range(file: DataFile, table: Table) -> tuple[Any, Any] | None:
    """The least and the greatest value of the first column of the order; None if not known.

    Whole numbers and text alone: other values have no one order in Python and in SQL.
    """
    footer = file.footer
    places = [n for n, leaf in enumerate(footer.leaves) if leaf.path in table.sort_by[:1]]
    if not places or not footer.rows or not footer.bounds:
        return None
    bounds = footer.bounds[places[0] :: len(footer.leaves)]
    if any(one is None or one.nulls or not isinstance(one.low, int | str) for one in bounds):
        return None
    lows, highs = [one.low for one in bounds if one], [one.high for one in bounds if one]
    if any(not isinstance(high, int | str) for high in highs):
        return None
    return min(lows), max(highs)  # type: ignore[type-var]  # of one column, so of one type


def _is_due(group: Group, table: Table, order: str, footer_of: FooterOf) -> bool:
    """Whether the files are not all sorted so, or are far more than their bytes need.

    One file as it was ingested is left when its row groups follow the order already.
    """
    files = group.files
    if all(file.order == order for file in files):
        return len(files) > 2 + 2 * (group.size_bytes // file_bytes(table))
    if len(files) > 1:
        return True
    return not _follows(footer_of(files[0].path, files[0].size_bytes), table)


def _follows(metadata: pq.FileMetaData, table: Table) -> bool:
    """Whether the row groups of a file do not overlap in the first column of the order."""
    if not table.sort_by:
        return True
    names = [metadata.schema.column(number).path for number in range(metadata.num_columns)]
    if table.sort_by[0] not in names:
        return True
    index = names.index(table.sort_by[0])
    ranges: list[Any] = [
        metadata.row_group(number).column(index).statistics
        for number in range(metadata.num_row_groups)
    ]
    if any(found is None or not found.has_min_max for found in ranges):
        return False
    return all(before.max <= after.min for before, after in pairwise(ranges))
