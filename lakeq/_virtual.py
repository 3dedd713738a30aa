"""Virtual tables in a query: each mention planned from its index, then offered to DuckDB as rows.

What is read of the index while planning is part of what the query reads, and of its limits.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lakeq import cost, engines, formats, limits, planner
from lakeq.engines import Read
from lakeq.errors import NotFound
from lakeq.occurrences import Occurrence, rewrite
from lakeq.planner import Chosen
from lakeq.planner.domains import domain
from lakeq.planner.filters import parse
from lakeq.planner.tree import Scan
from lakeq.selection import Domains, Rows, Selection, Wanted
from lakeq.snapshot import SnapshotColumn, TableSnapshot
from lakeq.storage import Storage
from lakeq.types import to_duckdb

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.config import Settings

INDEX = "tile_index"


@dataclass(slots=True)
class Virtual:
    """The mentions of virtual tables in one query; `sql` is the query with a name for each."""

    settings: Settings
    sql: str
    occurrences: tuple[Occurrence, ...]
    indexes: Mapping[str, TableSnapshot]  # by the name of the virtual table
    tables: Mapping[str, Table]  # virtual ones by name
    rows: dict[str, Rows] = field(default_factory=dict)  # by the name of the occurrence
    given: Mapping[str, object] = field(default_factory=dict)  # parameters
    read: list[Read] = field(default_factory=list)  # of indexes
    signed: bool = False

    @property
    def stubs(self) -> dict[str, TableSnapshot]:
        """A table without files for each mention, for DuckDB to plan with."""
        return {each.name: self._stub(each) for each in self.occurrences}

    def _stub(self, occurrence: Occurrence) -> TableSnapshot:
        table, index = occurrence.table, self.indexes[occurrence.table.qualified]
        columns = tuple(
            SnapshotColumn(number, column.name, to_duckdb(column.type))
            for number, column in enumerate(table.columns, 1)
        )
        return TableSnapshot(occurrence.name, index.snapshot_id, index.committed_at, columns, ())

    def choose(self, scans: Sequence[Scan]) -> dict[str, Chosen]:
        """Choose what each mention reads, from the columns and filters of its scans."""
        found = {}
        for occurrence in self.occurrences:
            mine = [scan for scan in scans if scan.table.lower() == occurrence.name]
            rows = self._rows(occurrence, mine)
            self.rows[occurrence.name] = rows
            found[occurrence.name] = Chosen(
                table=occurrence.table.qualified,
                bytes=sum(part.length for part in rows.parts),
                requests=len(rows.parts),
                first=min((part.length for part in rows.parts), default=0),
                objects=rows.objects,
                blocks=rows.blocks,
                total=rows.object_bytes,
                columns=dict(rows.column_bytes),
                remote=any(part.path.startswith("s3://") for part in rows.parts),
            )
        return found

    def _rows(self, occurrence: Occurrence, scans: Sequence[Scan]) -> Rows:
        table = occurrence.table
        names = [column.name for column in table.columns]
        columns = {names[c.number] for scan in scans for c in scan.columns}
        columns |= {names[number] for scan in scans for number in scan.filters}
        selection = Selection(tuple(_domains(scan, names) for scan in scans) or ({},))
        storage = Storage(self.settings)

        def pinned(uri: str, size: int, version: str) -> Any:
            self.signed = self.signed or (
                uri.startswith("s3://") and storage.is_signed(uri, (table,))
            )
            return storage.pinned(uri, size, version, (table,))

        wanted = Wanted(
            columns=tuple(name for name in names if name in columns),
            selection=selection,
            index=self._index(table),
            pinned=pinned,
            threads=self.settings.threads or os.cpu_count() or 1,
        )
        scan = getattr(formats.get(table.format), "scan")  # noqa: B009  # not all formats have it
        rows: Rows = scan(table, wanted)
        return rows

    def _index(self, table: Table) -> Callable[[str], Mapping[str, Any]]:
        snapshot = self.indexes[table.qualified]

        def ask(sql: str) -> Mapping[str, Any]:
            text = f"WITH {INDEX} AS (FROM {snapshot.name}) {sql}"
            return self.evaluate(text, {snapshot.name: snapshot})

        return ask

    def evaluate(
        self, sql: str, tables: Mapping[str, TableSnapshot], parameters: Mapping[str, object] = {}
    ) -> Mapping[str, Any]:
        """The columns of a query over tables of the lake; lists become arrays."""
        book = cost.prices(self.settings.prices)
        place = engines.planner(self.settings)
        try:
            planned = planner.make(tables, book, lambda: place.logical_plan(sql, tables))
            if limits.passed(self.settings.limits, planned.plan):
                limits.refuse(self.settings.limits, planned.plan)
            running = place.run(sql, parameters, planned.tables)
            found = running.reader(1 << 20).read_all()
            access = running.access()
            self.read += access.reads
            self.signed = self.signed or access.signed
        finally:
            place.close()
        return {name: _plain(found[name]) for name in found.column_names}

    def offer(self, place: engines.Planner) -> None:
        """Give DuckDB the rows under the names of their mentions, and what was read already."""
        place.offer(self.rows, tuple(self.read), lambda: self.signed)

    @property
    def held(self) -> dict[str, TableSnapshot]:
        """The indexes as the lake holds them, by name."""
        return {snapshot.name: snapshot for snapshot in self.indexes.values()}

    def settled(self, found: planner.Planned) -> planner.Planned:
        """A plan with what was read of indexes to make it."""
        size = sum(read.length for read in self.read)
        remote = sum("://" in read.path for read in self.read)
        plan = replace(
            found.plan,
            low_bytes=found.plan.low_bytes + size,
            high_bytes=found.plan.high_bytes + size,
            low_requests=found.plan.low_requests + remote,
            high_requests=found.plan.high_requests + remote,
        )
        return replace(found, plan=plan)

    def usage(self, used: planner.Usage) -> planner.Usage:
        """What was read of all tables: objects count as files, their blocks as row groups."""
        reads = [(rows, part) for rows in self.rows.values() for part in rows.reads]
        return replace(
            used,
            bytes_total=used.bytes_total + sum(rows.object_bytes for rows in self.rows.values()),
            files_read=used.files_read + len({part.path for _, part in reads}),
            files_total=used.files_total + sum(rows.objects for rows in self.rows.values()),
            row_groups_read=used.row_groups_read + sum(r.blocks_of(part) for r, part in reads),
            row_groups_total=used.row_groups_total + sum(r.blocks for r in self.rows.values()),
        )


def _plain(column: Any) -> Any:
    import pyarrow as pa

    if not pa.types.is_list(column.type):
        return column.to_pylist()
    flat = column.combine_chunks()
    values, offsets = flat.values.to_numpy(), flat.offsets.to_numpy()
    return [values[start:end] for start, end in pairwise(offsets)]


def _domains(scan: Scan, names: Sequence[str]) -> Domains:
    return {names[number]: domain(parse(node)) for number, node in scan.filters.items()}


def find(
    sql: str,
    used: Sequence[Table],
    settings: Settings,
    place: engines.Planner,
    given: Mapping[str, object],
    read: Callable[[Sequence[str]], Mapping[str, TableSnapshot]],
) -> Virtual | None:
    """The virtual tables among those that a query uses, None where there is none.

    `read` gives what tables of the lake hold.
    """
    mine = {table.qualified: table for table in used if table.index}
    if not mine:
        return None
    indexes = {name: f"{table.dataset}.{table.index}" for name, table in mine.items()}
    try:
        held = read(sorted(set(indexes.values())))
    except NotFound as error:
        name = next(iter(mine))
        dataset = mine[name].dataset
        what = f"the table {name} is virtual, and its index {indexes[name]} is not in the lake yet"
        hint = f"ingest it: lakeq ingest {dataset} OBJECT…, metadata beside their images"
        raise NotFound(what, "the query", hint) from error
    rewritten = rewrite(place.serialize(sql, whole=True), mine, place.deserialize)
    snapshots = {name: held[index] for name, index in indexes.items()}
    return Virtual(settings, rewritten.sql, rewritten.occurrences, snapshots, mine, given=given)
