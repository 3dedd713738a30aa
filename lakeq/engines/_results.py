"""Rows of any engine as DuckDB would give them: the same names, Arrow types and Python values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq.engines import ResultColumn, Row
from lakeq.engines._duckdb_sql import identifier
from lakeq.errors import QueryFailed

if TYPE_CHECKING:
    import pyarrow as pa

WHOLE = frozenset({"HUGEINT", "UHUGEINT"})  # DECIMAL(38, 0) in Arrow, int in Python


def expected_schema(columns: Sequence[ResultColumn]) -> pa.Schema:
    """The Arrow schema of a result of DuckDB that has these columns."""
    import duckdb
    import pyarrow as pa

    typed = ", ".join(f"CAST(NULL AS {c.type}) AS {identifier(c.name)}" for c in columns)
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.sql(f"SELECT {typed}").to_arrow_table().schema
    return pa.schema([field.with_nullable(nullable=True) for field in found])


class Shaped:
    """Batches of an engine, cast to the types and named as DuckDB's are; read once, in one way."""

    def __init__(
        self, batches: Iterable[pa.RecordBatch], columns: Sequence[ResultColumn], schema: pa.Schema
    ) -> None:
        self._batches = iter(batches)
        self._columns = columns
        self.schema = schema
        self._rows: Iterator[Row] | None = None

    def fetch(self, count: int) -> Sequence[Row]:
        """At most `count` further rows as Python values."""
        from itertools import islice

        if self._rows is None:
            self._rows = self._as_rows()
        return list(islice(self._rows, count))

    def reader(self, rows_per_batch: int) -> pa.RecordBatchReader:
        """The further rows as Arrow record batches of at most `rows_per_batch`."""
        import pyarrow as pa

        def parts() -> Iterator[pa.RecordBatch]:
            for batch in self._cast():
                for start in range(0, len(batch), rows_per_batch):
                    yield batch.slice(start, rows_per_batch)

        return pa.RecordBatchReader.from_batches(self.schema, parts())

    def _as_rows(self) -> Iterator[Row]:
        whole = [column.type in WHOLE for column in self._columns]
        for batch in self._cast():
            values = [column.to_pylist() for column in batch.columns]
            for number, is_whole in enumerate(whole):
                if is_whole:
                    values[number] = [_int(value) for value in values[number]]
            yield from zip(*values, strict=True)

    def _cast(self) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        for batch in self._batches:
            if batch.num_columns != len(self.schema):
                what = f"the engine gave {batch.num_columns} columns, not {len(self.schema)}"
                raise QueryFailed(what, "the result")
            arrays = [
                _as(array, field.type, field.name)
                for array, field in zip(batch.columns, self.schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _int(value: object) -> object:
    return int(value) if isinstance(value, Decimal) else value


def _as(array: pa.Array, wanted: pa.DataType, name: str) -> pa.Array:
    """`array` as `wanted`; a value that does not fit is an error, never another value."""
    import pyarrow as pa

    if array.type == wanted:
        return array
    try:
        return _converter(array.type, wanted)(array)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        what = f"the engine's {array.type} does not fit {wanted} in the column {name}"
        raise QueryFailed(what, "the result") from error


def _converter(found: pa.DataType, wanted: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    import pyarrow as pa

    if pa.types.is_nested(wanted):
        return lambda array: pa.array(array.to_pylist(), wanted)
    if pa.types.is_decimal(found) and pa.types.is_floating(wanted):
        return lambda array: array.cast(wanted, safe=False)
    if pa.types.is_decimal(found) and pa.types.is_integer(wanted):
        return lambda array: array.cast(pa.decimal128(38, 0)).cast(wanted)
    if pa.types.is_floating(found) and pa.types.is_floating(wanted):
        return lambda array: array.cast(wanted, safe=False)
    if pa.types.is_timestamp(found) and pa.types.is_timestamp(wanted):
        return lambda array: _timestamps(array, wanted)
    return lambda array: array.cast(wanted)


def _timestamps(array: pa.Array, wanted: pa.DataType) -> pa.Array:
    """Times without a zone are UTC, as every time in a lake is."""
    import pyarrow as pa

    if array.type.tz is None and wanted.tz is not None:
        array = array.cast(pa.timestamp(array.type.unit, wanted.tz))
    elif array.type.tz is not None and wanted.tz is None:
        array = array.cast(pa.timestamp(array.type.unit))
    return array.cast(wanted)
