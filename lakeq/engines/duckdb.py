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
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlsplit

from lakeq import redact
from lakeq.engines import UNLIMITED, Access, Allowance, Read, ResultColumn, Row
from lakeq.engines._meter import Meter
from lakeq.errors import (
    AccessDenied,
    BadLake,
    LakeqError,
    QueryFailed,
    QueryRefused,
    StorageUnavailable,
    UsageError,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from lakeq.config import S3Settings, Settings
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
            raise UsageError(_headline(str(error)), where, "lakeq config show --origin") from error

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

        session = self.connection.cursor()
        session.execute("SET TimeZone = 'UTC'")
        session.execute("BEGIN")
        try:
            for schema in {name.partition(".")[0] for name in tables}:
                session.execute(f"CREATE SCHEMA {identifier(schema)}")
            for table in tables.values():
                session.execute(stub(table))
            serialized = _serialized(session, sql) or _scans_only(session, sql)
        except duckdb.Error:
            serialized = '{"error": true}'
        finally:
            session.execute("ROLLBACK")
            session.execute("RESET disabled_optimizers")
            session.close()
        return serialized

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
        buckets = sorted({_bucket(path) for path in paths if path.startswith(S3_SCHEMES)})
        if buckets:
            self._open_s3(buckets)
        run = self.connection.execute
        patterns = [glob_escaped(path) for path in paths if glob_escaped(path) != path]
        run(f"SET allowed_paths = {_list(paths + patterns)}")
        session = self.connection.cursor()
        session.execute("SET TimeZone = 'UTC'")  # of a session, not of the database
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
        keys = _credentials(s3)
        self.secrets = tuple(part for part in keys[:3] if part)
        try:
            for number, bucket in enumerate(buckets):
                run(_secret(f"bucket_{number}", bucket, s3, keys))
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


def identifier(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """`text` as a SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def value_literal(value: object) -> str | None:
    """`value` as a typed SQL literal; None where only DuckDB's own conversion will do."""
    text: str | None = None
    if value is None:
        text = "NULL"
    elif type(value) is bool:
        text = str(value).lower()
    elif type(value) is int:
        text = f"CAST('{value}' AS {'BIGINT' if -(2**63) <= value < 2**63 else 'HUGEINT'})"
    elif type(value) is float:
        text = f"CAST('{value!r}' AS DOUBLE)"
    elif type(value) is str and "\0" not in value:
        text = literal(value)
    elif isinstance(value, list | tuple):
        text = _list_literal(value)
    return text


def plan_literal(value: object) -> str | None:
    """`value` as a literal of the type that it has when it is bound; None where that is not sure.

    DuckDB serializes the plan of a text without parameters only, so they are written out for it.
    """
    from datetime import date, datetime

    if isinstance(value, datetime):
        kind = "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
        return f"CAST({literal(value.isoformat())} AS {kind})"
    if isinstance(value, date):
        return f"CAST({literal(value.isoformat())} AS DATE)"
    return value_literal(value)


def _list_literal(values: Sequence[object]) -> str | None:
    """A list whose elements are of one plain type; DuckDB finds the type of any other."""
    parts = [value_literal(value) for value in values]
    if len({type(value) for value in values}) != 1 or None in parts:
        return None
    return "[" + ", ".join(map(str, parts)) + "]"


def _list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"


def view(table: TableSnapshot) -> str:
    """The statement that makes `table` readable under its name, columns matched by field id.

    A table without files is an empty view of the right types.
    """
    schema, _, name = table.name.partition(".")
    head = f"CREATE VIEW {identifier(schema)}.{identifier(name)} AS SELECT "
    if not table.files:
        columns = ", ".join(
            f"CAST(NULL AS {c.duckdb_type}) AS {identifier(c.name)}" for c in table.columns
        )
        return f"{head}{columns} WHERE false"
    columns = ", ".join(
        f"{c.field_id}: {{name: {literal(c.name)}, type: {literal(c.duckdb_type)}, "
        "default_value: NULL}"
        for c in table.columns
    )
    paths = _list([glob_escaped(file.path) for file in table.files])
    return f"{head}* FROM read_parquet({paths}, schema => MAP{{{columns}}})"


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


def stub(table: TableSnapshot) -> str:
    """The statement that makes an empty table with the columns of `table`."""
    schema, _, name = table.name.partition(".")
    columns = ", ".join(f"{identifier(c.name)} {c.duckdb_type}" for c in table.columns)
    return f"CREATE TABLE {identifier(schema)}.{identifier(name)} ({columns})"


def glob_escaped(path: str) -> str:
    """`path` for a function that would take `*`, `?` and `[` in it for a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def _bucket(path: str) -> str:
    return urlsplit(path).netloc


def httpfs(version: str) -> str:
    """The extension file of the wheel `duckdb-extension-httpfs`, made for this DuckDB."""
    spec = find_spec("duckdb_extension_httpfs")
    origin = spec.origin if spec else None
    name = f"extensions/v{version}/httpfs.duckdb_extension"
    path = Path(origin).parent / name if origin else None
    if path is None or not path.is_file():
        wheel = f"duckdb-extension-httpfs=={version}"
        raise UsageError(f"reading S3 needs {wheel}", "this installation", f"pip install {wheel}")
    return str(path)


class _Keys(NamedTuple):
    """What signs requests, all empty for anonymous access; and the region that came with it."""

    access_key: str = ""
    secret_key: str = ""
    token: str = ""
    region: str = ""

    def __repr__(self) -> str:
        return f"_Keys({'***' if self.access_key else ''})"  # tracebacks can show variables


def _credentials(s3: S3Settings) -> _Keys:
    """The credentials that the settings ask for; those of the environment load no AWS library."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""
    if s3.anon:
        return _Keys(region=region)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    keys = _Keys._make((*(os.environ.get(name, "") for name in names), region))
    if s3.profile or not (keys.access_key and keys.secret_key):
        keys = _resolved(s3)
    redact.remember(*keys[:3])
    return keys


def _resolved(s3: S3Settings) -> _Keys:
    """Credentials as the AWS SDK finds them: profile, SSO, instance role, and so on."""
    import botocore.session
    from botocore.exceptions import BotoCoreError

    try:
        session = botocore.session.Session(profile=s3.profile or None)
        region = session.get_config_variable("region") or ""
        found = session.get_credentials()
        keys = found.get_frozen_credentials() if found else None
    except BotoCoreError as error:
        hint = "name another --profile, or log in again"
        what = f"no AWS credentials: {error}"
        raise AccessDenied(what, "the AWS settings", hint) from redact.bare(error)
    if keys is not None:
        return _Keys(keys.access_key, keys.secret_key, keys.token or "", region)
    if s3.anon is False:
        hint = "set AWS_PROFILE or --profile, or read without credentials: --anon"
        raise AccessDenied("no AWS credentials found", "the AWS settings", hint)
    return _Keys(region=region)


def _secret(name: str, bucket: str, s3: S3Settings, keys: _Keys) -> str:
    options = {
        "KEY_ID": literal(keys.access_key),
        "SECRET": literal(keys.secret_key),
        "REGION": literal(s3.region or keys.region or "us-east-1"),
        "SCOPE": literal(f"s3://{bucket}"),
    }
    if keys.token:
        options["SESSION_TOKEN"] = literal(keys.token)
    if s3.requester_pays and keys.access_key:
        options["REQUESTER_PAYS"] = "true"
    if s3.endpoint_url:
        endpoint = urlsplit(s3.endpoint_url)
        options["ENDPOINT"] = literal(endpoint.netloc + endpoint.path.rstrip("/"))
        options["URL_STYLE"] = "'path'"
        options["USE_SSL"] = "true" if endpoint.scheme == "https" else "false"
    described = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"CREATE TEMPORARY SECRET {name} (TYPE s3, {described})"


def explain(
    error: duckdb.Error, secrets: Sequence[str] = (), paths: Collection[str] = ()
) -> LakeqError:
    """Our error for one of DuckDB's: its own words, with secrets blotted out.

    An error that names one of the data files `paths`, or that only a damaged file can cause, is
    `BadLake`.
    """
    text = str(error)
    for secret in secrets:
        text = text.replace(secret, "***")
    status = getattr(error, "status_code", None)
    if status is not None or "HTTP" in text.partition(":")[0] or "for HTTP" in text:
        return _storage_error(text, int(status) if status else 0)
    named = next((path for path in paths if path in text), None)
    if named is not None or (paths and _of_a_file(error, text)):
        where = named or (next(iter(paths)) if len(paths) == 1 else f"one of {len(paths)} files")
        return BadLake(_headline(text) or "it cannot be read", where, DAMAGED_HINT)
    if text.startswith("INTERNAL"):
        hint = "is a file damaged? lakeq verify; if none is, this is a bug in DuckDB"
        return QueryFailed(_headline(text), "the query", hint)
    if text.startswith("Out of Memory"):
        hint = "raise memory_limit, or ask for fewer rows or columns"
        return QueryFailed(_headline(text), "the query", hint)
    if "No space left" in text or "max_temp_directory_size" in text:
        hint = "make room, or set temp_dir to a larger disk"
        return StorageUnavailable(_headline(text), "the folder for spilled rows", hint)
    body, where = _placed(text)
    return QueryFailed(body, where)


# What DuckDB says of Parquet that it cannot follow, without the name of the file.
_DAMAGED = re.compile(
    r"TProtocolException|TTransportException|ZSTD|[Cc]hecksum|[Cc]orrupt|out of buffer|[Pp]arquet"
    r"|Invalid unicode \(byte sequence mismatch\)|DELTA_|[Dd]ictionary offset|[Ss]nappy"
)
DAMAGED_HINT = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
_OF_THE_QUERY = ("Conversion", "Binder", "Catalog", "Parser", "Out of Range")  # they quote values
_LOGGED = re.compile(
    r'\{"fs":"[^"]*","path":"(?P<path>.*)","op":"(?P<op>READ|OPEN)"'
    r'(?:,"bytes":"(?P<bytes>\d+)","pos":"(?P<pos>\d+)")?\}',
    re.DOTALL,
)


def _of_a_file(error: duckdb.Error, text: str) -> bool:
    """Whether only a damaged file explains the error: its readers raise without DuckDB's types."""
    import duckdb

    if text.startswith(_OF_THE_QUERY):
        return False
    return type(error) is duckdb.Error or _DAMAGED.search(text) is not None


def _storage_error(text: str, status: int) -> LakeqError:
    """What an HTTP status from S3, or none at all, means to the user."""
    address = re.search(r"'((?:s3|https?)://[^'?]+)", text)
    where = address[1] if address else "S3"
    what = _headline(text).partition(" for HTTP")[0]
    if status in (401, 403):
        hint = "check credentials (--profile, --anon), the region, or whether the requester pays"
        return AccessDenied(what, where, hint)
    if status == 404:
        return BadLake(what, where, "the lake names a file that is not there; ingest it again")
    if status in (301, 307, 400):
        hint = "the bucket may be in another region: set s3.region (--region)"
        return AccessDenied(what, where, hint)
    return StorageUnavailable(what, where, "try again; check the endpoint and the network")


def _headline(text: str) -> str:
    """The first line, without DuckDB's name for the kind of error."""
    first = text.strip().partition("\n")[0]
    kind, colon, rest = first.partition(": ")
    return rest if colon and kind.endswith("Error") else first


def _placed(text: str) -> tuple[str, str]:
    """What DuckDB says and which line of the query it points to."""
    body, marker, place = text.partition("\nLINE ")
    kind, colon, rest = body.strip().partition(": ")
    words = rest if colon and kind.endswith("Error") else body.strip()
    number = place.partition(":")[0]
    where = f"the query, line {number}" if marker and number.isdigit() else "the query"
    return "\n".join(line for line in words.splitlines() if line.strip()), where
