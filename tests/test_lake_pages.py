"""Files of lakeq's own Parquet writer: what other readers read in them, and what pyarrow writes."""

from __future__ import annotations

import io
import sys
import tempfile
from collections.abc import Collection
from datetime import UTC
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakeq.lake import columns as parquet_columns
from lakeq.lake import pages
from lakeq.lake.encode import DELTA_BLOCK

TEXT = st.text(max_size=5)
INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
KINDS: dict[str, tuple[pa.DataType, Any]] = {
    "text": (pa.string(), TEXT),
    "word": (pa.string(), st.sampled_from(["", "A", "C", "ACGT", "é" * 40])),
    "small": (pa.int32(), st.integers(-3, 3)),
    "int32": (pa.int32(), INT32),
    "int64": (pa.int64(), INT64),
    "pos": (pa.int64(), INT64),
    "near": (pa.int32(), INT32),
    "flag": (pa.bool_(), st.booleans()),
    "float": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "numbers": (pa.list_(pa.int32()), st.lists(st.none() | INT32, max_size=4)),
    "near_list": (pa.list_(pa.int32()), st.lists(INT32, max_size=4)),
    "words": (pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=3)),
    "codes": (pa.list_(pa.int32()), st.lists(st.integers(0, 300), min_size=63, max_size=66)),
    "day": (pa.date32(), st.dates()),
    "instant": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "degrees": (pa.decimal128(8, 5), st.decimals(-180, 180, places=5)),
    "dollars": (pa.decimal128(18, 2), st.decimals(-(10**15), 10**15, places=2)),
    "coding": (
        pa.struct([("scale", pa.float32()), ("bits", pa.int32()), ("name", pa.string())]),
        st.fixed_dictionaries(
            {
                "scale": st.none() | st.floats(width=32, allow_nan=False),
                "bits": st.none() | st.sampled_from([8, 16]),
                "name": st.none() | TEXT,
            }
        ),
    ),
}
DELTAS = ("pos", "near", "near_list.list.element", "degrees")
ALIGNED = DELTAS
LAYOUT = {"column_encoding": dict.fromkeys(DELTAS, "DELTA_BINARY_PACKED")}


def _field(name: str, number: int) -> pa.Field:
    type_ = KINDS[name][0]
    if pa.types.is_list(type_):
        inner = {"PARQUET:field_id": str(100 + number)}
        type_ = pa.list_(pa.field("element", type_.value_type, metadata=inner))
    elif pa.types.is_struct(type_):
        inner = {"PARQUET:field_id": str(200 + number)}
        type_ = pa.struct([part.with_metadata(inner) for part in type_])
    return pa.field(name, type_, metadata={"PARQUET:field_id": str(number)})


SCHEMA = pa.schema([_field(name, number) for number, name in enumerate(KINDS, 1)])
ROWS = st.lists(
    st.fixed_dictionaries({n: st.none() | s for n, (_, s) in KINDS.items()}), max_size=40
)


def write(
    table: pa.Table,
    group_rows: int,
    aligned: Collection[str] = (),
    *,
    smallest: bool = False,
    smallest_rows: int = sys.maxsize,
) -> bytes:
    sink = pa.BufferOutputStream()
    columns = parquet_columns.leaves(table.schema, LAYOUT, aligned, smallest=smallest)
    assert columns is not None
    writer = pages.PageWriter(sink, columns, 3, smallest_rows=smallest_rows)
    for start in range(0, table.num_rows, group_rows):
        group = table.slice(start, group_rows)
        writer.write_table(group, group.num_rows)
    writer.add_key_value_metadata({"note": "text"})
    writer.close()
    data = bytes(sink.getvalue())
    assert writer.metadata.equals(pq.read_metadata(io.BytesIO(data)))
    return data


def read(data: bytes) -> pa.Table:
    return pq.ParquetFile(io.BytesIO(data), page_checksum_verification=True).read()


def facts(data: bytes) -> list[Any]:
    """Counts and bounds of every column chunk, as pyarrow reads them."""
    footer = pq.read_metadata(io.BytesIO(data))
    found = []
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for chunk in map(group.column, range(footer.num_columns)):
            s = chunk.statistics
            bounds = (s.min, s.max) if s.has_min_max else None
            found.append((chunk.path_in_schema, chunk.num_values, s.null_count, bounds))
    return found


def with_pyarrow(table: pa.Table, group_rows: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(
        table, sink, row_group_size=group_rows, store_schema=False, store_decimal_as_integer=True
    )
    return sink.getvalue()


@settings(max_examples=50, deadline=None)
@given(ROWS, st.integers(1, 45), st.booleans(), st.sampled_from([(), ALIGNED]), st.booleans())
def test_readers_get_back_what_was_written(
    rows: list[dict[str, Any]],
    group_rows: int,
    sliced: bool,
    aligned: tuple[str, ...],
    smallest: bool,
) -> None:
    table = pa.Table.from_pylist(rows, schema=SCHEMA)
    if sliced:  # arrays that begin inside their buffers, in several chunks
        table = pa.concat_tables([table.slice(1, 3), table.slice(4)])
    data = write(table, group_rows, aligned, smallest=smallest)
    found = read(data)
    assert found.schema.equals(SCHEMA.with_metadata({"note": "text"}), check_metadata=True)
    assert found.to_pylist() == table.to_pylist()
    if table.num_rows:
        assert facts(data) == facts(with_pyarrow(table, group_rows))


def test_a_column_with_nan_has_no_bounds() -> None:
    table = pa.table({"double": [1.0, float("nan"), None]})
    data = write(table, 3)
    assert read(data)["double"].to_pylist()[0::2] == [1.0, None]
    assert facts(data) == [("double", 3, 1, None)]


def test_each_column_is_packed_in_the_smallest_way_and_read_by_pyarrow_and_duckdb() -> None:
    """Runs of a few rows, as rays have within a square: no one way is best for all columns."""
    random = np.random.default_rng(7)
    runs = np.repeat(np.cumsum(random.integers(1, 90_000, 15_000)), random.integers(1, 7, 15_000))
    size = len(runs)
    few = pa.array(random.integers(0, 900, size).astype(np.float32))
    many = pa.array(np.repeat(random.random(size // 4 + 1, np.float32), 4)[:size])
    steps = pa.array((np.arange(size) % 5 * 231 + runs % 1000).astype(np.int32))
    table = pa.table({"time": pa.array(runs), "few": few, "many": many, "steps": steps})
    found = {}
    for smallest in (False, True):
        data = write(table, 40_000, smallest=smallest)
        assert read(data).equals(table)
        assert duckdb.from_arrow(read(data)).fetchall()[::999] == _rows_of(data)[::999]
        groups = pq.read_metadata(io.BytesIO(data)).to_dict()["row_groups"]
        found[smallest] = [
            sum(group["columns"][place]["total_compressed_size"] for group in groups)
            for place in range(table.num_columns)
        ]
    assert all(new <= old for old, new in zip(*found.values(), strict=True))
    assert sum(found[True]) < 0.9 * sum(found[False])


def test_the_smallest_way_is_tried_for_the_first_rows_only_where_a_table_says_so() -> None:
    steps = np.cumsum(np.tile([231, 17, 40_000, 3], 10_000)).astype(np.int32)
    table = pa.table({"steps": pa.array(steps)})
    plain, smallest, first = (
        [
            group["total_byte_size"]
            for group in pq.read_metadata(io.BytesIO(data)).to_dict()["row_groups"]
        ]
        for data in (
            write(table, 10_000),
            write(table, 10_000, smallest=True),
            write(table, 10_000, smallest=True, smallest_rows=10_001),
        )
    )
    assert min(plain[1], plain[2]) != smallest[2]
    assert first == [*smallest[:2], *plain[2:]]
    assert read(write(table, 10_000, smallest=True, smallest_rows=10_001)).equals(table)


def _rows_of(data: bytes) -> list[Any]:
    """The rows as DuckDB reads them."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        file.write(data)
        file.flush()
        return duckdb.sql(f"select * from read_parquet('{file.name}')").fetchall()


@pytest.mark.parametrize("words", [["a", "b"], ["b", None, "a"], []])
def test_dictionaries_are_written_as_their_strings(words: list[str | None]) -> None:
    plain = pa.array(words * 3, pa.string())
    coded = pa.chunked_array([plain.dictionary_encode(), pa.array(["z"]).dictionary_encode()])
    schema = pa.schema([pa.field("word", pa.string())])
    columns = parquet_columns.leaves(schema, {"column_encoding": None})
    sink = pa.BufferOutputStream()
    writer = pages.PageWriter(sink, columns or [], 3)
    writer.write_table(pa.table([coded], ["word"]), len(coded))
    writer.close()
    assert read(bytes(sink.getvalue()))["word"].to_pylist() == [*words * 3, "z"]


def _large() -> pa.Table:
    rng = np.random.default_rng(1)
    n = 3 * pages.PAGE_VALUES // 2
    sizes = rng.integers(0, 5, n)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    known = rng.random(n) < 0.9
    elements = pa.array(rng.integers(0, 2504, offsets[-1]).astype(np.int32))
    pair = pa.ListArray.from_arrays(
        pa.array(np.arange(0, 2 * n + 1, 2, dtype=np.int32)),
        pa.array(rng.integers(0, 3, 2 * n).astype(np.int32)),
    )
    columns = {
        "pos": pa.array(np.sort(rng.integers(0, 10**9, n))),
        "text": pa.array([f"rs{k}" for k in rng.integers(0, 10**9, n)]),
        "word": pa.array(rng.choice(["A", "C", "G", "T"], n), mask=~known),
        "int64": pa.array(rng.integers(-(2**60), 2**60, n), mask=~known),
        "int32": pa.array((rng.integers(0, 70_000, n) // 7 * 7).astype(np.int32)),
        "double": pa.array(rng.random(n), mask=~known),
        "flag": pa.array(rng.random(n) < 0.5, mask=~known),
        "numbers": pa.ListArray.from_arrays(pa.array(offsets), elements),
        "near_list": pair,
        "small": pa.nulls(n, pa.int32()),
    }
    schema = pa.schema([SCHEMA.field(name) for name in columns])
    return pa.table(list(columns.values()), schema=schema)


@pytest.mark.parametrize("aligned", [(), ALIGNED])
def test_columns_of_several_pages_are_read_by_pyarrow_and_duckdb(
    tmp_path_factory: pytest.TempPathFactory, aligned: tuple[str, ...]
) -> None:
    table = _large()
    data = write(table, table.num_rows, aligned)
    assert read(data).equals(table)
    assert facts(data) == facts(with_pyarrow(table, table.num_rows))
    path = tmp_path_factory.mktemp("pages") / "large.parquet"
    path.write_bytes(data)
    connection = duckdb.connect()
    different = "select count(*) from (select * from table except all select * from file)"
    connection.register("theirs", table)
    query = different.replace("table", "theirs").replace("file", f"'{path}'")
    assert connection.sql(query).fetchone() == (0,)


def test_lists_of_sample_numbers_are_read_whole_and_filtered_by_duckdb(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(2)
    n = 40_000
    people = [np.flatnonzero(rng.random(2504) < 0.002) for _ in range(200)]
    rows = [people[k] for k in rng.integers(0, 200, n)]
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int32)
    numbers = np.concatenate(rows).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(numbers))
    pos = np.concatenate([np.sort(rng.integers(1, 10**8, n // 2)) for _ in range(2)])
    schema = pa.schema([SCHEMA.field("pos"), SCHEMA.field("near_list")])
    table = pa.table([pa.array(pos), lists], schema=schema)
    data, plain = write(table, n, ALIGNED), write(table, n)
    assert read(data).equals(table)
    assert len(data) < 0.65 * len(plain)  # that is what whole bytes are for
    path = tmp_path_factory.mktemp("pages") / "lists.parquet"
    path.write_bytes(data)
    asked = f"select sum(len(near_list)), sum(list_sum(near_list)) from '{path}' where pos % 7 = 3"
    kept = [row for row, at in zip(rows, pos, strict=True) if at % 7 == 3]
    found = duckdb.connect().sql(asked).fetchone()
    assert found == (sum(map(len, kept)), sum(int(row.sum()) for row in kept))


@pytest.mark.parametrize(
    "count", [0, 1, 2, 33, DELTA_BLOCK, DELTA_BLOCK + 1, DELTA_BLOCK + 2, 1000]
)
def test_differences_of_any_length_are_read(count: int) -> None:
    rng = np.random.default_rng(count)
    for low, high in ((0, 1), (-5, 5), (-(2**63), 2**63 - 1)):
        table = pa.table({"pos": pa.array(rng.integers(low, high, count, endpoint=True))})
        for aligned in ((), ALIGNED):
            assert read(write(table, max(count, 1), aligned))["pos"].equals(table["pos"])


def test_what_it_cannot_write_is_left_to_pyarrow() -> None:
    nested = pa.struct([("a", pa.list_(pa.int32()))])
    for type_ in (pa.timestamp("ns"), pa.decimal128(19, 2), nested, pa.binary()):
        assert parquet_columns.leaves(pa.schema([("x", type_)]), {"column_encoding": None}) is None
