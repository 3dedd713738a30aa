"""A catalog's table as Iceberg has it: schema, partitions, properties, and how it may grow."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from pyiceberg import types as iceberg
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform

from lakeq import types
from lakeq.catalog import Column
from lakeq.errors import BadLake, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import Transaction

    from lakeq.catalog import Table

SOURCE = "_source"  # the system column: URI of the object that a row comes from
BOUNDED_COLUMNS = 16  # leading columns whose bounds every file records; wide tables have 140
_FIRST_PARTITION_ID = 1000  # Iceberg table spec, Partition Specs

_DUCKDB = {
    "boolean": "BOOLEAN",
    "int": "INTEGER",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "time": "TIME",
    "binary": "BLOB",
    "uuid": "UUID",
}


def schema_of(table: Table) -> Schema:
    """The schema of a new table: the catalog's columns, then `_source`, all nullable.

    Ids count from 1 in the order in which PyIceberg gives fresh ones: columns first, then the
    parts of nested columns.
    """
    source = Column(SOURCE, "string", "URI of the object that the row comes from")
    columns = [*table.columns, source]
    nested = count(len(columns) + 1)
    fields = [
        iceberg.NestedField(
            number,
            column.name,
            types.to_iceberg(column.type, nested),
            required=False,
            doc=f"{column.doc} [{column.unit}]" if column.unit else column.doc,
        )
        for number, column in enumerate(columns, 1)
    ]
    return Schema(*fields)


def partition_spec(table: Table, schema: Schema) -> PartitionSpec:
    """Identity partitions by the catalog's `partition_by`."""
    fields = [
        PartitionField(
            source_id=schema.find_field(name).field_id,
            field_id=_FIRST_PARTITION_ID + number,
            transform=IdentityTransform(),
            name=name,
        )
        for number, name in enumerate(table.partition_by)
    ]
    return PartitionSpec(*fields)


def properties(table: Table) -> dict[str, str]:
    """How the table is committed to and which bounds its files record.

    Bounds of `_source` are whole, because object URIs differ at their ends and a commit deletes
    by them. The columns that queries prune by are bounded, the others only counted, which keeps
    the manifests of wide tables small.
    """
    metrics = "write.metadata.metrics"
    leading = [column.name for column in table.columns[:BOUNDED_COLUMNS]]
    bounded = dict.fromkeys([*table.partition_by, *table.sort_by, *leading])
    return {
        "format-version": "2",
        f"{metrics}.default": "counts",
        **{f"{metrics}.column.{name}": "truncate(16)" for name in bounded},
        f"{metrics}.column.{SOURCE}": "full",
        "commit.manifest-merge.enabled": "true",
        "commit.manifest.min-count-to-merge": "20",
        "commit.retry.num-retries": "30",
        "write.metadata.previous-versions-max": "100",
        "write.metadata.delete-after-commit.enabled": "false",  # sweep() does it, after the switch
        "write.parquet.compression-codec": "zstd",
    }


def evolve(transaction: Transaction, table: Table) -> None:
    """Add the catalog's new columns; `BadLake` when the lake's table contradicts the catalog."""
    present = transaction.table_metadata.schema()
    wanted = schema_of(table)
    _check_partitions(transaction, table)
    missing = []
    for field in wanted.fields:
        if field.name not in present.column_names:
            missing.append(field)
            continue
        found = present.find_field(field.name)
        if shape(found.field_type) != shape(field.field_type):
            what = (
                f"column {field.name} is {shape(field.field_type)} in the catalog "
                f"but {shape(found.field_type)} in the lake"
            )
            hint = "rename the column in the catalog, or ingest into a new lake"
            raise BadLake(what, table.qualified, hint)
    if missing:
        with transaction.update_schema() as update:
            for field in missing:
                update.add_column(field.name, field.field_type, field.doc)


def _check_partitions(transaction: Transaction, table: Table) -> None:
    metadata = transaction.table_metadata
    present = tuple(field.name for field in metadata.spec().fields)
    if present != table.partition_by:
        what = f"partitioned by {table.partition_by} in the catalog but {present} in the lake"
        raise UsageError(what, table.qualified, "set partition_by back, or use a new lake")


def shape(type_: iceberg.IcebergType) -> str:
    """The type in words without field ids, for comparing and for messages."""
    match type_:
        case iceberg.ListType():
            return f"list<{shape(type_.element_type)}>"
        case iceberg.StructType():
            parts = (f"{field.name}: {shape(field.field_type)}" for field in type_.fields)
            return f"struct<{', '.join(parts)}>"
        case _:
            return str(type_)


def duckdb_type(type_: iceberg.IcebergType) -> str:
    """The DuckDB type that holds the values of an Iceberg type."""
    match type_:
        case iceberg.ListType():
            return f"{duckdb_type(type_.element_type)}[]"
        case iceberg.StructType():
            parts = (
                f"{quoted(field.name)} {duckdb_type(field.field_type)}" for field in type_.fields
            )
            return f"STRUCT({', '.join(parts)})"
        case iceberg.DecimalType():
            return f"DECIMAL({type_.precision},{type_.scale})"
        case _ if name := _DUCKDB.get(str(type_)):
            return name
        case _:
            raise BadLake(f"a column of type {type_} cannot be read")


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def arrow_schema(schema: Schema, table: Table) -> pa.Schema:
    """The Arrow schema of the table's data files, in the catalog's order with `_source` last.

    Each field, nested ones too, carries its Iceberg id as Parquet's field id.
    """
    import pyarrow as pa

    names = [column.name for column in table.columns] + [SOURCE]
    texts = {column.name: column.type for column in table.columns} | {SOURCE: "string"}
    return pa.schema(
        [_arrow_field(schema.find_field(name), types.to_arrow(texts[name])) for name in names]
    )


def _arrow_field(field: iceberg.NestedField, type_: pa.DataType) -> pa.Field:
    return _with_id(field.name, _arrow_type(field.field_type, type_), field.field_id)


def _arrow_type(wanted: iceberg.IcebergType, type_: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    match wanted:
        case iceberg.ListType():
            element = _arrow_type(wanted.element_type, type_.value_type)
            return pa.list_(_with_id("element", element, wanted.element_id))
        case iceberg.StructType():
            parts = [_arrow_field(part, type_.field(part.name).type) for part in wanted.fields]
            return pa.struct(parts)
        case _:
            return type_


def _with_id(name: str, type_: pa.DataType, field_id: int) -> pa.Field:
    import pyarrow as pa

    return pa.field(name, type_, metadata={b"PARQUET:field_id": str(field_id).encode()})
