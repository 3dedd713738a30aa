"""Large results of Athena: written to S3 as Parquet by UNLOAD, and read from there.

UNLOAD writes several files in no order. So a query that has one gets a column with the number of
each row, by the same ORDER BY, and rows are put back by it. What Hive's Parquet has no type for
(times, 128-bit numbers) is written as the text that GetQueryResults has. Limits of UNLOAD:
https://docs.aws.amazon.com/athena/latest/ug/unload.html
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from lakeq import cost
from lakeq.errors import BadLake

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlglot import exp

    from lakeq.cost import PriceBook
    from lakeq.engines import ResultColumn

FEW_ROWS = 100_000  # a LIMIT up to which pages of GetQueryResults are as quick
NATIVE = frozenset(
    {"VARCHAR", "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DATE"}
)
ORDER = "row_order"


class Unload(NamedTuple):
    """A query as UNLOAD: its text, where its files go, and whether rows have an order."""

    sql: str
    location: str
    ordered: bool


def of(sql: str, columns: Sequence[ResultColumn], output: str) -> Unload | None:
    """`sql`, in Trino's words, as UNLOAD below `output`; None where it gains nothing.

    That is: its rows are few (aggregates, a small LIMIT), or their order hangs on what is no
    column of the result, or on a list.
    """
    import sqlglot

    from lakeq.dialect.write import PLAIN

    tree = sqlglot.parse_one(sql, read=PLAIN["trino"])
    keys = _keys(tree, columns)
    if keys is None or _is_small(tree):
        return None
    names = [f"c{number}" for number in range(len(columns))]
    wanted = [_written(name, c.type) for name, c in zip(names, columns, strict=True)]
    if keys:
        wanted.append(f"ROW_NUMBER() OVER (ORDER BY {', '.join(keys)}) AS {ORDER}")
    location = f"{output.rstrip('/')}/unload/{uuid.uuid4().hex}/"
    quoted = location.replace("'", "''")
    text = (
        f"UNLOAD (\nSELECT {', '.join(wanted)} FROM (\n{sql}\n) AS q ({', '.join(names)})\n)"
        f" TO '{quoted}' WITH (format = 'PARQUET', compression = 'ZSTD')"
    )
    return Unload(text, location, bool(keys))


def _written(name: str, type_: str) -> str:
    return name if is_native(type_) else f"CAST({name} AS VARCHAR) AS {name}"


def is_native(duckdb_type: str) -> bool:
    """Whether Parquet as Hive writes it has values of that type, to the last digit."""
    is_decimal = duckdb_type.startswith("DECIMAL") and not duckdb_type.endswith("]")
    return duckdb_type in NATIVE or is_decimal


def _is_small(tree: exp.Expr) -> bool:
    from sqlglot import exp

    limit = tree.args.get("limit")
    count = limit.expression if limit is not None else None
    if isinstance(count, exp.Literal) and int(count.name) <= FEW_ROWS:
        return True
    if not isinstance(tree, exp.Select):
        return False
    return bool(tree.args.get("group") or not tree.args.get("from_", tree.args.get("from")))


def _keys(tree: exp.Expr, columns: Sequence[ResultColumn]) -> list[str] | None:
    """The ORDER BY in terms of the result's columns; None where it is not one of them."""
    from sqlglot import exp

    order = tree.args.get("order")
    if order is None:
        return []
    selects = tree.selects if isinstance(tree, exp.Query) else []
    found = []
    for item in order.expressions:
        number = _number(item.this, selects)
        if number is None or columns[number].type.endswith("]"):
            return None
        if columns[number].type.startswith(("STRUCT", "MAP")):
            return None
        way = "DESC" if item.args.get("desc") else "ASC"
        nulls = "FIRST" if item.args.get("nulls_first") else "LAST"
        found.append(f"c{number} {way} NULLS {nulls}")
    return found


def _number(key: exp.Expr, selects: Sequence[exp.Expr]) -> int | None:
    from sqlglot import exp

    if isinstance(key, exp.Literal) and key.name.isdigit():
        return int(key.name) - 1
    for number, select in enumerate(selects):
        if isinstance(key, exp.Column) and not key.table and key.name == select.alias_or_name:
            return number
    for number, select in enumerate(selects):
        if key == select.unalias():
            return number
    return None


def tables(client: Any, manifest: str, ordered: bool) -> Iterator[pa.Table]:
    """The files that `manifest` names, each once and in any order; as one table where `ordered`."""
    import pyarrow as pa

    uris = [line for line in _read(client, manifest).decode().splitlines() if line.strip()]
    parts = (_table(client, uri.strip()) for uri in uris)
    if not ordered:
        yield from parts
        return
    found = list(parts)
    if found:
        yield pa.concat_tables(found).sort_by(ORDER).drop_columns([ORDER])


def delete(client: Any, manifest: str) -> str:
    """Delete the files that were read; what to note when that is denied."""
    with suppress(Exception):
        for uri in _read(client, manifest).decode().splitlines():
            bucket, key = _place(uri.strip())
            client.delete_object(Bucket=bucket, Key=key)
        return ""
    return f"the files of the result stay: {manifest} lists them"


def clear(client: Any, location: str, book: PriceBook) -> str:
    """Delete what lies below the `location` of an UNLOAD that came to nothing; what to note of it.

    Athena leaves there what it had written. Where it may not be deleted, the note says what lies
    there and what that costs.
    """
    bucket, prefix = _place(location)
    left: dict[str, int] = {}
    with suppress(Exception):
        for page in _pages(client, bucket, prefix):
            left |= {item["Key"]: int(item["Size"]) for item in page.get("Contents", ())}
        for key in list(left):
            client.delete_object(Bucket=bucket, Key=key)
            del left[key]
        return ""
    if not left:
        return f"what the UNLOAD had written, if anything, stays below {location}"
    size = sum(left.values())
    dollars = cost.dollars(cost.storage_cost_usd(size, book))
    files = "1 file" if len(left) == 1 else f"{len(left)} files"
    said = f"{files} of the UNLOAD {'stays' if len(left) == 1 else 'stay'} below {location}"
    return f"{said}: {size:,} bytes, {dollars} a month until they are deleted"


def _pages(client: Any, bucket: str, prefix: str) -> Iterator[Any]:
    more: dict[str, str] = {}
    while True:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, **more)
        yield page
        if not page.get("IsTruncated"):
            return
        more = {"ContinuationToken": page["NextContinuationToken"]}


def _table(client: Any, uri: str) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(pa.BufferReader(_read(client, uri)))
    except pa.ArrowInvalid as error:
        raise BadLake(f"a file of the result is damaged: {error}", uri, "run it again") from error


def _read(client: Any, uri: str) -> bytes:
    bucket, key = _place(uri)
    data: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
    return data


def _place(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key


def batch(
    table: pa.Table,
    columns: Sequence[ResultColumn],
    read: Callable[[str, pa.Array, pa.DataType], pa.Array],
    schema: pa.Schema,
) -> Iterator[pa.RecordBatch]:
    """The rows of a table as record batches; `read` makes arrays of text into those of a type."""
    import pyarrow as pa

    for part in table.to_batches():
        arrays = [
            array if is_native(column.type) else read(column.type, array, field.type)
            for column, array, field in zip(columns, part.columns, schema, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, names=[f"c{n}" for n in range(len(arrays))])
