"""What manifests say of files: equal to what PyIceberg makes of the same footers."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import (
    compute_statistics_plan,
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
)

from lakeq.errors import BadLake
from lakeq.lake.metrics import leaves, of_footer, serialized

UTC = dt.UTC
COLUMNS: dict[str, tuple[Any, list[Any]]] = {
    "contig": (StringType(), ["22", "22", "22", None]),
    "long_text": (StringType(), ["x" * 40, "aé" * 20, None, "\U0010ffff" * 30]),
    "source": (StringType(), ["s3://bucket/" + "k" * 40] * 4),
    "i": (IntegerType(), [3, None, -7, 2**31 - 1]),
    "l": (LongType(), [3, -(2**62), None, 9]),
    "f": (FloatType(), [1.5, None, -2.25, 0.0]),
    "d": (DoubleType(), [None, None, None, None]),
    "b": (BooleanType(), [True, None, True, False]),
    "day": (DateType(), [dt.date(2020, 1, 2), None, dt.date(1969, 5, 1), None]),
    "time": (TimestamptzType(), [dt.datetime(2020, 1, 2, h, tzinfo=UTC) for h in (1, 2, 3, 4)]),
    "dec": (DecimalType(7, 4), [Decimal("1.5000"), Decimal("-2.2500"), None, Decimal("0.0001")]),
    "raw": (BinaryType(), [b"\xff" * 20, b"a", None, b""]),
    "codes": (ListType(99, IntegerType(), False), [[1, 2], [], None, [3, None]]),
    "pair": (StructType(NestedField(98, "left", LongType(), False)), [{"left": 1}] * 4),
}
PROPERTIES = {
    "write.metadata.metrics.column.source": "full",
    "write.metadata.metrics.column.l": "counts",
    "write.metadata.metrics.column.b": "none",
}
SCHEMA = Schema(
    *(NestedField(n, name, type_, False) for n, (name, (type_, _)) in enumerate(COLUMNS.items(), 1))
)


@pytest.fixture(scope="module")
def footer() -> pq.FileMetaData:
    arrow = schema_to_pyarrow(SCHEMA)
    arrays = [
        pa.array(rows, type_)
        for (_, rows), type_ in zip(COLUMNS.values(), arrow.types, strict=True)
    ]
    table = pa.table(arrays, schema=arrow)
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=2, store_schema=False)
    return pq.read_metadata(io.BytesIO(sink.getvalue()))


@pytest.mark.parametrize("mode", ["", "counts", "full", "truncate(4)"])
def test_metrics_are_those_of_pyiceberg(footer: pq.FileMetaData, mode: str) -> None:
    properties = PROPERTIES | ({"write.metadata.metrics.default": mode} if mode else {})
    plan = compute_statistics_plan(SCHEMA, properties)
    ids = parquet_path_to_id_mapping(SCHEMA)
    expected = data_file_statistics_from_parquet_metadata(footer, plan, ids).to_serialized_dict()
    columns = leaves(SCHEMA, properties)
    assert {path: leaf.id for path, leaf in columns.items()} == ids
    assert serialized(of_footer(footer, columns), columns) == expected


def test_the_partition_is_the_one_value_of_its_column(footer: pq.FileMetaData) -> None:
    spec = PartitionSpec(
        PartitionField(1, 1000, IdentityTransform(), "contig"),
        PartitionField(10, 1001, DayTransform(), "time_day"),
    )
    metrics = of_footer(footer, leaves(SCHEMA, {}))
    plan = compute_statistics_plan(SCHEMA, {})
    ids = parquet_path_to_id_mapping(SCHEMA)
    expected = data_file_statistics_from_parquet_metadata(footer, plan, ids).partition(spec, SCHEMA)
    assert metrics.partition(spec, SCHEMA) == expected


def test_a_file_of_two_partitions_is_refused(footer: pq.FileMetaData) -> None:
    spec = PartitionSpec(PartitionField(4, 1000, IdentityTransform(), "i"))
    with pytest.raises(BadLake, match="more than one i"):
        of_footer(footer, leaves(SCHEMA, {})).partition(spec, SCHEMA)


def test_a_day_as_a_partition_is_the_number_of_days() -> None:
    """PyIceberg writes what it is given, and its readers count days from 1970."""
    schema = Schema(NestedField(1, "day", DateType(), required=False))
    table = pa.table({"day": pa.array([dt.date(2019, 7, 15)] * 2, pa.date32())})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    spec = PartitionSpec(PartitionField(1, 1000, IdentityTransform(), "day"))
    metrics = of_footer(pq.read_metadata(io.BytesIO(sink.getvalue())), leaves(schema, {}))
    assert metrics.partition(spec, schema)[0] == (dt.date(2019, 7, 15) - dt.date(1970, 1, 1)).days
