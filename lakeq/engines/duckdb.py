"""DuckDB inside this process: a fresh, locked-down database for each query.

The order of the lock-down matters and was found by experiment with DuckDB 1.5.5: connect with
everything off that loads or looks around; the file system through which lakeq serves the bytes of
exactly the snapshot's files (`_duckdb_files`); views over them; `allowed_paths`; then no external
access and no further configuration. DuckDB itself opens no data file and no connection, and holds
no credentials.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakMethod

from lakeq.engines import (
    UNLIMITED,
    Access,
    Allowance,
    Read,
    Reference,
    ResultColumn,
    Row,
    _duckdb_spares,
)
from lakeq.engines._duckdb_errors import explain, headline, in_arrow
from lakeq.engines._duckdb_plan import serialized_plan
from lakeq.engines._duckdb_spares import Database
from lakeq.engines._duckdb_sql import (
    identifier,
    literal,
    plan_literal,
    stub,
    text_list,
    value_literal,
    view,
)
from lakeq.engines._meter import Meter
from lakeq.engines._waiting import waited
from lakeq.errors import (
    BadLake,
    LakeqError,
    QueryRefused,
    UsageError,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from lakeq.config import Settings
    from lakeq.engines._duckdb_files import Files
    from lakeq.selection import Part, Rows
    from lakeq.snapshot import DataFile, TableSnapshot
    from lakeq.storage.ranges import Ranges

T = TypeVar("T")

PLAN_LINES = "SELECT unnest(CAST($lines AS VARCHAR[])) AS plan"  # EXPLAIN's text, a row a line

CONFIG: Mapping[str, str] = {
    "allow_community_extensions": "false",
    "allow_persistent_secrets": "false",
    "allow_unsigned_extensions": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
    "python_scan_all_frames": "false",
}
SPILL_LIMIT = 100 * 10**9  # bytes; a runaway sort fails here instead of filling the disk
SPILL_SHARE = 0.5  # of the room that is free there
INTERRUPTED = "Interrupted!"
RERUNS = 3  # of a query that ended with no more than that
ROWS_AGAIN = 1 << 16
_AGAIN_S = 0.05  # between two interrupts


class Engine:
    """One query's DuckDB. Not shared between threads; closed with its result."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._files: Mapping[str, DataFile] = {}
        self.paths: frozenset[str] = frozenset()
        self.meter: Meter | None = None
        self._served: Files | None = None
        self._ranges: Ranges | None = None
        self._rows: Mapping[str, Rows] = {}
        self._already: tuple[Read, ...] = ()
        self._signed: Callable[[], bool] = bool
        self.stopped = False  # by ^C
        self.again: WeakMethod[Callable[[], None]] | None = None  # runs the query to its end

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database, in memory, with nothing in it yet."""
        return self._database.connection

    @cached_property
    def _database(self) -> Database:
        settings = self.settings
        key = settings.temp_dir, settings.memory_limit, settings.threads
        return _duckdb_spares.spares.take(key, partial(_made, *key))

    def serialize(self, sql: str, *, whole: bool = False) -> str:
        """DuckDB's `json_serialize_sql` of `sql`; `whole` has what is null or empty too."""
        how = "" if whole else ", skip_null := true, skip_empty := true"
        return self._text(f"SELECT json_serialize_sql({literal(sql)}{how})")

    def deserialize(self, tree: str) -> str:
        """The text of a tree that `serialize` gave whole."""
        return self._text(f"SELECT json_deserialize_sql({literal(tree)})")

    def _text(self, sql: str) -> str:
        """The one text that `sql` gives."""
        with _heard():
            row = self.connection.execute(sql).fetchone()
        assert row is not None
        return str(row[0])

    def offer(
        self,
        rows: Mapping[str, Rows],
        already: tuple[Read, ...] = (),
        signed: Callable[[], bool] = bool,
    ) -> None:
        """Take the `rows` of virtual tables by name, for the next run.

        `already` was read to choose them; `signed` tells whether requests for them were.
        """
        self._rows, self._already, self._signed = rows, already, signed

    def run(
        self,
        sql: str,
        parameters: Mapping[str, object],
        tables: Mapping[str, TableSnapshot],
        *,
        explain: bool = False,
        again: bool = False,
        allowance: Allowance = UNLIMITED,
        reference: Reference | None = None,
    ) -> Run:
        """Start `sql` over `tables`; raise `QueryFailed` with DuckDB's own words."""
        with self.explained():
            self._check_reads(sql)
            self._read_as_planned(again=again)
            session = self.connection.cursor()
            if allowance:
                self.meter = Meter(allowance, session.interrupt)
                self.meter.take(sum(read.length for read in self._already))
            for rows in self._rows.values():
                if self.meter is not None:
                    rows.take = self.meter.take
                rows.begin()
            self._prepare(session, tables)
            if explain:
                sql, parameters = PLAN_LINES, {"lines": _plan(session, sql, parameters)}
            return Run(self, session, sql, parameters)

    def _check_reads(self, sql: str) -> None:
        """Refuse all but one SELECT: `allowed_paths` would let COPY overwrite the data files."""
        import duckdb

        kinds = [statement.type for statement in self.connection.extract_statements(sql)]
        if kinds != [duckdb.StatementType.SELECT]:
            found = ", ".join(kind.name for kind in kinds) or "nothing"
            raise QueryRefused(f"one SELECT is wanted, not {found}", "the query")

    def literal(self, value: object) -> str | None:
        """`value` as SQL of the type that it has when it is bound; None where that is not sure."""
        return plan_literal(value)

    def logical_plan(self, sql: str, tables: Mapping[str, TableSnapshot]) -> str:
        """DuckDB's `json_serialize_plan` of `sql`, over empty tables; reads no data file.

        Where DuckDB cannot do that, it is JSON with "error" and with "scans", the table of each
        scan. A query that it does not take has no scans: it will say so again when run.
        """
        import duckdb

        with self._empty(tables) as session:
            try:
                return serialized_plan(session, sql)
            except duckdb.Error:
                return '{"error": true}'

    def describe(
        self,
        sql: str,
        parameters: Mapping[str, object],
        written: str,
        tables: Mapping[str, TableSnapshot],
    ) -> tuple[ResultColumn, ...]:
        """The columns that `sql` gives over `tables`; `written` has the values in their places."""
        import duckdb

        with self.explained(), self._empty(tables) as session:
            self._check_reads(sql)
            rows = session.execute(f"DESCRIBE {written}").fetchall()
            columns = [ResultColumn(str(row[0]), str(row[1])) for row in rows]
            if not parameters or len({name for name, _ in columns}) < len(columns):
                return tuple(columns)
            try:  # a column without a name is called as it is written, parameters and all
                none = f"SELECT * FROM ({sql}\n) LIMIT 0"  # noqa: S608  # the judged text
                names = session.execute(none, dict(parameters)).description or []
            except duckdb.Error:
                return tuple(columns)
        return tuple(c._replace(name=str(n[0])) for c, n in zip(columns, names, strict=True))

    @contextlib.contextmanager
    def _empty(self, tables: Mapping[str, TableSnapshot]) -> Iterator[duckdb.DuckDBPyConnection]:
        """A session with `tables` that hold no rows, which are gone with it."""
        session = self.connection.cursor()
        session.execute("SET TimeZone = 'UTC'")
        session.execute("BEGIN")
        try:
            for schema in {name.partition(".")[0] for name in tables}:
                session.execute(f"CREATE SCHEMA {identifier(schema)}")
            for table in tables.values():
                session.execute(stub(table))
            with _heard():
                yield session
        finally:
            session.execute("ROLLBACK")
            session.execute("RESET disabled_optimizers")
            session.close()

    def _read_as_planned(self, *, again: bool) -> None:
        """Make DuckDB read column chunks whole, each once for a scan.

        So `lakeq.plan` can say beforehand what will be read. DuckDB's cache of files, which fills
        gaps between what it holds, stays where a query reads the same parts `again` and again.
        """
        self.connection.execute("SET GLOBAL prefetch_all_parquet_files = true")
        self.connection.execute(f"SET GLOBAL enable_external_file_cache = {again}")

    def access(self) -> Access:
        """The reads of data files up to now."""
        made = [_of_part(part) for rows in self._rows.values() for part in list(rows.reads)]
        made += self._already
        if self._served is None or self._ranges is None:
            return Access(tuple(made), 0, signed=self._signed())
        signed = self._ranges.signed or self._signed()
        return Access((*self._served.reads, *made), 0, signed=signed)

    def close(self) -> None:
        """Drop the database and what it spilled."""
        for rows in self._rows.values():
            rows.close()
        if self.meter is not None:
            self.meter.close()
        database = self.__dict__.pop("_database", None)
        if database is None:
            return
        if database.spill.exists():  # gone when the query is
            database.connection.close()
            shutil.rmtree(database.spill, ignore_errors=True)
        else:
            _duckdb_spares.spares.drop(database)

    def __del__(self) -> None:
        """DuckDB would wait for its threads for ever when it is dropped while they read."""
        self.close()

    def _prepare(
        self, session: duckdb.DuckDBPyConnection, tables: Mapping[str, TableSnapshot]
    ) -> None:
        """Make the views that `session` may read, and lock the database."""
        self._files = {file.path: file for table in tables.values() for file in table.files}
        self.paths = frozenset(self._files)
        addresses = self._serve()
        run = self.connection.execute
        run(f"SET allowed_paths = {text_list(list(addresses.values()))}")
        session.execute("SET TimeZone = 'UTC'")  # of a session, not of the database
        run("SET GLOBAL enable_geoparquet_conversion = false")  # WKB is bytes, as the catalog says
        for name, table in tables.items():
            schema = name.partition(".")[0]
            run(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
            if name in self._rows:
                self._register(session, table, self._rows[name])
            else:
                run(view(table, addresses))
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")

    def _register(
        self, session: duckdb.DuckDBPyConnection, table: TableSnapshot, rows: Rows
    ) -> None:
        """Make a virtual table readable under its name, in the session that the query runs in."""
        from lakeq.engines._duckdb_rows import stream_view, streamed

        name = f"lakeq_rows_{table.name}"
        session.register(name, streamed(rows))
        session.execute(stream_view(table, name, rows.stream_schema.names, rows.constants))

    def _serve(self) -> dict[str, str]:
        """Let DuckDB see the data files; returns the address of each."""
        if not self._files:
            return {}
        from lakeq.engines._duckdb_files import Files, address
        from lakeq.storage.ranges import Ranges

        self._ranges = Ranges(self.settings.s3)
        self._served = Files(tuple(self._files.values()), self._ranges, self.meter)
        self.connection.register_filesystem(self._served)
        return {path: address(number) for number, path in enumerate(self._files)}

    def check_limits(self) -> None:
        """Raise `LimitPassed` when the query has passed its allowance."""
        if self.meter is not None:
            self.meter.check()

    def _check_reading(self) -> None:
        """Raise what stopped the reading of a file, in our own words."""
        self.check_limits()
        if self._served is not None and self._served.failure is not None:
            raise self._served.failure
        for rows in self._rows.values():
            if isinstance(rows.failure, LakeqError):
                raise rows.failure

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn DuckDB's errors into ours, without any secret in the text."""
        import duckdb

        try:
            self.check_limits()
            yield
        except duckdb.Error as error:
            self._check_reading()
            raise self._named(explain(self._cause(error), tuple(self._files))) from error
        except (OSError, ValueError) as error:  # pyarrow's, with DuckDB's words
            self._check_reading()
            told = in_arrow(error)
            if told is None:
                raise
            raise self._named(explain(self._cause(told), tuple(self._files))) from error
        except RuntimeError:
            self._check_reading()
            with _heard():
                raise

    def _cause(self, error: duckdb.Error) -> duckdb.Error:
        """The error that ended a query, where DuckDB only says that it was interrupted.

        Nobody has interrupted it then: DuckDB 1.5.5 interrupts its own threads when one of them
        fails, and may tell what one of those says in place of the error. Alone, with a new database
        and connection for each query, it did so in 1 of 229 runs of two threads and in 6 of 229 of
        eight (a cast that fails late, 2 busy cores, rows by 1,000 or by Arrow). So the query is run
        again, within its limits, until its own error is told.
        """
        import duckdb

        again = self.again() if self.again else None
        self.again = None
        if INTERRUPTED not in str(error) or self.stopped or again is None:
            return error
        for _ in range(RERUNS):
            try:
                again()
            except duckdb.Error as found:
                self._check_reading()
                if INTERRUPTED not in str(found):
                    return found
        return duckdb.Error("Error: DuckDB stopped the query and does not say why; set threads = 1")

    def _named(self, error: LakeqError) -> LakeqError:
        """An error about one of several files, with the file that is damaged as its place.

        DuckDB does not always say which; local files are looked through, on S3 that costs bytes.
        """
        if not isinstance(error, BadLake) or error.where in self._files or len(self._files) < 2:
            return error
        from lakeq.lake.io import WarehouseIO
        from lakeq.lake.verify import check_data

        storage = WarehouseIO(self.settings.s3)
        for path, file in self._files.items():
            if "://" not in path and check_data(storage, file, None).problem:
                return BadLake(error.what, path, error.hint)
        return error


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """Make ^C of what DuckDB raises when it has heard one itself."""
    try:
        yield
    except RuntimeError as error:
        if "interrupt" in str(error).lower():
            raise KeyboardInterrupt from error
        raise


def _made(temp_dir: Path | None, memory_limit: str | None, threads: int | None) -> Database:
    """A new database; it makes the folder where it may spill when it first needs it."""
    import duckdb

    folder = temp_dir or Path(tempfile.gettempdir())
    spill = folder / f"lakeq-spill-{os.getpid()}-{os.urandom(4).hex()}"
    config: dict[str, str | bool | int | float | list[str]] = {
        **CONFIG,
        "temp_directory": str(spill),
        "max_temp_directory_size": f"{_spill_limit(folder) // 10**6}MB",
    }
    if memory_limit:
        config["memory_limit"] = memory_limit
    if threads:
        config["threads"] = str(threads)
    try:
        return Database(duckdb.connect(":memory:", config=config), spill)
    except duckdb.Error as error:
        where = "the settings memory_limit, threads and temp_dir"
        raise UsageError(headline(str(error)), where, "lakeq config show --origin") from error


def _spill_limit(folder: Path) -> int:
    """The most bytes that a query may spill."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:  # the folder is made when it is needed
        return SPILL_LIMIT
    return min(SPILL_LIMIT, int(free * SPILL_SHARE))


def _of_part(part: Part) -> Read:
    """What was read of a raw object; local ones by their path."""
    return Read(part.path.removeprefix("file://"), part.offset, part.length)


def _plan(
    session: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object]
) -> list[str]:
    """The lines of DuckDB's plan of `sql`; it names tables and columns, but no files."""
    found = session.execute(f"EXPLAIN {sql}", dict(parameters)).fetchall()
    return [line for row in found for line in str(row[1]).rstrip("\n").split("\n")]


class Run:
    """A query that has begun in an `Engine`; rows stream, so memory does not grow with them."""

    def __init__(
        self,
        engine: Engine,
        session: duckdb.DuckDBPyConnection,
        sql: str,
        parameters: Mapping[str, object],
    ) -> None:
        self._engine = engine
        self._cursor = session
        self._asked = sql, parameters
        engine.again = WeakMethod(self._again)
        self._wait(lambda: self._start(sql, parameters))
        described = self._cursor.description or []
        self.columns = tuple(ResultColumn(str(d[0]), str(d[1])) for d in described)
        # DuckDB needs pytz to make Python values of these; Arrow does not.
        self._zoned = any("WITH TIME ZONE" in column.type for column in self.columns)
        self._rows: Iterator[Sequence[Row]] | None = None

    def fetch(self, count: int) -> Sequence[Row]:
        """At most `count` further rows as Python values; none when the query is done."""
        with self._engine.explained():
            self._engine.check_limits()
            if not self._zoned:
                return self._wait(lambda: self._cursor.fetchmany(count))
            if self._rows is None:
                self._rows = self._through_arrow(count)
            return next(self._rows, [])

    def _again(self) -> None:
        """Run the query once more and drop its rows."""
        self._wait(lambda: self._start(*self._asked))
        source = self._cursor.to_arrow_reader(ROWS_AGAIN)
        try:
            while self._wait(lambda: next(source, None)) is not None:
                self._engine.check_limits()
        except (OSError, ValueError) as error:
            raise in_arrow(error) or error from error

    def _start(self, sql: str, parameters: Mapping[str, object]) -> None:
        """Bind and begin: with SQL's values, since Python's make DuckDB import pandas (0.6 s)."""
        values = {name: value_literal(value) for name, value in parameters.items()}
        if not values:
            self._cursor.execute(sql)
        elif None in values.values():
            self._cursor.execute(sql, dict(parameters))
        else:
            self._cursor.execute(f"PREPARE lakeq AS {sql}")
            bound = ", ".join(f"{identifier(name)} := {value}" for name, value in values.items())
            self._cursor.execute(f"EXECUTE lakeq({bound})")

    def _wait(self, call: Callable[[], T]) -> T:
        """The result of `call`; ^C stops the query within a tenth of a second.

        DuckDB looks for signals while a query starts, but not while its rows are fetched.
        """
        if threading.current_thread() is not threading.main_thread():
            return call()
        return waited(call, self._stop)

    def _stop(self, ended: threading.Event) -> None:
        self._engine.stopped = True
        self._cursor.interrupt()
        while not ended.wait(_AGAIN_S):  # DuckDB forgets an interrupt that comes between two steps
            self._cursor.interrupt()

    def _through_arrow(self, count: int) -> Iterator[Sequence[Row]]:
        for batch in self.reader(count):
            columns = [column.to_pylist() for column in batch.columns]
            rows = list(zip(*columns, strict=True))
            for start in range(0, len(rows), count):
                yield rows[start : start + count]

    def reader(self, rows_per_batch: int) -> pa.RecordBatchReader:
        """The further rows as Arrow record batches."""
        import pyarrow as pa

        source = self._cursor.to_arrow_reader(rows_per_batch)

        def batches() -> Iterator[pa.RecordBatch]:
            with self._engine.explained():
                while (batch := self._wait(lambda: next(source, None))) is not None:
                    self._engine.check_limits()
                    yield batch

        return pa.RecordBatchReader.from_batches(source.schema, batches())

    def access(self) -> Access:
        """What the engine has read up to now."""
        return self._engine.access()

    def __del__(self) -> None:
        """See `Engine`."""
        if "_cursor" in self.__dict__:
            self._cursor.close()

    def close(self) -> None:
        """Stop the query and drop its database."""
        self._cursor.close()
        self._engine.close()
