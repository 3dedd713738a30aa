"""Parquet files as the lake writes them, and their snapshot, without the lake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakeq.snapshot import DataFile, Footer, Leaf, SnapshotColumn, TableSnapshot

DUCKDB_TYPES = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.bool_(): "BOOLEAN",
    pa.float64(): "DOUBLE",
    pa.list_(pa.int32()): "INTEGER[]",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}


def field(number: int, name: str, type_: pa.DataType) -> pa.Field:
    """A column with its Iceberg field id; the element of a list has one too."""
    if pa.types.is_list(type_):
        type_ = pa.list_(field(100 + number, "element", type_.value_type))
    return pa.field(name, type_, metadata={"PARQUET:field_id": str(number)})


def write(path: Path, columns: Mapping[str, pa.Array], rows_per_group: int = 1000) -> Path:
    """One data file, whose columns have field ids 1, 2, … in their order."""
    fields = [field(n, name, array.type) for n, (name, array) in enumerate(columns.items(), 1)]
    schema = pa.schema(fields)
    arrays = [array.cast(f.type) for f, array in zip(fields, columns.values(), strict=True)]
    table = pa.Table.from_arrays(arrays, schema=schema)
    options = {"compression": "zstd", "store_schema": False, "write_page_checksum": True}
    pq.write_table(table, path, row_group_size=rows_per_group, **options)
    return path


def footer(path: Path) -> Footer:
    """The layout of a file as pyarrow reads it."""
    meta = pq.read_metadata(path)
    groups = [meta.row_group(number) for number in range(meta.num_row_groups)]
    chunks = [group.column(leaf) for group in groups for leaf in range(meta.num_columns)]
    paths = [meta.schema.column(leaf).path for leaf in range(meta.num_columns)]
    return Footer(
        tuple(Leaf(path.partition(".")[0], path) for path in paths),
        [group.num_rows for group in groups],
        [
            min(at for at in (c.dictionary_page_offset, c.data_page_offset) if at is not None)
            for c in chunks
        ],
        [chunk.total_compressed_size for chunk in chunks],
    )


def snapshot(
    name: str, paths: Sequence[Path], columns: Mapping[str, pa.DataType], prefix: str = ""
) -> TableSnapshot:
    """The snapshot of a table of `paths`; `prefix` stands for their folder, if given."""
    files = [
        DataFile(
            f"{prefix}{path.name}" if prefix else str(path),
            path.stat().st_size,
            pq.read_metadata(path).num_rows,
            footer(path),
        )
        for path in paths
    ]
    described = [
        SnapshotColumn(number, column, DUCKDB_TYPES[type_])
        for number, (column, type_) in enumerate(columns.items(), 1)
    ]
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return TableSnapshot(name, 7, moment, tuple(described), tuple(files))
