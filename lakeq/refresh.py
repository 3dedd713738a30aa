"""Slices: tables that keep the answer to a query, made again when what they were made from changed.

A joined slice answers the commonest question for the price of a few hundred kilobytes. What a
slice was made from stands in `_source` of its rows: the query's checksum and the snapshots that
it read, so that a slice that fell behind is known without asking anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode
from zlib import crc32

from lakeq.convert.sink import Sink
from lakeq.errors import BadCatalog, OutOfMemory, StorageUnavailable, UsageError
from lakeq.lake import requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.lake import IcebergLake
    from lakeq.lake.parquet import NewFile
    from lakeq.maintain import Account
    from lakeq.query import Report, Result
    from lakeq.snapshot import TableSnapshot

SCHEME = "query:"
# Five million scenes, newest first, take DuckDB 3.1 GB where nothing holds it back.
MEMORY_LIMIT = "512MB"
FILES = 8  # that a slice has at the most, for the requests that these take
_QUERY = "sql"


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What became of one slice: `query` is None, and nothing was written, when it was current."""

    table: str
    rows: int
    size_bytes: int
    snapshot_id: int
    query: Report | None = None

    @property
    def refreshed(self) -> bool:
        """Whether the slice was made again."""
        return self.query is not None


def made_from(snapshot: TableSnapshot) -> dict[str, str]:
    """What a slice was made from: snapshot ids by table, and the query's checksum under `sql`.

    Empty for a slice without rows: then nothing says what it was made from.
    """
    source = snapshot.files[0].source if snapshot.files else None
    if source is None or not source.startswith(SCHEME):
        return {}
    return dict(parse_qsl(source.partition("?")[2]))


def behind(snapshot: TableSnapshot, current: Mapping[str, int]) -> list[str]:
    """The tables that changed since the slice was made; `current` has their snapshots now."""
    made = made_from(snapshot)
    names = sorted(made.keys() - {_QUERY})
    return [name for name in names if str(current.get(name, 0)) != made[name]]


def sources(snapshot: TableSnapshot) -> list[str]:
    """The tables that the slice was made from, by name."""
    return sorted(made_from(snapshot).keys() - {_QUERY})


def refresh(
    lake: IcebergLake,
    table: Table,
    sql: str,
    asks: Sequence[Callable[[str], Result]],
    account: Account,
    *,
    force: bool = False,
) -> RefreshReport:
    """Keep the answer to `sql` in `table`, in one commit; nothing is done when it is current.

    `asks` start a query; the next is tried where one lacks memory. Before anything is written,
    `account` is told of what may be: as much as the slice had, or as the query may read where it
    is new. Readers see the old rows until the
    new ones are there. Raises what the
    query and the lake raise; `BadCatalog` when the answer has not the columns of the catalog.
    """
    if not table.query:
        hint = "slices are the tables with a query in their catalog: lakeq refresh --list"
        raise UsageError(f"{table.qualified} is no slice", "the refresh", hint)
    checksum = f"{crc32(sql.encode()):08x}"
    if not force and (kept := _current(lake, table, checksum)) is not None:
        return RefreshReport(table.qualified, kept.rows, kept.size_bytes, kept.snapshot_id)
    for ask in asks[:-1]:
        try:
            return _made(lake, table, checksum, ask(sql), account)
        except (OutOfMemory, StorageUnavailable):  # no room, or none to spill to
            continue
    return _made(lake, table, checksum, asks[-1](sql), account)


def _current(lake: IcebergLake, table: Table, checksum: str) -> TableSnapshot | None:
    """The slice's snapshot, when the same query would read what it was made from."""
    present = lake.tables()
    if table.qualified not in present:
        return None
    snapshot = lake.snapshot(table.qualified)
    names = sources(snapshot)
    if made_from(snapshot).get(_QUERY) != checksum or not set(names) <= set(present):
        return None
    now = {name: found.snapshot_id for name, found in lake.read(names).items()}
    return None if behind(snapshot, now) else snapshot


def _made(
    lake: IcebergLake, table: Table, checksum: str, result: Result, account: Account
) -> RefreshReport:
    from lakeq.lake.commit import Change

    try:
        size = _expected_bytes(lake, table, result)
        account.allow(0, size, requests.COMMIT_READS, requests.to_write(FILES, size))
    except BaseException:
        result.close()
        raise

    made = {name: str(number) for name, number in result.snapshots.items()}
    query = table.query.removeprefix("@") if table.query.startswith("@") else "select"
    source = f"{SCHEME}{query}?{urlencode({_QUERY: checksum, **made})}"
    with lake.session() as session:
        sink = Sink(source, {table.name: lake.writer(table, session)})
        try:
            files = _written(sink, table, result)
        finally:
            sink.abort()
            result.close()
        change = Change(table, frozenset({source}), tuple(files), whole=True)
        number = lake.commit_all([change], session)[table.qualified]
    size = sum(file.size_bytes for file in files)
    account.wrote(size)
    return RefreshReport(table.qualified, result.report.rows, size, number, result.report)


def _expected_bytes(lake: IcebergLake, table: Table, result: Result) -> int:
    held = lake.snapshot(table.qualified).size_bytes if table.qualified in lake.tables() else 0
    return held or result.plan.high_bytes


def _written(sink: Sink, table: Table, result: Result) -> Sequence[NewFile]:
    from lakeq.formats import TableBatch
    from lakeq.types import arrow_schema

    schema = arrow_schema(table)
    for batch in result.batches():
        sink.write(TableBatch(table.name, (), _as_catalog(batch, schema, table)))
    sink.close()
    return sink.finished.get(table.name, [])


def _as_catalog(batch: pa.RecordBatch, schema: pa.Schema, table: Table) -> pa.RecordBatch:
    """`batch` with the catalog's types; names and order must be those of the catalog."""
    import pyarrow as pa

    if batch.schema.names != schema.names:
        what = f"the query gives the columns {', '.join(batch.schema.names)}"
        raise BadCatalog(what, table.qualified, f"the catalog says {', '.join(schema.names)}")
    try:
        columns = [
            column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)
        ]
    except pa.ArrowInvalid as error:
        raise BadCatalog(f"an answer does not fit its type: {error}", table.qualified) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)
