"""Virtual tables in a query: each mention planned from its index, then offered to DuckDB as rows.

What is read of the index while planning is part of what the query reads, and of its limits.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lakeq import _virtual_sides, cost, engines, formats, join_sides, limits, planner
from lakeq._query_text import with_values
from lakeq.engines import Read
from lakeq.errors import NotFound, QueryFailed
from lakeq.join_sides import Side
from lakeq.occurrences import Occurrence, rewrite
from lakeq.planner import Chosen
from lakeq.planner.domains import domain
from lakeq.planner.filters import parse
from lakeq.planner.tree import Scan
from lakeq.selection import Domains, Rows, Selection, Spans, Wanted
from lakeq.snapshot import SnapshotColumn, TableSnapshot
from lakeq.storage import Storage
from lakeq.types import to_duckdb

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.config import Settings

INDEX = "tile_index"
TEMPLATE = "SELECT DISTINCT 1"
KEPT_INDEX_BYTES = 1_000_000  # of an index whose answers are kept: 15 scenes
KEPT_ANSWERS = 32
SIDE_BYTES = 64 << 20  # a side that may read more is not asked: the query itself will read it


class _Answers:
    """The last answers of small indexes in this process: files of a snapshot never change.

    An answer that is known reads nothing, and nothing is counted for it.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[Any, Mapping[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Any) -> Mapping[str, Any] | None:
        """The answer, None where it is not known."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def put(self, key: Any, answer: Mapping[str, Any]) -> None:
        """Keep an answer; the one not asked for longest goes."""
        with self._lock:
            self._kept[key] = answer
            while len(self._kept) > KEPT_ANSWERS:
                self._kept.popitem(last=False)


_ANSWERS = _Answers()


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
    sides: Sequence[tuple[Side, str]] = ()  # each with its text
    lake: Mapping[str, TableSnapshot] = field(default_factory=dict)  # the query's other tables
    answers: dict[Any, Mapping[str, Any]] = field(default_factory=dict)  # of small indexes

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
            rows.once = len(mine) == 1 and mine[0].sure and not mine[0].repeated
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
        filters = tuple(_domains(scan, names) for scan in scans) or ({},)
        joined = tuple(self._joined(occurrence)) if scans else ()
        selection = Selection(filters, joined)
        storage = Storage(self.settings, kept=True)

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
            index_bytes=self.indexes[table.qualified].size_bytes,
            limited=any(scan.limited for scan in scans),
            rows=_enough(scans),
        )
        scan = getattr(formats.get(table.format), "scan")  # noqa: B009  # not all formats have it
        rows: Rows = scan(table, wanted)
        return rows

    def _joined(self, occurrence: Occurrence) -> Iterator[Spans]:
        """What the tables that a mention is joined with leave its columns, row by row."""
        texts = {c.name for c in occurrence.table.columns if str(c.type) == "string"}
        for side, text in self.sides:
            if side.occurrence != occurrence.name:
                continue
            try:
                found = self.evaluate(text, self.lake, SIDE_BYTES)
            except QueryFailed:  # not a query by itself: it speaks of what is around it
                continue
            if found is not None:
                yield _virtual_sides.rows_of(side, found, texts)

    def _index(self, table: Table) -> Callable[[str], Mapping[str, Any]]:
        snapshot = self.indexes[table.qualified]

        def ask(sql: str) -> Mapping[str, Any]:
            key = tuple(file.path for file in snapshot.files), sql
            known = _ANSWERS.get(key)
            if known is not None:
                return known
            text = f"WITH {INDEX} AS (FROM {snapshot.name}) {sql}"
            found = self.evaluate(text, {snapshot.name: snapshot})
            assert found is not None
            answer = {name: _plain(found[name]) for name in found.column_names}
            if snapshot.size_bytes <= KEPT_INDEX_BYTES:
                self.answers[key] = answer
            return answer

        return ask

    def evaluate(
        self, sql: str, tables: Mapping[str, TableSnapshot], most: int | None = None
    ) -> pa.Table | None:
        """The rows of a query over tables of the lake.

        None where it may read more than `most` bytes, or a parameter has no text in SQL.
        """
        book = cost.prices(self.settings.prices)
        place = engines.planner(self.settings)
        try:
            literals = {name: place.literal(value) for name, value in self.given.items()}
            written = {name: text for name, text in literals.items() if text is not None}
            if len(written) < len(literals):
                return None
            sql = with_values(sql, written)
            planned = planner.make(tables, book, lambda: place.logical_plan(sql, tables))
            if most is not None and planned.plan.high_bytes > most:
                return None
            if limits.passed(self.settings.limits, planned.plan):
                limits.refuse(self.settings.limits, planned.plan)
            running = place.run(sql, {}, planned.tables)
            found: pa.Table = running.reader(1 << 20).read_all()
            access = running.access()
            self.read += access.reads
            self.signed = self.signed or access.signed
        finally:
            place.close()
        return found

    def offer(self, place: engines.Planner) -> None:
        """Give DuckDB the rows under the names of their mentions, and what was read already.

        Only a query that runs leaves its answers to later ones, so that it reads what was planned.
        """
        for key, answer in self.answers.items():
            _ANSWERS.put(key, answer)
        place.offer(self.rows, tuple(self.read), lambda: self.signed)

    @property
    def held(self) -> dict[str, TableSnapshot]:
        """The indexes as the lake holds them, by name."""
        return {snapshot.name: snapshot for snapshot in self.indexes.values()}

    @property
    def planning(self) -> tuple[int, int]:
        """Bytes of indexes that were read to choose, and requests to S3 for them."""
        remote = sum("://" in read.path for read in self.read)
        return sum(read.length for read in self.read), remote

    def settled(self, found: planner.Planned) -> planner.Planned:
        """A plan with what was read of indexes to make it."""
        size, remote = self.planning
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


def _enough(scans: Sequence[Scan]) -> int | None:
    """How many rows are enough for each of the scans of a mention."""
    rows = [scan.rows for scan in scans if scan.rows is not None]
    return max(rows) if rows and len(rows) == len(scans) else None


def _plain(column: Any) -> Any:
    """Python values; of whole numbers in lists arrays, without pandas, which Arrow would import."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_list(column.type) or not pa.types.is_integer(column.type.value_type):
        return column.to_pylist()
    flat = column.combine_chunks()
    values = flat.values
    numbers = np.frombuffer(values.buffers()[1], f"<i{values.type.bit_width // 8}")
    whole = numbers[values.offset :].astype(np.int64)
    offsets = np.frombuffer(flat.buffers()[1], np.int32)[flat.offset :][: len(flat) + 1]
    return [whole[start:end] for start, end in pairwise(offsets.tolist())]


def _domains(scan: Scan, names: Sequence[str]) -> Domains:
    return {names[number]: domain(parse(node)) for number, node in scan.filters.items()}


_TEMPLATES: list[Any] = []  # one, once it is asked for


def _template(place: engines.Planner) -> Any:
    """The tree of `select distinct 1`, which is copied, not changed."""
    if not _TEMPLATES:
        _TEMPLATES.append(json.loads(place.serialize(TEMPLATE, whole=True)))
    return _TEMPLATES[0]


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
    template = _template(place)
    found = join_sides.sides(rewritten.tree, rewritten.occurrences, template)
    texts = [(side, place.deserialize(json.dumps(side.tree))) for side in found]
    snapshots = {name: held[index] for name, index in indexes.items()}
    return Virtual(
        settings, rewritten.sql, rewritten.occurrences, snapshots, mine, given=given, sides=texts
    )
