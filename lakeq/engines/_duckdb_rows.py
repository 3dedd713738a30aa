"""Rows of a virtual table as DuckDB scans them: an Arrow stream a scan, made as it is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from lakeq.engines._duckdb_sql import identifier, plan_literal

if TYPE_CHECKING:
    from lakeq.selection import Rows
    from lakeq.snapshot import TableSnapshot


def streamed(rows: Rows) -> object:
    """What DuckDB registers to read rows.

    Of the capsule of a stream DuckDB 1.5.5 makes one scan at the most, and filters rows itself.
    That is cheaper than pyarrow's filters, which copy, and nothing is read ahead of it.
    """
    stream = Stream(rows)
    return stream.__arrow_c_stream__() if rows.once else stream


class Stream:
    """Rows that may be scanned again: Arrow's PyCapsule interface, a new stream with each call.

    DuckDB 1.5.5 passes filters and columns to pyarrow, which applies them to the batches, and asks
    for the schema without consuming a stream.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __arrow_c_schema__(self) -> object:
        """The schema alone."""
        return self._rows.stream_schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows, once more."""
        import pyarrow as pa

        del requested_schema
        reader = pa.RecordBatchReader.from_batches(self._rows.stream_schema, self._rows.batches())
        return reader.__arrow_c_stream__()


def stream_view(
    table: TableSnapshot, source: str, made: Collection[str], constants: Mapping[str, object]
) -> str:
    """The view of a virtual table over a registered stream of the columns that its plan names.

    Should DuckDB ever read a column that its own plan did not name, that is an error, not a NULL.
    """
    columns = ", ".join(
        f"CAST({_value(c.name, made, constants)} AS {c.duckdb_type}) AS {identifier(c.name)}"
        for c in table.columns
    )
    schema, _, name = table.name.partition(".")
    head = f"CREATE VIEW {identifier(schema)}.{identifier(name)} AS SELECT "
    return f"{head}{columns} FROM {identifier(source)}"


def _value(name: str, made: Collection[str], constants: Mapping[str, object]) -> str:
    if name in made:
        return identifier(name)
    value = plan_literal(constants[name]) if name in constants else None
    return value or f"error('column {name} was not planned')"
