"""Spark over Spark Connect: a cluster at `sc://…`, or a Sail of lakeq's own on this machine.

Tables are handed over as the files that the plan left, each a temporary view. Columns are matched
to files by Iceberg field id. No file is listed and no partition value is read from a path, so a
partition column keeps the type that it has in the files.
"""

from __future__ import annotations

import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from lakeq import dialect
from lakeq.engines import UNLIMITED, Access, Allowance, Reference, ResultColumn, Row
from lakeq.engines._physical import groups
from lakeq.engines._results import Shaped, expected_schema
from lakeq.engines._spark_errors import explain
from lakeq.engines._waiting import waited
from lakeq.errors import LimitPassed, StorageUnavailable, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.config import Settings
    from lakeq.engines._sail import Server
    from lakeq.snapshot import TableSnapshot

T = TypeVar("T")
# Spark 4.2 loses itself in this rule where two branches of a UNION name one column twice.
EXCLUDED = "org.apache.spark.sql.catalyst.optimizer.RemoveRedundantAliases"
CONNECT_S = 30.0  # for a cluster's first answer
STOP_S = 5  # for a query that is asked to stop
RETRIES = 6  # some 6 s in all
S3_SCHEMES = ("s3://", "s3a://", "s3n://")


class Engine:
    """One query's session with Spark."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._server: Server | None = None
        self._session: Any = None
        self._before: int | None = None
        self._access = Access((), 0)
        self._closed = False

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
        """Start `sql` over `tables`; raise `QueryFailed` with Spark's own words."""
        assert reference is not None
        translated = dialect.translate(sql, dialect.SPARK, tables, reference.literals)
        session = self._connect()
        self._signed = any(f.path.startswith(S3_SCHEMES) for t in tables.values() for f in t.files)
        with self.explained():
            for name, table in tables.items():
                _view(session, table, self._scheme(), self.settings).createOrReplaceTempView(
                    dialect.view_name(name)
                )
            text = f"EXPLAIN {translated.sql}" if explain else translated.sql
            frame = session.sql(text)
        if explain:
            return Run(self, frame, (ResultColumn("plan", "VARCHAR"),), allowance, reference)
        return Run(self, frame, reference.columns, allowance, reference)

    def explained(self) -> explain:
        """Turn Spark's errors into ours."""
        return explain(self.settings.spark.remote or "Sail on this machine")

    def _scheme(self) -> str:
        return self.settings.spark.s3_scheme or "s3"

    def _connect(self) -> Any:
        """A session of this query's own."""
        from lakeq.engines import _sail

        remote = self.settings.spark.remote
        if not remote or remote in _sail.MODES:
            self._server = _sail.server(self.settings)
            remote = self._server.remote
        if not remote.startswith("sc://"):
            what = f"spark.remote = {remote!r}: expected sc://host:port, local or local-cluster"
            raise UsageError(what, "the settings")
        with self.explained():
            self._session = connect(remote) if self._server else _cluster(remote)
        if self._server is not None:
            self._before = self._server.read_bytes()
        return self._session

    def interrupt(self, ended: threading.Event) -> None:
        """Stop what this session runs; a Sail of our own that does not stop soon is ended."""
        from lakeq.engines import _sail

        if self._closed:
            return
        with suppress(Exception):  # what it answers changes nothing
            self._session.interruptAll()
        if not ended.wait(STOP_S) and self._server is not None:
            _sail.stop(self._server)
            self._closed = True

    def check_alive(self) -> None:
        """Raise `StorageUnavailable` when a Sail of our own has ended."""
        if self._server is not None and not self._server.alive():
            self._closed = True
            hint = "run it again; with less memory: threads, or fewer columns"
            what = "Sail ended while the query ran: it does not answer any more"
            raise StorageUnavailable(what, "Sail on this machine", hint)

    def measured(self, reference: Reference) -> Access:
        """The bytes: counted where Sail reads files of this machine, else those of the plan."""
        server = self._server
        counted = None if server is None or self._signed else server.read_bytes()
        if counted is not None and self._before is not None:
            bytes_, by = counted - self._before, "counted"
            notes: tuple[str, ...] = ()
        else:
            bytes_, by = reference.high_bytes, "plan"
            notes = ("Spark does not tell what it reads: the bytes are those of the plan",)
        return Access((), 0, told_bytes=bytes_, told_by=by, notes=notes)

    def access(self) -> Access:
        """What was read from storage up to now."""
        return self._access

    def settle(self, access: Access) -> None:
        """Keep what the query took."""
        self._access = access

    def close(self) -> None:
        """Give the session back."""
        if self._session is not None and not self._closed:
            self._closed = True
            with suppress(Exception):  # a server that is gone has no session any more
                self._session.client.release_session()
            with suppress(Exception):
                self._session.client.close()


def _cluster(remote: str) -> Any:
    """A session with a cluster that is not ours; `StorageUnavailable` when it stays silent."""
    until = time.monotonic() + CONNECT_S

    def look() -> None:
        if time.monotonic() > until:
            hint = 'is it Spark Connect, and the address right? spark.remote = "sc://host:15002"'
            what = f"the Spark server does not answer within {CONNECT_S:g} s"
            raise StorageUnavailable(what, remote, hint)

    def connected() -> Any:
        session = connect(remote)
        with suppress(Exception):  # a cluster may keep its settings to itself
            session.conf.set("spark.sql.optimizer.excludedRules", EXCLUDED)
        return session

    return waited(connected, lambda _waiting: None, look)


def connect(remote: str) -> Any:
    """A new Spark Connect session at `remote`."""
    try:
        with _not_a_doctest(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pandas' version
            from pyspark.sql.connect.client.retries import DefaultPolicy
            from pyspark.sql.connect.session import SparkSession
    except ImportError as error:
        hint = "pip install 'lakeq[spark]'"
        raise UsageError("pyspark-client is not installed", "--engine spark", hint) from error
    session = SparkSession.builder.remote(remote).create()
    patience = DefaultPolicy(max_retries=RETRIES, initial_backoff=50, max_backoff=2000)
    session.client.set_retry_policies([patience])  # the client's own wait for ten minutes
    session.conf.set("spark.sql.session.timeZone", "UTC")
    return session


@contextmanager
def _not_a_doctest() -> Iterator[None]:
    """Keep pyspark from taking `python -c` and workers of a pool for a run of its doctests.

    Where the main module has neither a file nor a spec it imports its tests, which end the
    process for want of a Spark installation (pyspark.sql.connect.utils.check_dependencies).
    """
    main = sys.modules["__main__"]
    if hasattr(main, "__file__") or main.__spec__ is not None:
        yield
        return
    main.__file__ = "-c"
    try:
        yield
    finally:
        del main.__file__


def _view(session: Any, table: TableSnapshot, scheme: str, settings: Settings) -> Any:
    """A frame over the files of `table`, its columns as the snapshot names and types them."""
    from lakeq.engines._spark_types import spark_type

    wanted = [(column.name, spark_type(column.duckdb_type)) for column in table.columns]
    frames = []
    for group in groups(table, settings.s3):
        fields = [
            (physical, type_)
            for physical, (_, type_) in zip(group.names, wanted, strict=True)
            if physical is not None
        ]
        from pyspark.sql.types import StructField, StructType

        schema = StructType([StructField(name, type_, nullable=True) for name, type_ in fields])
        paths = [_uri(path, scheme) for path in group.paths]
        frames.append((session.read.schema(schema).parquet(*paths), group.names))
    if not frames:
        return _empty(session, wanted)
    from pyspark.sql.connect import functions as fn

    chosen = []
    for frame, names in frames:
        columns = [
            (fn.lit(None).cast(type_) if physical is None else fn.col(f"`{physical}`")).alias(name)
            for physical, (name, type_) in zip(names, wanted, strict=True)
        ]
        chosen.append(frame.select(*columns))
    whole = chosen[0]
    for more in chosen[1:]:
        whole = whole.union(more)
    return whole


def _empty(session: Any, wanted: Sequence[tuple[str, Any]]) -> Any:
    from pyspark.sql.types import StructField, StructType

    schema = StructType([StructField(name, type_, nullable=True) for name, type_ in wanted])
    return session.createDataFrame([], schema)


def _uri(path: str, scheme: str) -> str:
    """`path` as Spark writes it."""
    from urllib.parse import quote

    head, separator, rest = path.partition("://")
    if separator:
        return f"{scheme}://{rest}" if head in ("s3", "s3a", "s3n") else path
    return "file://" + quote(path)


class Run:
    """A query that Spark runs: it begins with the first row that is asked for."""

    def __init__(
        self,
        engine: Engine,
        frame: Any,
        columns: tuple[ResultColumn, ...],
        allowance: Allowance,
        reference: Reference,
    ) -> None:
        self._engine = engine
        self._frame = frame
        self.columns = columns
        self._allowance = allowance
        self._reference = reference
        self._shaped: Shaped | None = None
        self._began = time.perf_counter()

    def _rows(self) -> Shaped:
        if self._shaped is None:
            self._shaped = Shaped(self._batches(), self.columns, expected_schema(self.columns))
        return self._shaped

    def fetch(self, count: int) -> Sequence[Row]:
        """At most `count` further rows as Python values; none when the query is done."""
        return self._rows().fetch(count)

    def reader(self, rows_per_batch: int) -> pa.RecordBatchReader:
        """The further rows as Arrow record batches."""
        return self._rows().reader(rows_per_batch)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        """The rows as they come; a worker thread waits for them, so that ^C is heard."""
        import pyarrow as pa

        client = self._frame._session.client  # noqa: SLF001  # no public way streams Arrow
        plan = self._frame._plan.to_proto(client)  # noqa: SLF001  # likewise
        with self._engine.explained():
            parts = client.to_table_as_iterator(plan, {})
            while (part := self._wait(lambda: next(parts, None))) is not None:
                if isinstance(part, pa.Table):
                    yield from part.to_batches()

    def _wait(self, call: Callable[[], T]) -> T:
        """The result of `call`; ^C and a limit of seconds stop the query."""
        return waited(call, self._engine.interrupt, self._look)

    def _look(self) -> None:
        self._check_time()
        self._engine.check_alive()

    def _check_time(self) -> None:
        most = self._allowance.seconds
        if most is not None and time.perf_counter() - self._began > most:
            raise LimitPassed(f"stopped after {most:g} s, the limit max_seconds", "the query")

    def access(self) -> Access:
        """What was read up to now."""
        found = self._engine.measured(self._reference)
        self._engine.settle(found)
        return found

    def close(self) -> None:
        """Stop the query and give its session back."""
        self._engine.close()
