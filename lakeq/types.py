"""The column types that a catalog may name, and what they are in Arrow, Iceberg and DuckDB.

The language: `bool`, `int32`, `int64`, `float32`, `float64`, `string`, `binary`, `date`,
`timestamp` (microseconds, UTC), `decimal(precision, scale)`, `list<T>` and
`struct<name: T, ...>`.
Every column and every element is nullable; there are no unsigned and no dictionary types, so
that one table reads the same in DuckDB, Athena and Spark (Iceberg table spec, Primitive Types).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from pyiceberg.types import IcebergType

    from lakeq.catalog import Table

PRIMITIVES = (
    "bool",
    "int32",
    "int64",
    "float32",
    "float64",
    "string",
    "binary",
    "date",
    "timestamp",
)
MAX_DEPTH = 8  # deeper nesting than any table needs; keeps the parser's recursion bounded

_DUCKDB = {
    "bool": "BOOLEAN",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
}
_TOKEN = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_]*|[0-9]+|[<>(),:])")


@dataclass(frozen=True, slots=True)
class Primitive:
    """A type without parts; `name` is one of `PRIMITIVES`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Decimal:
    """An exact number of `precision` digits (1 to 38), `scale` of them after the point."""

    precision: int
    scale: int

    def __str__(self) -> str:
        return f"decimal({self.precision}, {self.scale})"


@dataclass(frozen=True, slots=True)
class List:
    """A list of any length whose elements are all of one type."""

    element: Type

    def __str__(self) -> str:
        return f"list<{self.element}>"


@dataclass(frozen=True, slots=True)
class Struct:
    """Named parts in a fixed order; a name occurs once."""

    fields: tuple[tuple[str, Type], ...]

    def __str__(self) -> str:
        return f"struct<{', '.join(f'{name}: {type_}' for name, type_ in self.fields)}>"


Type = Primitive | Decimal | List | Struct


@lru_cache(maxsize=1024)
def parse(text: str) -> Type:
    """The type that `text` writes.

    Raises `ValueError` that quotes the text and says at which character (from 1) it goes wrong.
    """
    parser = _Parser(text)
    parsed = parser.type_(0)
    parser.end()
    return parsed


class _Parser:
    """Recursive descent over the few tokens of one type."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def fail(self, wanted: str) -> ValueError:
        at = len(self.text) - len(self.text[self.position :].lstrip())
        found = repr(self.text[at]) if at < len(self.text) else "the end"
        return ValueError(f"type {self.text!r}: {wanted}, not {found}, at character {at + 1}")

    def peek(self) -> str:
        match = _TOKEN.match(self.text, self.position)
        return match.group(1) if match else ""

    def take(self, wanted: str, accepts: Callable[[str], bool]) -> str:
        match = _TOKEN.match(self.text, self.position)
        if match is None or not accepts(match.group(1)):
            raise self.fail(f"expected {wanted}")
        self.position = match.end()
        return match.group(1)

    def mark(self, character: str) -> None:
        self.take(repr(character), lambda token: token == character)

    def end(self) -> None:
        if self.text[self.position :].strip():
            raise self.fail("expected the end")

    def type_(self, depth: int) -> Type:
        if depth > MAX_DEPTH:
            raise self.fail(f"nested deeper than {MAX_DEPTH}")
        names = (*PRIMITIVES, "decimal", "list", "struct")
        name = self.take(f"one of {', '.join(names)}", lambda token: token in names)
        if name == "decimal":
            return self.decimal()
        if name == "list":
            self.mark("<")
            element = self.type_(depth + 1)
            self.mark(">")
            return List(element)
        return self.struct(depth) if name == "struct" else Primitive(name)

    def decimal(self) -> Decimal:
        self.mark("(")
        precision = int(self.take("a precision from 1 to 38", _precision))
        self.mark(",")
        scale = int(self.take(f"a scale from 0 to {precision}", _scale_of(precision)))
        self.mark(")")
        return Decimal(precision, scale)

    def struct(self, depth: int) -> Struct:
        self.mark("<")
        fields: dict[str, Type] = {}
        while True:
            name = self.take("a new field name", lambda token: _is_new_name(token, fields))
            self.mark(":")
            fields[name] = self.type_(depth + 1)
            if self.peek() != ",":
                break
            self.mark(",")
        self.mark(">")
        return Struct(tuple(fields.items()))


def _precision(token: str) -> bool:
    return token.isdigit() and len(token) <= 2 and 1 <= int(token) <= 38


def _scale_of(precision: int) -> Callable[[str], bool]:
    return lambda token: token.isdigit() and len(token) <= 2 and int(token) <= precision


def _is_new_name(token: str, fields: dict[str, Type]) -> bool:
    return token.isidentifier() and token not in fields


def to_arrow(text: str) -> pa.DataType:
    """The Arrow type of the type that `text` writes; list elements are named `element`."""
    return _arrow(parse(text))


def _arrow(node: Type) -> pa.DataType:
    import pyarrow as pa

    match node:
        case Decimal(precision, scale):
            return pa.decimal128(precision, scale)
        case List(element):
            return pa.list_(pa.field("element", _arrow(element)))
        case Struct(fields):
            return pa.struct([pa.field(name, _arrow(part)) for name, part in fields])
        case Primitive("timestamp"):
            return pa.timestamp("us", tz="UTC")
        case Primitive(name):
            return pa.type_for_alias("date32" if name == "date" else name)


def stands_for(type_: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether columns of `type_` may be written as ones of `wanted`: the same values, in less room.

    Dictionaries of strings, whole numbers without sign for signed ones, decimals of 32 bits, and
    lists of those.
    """
    import pyarrow as pa

    if pa.types.is_list(type_) and pa.types.is_list(wanted):
        return stands_for(type_.value_type, wanted.value_type)
    if pa.types.is_dictionary(type_):
        return bool(pa.types.is_string(wanted) and pa.types.is_string(type_.value_type))
    if pa.types.is_unsigned_integer(type_) and pa.types.is_signed_integer(wanted):
        return bool(type_.bit_width < wanted.bit_width)
    if pa.types.is_decimal32(type_) and pa.types.is_decimal128(wanted):
        return bool((type_.precision, type_.scale) == (wanted.precision, wanted.scale))
    return False


def to_duckdb(text: str) -> str:
    """The DuckDB name of the type that `text` writes, for DDL and read_parquet schemas."""
    return _duckdb(parse(text))


def _duckdb(node: Type) -> str:
    match node:
        case Decimal(precision, scale):
            return f"DECIMAL({precision},{scale})"
        case List(element):
            return f"{_duckdb(element)}[]"
        case Struct(fields):
            return "STRUCT(" + ", ".join(f'"{name}" {_duckdb(part)}' for name, part in fields) + ")"
        case Primitive(name):
            return _DUCKDB[name]


def to_iceberg(text: str, ids: Iterator[int]) -> IcebergType:
    """The Iceberg type of the type that `text` writes.

    Each list element and struct field takes its field id from `ids`, in depth-first order; a
    column's own id is the caller's.
    """
    return _iceberg(parse(text), ids)


def _iceberg(node: Type, ids: Iterator[int]) -> IcebergType:
    from pyiceberg import types

    match node:
        case Decimal(precision, scale):
            return types.DecimalType(precision, scale)
        case List(element):
            own = next(ids)
            return types.ListType(own, _iceberg(element, ids), element_required=False)
        case Struct(fields):
            return types.StructType(
                *[
                    types.NestedField(next(ids), name, _iceberg(part, ids), required=False)
                    for name, part in fields
                ]
            )
        case Primitive(name):
            return _iceberg_primitive(name)


def _iceberg_primitive(name: str) -> IcebergType:
    from pyiceberg import types

    return {
        "bool": types.BooleanType(),
        "int32": types.IntegerType(),
        "int64": types.LongType(),
        "float32": types.FloatType(),
        "float64": types.DoubleType(),
        "string": types.StringType(),
        "binary": types.BinaryType(),
        "date": types.DateType(),
        "timestamp": types.TimestamptzType(),
    }[name]


def arrow_schema(table: Table) -> pa.Schema:
    """The columns of `table` in storage order, all nullable, without the system columns."""
    import pyarrow as pa

    return pa.schema([pa.field(c.name, to_arrow(c.type)) for c in table.columns])
