"""Scans over files: which files and row groups survive the filters, and what reading them takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from lakeq._packed_files import PackedFiles, kept
from lakeq.planner.filters import (
    Filter,
    Pass,
    asked,
    certain,
    duckdb_reads,
    judge,
    may_skip,
    parse,
)
from lakeq.planner.reads import (
    NOTHING,
    Cost,
    Interval,
    Range,
    athena_file,
    footer,
    merged,
    span,
    whole_group,
)
from lakeq.planner.tree import NO_COLUMN, Column, Scan
from lakeq.snapshot import Bounds, DataFile, Footer, Leaf, TableSnapshot

Fields = tuple[int, ...]
MANY_FILES = 1000  # from here on numpy takes less time than it takes to load


@dataclass(slots=True)
class ScanCost:
    """What one scan takes.

    `first` is the least that a first row takes. `columns` has the bytes of each column at most,
    `groups` the row groups that are read, by file.
    """

    files: Sequence[DataFile] = ()
    cost: Cost = NOTHING
    first: Cost = NOTHING
    athena: int = 0
    groups: int = 0
    columns: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where a scan's columns and filters are among the leaves of files of one layout.

    `wanted` has the leaf and whether a filter of its own tests it, in the order of the table, since
    DuckDB sees all columns of the view first and then drops those that no one needs;
    `asked` are the leaves that Athena takes: of structs the fields asked for, and no column that
    the table is partitioned by.
    """

    width: int
    wanted: tuple[tuple[int, bool], ...]
    asked: frozenset[int]
    places: Mapping[tuple[int, Fields], int]


class Scanner:
    """One scan of one table, file by file."""

    def __init__(self, scan: Scan, table: TableSnapshot) -> None:
        self.scan = scan
        self.table = table
        self.filters = {number: parse(node) for number, node in scan.filters.items()}
        self.above = _above(scan)
        self.testing = [n for n, f in self.filters.items() if not f.optional]
        self._layouts: dict[tuple[Leaf, ...], _Layout] = {}
        self._by_partition: dict[tuple[tuple[str, str | None], ...], bool] = {}

    @cached_property
    def constants(self) -> frozenset[str]:
        """The columns that every file is partitioned by: Athena has them from the manifests."""
        files = self.table.files
        if isinstance(files, PackedFiles):
            partitions = list(files.packed.partitions)
        else:
            partitions = list({file.partition for file in files})
        names = [frozenset(name for name, _ in partition) for partition in partitions]
        return frozenset.intersection(*names) if names else frozenset()

    def survivors(self) -> Sequence[DataFile]:
        """The files that may hold a row that passes, by partition values and bounds."""
        if not self.filters and not self.above:
            return self.table.files
        numbers = [n for n, file in enumerate(self.table.files) if self._survives(file)]
        return kept(self.table.files, numbers)

    def _survives(self, file: DataFile) -> bool:
        known = self._by_partition.get(file.partition)
        if known is None:
            known = self._by_partition[file.partition] = self.partition_survives(file.partition)
        if not known:
            return False
        if not file.footer.bounds:
            return True
        groups = range(len(file.footer.rows))
        return any(self._may_match(file.footer, number) for number in groups)

    def partition_survives(self, partition: tuple[tuple[str, str | None], ...]) -> bool:
        """Whether files of a partition may hold a row that passes."""
        values = dict(partition)
        for number, filter_ in (*self.filters.items(), *self.above):
            column = self.table.columns[number]
            if column.name not in values or column.duckdb_type != "VARCHAR":
                continue
            value = values[column.name]
            bounds = Bounds(value, value, 0 if value is not None else -1, value is None)
            if judge(filter_, _only(bounds)) is Pass.NONE:
                return False
        return True

    def _may_match(self, footer_: Footer, group: int) -> bool:
        return not any(
            judge(filter_, self._lookup(footer_, group, number)) is Pass.NONE
            for number, filter_ in (*self.filters.items(), *self.above)
        )

    def _lookup(
        self, footer_: Footer, group: int, number: int
    ) -> Callable[[Fields], Bounds | None]:
        layout = self.layout(footer_.leaves)

        def bounds_of(fields: Fields) -> Bounds | None:
            place = layout.places.get((number, fields))
            if place is None or not footer_.bounds:
                return None
            return footer_.bounds[group * layout.width + place]

        return bounds_of

    def layout(self, leaves: tuple[Leaf, ...]) -> _Layout:
        """Where the scan's columns are in files that have these leaves."""
        found = self._layouts.get(leaves)
        if found is None:
            found = self._layouts[leaves] = self._new_layout(leaves)
        return found

    def _new_layout(self, leaves: tuple[Leaf, ...]) -> _Layout:
        by_column: dict[str, list[int]] = {}
        for index, leaf in enumerate(leaves):
            by_column.setdefault(leaf.column, []).append(index)
        wanted: dict[int, bool] = {}
        asked: set[int] = set()
        for column in sorted(self.scan.columns, key=lambda column: column.number):
            described = self.table.columns[column.number]
            indexes = by_column.get(described.name, ())
            wanted.update(dict.fromkeys(indexes, column.number in self.testing))
            if described.name not in self.constants:
                asked.update(self._asked(column, leaves, indexes))
        return _Layout(
            width=len(leaves),
            wanted=tuple(wanted.items()),
            asked=frozenset(asked),
            places=self._places(leaves),
        )

    def _asked(
        self, column: Column, leaves: Sequence[Leaf], indexes: Sequence[int]
    ) -> Iterator[int]:
        type_ = self.table.columns[column.number].duckdb_type
        name = self.table.columns[column.number].name
        paths = [struct_path(name, type_, fields) for fields in column.fields]
        for index in indexes:
            path = leaves[index].path
            if not paths or any(p is None or f"{path}.".startswith(f"{p}.") for p in paths):
                yield index

    def _places(self, leaves: Sequence[Leaf]) -> dict[tuple[int, Fields], int]:
        """The leaf of each filter's value: only of columns and struct fields that are no lists."""
        by_path = {leaf.path: index for index, leaf in enumerate(leaves)}
        places = {}
        for number, filter_ in (*self.filters.items(), *self.above):
            column = self.table.columns[number]
            for fields in _fields_of(filter_):
                path = struct_path(column.name, column.duckdb_type, fields)
                if path in by_path:
                    places[number, fields] = by_path[path]
        return places

    def run(self, files: Sequence[DataFile], survivors: Sequence[DataFile]) -> ScanCost:
        """What the scan takes when the engine is given `files`, of which it may need `survivors`.

        The footers of all of them are read; row groups only of survivors, since DuckDB skips by
        the same bounds.
        """
        found = ScanCost(files=survivors)
        names = [column.name for column in self.table.columns]
        found.columns = {names[c.number]: 0 for c in self.scan.columns}
        opened, alive = NOTHING, {file.path for file in survivors}
        for file in files:
            cost = footer(file.size_bytes, file.footer.size_bytes)
            opened += cost
            if not found.groups:
                found.first = cost
            groups = [n for n in range(len(file.footer.rows)) if self._is_read(file.footer, n)]
            ranges = self._add(found, file, groups, cost)
            if file.path in alive:
                found.athena += athena_file(file.size_bytes, file.footer.size_bytes, ranges)
        found.cost += opened
        if self.scan.late or self.scan.repeated:
            found.cost = more(found.cost, self.scan, files)
        return found

    def _is_read(self, footer_: Footer, group: int) -> bool:
        return all(
            duckdb_reads(filter_, self._lookup(footer_, group, number))
            for number, filter_ in self.filters.items()
        )

    def _add(
        self, found: ScanCost, file: DataFile, groups: Sequence[int], opened: Cost
    ) -> list[tuple[int, int]]:
        """Add what the row groups take; the chunks that Athena wants of them."""
        layout = self.layout(file.footer.leaves)
        ranges: list[tuple[int, int]] = []
        for number in groups:
            cost = self._group(file.footer, number, layout)
            least = opened + cost
            if not found.groups or least.bytes.low < found.first.bytes.low:
                found.first = least
            found.groups += 1
            found.cost += cost
            start, wanted = number * layout.width, self._may_match(file.footer, number)
            for index, _ in layout.wanted:
                length = file.footer.lengths[start + index]
                found.columns[file.footer.leaves[index].column] += length
                if index in layout.asked and wanted:
                    ranges.append((file.footer.offsets[start + index], length))
        return ranges

    def _may_be_skipped(self, footer_: Footer, group: int) -> bool:
        return any(
            may_skip(filter_, self._lookup(footer_, group, number))
            for number, filter_ in self.filters.items()
        )

    def _group(self, footer_: Footer, number: int, layout: _Layout) -> Cost:
        """What one row group takes, from what is surely read to all that may be."""
        start = number * layout.width
        wanted = [
            Range(footer_.offsets[start + index], footer_.lengths[start + index], tested)
            for index, tested in layout.wanted
        ]
        if not wanted:
            return NOTHING
        heads = merged(wanted)
        most, requests = sum(head.length for head in heads), len(heads)
        if not self.filters:
            whole = span(footer_, number)
            if whole_group(wanted, whole):
                most, requests = whole, 1
        least, fewest = most, requests
        if self.scan.dynamic:
            requests = len(wanted)
        if self._may_be_skipped(footer_, number):
            least, fewest = 0, 0
        elif self.testing:
            least, fewest = self._surely(footer_, number, layout, least, fewest)
        return Cost(Interval(least, most), Interval(fewest, requests))

    def _surely(
        self, footer_: Footer, number: int, layout: _Layout, least: int, fewest: int
    ) -> tuple[int, int]:
        """Bytes and requests for sure, where filters test rows before other columns are read."""
        unsure: list[int] = []
        passes: list[Pass] = []
        for column in self.testing:
            found = judge(self.filters[column], self._lookup(footer_, number, column))
            if found is not Pass.ALL:
                unsure.append(column)
                passes.append(found)
        if not unsure or passes == [Pass.SOME]:
            return least, fewest
        sizes = []
        start = number * layout.width
        for column in unsure:
            name = self.table.columns[column].name
            chunks = [
                footer_.lengths[start + index]
                for index, tested in layout.wanted
                if tested and footer_.leaves[index].column == name
            ]
            sizes.append((sum(chunks), len(chunks)))
        return min(sizes)


def many_files(scanner: Scanner) -> bool:
    """Whether the scan is one for `plan_bulk`: many files, all of one layout."""
    files = scanner.table.files
    if not isinstance(files, PackedFiles) or len(files) < MANY_FILES or scanner.scan.repeated:
        return False
    return len(files.packed.layouts) == 1


def more(cost: Cost, scan: Scan, files: Sequence[DataFile]) -> Cost:
    """The most of a scan that is read twice, or again and again out of DuckDB's cache.

    The cache fills gaps between what it holds, and may read a part again with its surroundings.
    """
    (low, high), (least, most) = cost
    if scan.repeated:
        size = sum(file.size_bytes for file in files)
        return Cost(Interval(low, 2 * size), Interval(least, 2 * most))
    return Cost(Interval(low, 2 * high), Interval(least, 2 * most))


def _above(scan: Scan) -> tuple[tuple[int, Filter], ...]:
    """What the conditions above a scan ask of single columns, by the columns' numbers."""
    found = []
    for node in scan.above:
        for place, number in enumerate(scan.outputs):
            filter_ = certain(asked(node, place)) if 0 <= number < NO_COLUMN else None
            if filter_ is not None:
                found.append((number, filter_))
    return tuple(found)


def _only(bounds: Bounds) -> Callable[[Fields], Bounds | None]:
    return lambda fields: None if fields else bounds


def _fields_of(filter_: Filter) -> Iterator[Fields]:
    yield filter_.fields
    for child in filter_.children:
        yield from _fields_of(child)


def struct_path(name: str, duckdb_type: str, fields: Fields) -> str | None:
    """The dotted Parquet path of a struct's field, None where `fields` lead into no struct.

    >>> struct_path("s", 'STRUCT("a" INTEGER, "b" STRUCT("c" VARCHAR))', (1, 0))
    's.b.c'
    """
    path = name
    for number in fields:
        parts = _struct_parts(duckdb_type)
        if number >= len(parts):
            return None
        field_name, duckdb_type = parts[number]
        path = f"{path}.{field_name}"
    return path


def _struct_parts(duckdb_type: str) -> list[tuple[str, str]]:
    if not duckdb_type.startswith("STRUCT(") or not duckdb_type.endswith(")"):
        return []
    parts, depth, start = [], 0, 7
    for at in range(7, len(duckdb_type)):
        letter = duckdb_type[at]
        if (letter == "," and depth == 0) or at == len(duckdb_type) - 1:
            name, _, type_ = duckdb_type[start:at].strip().partition(" ")
            parts.append((name.strip('"'), type_))
            start = at + 1
        depth += (letter == "(") - (letter == ")")
    return parts
