"""Amazon Athena, engine version 3, over the Iceberg tables that Glue names: rows and the bill.

Each table is read at the snapshot that was planned (`FOR VERSION AS OF`). Lists and structs come
back as JSON, since GetQueryResults writes them as text that cannot be told apart. Large results
come by UNLOAD. API:
https://docs.aws.amazon.com/athena/latest/APIReference/
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from lakeq import cost, dialect, redact
from lakeq.engines import UNLIMITED, Access, Allowance, Reference, ResultColumn, Row
from lakeq.engines import _athena_unload as unloading
from lakeq.engines._athena_errors import THROTTLED, failed, named
from lakeq.engines._results import Shaped, expected_schema
from lakeq.errors import LakeqError, LimitPassed, UsageError
from lakeq.storage import aws

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.config import Settings
    from lakeq.snapshot import TableSnapshot

ATTEMPTS = 8  # of one call that is throttled
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
PAGE_ROWS = 1000  # the most that GetQueryResults gives at once
CUT_OFF_SHARE = 1.2  # of the bytes that the plan expects
CUT_OFF_LEAST = 10_000_000  # the least that Athena takes for a workgroup, and bills
STOP_S = 5.0  # for a query that is cancelled to say so
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
TIMES = {
    "queue": "QueryQueueTimeInMillis",
    "planning": "QueryPlanningTimeInMillis",
    "execution": "EngineExecutionTimeInMillis",
    "service": "ServiceProcessingTimeInMillis",
    "total": "TotalExecutionTimeInMillis",
}


class Engine:
    """One query on Athena; `client` is boto3's, for tests another."""

    def __init__(self, settings: Settings, client: Any = None) -> None:
        self.settings = settings
        self._client = client
        self._access = Access((), 0, told_bytes=0, told_by="athena", bill_usd=Decimal(0))

    @property
    def client(self) -> Any:
        """boto3's client of Athena, in the settings' region and profile."""
        if self._client is None:
            self._client = new_client("athena", self.settings)
        return self._client

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
        """Start `sql` over `tables`; raise `QueryFailed` with Athena's own words."""
        assert reference is not None
        nested = [is_nested(column.type) for column in reference.columns]
        translated = dialect.translate(
            sql,
            dialect.TRINO,
            tables,
            reference.literals,
            table_name=lambda name: versioned(name, tables[name], self.settings.glue.prefix),
            bind=True,
            as_json=[] if explain else nested,
        )
        columns = (ResultColumn("plan", "VARCHAR"),) if explain else reference.columns
        unload = None
        if not explain and self._is_large(reference.athena_bytes):
            unload = unloading.of(translated.sql, columns, self.settings.athena.output)
        text = unload.sql if unload else translated.sql
        text = f"EXPLAIN {text}" if explain else text
        cut_off = max(int(CUT_OFF_SHARE * reference.athena_bytes), CUT_OFF_LEAST)
        notes = self._set_cut_off(cut_off)
        execution = self._start(text, translated.parameters, reuse=unload is None)
        return Run(self, execution, columns, allowance, Terms(cut_off, notes, unload))

    def _is_large(self, expected_bytes: int) -> bool:
        """Whether a result may be too large for pages: few are larger than what is read."""
        chosen = self.settings.athena
        least = chosen.unload_bytes
        return bool(chosen.output) and least is not None and expected_bytes >= least

    def _start(self, text: str, parameters: Sequence[str], *, reuse: bool) -> str:
        """Submit once, however often it takes: the token makes a retry the same query."""
        chosen = self.settings.athena
        arguments: dict[str, Any] = {
            "QueryString": text,
            "ClientRequestToken": uuid.uuid4().hex,
            "WorkGroup": chosen.workgroup or "primary",
        }
        if chosen.output:
            arguments["ResultConfiguration"] = {"OutputLocation": chosen.output}
        if chosen.catalog:
            arguments["QueryExecutionContext"] = {"Catalog": chosen.catalog}
        if parameters:
            arguments["ExecutionParameters"] = list(parameters)
        if chosen.reuse_minutes and reuse:  # results of UNLOAD are not given again
            by_age = {"Enabled": True, "MaxAgeInMinutes": chosen.reuse_minutes}
            arguments["ResultReuseConfiguration"] = {"ResultReuseByAgeConfiguration": by_age}
        return str(self.call("start_query_execution", **arguments)["QueryExecutionId"])

    def _set_cut_off(self, cut_off: int) -> tuple[str, ...]:
        """Tell the workgroup to stop what reads more; without the right to, lakeq watches alone."""
        workgroup = self.settings.athena.workgroup
        if not workgroup or workgroup == "primary":
            return ()
        update = {"BytesScannedCutoffPerQuery": cut_off}
        try:
            self.client.update_work_group(WorkGroup=workgroup, ConfigurationUpdates=update)
        except Exception as error:  # noqa: BLE001  # boto3 makes its errors' classes at run time
            if aws.code_of(error) == "AccessDeniedException":
                return ("athena:UpdateWorkGroup is denied: the workgroup's cut-off stays as it is",)
            raise named(error, workgroup) from redact.bare(error)
        return ()

    def call(self, name: str, **arguments: Any) -> Any:
        """One call of Athena; waits and tries again when it is throttled."""
        for attempt in range(ATTEMPTS):
            try:
                return getattr(self.client, name)(**arguments)
            except Exception as error:  # noqa: BLE001  # as below
                if aws.code_of(error) not in THROTTLED or attempt == ATTEMPTS - 1:
                    raise named(error, self.settings.athena.workgroup) from redact.bare(error)
            wait = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**attempt)
            time.sleep(random.uniform(0, wait))
        raise AssertionError("the last attempt returns or raises")

    def access(self) -> Access:
        """What was read up to now."""
        return self._access

    def settle(self, access: Access) -> None:
        """Keep what the query took."""
        self._access = access

    def close(self) -> None:
        """Nothing is held between calls."""


def new_client(service: str, settings: Settings) -> Any:
    """boto3's client of a service, as the settings reach AWS; endpoints are each service's own."""
    from botocore.exceptions import BotoCoreError

    chosen = settings.athena
    region = (settings.glue.region if service == "glue" else "") or chosen.region
    endpoints = {
        "athena": chosen.endpoint_url,
        "glue": settings.glue.endpoint_url,
        "s3": settings.s3.endpoint_url,
    }
    try:
        return aws.client(service, settings.s3, region, endpoints.get(service, ""))
    except BotoCoreError as error:
        raise named(error, chosen.workgroup) from redact.bare(error)


def versioned(name: str, table: TableSnapshot, prefix: str = "") -> str:
    """A table of Glue, whose databases' names begin with `prefix`, at the planned snapshot."""
    dataset, _, short = name.partition(".")
    named = f'"{prefix}{dataset}"."{short}"'
    return f"{named} FOR VERSION AS OF {table.snapshot_id}" if table.snapshot_id else named


def is_nested(duckdb_type: str) -> bool:
    """Whether a value of that type has parts."""
    return duckdb_type.endswith("]") or duckdb_type.startswith(("STRUCT(", "MAP("))


class Terms(NamedTuple):
    """On what terms a query was sent: most bytes, what to note, and as which UNLOAD, if as one."""

    cut_off: int
    notes: tuple[str, ...]
    unload: unloading.Unload | None = None


class Run:
    """A query that Athena has taken; its rows are there when all of it has run."""

    def __init__(
        self,
        engine: Engine,
        execution: str,
        columns: tuple[ResultColumn, ...],
        allowance: Allowance,
        terms: Terms,
    ) -> None:
        self._engine = engine
        self.execution = execution
        self.columns = columns
        self._allowance = allowance
        self._cut_off = terms.cut_off
        self._notes = list(terms.notes)
        self._unload = terms.unload
        self._manifest = ""
        self._shaped: Shaped | None = None
        self._began = time.perf_counter()
        self._done = False
        self._cleared = False

    def fetch(self, count: int) -> Sequence[Row]:
        """At most `count` further rows as Python values; none when the query is done."""
        return self._rows().fetch(count)

    def reader(self, rows_per_batch: int) -> pa.RecordBatchReader:
        """The further rows as Arrow record batches."""
        return self._rows().reader(rows_per_batch)

    def _rows(self) -> Shaped:
        if self._shaped is None:
            self._shaped = Shaped(self._batches(), self.columns, expected_schema(self.columns))
        return self._shaped

    def _wait(self) -> None:
        """Until the query has ended; ^C and limits stop it, which does not make it free."""
        wait = FIRST_WAIT_S
        try:
            while True:
                found = self._execution()
                state = found["Status"]["State"]
                if state in ENDED:
                    break
                self._check_limits()
                time.sleep(wait)
                wait = min(LONGEST_WAIT_S, wait * 1.5)
        except (KeyboardInterrupt, LimitPassed):
            self._stop()
            raise
        self._done = True
        self._manifest = found.get("Statistics", {}).get("DataManifestLocation", "")
        if state != "SUCCEEDED":
            self._clear()
            raise failed(found, self._cut_off)

    def _execution(self) -> Any:
        """How the query stands; what it has read goes into the bill."""
        answer = self._engine.call("get_query_execution", QueryExecutionId=self.execution)
        found = answer["QueryExecution"]
        self._engine.settle(self._bill(found))
        return found

    def _bill(self, found: Mapping[str, Any]) -> Access:
        statistics = found.get("Statistics", {})
        scanned = int(statistics.get("DataScannedInBytes", 0))
        state = found["Status"]["State"]
        reused = statistics.get("ResultReuseInformation", {}).get("ReusedPreviousResult", False)
        free = state == "FAILED" or reused or found.get("StatementType") in ("DDL", "UTILITY")
        book = cost.prices(self._engine.settings.prices)
        notes = list(self._notes)
        if reused:
            notes.append("Athena gave the result of an earlier run again, for nothing")
        if state == "CANCELLED":
            notes.append("a query that is cancelled is billed for what it had read")
        return Access(
            (),
            0,
            told_bytes=scanned,
            told_by="athena",
            bill_usd=Decimal(0) if free else cost.athena_cost_usd(scanned, book),
            timings={
                name: statistics[key] / 1000 for name, key in TIMES.items() if key in statistics
            },
            notes=tuple(notes),
        )

    def _check_limits(self) -> None:
        read = self._engine.access().scanned_bytes
        ran = time.perf_counter() - self._began
        most = min(self._allowance.bytes or self._cut_off, self._cut_off)
        hint = "raise the limit, or see: lakeq sql --dry-run"
        if self._allowance.seconds is not None and ran > self._allowance.seconds:
            what = f"stopped after {ran:.1f} s; max_seconds is {self._allowance.seconds:g}"
            raise LimitPassed(f"{what}; it has read {read:,} bytes", "the query", hint)
        if read > most:
            raise LimitPassed(f"stopped: it has read {read:,} bytes of {most:,}", "the query", hint)

    def _stop(self) -> None:
        """Cancel the query, say in the bill what it still costs, and clear what it had written."""
        self._done = True
        try:
            self._engine.call("stop_query_execution", QueryExecutionId=self.execution)
        except LakeqError as error:
            self._notes.append(f"the query could not be stopped and goes on: {error.what}")
            self._execution()
            return
        until = time.monotonic() + STOP_S
        while self._execution()["Status"]["State"] not in ENDED and time.monotonic() < until:
            time.sleep(FIRST_WAIT_S)
        self._clear()

    def _clear(self) -> None:
        """Delete the files of an UNLOAD that are not to be read, or not any more."""
        if self._unload is None or self._cleared:
            return
        self._cleared = True
        client = new_client("s3", self._engine.settings)
        note = ""
        if self._manifest:
            note = unloading.delete(client, self._manifest)
        else:
            book = cost.prices(self._engine.settings.prices)
            note = unloading.clear(client, self._unload.location, book)
        if note:
            self._notes.append(note)
            self._execution()

    def _batches(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        self._wait()
        schema = expected_schema(self.columns)
        if self._unload is not None:
            yield from self._unloaded(self._unload, schema)
            return
        token: str | None = None
        first = True
        while True:
            more = {"NextToken": token} if token else {}
            page = self._engine.call(
                "get_query_results",
                QueryExecutionId=self.execution,
                MaxResults=PAGE_ROWS,
                **more,
            )
            rows = page["ResultSet"]["Rows"]
            if first and page["ResultSet"].get("ResultSetMetadata", {}).get("ColumnInfo"):
                rows = rows[1:]  # the names
            first = False
            yield (
                _batch(rows, self.columns, schema)
                if rows
                else pa.RecordBatch.from_pylist([], schema=schema)
            )
            token = page.get("NextToken")
            if not token:
                return

    def _unloaded(self, unload: unloading.Unload, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        client = new_client("s3", self._engine.settings)
        try:
            for table in unloading.tables(client, self._manifest, unload.ordered):
                yield from unloading.batch(table, self.columns, _of_texts, schema)
        except LakeqError:
            raise
        except Exception as error:  # noqa: BLE001  # as above
            raise named(error, self._engine.settings.athena.workgroup) from redact.bare(error)
        finally:
            self._clear()

    def access(self) -> Access:
        """What was read up to now."""
        return self._engine.access()

    def close(self) -> None:
        """Stop the query if it still runs, and delete the files of a result that nobody read."""
        if not self._done:
            self._stop()
        self._clear()
        self._engine.close()


def _batch(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[ResultColumn], schema: pa.Schema
) -> pa.RecordBatch:
    import pyarrow as pa

    readers = [reader(column.type) for column in columns]
    values = [
        [
            None if (text := row["Data"][number].get("VarCharValue")) is None else read(text)
            for row in rows
        ]
        for number, read in enumerate(readers)
    ]
    arrays = [
        pa.array([_of_json(v, field.type) for v in column], field.type)
        for column, field in zip(values, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _of_texts(duckdb_type: str, texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """Athena's texts of a type as values of it."""
    import pyarrow as pa

    read = reader(duckdb_type)
    values = (None if text is None else read(text) for text in texts.to_pylist())
    return pa.array([_of_json(value, type_) for value in values], type_)


def _of_json(value: object, type_: pa.DataType) -> object:
    """A value of JSON as its type wants it: times and decimals have none of their own."""
    import pyarrow as pa

    if isinstance(value, list):
        return [_of_json(part, type_.value_type) for part in value]
    if isinstance(value, dict):
        return {f.name: _of_json(value.get(f.name), f.type) for f in type_}
    if isinstance(value, str) and pa.types.is_timestamp(type_):
        return _moment(value if value.endswith(" UTC") else f"{value} UTC")
    if isinstance(value, str) and pa.types.is_date(type_):
        return date.fromisoformat(value)
    if isinstance(value, Decimal | str) and pa.types.is_floating(type_):
        return float(value)
    return Decimal(value) if isinstance(value, int) and pa.types.is_decimal(type_) else value


def reader(duckdb_type: str) -> Callable[[str], object]:
    """What makes a value of Athena's text for a column of this type."""
    if is_nested(duckdb_type):
        return lambda text: json.loads(text, parse_float=Decimal)
    plain: dict[str, Callable[[str], object]] = {
        "VARCHAR": str,
        "BOOLEAN": lambda text: text == "true",
        "FLOAT": float,
        "DOUBLE": float,
        "DATE": date.fromisoformat,
        "TIMESTAMP": lambda text: datetime.fromisoformat(text.removesuffix(" UTC")),
        "TIMESTAMP WITH TIME ZONE": _moment,
        "BLOB": lambda text: bytes.fromhex(text.replace(" ", "")),
    }
    if duckdb_type in plain:
        return plain[duckdb_type]
    if duckdb_type.startswith("DECIMAL") or duckdb_type.endswith("HUGEINT"):
        return Decimal
    if duckdb_type.endswith(("INT", "INTEGER")):
        return _whole
    raise UsageError(f"Athena's text of a {duckdb_type} cannot be read", "the result", "CAST it")


def _whole(text: str) -> int:
    """A whole number, also where Athena's type has places after the point."""
    value = Decimal(text)
    if value != value.to_integral_value():
        raise UsageError(f"{text} is not whole", "the result")
    return int(value)


def _moment(text: str) -> datetime:
    """`2024-01-31 12:00:00.000000 UTC`."""
    plain, _, zone = text.rpartition(" ")
    if zone != "UTC" or not plain:
        raise UsageError(f"{text!r} is not a time in UTC", "the result")
    return datetime.fromisoformat(plain).replace(tzinfo=UTC)
