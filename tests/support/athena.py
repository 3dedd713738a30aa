"""An Athena for tests: it runs the statement that it is given, and bills, fails and throttles.

What moto's Athena lacks: bytes, states, failures. The text must parse as Trino's; sqlglot's own
reading of it, which shares nothing with lakeq's rules, then runs in DuckDB over the lake's files.
Errors have the codes and shapes of the API reference.
"""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import sqlglot
from botocore.exceptions import ClientError
from sqlglot import exp

from lakeq.api import Lake

_UNLOAD = re.compile(
    r"UNLOAD \((?P<query>.*)\) TO '(?P<place>[^']*)'"
    r" WITH \(format = 'PARQUET', compression = 'ZSTD'\)",
    re.DOTALL,
)
_NOT_HIVES = (pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.time64("us"))

# Trino's functions that DuckDB has not, or not with the same meaning.
MACROS = """
CREATE MACRO to_unixtime(t) AS epoch(t);
CREATE MACRO from_unixtime_nanos(n) AS make_timestamptz(CAST(n AS BIGINT) // 1000);
CREATE MACRO is_nan(x) AS isnan(x);
CREATE MACRO codepoint(x) AS unicode(x);
CREATE MACRO to_utf8(x) AS encode(x);
CREATE MACRO last_day_of_month(d) AS last_day(d);
CREATE MACRO day_of_year(d) AS dayofyear(d);
CREATE MACRO day_of_week(d) AS isodow(d);
CREATE MACRO json_format(x) AS CAST(x AS VARCHAR);
"""


def error(code: str, message: str, operation: str = "StartQueryExecution") -> ClientError:
    """An error as boto3 raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@dataclass
class Execution:
    """One query that was taken."""

    text: str
    columns: list[str] = field(default_factory=list)
    rows: list[tuple[object, ...]] = field(default_factory=list)
    state: str = "QUEUED"
    reason: str = ""
    scanned: int = 0
    polls: int = 0
    reused: bool = False
    manifest: str = ""


@dataclass
class FakeAthena:
    """A client of Athena whose queries run over `lake`.

    `slow` polls pass before a query ends; `throttle` calls are refused first; `fail` is why a query
    ends FAILED; `errors` are raised by a call's name; `scans` are the bytes that a query reads.
    """

    lake: Lake
    glue: Any = None  # a client: tables are those that it names, read by PyIceberg
    slow: int = 1
    throttle: int = 0
    fail: str = ""
    scans: int = 1_234_567
    workgroups: dict[str, int | None] = field(
        default_factory=lambda: {"primary": None, "lab": None}
    )
    errors: dict[str, Exception] = field(default_factory=dict)
    objects: dict[tuple[str, str], bytes] = field(default_factory=dict)  # what UNLOAD wrote
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    by_token: dict[str, str] = field(default_factory=dict)
    executions: dict[str, Execution] = field(default_factory=dict)
    on_poll: Callable[[], None] | None = None
    halfway: bool = False  # an UNLOAD that fails or is cut off has written a file before
    configuration: dict[str, Any] = field(default_factory=dict)  # of every workgroup
    state: str = "ENABLED"

    def _called(self, name: str, arguments: dict[str, Any]) -> None:
        self.calls.append((name, arguments))
        if name in self.errors:
            raise self.errors[name]

    def start_query_execution(self, **arguments: Any) -> dict[str, Any]:
        """Take a query; the same token gives the same execution."""
        self._called("start_query_execution", arguments)
        token = arguments["ClientRequestToken"]
        if arguments["WorkGroup"] not in self.workgroups:
            raise error(
                "InvalidRequestException", f"WorkGroup {arguments['WorkGroup']} is not found."
            )
        if token not in self.by_token:
            self.by_token[token] = str(uuid.uuid4())
            made = Execution(arguments["QueryString"])
            self.executions[self.by_token[token]] = made
            reuse = arguments.get("ResultReuseConfiguration")
            made.reused = bool(reuse) and len(self.executions) > 1
            self._execute(made, arguments.get("ExecutionParameters", []), arguments["WorkGroup"])
        if self.throttle:  # taken, but the answer is lost: what the token is for
            self.throttle -= 1
            raise error("TooManyRequestsException", "Rate exceeded")
        return {"QueryExecutionId": self.by_token[token]}

    def _execute(self, made: Execution, parameters: Sequence[str], workgroup: str) -> None:
        made.scanned = 0 if made.reused else self.scans
        cut_off = self.workgroups[workgroup]
        if self.halfway and (found := _UNLOAD.fullmatch(made.text)):
            bucket, _, prefix = found["place"].partition("://")[2].partition("/")
            self.objects[bucket, f"{prefix}0_{uuid.uuid4().hex}"] = bytes(1000)
        if self.fail:
            made.reason = self.fail
            return
        if cut_off is not None and self.scans > cut_off:
            made.reason = "Query cancelled! : Bytes scanned limit was exceeded"
            made.scanned = cut_off
            return
        unload = _UNLOAD.fullmatch(made.text)
        try:
            if unload:
                texts = re.findall(r"CAST\(c\d+ AS VARCHAR\) AS (c\d+)", unload["query"])
                query = re.sub(r"CAST\((c\d+) AS VARCHAR\) AS \1", r"\1", unload["query"])
                table = self._run_arrow(query, parameters)
                made.manifest = self._write(_with_texts(table, texts), unload["place"])
            else:
                made.columns, made.rows = self._run(made.text, parameters)
        except (duckdb.Error, sqlglot.ParseError) as problem:
            made.reason = f"SYNTAX_ERROR: {problem}"

    def _write(self, table: pa.Table, place: str) -> str:
        """Three files in no order, and the manifest that lists them."""
        import pyarrow.parquet as pq

        assert place.endswith("/")
        odd = [f.name for f in table.schema if pa.types.is_nested(f.type) or f.type in _NOT_HIVES]
        assert not odd, f"Hive's Parquet has no type for {odd}"
        bucket, _, prefix = place.partition("://")[2].partition("/")
        uris = []
        for number in (2, 0, 1):
            part = table.take(pa.array(list(range(number, len(table), 3))[::-1], pa.int64()))
            sink = io.BytesIO()
            pq.write_table(part, sink, compression="zstd")
            key = f"{prefix}{number}_{uuid.uuid4().hex}"
            self.objects[bucket, key] = sink.getvalue()
            uris.append(f"s3://{bucket}/{key}")
        manifest = f"results/{uuid.uuid4().hex}-manifest.csv"
        self.objects[bucket, manifest] = "\n".join(uris).encode()
        return f"s3://{bucket}/{manifest}"

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        """Of S3: an object that UNLOAD wrote."""
        self._called("get_object", {"Bucket": Bucket, "Key": Key})
        return {"Body": io.BytesIO(self.objects[Bucket, Key])}

    def list_objects_v2(self, Bucket: str, Prefix: str, **more: Any) -> dict[str, Any]:
        """Of S3, one object a page."""
        self._called("list_objects_v2", {"Bucket": Bucket, "Prefix": Prefix})
        keys = sorted(k for b, k in self.objects if b == Bucket and k.startswith(Prefix))
        after = [key for key in keys if key > more.get("ContinuationToken", "")]
        found = [{"Key": key, "Size": len(self.objects[Bucket, key])} for key in after[:1]]
        if len(after) < 2:
            return {"Contents": found, "IsTruncated": False}
        return {"Contents": found, "IsTruncated": True, "NextContinuationToken": after[0]}

    def delete_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        """Of S3."""
        self._called("delete_object", {"Bucket": Bucket, "Key": Key})
        del self.objects[Bucket, Key]
        return {}

    def _run(
        self, text: str, parameters: Sequence[str]
    ) -> tuple[list[str], list[tuple[object, ...]]]:
        arrow = self._run_arrow(text, parameters)
        columns = [column.to_pylist() for column in arrow.columns]
        return arrow.column_names, list(zip(*columns, strict=True))

    def _run_arrow(self, text: str, parameters: Sequence[str]) -> pa.Table:
        tree = sqlglot.parse_one(text, read="trino")
        with duckdb.connect(":memory:") as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(MACROS)
            for table in tree.find_all(exp.Table):
                if table.db:
                    self._attach(
                        connection, f"{table.db}.{table.name}", table.args.pop("version", None)
                    )
            for mark, value in zip(list(_marks(tree)), parameters, strict=True):
                mark.replace(sqlglot.parse_one(value, read="trino"))
            return connection.execute(_as_duckdb(tree)).to_arrow_table()

    def _attach(
        self, connection: duckdb.DuckDBPyConnection, name: str, version: exp.Expr | None
    ) -> None:
        dataset, _, short = name.partition(".")
        if self.glue is not None:
            at = None if version is None else int(re.sub(r"\D", "", version.sql()))
            connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{dataset}"')
            connection.register(f"{dataset}_{short}", self._from_glue(dataset, short, at))
            connection.execute(
                f'CREATE OR REPLACE VIEW "{dataset}"."{short}" AS FROM "{dataset}_{short}"'
            )
            return
        snapshot = self.lake.table(name).snapshot
        assert snapshot is not None
        if version is not None:
            assert int(re.sub(r"\D", "", version.sql())) == snapshot.snapshot_id
        paths = ", ".join(f"'{file.path}'" for file in snapshot.files)
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{dataset}"')
        connection.execute(
            f'CREATE VIEW IF NOT EXISTS "{dataset}"."{short}" AS SELECT * FROM'
            f" read_parquet([{paths}], union_by_name = true)"
        )

    def _from_glue(self, database: str, table: str, at: int | None) -> pa.Table:
        """A table as Athena finds it: Glue names its metadata, the rest is Iceberg."""
        from pyiceberg.table import StaticTable

        found = self.glue.get_table(DatabaseName=database, Name=table)["Table"]
        s3 = self.lake.settings.s3
        options = {"s3.endpoint": s3.endpoint_url, "s3.region": s3.region or "us-east-1"}
        options |= {"s3.access-key-id": "tests-own", "s3.secret-access-key": "tests-own"}
        location = found["Parameters"]["metadata_location"]
        return StaticTable.from_metadata(location, options).scan(snapshot_id=at).to_arrow()

    def get_query_execution(self, QueryExecutionId: str) -> dict[str, Any]:
        """How a query stands."""
        self._called("get_query_execution", {"QueryExecutionId": QueryExecutionId})
        made = self.executions[QueryExecutionId]
        made.polls += 1
        if self.on_poll is not None:
            self.on_poll()
        if made.state not in ("CANCELLED", "FAILED", "SUCCEEDED"):
            ended = "FAILED" if made.reason else "SUCCEEDED"
            made.state = ended if made.polls > self.slow else "RUNNING"
        return {
            "QueryExecution": {
                "QueryExecutionId": QueryExecutionId,
                "StatementType": "DML",
                "Status": {"State": made.state, "StateChangeReason": made.reason},
                "Statistics": {
                    **({"DataManifestLocation": made.manifest} if made.manifest else {}),
                    "DataScannedInBytes": made.scanned,
                    "TotalExecutionTimeInMillis": 1500,
                    "EngineExecutionTimeInMillis": 1200,
                    "ResultReuseInformation": {"ReusedPreviousResult": made.reused},
                },
            }
        }

    def stop_query_execution(self, QueryExecutionId: str) -> dict[str, Any]:
        """Cancel a query."""
        self._called("stop_query_execution", {"QueryExecutionId": QueryExecutionId})
        self.executions[QueryExecutionId].state = "CANCELLED"
        return {}

    def get_query_results(
        self, QueryExecutionId: str, MaxResults: int, NextToken: str = "0"
    ) -> dict[str, Any]:
        """One page of rows; the first row of all is the names."""
        self._called("get_query_results", {"NextToken": NextToken})
        made = self.executions[QueryExecutionId]
        lines = [tuple(made.columns), *made.rows]
        start = int(NextToken)
        page = lines[start : start + MaxResults]
        answer: dict[str, Any] = {
            "ResultSet": {
                "Rows": [{"Data": [_datum(value) for value in row]} for row in page],
                "ResultSetMetadata": {"ColumnInfo": [{"Name": name} for name in made.columns]},
            }
        }
        if start + MaxResults < len(lines):
            answer["NextToken"] = str(start + MaxResults)
        return answer

    def update_work_group(
        self, WorkGroup: str, ConfigurationUpdates: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Set a workgroup's cut-off."""
        updates = ConfigurationUpdates or {}
        self._called("update_work_group", {"WorkGroup": WorkGroup, **updates})
        self._known(WorkGroup)
        if "BytesScannedCutoffPerQuery" in updates:
            self.workgroups[WorkGroup] = updates["BytesScannedCutoffPerQuery"]
        return {}

    def get_work_group(self, WorkGroup: str) -> dict[str, Any]:
        """A workgroup's settings; `configuration` comes on top."""
        self._called("get_work_group", {"WorkGroup": WorkGroup})
        self._known(WorkGroup)
        configuration: dict[str, Any] = {
            "EnforceWorkGroupConfiguration": False,
            "EngineVersion": {"EffectiveEngineVersion": "Athena engine version 3"},
        }
        cut_off = self.workgroups[WorkGroup]
        if cut_off is not None:
            configuration["BytesScannedCutoffPerQuery"] = cut_off
        configuration |= self.configuration
        group = {"Name": WorkGroup, "State": self.state, "Configuration": configuration}
        return {"WorkGroup": group}

    def _known(self, workgroup: str) -> None:
        if workgroup not in self.workgroups:
            raise error("InvalidRequestException", f"WorkGroup {workgroup} is not found.")


def _as_duckdb(tree: exp.Expr) -> str:
    """What sqlglot leaves wrong between the two: slices, references in replacements, bytes."""
    for node in list(tree.find_all(exp.ArraySlice)):
        values, start, count = (
            node.args[key].sql(dialect="duckdb") for key in ("this", "start", "end")
        )
        text = f"list_slice({values}, {start}, {start} + ({count}) - 1)"
        node.replace(exp.Anonymous(this="lakeq_raw", expressions=[exp.Literal.string(text)]))
    for node in list(tree.find_all(exp.Repeat)):  # of Trino a list
        value, times = (node.args[key].sql(dialect="duckdb") for key in ("this", "times"))
        text = f"list_transform(range({times}), lambda e: {value})"
        node.replace(exp.Anonymous(this="lakeq_raw", expressions=[exp.Literal.string(text)]))
    for node in tree.find_all(exp.RegexpReplace):
        new = node.args["replacement"]
        new.replace(exp.Literal.string(re.sub(r"\$(\d)", r"\\\1", new.name)))
    text = tree.sql(dialect="duckdb")
    text = re.sub(r"LAKEQ_RAW\('((?:[^']|'')*)'\)", lambda m: m[1].replace("''", "'"), text)
    return text.replace("LENGTH(ENCODE(", "OCTET_LENGTH(ENCODE(")


def _marks(tree: exp.Expr) -> list[exp.Expr]:
    return [node for node in tree.walk(bfs=False) if isinstance(node, exp.Placeholder)]


def _with_texts(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """The columns `names` as Trino's CAST AS VARCHAR writes them; the same as in pages."""
    for name in names:
        texts = [_datum(value).get("VarCharValue") for value in table[name].to_pylist()]
        number = table.column_names.index(name)
        table = table.set_column(number, name, pa.array(texts, pa.string()))
    return table


def _datum(value: object) -> dict[str, str]:
    """A value as Athena writes it; NULL is a cell without text."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"VarCharValue": str(value).lower()}
    if isinstance(value, datetime):
        text = value.replace(tzinfo=None).isoformat(" ", "microseconds")
        return {"VarCharValue": f"{text} UTC" if value.tzinfo else text}
    return {"VarCharValue": str(value)}
