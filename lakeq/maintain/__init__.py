"""Upkeep of tables: small files into sorted ones, old snapshots given up, orphans deleted.

A compaction sorts the rows of one partition (a site-day, a contig) through DuckDB, which spills to
disk beyond its memory, and switches its files for the new ones in one commit. Files that follow
each other in the order, as volumes of radar do by time, are sorted one after the other. An ingest
that replaced a row's object meanwhile overtakes it: then it is done again from the newer files.
"""

from __future__ import annotations

import time
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, Protocol

from lakeq.lake import layout, requests
from lakeq.maintain import order
from lakeq.maintain.plan import Group, due, runs

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.config import Settings
    from lakeq.engines.duckdb import Engine
    from lakeq.lake import IcebergLake
    from lakeq.lake.parquet import Cuts, FileWriter, NewFile, TableWriter
    from lakeq.lake.session import Session
    from lakeq.snapshot import TableSnapshot

MEMORY = "2GB"  # for sorting, unless memory_limit says otherwise
BATCH_ROWS = 1 << 16
COMMIT_BYTES = 1 << 30  # small partitions share a commit up to so many bytes of old files
COMMIT_GROUPS = 64
_ROUNDS = 5  # a partition that is overtaken more often is left for the next time

Progress = Callable[[str, int, int], None]  # table, its bytes compacted so far, of how many


class Account(Protocol):
    """Who keeps account of what an upkeep reads and writes."""

    def allow(self, read_bytes: int, written_bytes: int, reads: int, writes: int = 0) -> None:
        """So many bytes are about to be read and written, in so many requests at the most.

        Raises `BudgetRefused` when it may not be.
        """
        ...

    def took(self, read_bytes: int, requests: int = 0) -> None:
        """So much was read, in so many requests."""
        ...

    def wrote(self, written_bytes: int) -> None:
        """So much was written."""
        ...


@dataclass(frozen=True, slots=True)
class TableUpkeep:
    """What was done to one table, or would be in a dry run.

    `compacted` counts partitions; `left` those that other writers kept changing. `files` and
    bytes are of the current snapshot; expired and swept ones were named by old ones or by none.
    """

    table: str
    compacted: int
    left: int
    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    snapshots_expired: int = 0
    files_expired: int = 0
    bytes_expired: int = 0
    files_swept: int = 0
    bytes_swept: int = 0
    snapshot_id: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What one call of `maintain` did, by table."""

    tables: tuple[TableUpkeep, ...]
    seconds: float
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Work:
    """What to do: compact, give up snapshots older than `expire_before`, sweep orphans."""

    compact: bool = True
    expire_before: datetime | None = None
    sweep: bool = False
    dry_run: bool = False


def maintain(
    lake: IcebergLake,
    settings: Settings,
    tables: Sequence[Table],
    work: Work,
    progress: Progress | None = None,
    account: Account | None = None,
) -> MaintenanceReport:
    """Do `work` on the `tables` that are in the lake, one after the other.

    `account` is asked before each commit's partitions are read.

    Every step is a commit of its own: killed in between, a table is as before or as after it.
    """
    started = time.perf_counter()
    present = set(lake.tables())
    done = tuple(
        _upkeep(lake, settings, table, work, progress or _quiet, account)
        for table in tables
        if table.qualified in present
    )
    if work.sweep and not work.dry_run:
        lake.trim()
    return MaintenanceReport(done, time.perf_counter() - started, work.dry_run)


def _quiet(_table: str, _done: int, _total: int) -> None:
    """Nobody wants to know."""


def _upkeep(
    lake: IcebergLake,
    settings: Settings,
    table: Table,
    work: Work,
    progress: Progress,
    account: Account | None,
) -> TableUpkeep:
    started = time.perf_counter()
    name = table.qualified
    before = lake.snapshot(name)
    compacted = left = 0
    if work.compact:
        compaction = _Compaction(lake, settings, table, progress, account)
        compacted, left = compaction.run(dry_run=work.dry_run)
    expired = (0, 0, 0)
    if work.expire_before is not None:
        expired = lake.expire(name, work.expire_before, dry_run=work.dry_run)
    swept = _swept(lake, name, work) if work.sweep else {}
    after = lake.snapshot(name)
    return TableUpkeep(
        name,
        compacted,
        left,
        *(len(before.files), len(after.files)),
        *(before.size_bytes, after.size_bytes),
        *expired,
        *(len(swept), sum(swept.values())),
        after.snapshot_id,
        time.perf_counter() - started,
    )


def _swept(lake: IcebergLake, name: str, work: Work) -> dict[str, int]:
    if not work.dry_run:
        lake.sweep()
    orphans = lake.orphans(name)
    if not work.dry_run:
        lake.delete_paths(orphans)
    return orphans


class _Compaction:
    """The compaction of one table."""

    def __init__(
        self,
        lake: IcebergLake,
        settings: Settings,
        table: Table,
        progress: Progress,
        account: Account | None,
    ) -> None:
        self._lake = lake
        self._settings = replace(settings, memory_limit=settings.memory_limit or MEMORY)
        self._table = table
        self._progress = progress
        self._account = account
        self._done = self._total = 0

    def run(self, *, dry_run: bool) -> tuple[int, int]:
        """Compact what is due; returns how many partitions were, and how many were left."""
        groups = self._due()
        if dry_run or not groups:
            return len(groups), 0
        self._total = sum(group.size_bytes for group in groups)
        wanted = {group.partition for group in groups}
        number = len(groups)
        for _ in range(_ROUNDS):
            with self._lake.session() as session:
                for batch in _batches(groups):
                    self._commit(batch, session)
            groups = [group for group in self._due() if group.partition in wanted]
            if not groups:
                break
        return number - len(groups), len(groups)

    def _due(self) -> list[Group]:
        snapshot = self._lake.snapshot(self._table.qualified)
        return due(snapshot, self._table, self._lake.metadata_of)

    def _commit(self, groups: Collection[Group], session: Session) -> None:
        """Sort some partitions and switch their files; nothing happens when one was overtaken."""
        from lakeq.lake.commit import Change, Overtaken

        if self._account is not None:
            size = sum(group.size_bytes for group in groups)
            old = [file for group in groups for file in group.files]
            times = 1 if order.Curve.of(self._table) is None else 3  # crowded squares come first
            reads = requests.to_scan(old, times) + requests.COMMIT_READS + len(old)
            writes = requests.to_write(len(old) + len(groups), 2 * size)
            ends = sum(min(file.size_bytes, requests.END_BYTES) for file in old)
            read_bytes = times * (size + ends) + requests.COMMIT_BYTES
            self._account.allow(read_bytes, 2 * size, reads, writes)
        writer = self._lake.writer(self._table, session)
        snapshot = self._lake.snapshot(self._table.qualified)
        new: list[NewFile] = []
        try:
            for group in groups:
                new += self._sorted(group, snapshot, writer, len(new))
                self._done = min(self._total, self._done + group.size_bytes)
                self._progress(self._table.qualified, self._done, self._total)
            rewrites = frozenset(file.path for group in groups for file in group.files)
            change = Change(
                self._table, frozenset(), tuple(new), rewrites=rewrites, why="compaction"
            )
            self._lake.commit_all([change], session)
        except Overtaken:
            self._lake.delete(new)

    def _sorted(
        self, group: Group, snapshot: TableSnapshot, writer: TableWriter, first: int
    ) -> Iterator[NewFile]:
        from lakeq.engines._duckdb_sql import identifier
        from lakeq.lake.parquet import Cuts

        source = ".".join(map(identifier, snapshot.name.split(".", 1)))
        parting = self._parting(source, {snapshot.name: replace(snapshot, files=group.files)})
        folder = writer.folder_of(group.files[0].path)
        cuts = None if parting is None else Cuts(parting.rows)
        begin = _begin(writer, folder, order.text(self._table), first, cuts)
        rows = self._in_order(group, source, snapshot, parting)
        with closing(rows):
            for file in _written(rows, writer.schema, begin):
                if self._account is not None:
                    self._account.wrote(file.size_bytes)
                yield file

    def _in_order(
        self, group: Group, source: str, snapshot: TableSnapshot, parting: order.Parting | None
    ) -> Generator[pa.RecordBatch, None, None]:
        """The rows of a partition in the order of the table."""
        from lakeq.engines.duckdb import Engine

        sql, parameters = (
            order.sorted_sql(self._table, source, parting),
            order.parameters_of(parting),
        )
        parts = runs(group, self._table) if parting is None else [group.files]
        for files in parts:
            engine = Engine(self._settings)
            try:
                run = engine.run(sql, parameters, {snapshot.name: replace(snapshot, files=files)})
                yield from run.reader(BATCH_ROWS)
            finally:
                self._close(engine)

    def _close(self, engine: Engine) -> None:
        if self._account is not None:
            access = engine.access()
            self._account.took(access.scanned_bytes, len(access.reads))
        engine.close()

    def _parting(self, source: str, part: Mapping[str, TableSnapshot]) -> order.Parting | None:
        """The row groups of a partition, where the table's are cut by place."""
        curve = order.Curve.of(self._table)
        if curve is None:
            return None
        rows = layout.row_group_rows(self._table)
        found = self._counted(order.squares_sql(curve, source), {}, part)
        counts = zip(found["square"].to_pylist(), found["n"].to_pylist(), strict=True)
        squares = {square: count for square, count in counts if square is not None}
        if not squares:
            return None
        deep = order.depths(squares, rows)
        asked = order.Parting(curve, deep).parameters
        found = self._counted(order.parts_sql(curve, source), asked, part)
        parts, sizes = found["part"].to_numpy(), found["n"].to_numpy()
        return order.parting(curve, deep, (parts, sizes), rows)

    def _counted(
        self, sql: str, parameters: Mapping[str, object], part: Mapping[str, TableSnapshot]
    ) -> pa.Table:
        from lakeq.engines.duckdb import Engine

        engine = Engine(self._settings)
        try:
            return engine.run(sql, parameters, part).reader(BATCH_ROWS).read_all()
        finally:
            self._close(engine)


def _begin(
    writer: TableWriter, folder: str, order: str, first: int, cuts: Cuts | None
) -> Callable[[], FileWriter]:
    numbers = count(first)
    return lambda: writer.merged(folder, "sorted", order, number=next(numbers), cuts=cuts)


def _written(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, begin: Callable[[], FileWriter]
) -> Iterator[NewFile]:
    """The files of one partition; each is finished when it is full."""
    file: FileWriter | None = None
    try:
        for batch in batches:
            if file is None:
                file = begin()
            file.write(batch.select(schema.names).cast(schema))
            if file.full:
                yield file.close()
                file = None
        if file is not None:
            yield file.close()
            file = None
    finally:
        if file is not None:
            file.abort()


def _batches(groups: Sequence[Group]) -> Iterator[list[Group]]:
    """Groups that are committed together: many small ones, or a large one alone."""
    batch: list[Group] = []
    size = 0
    for group in groups:
        if batch and (size + group.size_bytes > COMMIT_BYTES or len(batch) == COMMIT_GROUPS):
            yield batch
            batch, size = [], 0
        batch.append(group)
        size += group.size_bytes
    if batch:
        yield batch
