"""DuckDB inside this process: a fresh, locked-down database for each query.

The order of the lock-down matters and was found by experiment with DuckDB 1.5.5: connect with
everything off that loads or looks around; httpfs, only if a file lies on S3; its settings emptied
of what it took from the environment; one secret per bucket; views over exactly the snapshot's
files; `allowed_paths`; then no external access and no further configuration.

Bytes are counted by DuckDB's own `FileSystem` log, one line per read with path, position and
length: equal to what the kernel (local) and a server (S3) count, to the byte, where the profile's
`total_bytes_read` is wrong for local files. That log holds no URL parameters, headers or secrets;
the `HTTP` and `QueryLog` logs do, and are never enabled.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lakeq.engines import UNLIMITED, Access, Allowance, Read, Reference, ResultColumn, Row
from lakeq.engines._duckdb_errors import explain, headline
from lakeq.engines._duckdb_s3 import bucket_of, credentials, httpfs, secret
from lakeq.engines._duckdb_sql import (
    glob_escaped,
    identifier,
    literal,
    plan_literal,
    stub,
    text_list,
    value_literal,
    view,
)
from lakeq.engines._meter import Meter
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
    from lakeq.snapshot import DataFile, TableSnapshot

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
# Off for the plan: what looks at the data of tables, of which those of the plan have none. Filters
# and columns come out as in the real run. What leaves a tree that cannot be serialized is switched
# off where it does so: DuckDB then says that column bindings are inequal.
PLAN_WITHOUT = (
    "compressed_materialization,empty_result_pullup,join_order,late_materialization,"
    "statistics_propagation,top_n_window_elimination"
)
TRAILER_BYTES = 8  # of a Parquet file: the footer's length and the magic
READ_AHEAD_BYTES = 1 << 20  # httpfs fills a buffer of so many when it is asked for fewer
PLAN_RETRIES = ("", ",build_side_probe_side", ",column_lifetime")
BYTES_READ = """
SELECT coalesce(sum(regexp_extract(message, '"bytes":"([0-9]+)"', 1)::BIGINT), 0)
FROM duckdb_logs WHERE type = 'FileSystem'
AND contains(message, '"op":"READ"') AND NOT contains(message, 'lakeq-spill')
"""
S3_SCHEMES = ("s3://", "s3a://", "s3n://")
SESSION_SETTINGS = ("s3_access_key_id", "s3_secret_access_key", "s3_session_token", "s3_endpoint")


class Engine:
    """One query's DuckDB. Not shared between threads; closed with its result."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.secrets: tuple[str, ...] = ()
        self._files: Mapping[str, DataFile] = {}
        self.paths: frozenset[str] = frozenset()
        self.meter: Meter | None = None

    @cached_property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database, in memory, with nothing in it yet."""
        import duckdb

        try:
            return duckdb.connect(":memory:", config=self._config())
        except duckdb.Error as error:
            where = "the settings memory_limit, threads and temp_dir"
            raise UsageError(headline(str(error)), where, "lakeq config show --origin") from error

    @cached_property
    def _spill(self) -> Path:
        """Where DuckDB may spill; it makes the folder when it first needs it."""
        folder = self.settings.temp_dir or Path(tempfile.gettempdir())
        return folder / f"lakeq-spill-{os.getpid()}-{os.urandom(4).hex()}"

    def _spill_limit(self) -> int:
        """The most bytes that a query may spill."""
        try:
            free = shutil.disk_usage(self._spill.parent).free
        except OSError:  # the folder is made when it is needed
            return SPILL_LIMIT
        return min(SPILL_LIMIT, int(free * SPILL_SHARE))

    def _config(self) -> dict[str, str | bool | int | float | list[str]]:
        config: dict[str, str | bool | int | float | list[str]] = {
            **CONFIG,
            "temp_directory": str(self._spill),
            "max_temp_directory_size": f"{self._spill_limit() // 10**6}MB",
        }
        if self.settings.memory_limit:
            config["memory_limit"] = self.settings.memory_limit
        if self.settings.threads:
            config["threads"] = str(self.settings.threads)
        return config

    def serialize(self, sql: str) -> str:
        """DuckDB's `json_serialize_sql` of `sql`."""
        call = f"SELECT json_serialize_sql({literal(sql)}, skip_null := true, skip_empty := true)"
        row = self.connection.execute(call).fetchone()
        assert row is not None
        return str(row[0])

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
            session = self._prepare(tables)
            if explain:
                sql, parameters = PLAN_LINES, {"lines": _plan(session, sql, parameters)}
            if allowance:
                self.meter = Meter(allowance, self._bytes_read(), session.interrupt)
            return Run(self, session, sql, parameters)

    def _bytes_read(self) -> Callable[[], int | None]:
        """What tells the bytes read so far, from a session of its own; None where asking is unsafe.

        DuckDB 1.5.5 can lock itself up when its log is asked while memory is short: the answer
        makes it spill, spilling is logged, and the log is held by the question (seen once in some
        hundred runs). So nobody asks once it spills or holds half of the memory that it may have.
        """
        log = self.connection.cursor()
        row = log.execute("SELECT value FROM duckdb_settings() WHERE name = 'memory_limit'")
        most = resident_bytes() + _in_bytes(str((row.fetchone() or ("",))[0])) // 2

        def read() -> int | None:
            if self._spill.exists() or resident_bytes() > most:
                return None
            return int((log.execute(BYTES_READ).fetchone() or (0,))[0])

        return read

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
                return _serialized(session, sql) or _scans_only(session, sql)
            except duckdb.Error:
                return '{"error": true}'

    def describe(self, sql: str, tables: Mapping[str, TableSnapshot]) -> tuple[ResultColumn, ...]:
        """The columns that `sql` gives over `tables`; reads no data file."""
        with self.explained(), self._empty(tables) as session:
            self._check_reads(sql)
            rows = session.execute(f"DESCRIBE {sql}").fetchall()
        return tuple(ResultColumn(str(row[0]), str(row[1])) for row in rows)

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
            yield session
        finally:
            session.execute("ROLLBACK")
            session.execute("RESET disabled_optimizers")
            session.close()

    def _read_as_planned(self, *, again: bool) -> None:
        """Make DuckDB read local files as it reads S3, and every byte where it is counted.

        Columns are then requested whole, never page by page or once more from a cache that fills
        gaps, so that `lakeq.plan` can say beforehand what will be read. The cache stays where a
        query reads the same parts `again` and again.
        """
        self.connection.execute("SET GLOBAL prefetch_all_parquet_files = true")
        self.connection.execute(f"SET GLOBAL enable_external_file_cache = {again}")

    def access(self) -> Access:
        """The reads of data files that DuckDB logged up to now."""
        if not self.paths:
            return Access((), 0)
        log = self.connection.cursor()
        lines = log.execute("SELECT message FROM duckdb_logs WHERE type = 'FileSystem'").fetchall()
        found = [match for (line,) in lines if (match := _LOGGED.fullmatch(line))]
        known = self.paths
        reads = tuple(
            Read(match["path"], int(match["pos"]), int(match["bytes"]))
            for match in found
            if match["op"] == "READ" and match["path"] in known
        )
        opened = len({match["path"] for match in found} & known)
        return Access(tuple(_as_requested(reads)), opened, signed=bool(self.secrets))

    def close(self) -> None:
        """Drop the database and what it spilled."""
        if self.meter is not None:
            self.meter.close()
        if "connection" in self.__dict__:
            self.connection.close()
        if "_spill" in self.__dict__:
            shutil.rmtree(self._spill, ignore_errors=True)

    def _prepare(self, tables: Mapping[str, TableSnapshot]) -> duckdb.DuckDBPyConnection:
        """Make the views and lock the database; returns the session that the query runs in."""
        self._files = {file.path: file for table in tables.values() for file in table.files}
        paths = sorted(self._files)
        self.paths = frozenset(paths)
        buckets = sorted({bucket_of(path) for path in paths if path.startswith(S3_SCHEMES)})
        if buckets:
            self._open_s3(buckets)
        run = self.connection.execute
        patterns = [glob_escaped(path) for path in paths if glob_escaped(path) != path]
        run(f"SET allowed_paths = {text_list(paths + patterns)}")
        session = self.connection.cursor()
        session.execute("SET TimeZone = 'UTC'")  # of a session, not of the database
        run("SET GLOBAL enable_geoparquet_conversion = false")  # WKB is bytes, as the catalog says
        run("CALL enable_logging('FileSystem')")
        for name, table in tables.items():
            schema = name.partition(".")[0]
            run(f"CREATE SCHEMA IF NOT EXISTS {identifier(schema)}")
            run(view(table))
        run("SET enable_external_access = false")
        run("SET lock_configuration = true")
        return session

    def _open_s3(self, buckets: Sequence[str]) -> None:
        import duckdb

        run = self.connection.execute
        run(f"LOAD {literal(httpfs(duckdb.__version__))}")
        for name in SESSION_SETTINGS:  # httpfs fills them from AWS_*, for all sessions
            run(f"SET GLOBAL {name} = ''")
        s3 = self.settings.s3
        keys = credentials(s3)
        self.secrets = tuple(part for part in keys[:3] if part)
        try:
            for number, bucket in enumerate(buckets):
                run(secret(f"bucket_{number}", bucket, s3, keys))
        except duckdb.Error:
            what = "DuckDB does not take the S3 settings"
            raise UsageError(what, "the settings s3.*", "lakeq config show --origin") from None

    def check_limits(self) -> None:
        """Raise `LimitPassed` when the query has passed its allowance."""
        if self.meter is not None:
            self.meter.check()

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Turn DuckDB's errors into ours, without any secret in the text."""
        import duckdb

        try:
            self.check_limits()
            yield
        except duckdb.Error as error:
            self.check_limits()
            raise self._named(explain(error, self.secrets, self.paths)) from error
        except (OSError, ValueError):  # pyarrow's, of a stream that was interrupted
            self.check_limits()
            raise
        except RuntimeError as error:
            self.check_limits()
            if "interrupt" in str(error).lower():
                raise KeyboardInterrupt from error
            raise

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
        outcome: list[T] = []
        failure: list[BaseException] = []

        def work() -> None:
            try:
                outcome.append(call())
            except BaseException as error:  # noqa: BLE001  # raised again in the waiting thread
                failure.append(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            while worker.is_alive():
                worker.join(0.1)
        except KeyboardInterrupt:
            self._cursor.interrupt()
            worker.join()
            raise
        if failure:
            raise failure[0]
        return outcome[0]

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

    def close(self) -> None:
        """Stop the query and drop its database."""
        self._cursor.close()
        self._engine.close()


def resident_bytes() -> int:
    """Memory that this process holds, 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except OSError:
        return 0
    return int(pages) * mmap.PAGESIZE


def _in_bytes(text: str) -> int:
    """A size as DuckDB's settings show it, `286.1 MiB`; without limit where it is no size."""
    number, _, unit = text.partition(" ")
    powers = {"bytes": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4}
    if unit not in powers:
        return 1 << 62
    return int(float(number) * 1024 ** powers[unit])


def _as_requested(reads: Iterable[Read]) -> Iterator[Read]:
    """`reads` as httpfs asked S3 for them, which differs from DuckDB's log where a footer is long.

    A footer that is not within the end of the file that is read first is read again from its
    start. The log tells that without the 8 bytes after the footer, which httpfs takes along, and
    then the end of the file once more, which httpfs still has (measured with a server that counts).
    """
    ends: dict[str, Read] = {}
    long: set[str] = set()
    for read in reads:
        end = ends.setdefault(read.path, read)
        if read is end or not read.path.startswith(S3_SCHEMES):
            yield read
        elif read.path not in long and _stops(read) == _stops(end) - TRAILER_BYTES:
            long.add(read.path)
            buffered = min(READ_AHEAD_BYTES, read.length + TRAILER_BYTES)
            yield read._replace(length=max(read.length, buffered))
        elif read == end and read.path in long:
            long.discard(read.path)
        else:
            yield read


def _stops(read: Read) -> int:
    return read.offset + read.length


def _serialized(session: duckdb.DuckDBPyConnection, sql: str) -> str | None:
    """DuckDB's plan of `sql` as JSON, None where it cannot be had."""
    call = f"SELECT json_serialize_plan({literal(sql)}, optimize := true, skip_null := true)"
    for without in PLAN_RETRIES:
        session.execute(f"SET disabled_optimizers = {literal(PLAN_WITHOUT + without)}")
        row = session.execute(call).fetchone()
        if row is not None and not str(row[0]).startswith('{"error":true'):
            return str(row[0])
    return None


def _scans_only(session: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The tables that EXPLAIN names, one for each scan, where no plan can be serialized."""
    text = "".join(str(line) for _, line in session.execute(f"EXPLAIN {sql}").fetchall())
    names = re.findall(r"Table:\s*\w+\.(\w+\.\w+)", re.sub(r"[│\s]+", " ", text))
    return json.dumps({"error": True, "scans": names})


_LOGGED = re.compile(
    r'\{"fs":"[^"]*","path":"(?P<path>.*)","op":"(?P<op>READ|OPEN)"'
    r'(?:,"bytes":"(?P<bytes>\d+)","pos":"(?P<pos>\d+)")?\}',
    re.DOTALL,
)
