"""The column type language: what parses, what it becomes, and where a wrong one is wrong."""

from __future__ import annotations

from itertools import count

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from lakeq import types
from lakeq.catalog import Column, Table

primitives = st.sampled_from(types.PRIMITIVES).map(types.Primitive)
decimals = st.integers(1, 38).flatmap(
    lambda precision: st.integers(0, precision).map(lambda scale: types.Decimal(precision, scale))
)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)


def structs(parts: st.SearchStrategy[types.Type]) -> st.SearchStrategy[types.Type]:
    fields = st.dictionaries(names, parts, min_size=1, max_size=3)
    return fields.map(lambda found: types.Struct(tuple(found.items())))


any_type = st.recursive(
    primitives | decimals, lambda parts: parts.map(types.List) | structs(parts), max_leaves=6
)


@given(any_type)
def test_a_type_parses_from_what_it_writes(node: types.Type) -> None:
    assert types.parse(str(node)) == node


@given(any_type)
def test_duckdb_knows_every_type(node: types.Type) -> None:
    assert duckdb.execute(f"select null::{types.to_duckdb(str(node))}").fetchall() == [(None,)]


@given(any_type)
def test_iceberg_and_arrow_agree_on_every_type(node: types.Type) -> None:
    ids = count(2)
    field = NestedField(1, "x", types.to_iceberg(str(node), ids), required=False)
    as_arrow = schema_to_pyarrow(Schema(field), include_field_ids=False).field("x").type
    assert str(as_arrow).replace("large_", "") == str(types.to_arrow(str(node)))


@pytest.mark.parametrize(
    ("text", "arrow"),
    [
        ("timestamp", pa.timestamp("us", tz="UTC")),
        ("date", pa.date32()),
        (" list < int32 > ", pa.list_(pa.field("element", pa.int32()))),
        ("decimal(7,4)", pa.decimal128(7, 4)),
        ("struct<a: string>", pa.struct([("a", pa.string())])),
    ],
)
def test_arrow_type_of(text: str, arrow: pa.DataType) -> None:
    assert types.to_arrow(text) == arrow


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("int23", "at character 1"),
        ("list<int32", "expected '>', not the end, at character 11"),
        ("decimal(39, 2)", "precision from 1 to 38, not '3', at character 9"),
        ("decimal(5, 6)", "scale from 0 to 5"),
        ("struct<a: int32, a: int64>", "new field name, not 'a', at character 18"),
        ("int32 int32", "expected the end, not 'i', at character 7"),
        ("", "not the end"),
        ("list<" * 20 + "int32" + ">" * 20, "nested deeper than 8"),
        ("uint64", "at character 1"),
    ],
)
def test_a_wrong_type_says_where(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="type") as raised:
        types.parse(text)
    assert words in str(raised.value)


@given(st.text(max_size=40))
def test_any_text_parses_or_is_a_value_error(text: str) -> None:
    try:
        types.parse(text)
    except ValueError as error:
        assert repr(text) in str(error)


def test_arrow_schema_has_the_columns_in_order_and_nullable() -> None:
    columns = (Column("b", "int32", "second"), Column("a", "list<string>", "first"))
    schema = types.arrow_schema(Table("d", "t", "rows", "vcf", columns))
    assert schema.names == ["b", "a"]
    assert all(field.nullable for field in schema)
