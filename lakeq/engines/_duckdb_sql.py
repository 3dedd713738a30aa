"""Values, names and tables as SQL of DuckDB: quoted by one function each, never pasted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeq.snapshot import TableSnapshot


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


def text_list(texts: Sequence[str]) -> str:
    return "[" + ", ".join(map(literal, texts)) + "]"


def view(table: TableSnapshot, addresses: Mapping[str, str]) -> str:
    """The statement that makes `table` readable under its name, columns matched by field id.

    `addresses` are what DuckDB knows its files by. A table without files is an empty view of the
    right types.
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
    paths = text_list([addresses[file.path] for file in table.files])
    return f"{head}* FROM read_parquet({paths}, schema => MAP{{{columns}}})"


def stub(table: TableSnapshot) -> str:
    """The statement that makes an empty table with the columns of `table`."""
    schema, _, name = table.name.partition(".")
    columns = ", ".join(f"{identifier(c.name)} {c.duckdb_type}" for c in table.columns)
    return f"CREATE TABLE {identifier(schema)}.{identifier(name)} ({columns})"
