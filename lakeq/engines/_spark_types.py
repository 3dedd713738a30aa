"""DuckDB's types of columns as Spark's."""

from __future__ import annotations

from typing import Any

_PLAIN = {
    "BOOLEAN": "BooleanType",
    "TINYINT": "ByteType",
    "SMALLINT": "ShortType",
    "INTEGER": "IntegerType",
    "BIGINT": "LongType",
    "FLOAT": "FloatType",
    "DOUBLE": "DoubleType",
    "VARCHAR": "StringType",
    "BLOB": "BinaryType",
    "DATE": "DateType",
    "TIMESTAMP WITH TIME ZONE": "TimestampType",
    "TIMESTAMP": "TimestampNTZType",
}


def spark_type(duckdb_type: str) -> Any:
    """The Spark type of a column of `duckdb_type`, as a snapshot writes it."""
    from pyspark.sql import types
    from sqlglot import exp

    def of(node: exp.DataType) -> Any:
        if node.is_type("array", "list"):
            return types.ArrayType(of(node.expressions[0]), containsNull=True)
        if node.is_type("struct"):
            return types.StructType(
                [types.StructField(part.name, of(part.args["kind"])) for part in node.expressions]
            )
        if node.is_type("decimal"):
            precision, scale = (int(part.name) for part in node.expressions)
            return types.DecimalType(precision, scale)
        return getattr(types, _PLAIN[_name(node)])()

    return of(exp.DataType.build(duckdb_type, dialect="duckdb"))


def _name(node: Any) -> str:
    from sqlglot import exp

    kinds = exp.DataType.Type
    names = {
        kinds.INT: "INTEGER",
        kinds.TEXT: "VARCHAR",
        kinds.TIMESTAMPTZ: "TIMESTAMP WITH TIME ZONE",
        kinds.TIMESTAMPLTZ: "TIMESTAMP WITH TIME ZONE",
        kinds.VARBINARY: "BLOB",
    }
    return str(names.get(node.this, node.this.value))
