"""How the Parquet files of a table are laid out: encodings, sizes of files and row groups.

Readable by DuckDB, Athena (Trino) and Spark: data pages of version 1, zstd, no Arrow schema.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table

ROW_GROUP_ROWS = 1 << 20
ZSTD_LEVEL = 3
SLICE_ROW_GROUP_ROWS = 1 << 17  # where one name is a slice: one sample of one contig is 1 to 3
LEAST_SLICE_ROWS = 1 << 16  # names with fewer rows share a row group
FILE_BYTES = 256 << 20  # a file that grew beyond is finished and the next one begun
SLICE_FILE_BYTES = 32 << 20  # a footer of many slices is read for one: keep it below 300 kB
DELTA_COLUMNS = frozenset({"pos", "end_pos"})  # ascending integers: packed as differences
DELTA_LIST_UNIT = "sample number"  # lists of them ascend
PAGE_BYTES = 1 << 20


def layout(table: Table, schema: pa.Schema) -> dict[str, Any]:
    """The arguments of pyarrow's ParquetWriter for the files of one table.

    Ascending integers are packed as differences, all else by dictionary. On the chr22 slice of
    phase 3 that takes the lists of `genotypes` from 602 to 385 kB, and level 3 of zstd to 367.
    The table's options may name more columns to be packed as differences (`delta`), another level
    (`zstd_level`) and larger pages (`page_bytes`), or ask for the smallest way (`packing`,
    `smallest_rows`).
    """
    named = DELTA_COLUMNS | frozenset(table.options.get("delta", "").split())
    lists = _lists_of_samples(table, schema)
    delta = [p for p in leaf_paths(schema) if p.partition(".")[0] in named or p in lists]
    return {
        "compression": "zstd",
        "compression_level": int(table.options.get("zstd_level", ZSTD_LEVEL)),
        "version": "2.6",
        "data_page_version": "1.0",
        "write_page_checksum": True,
        "data_page_size": int(table.options.get("page_bytes", PAGE_BYTES)),
        "store_schema": False,
        "store_decimal_as_integer": True,
        "use_dictionary": [path for path in leaf_paths(schema) if path not in delta],
        "column_encoding": dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
    }


def aligned(table: Table, schema: pa.Schema) -> list[str]:
    """The columns whose values repeat in runs, because people share what they inherit.

    Lists of sample numbers from row to row, positions from sample to sample. In whole bytes zstd
    finds the runs: 36 % less of lists, 40 % of positions (made like chromosome 22).
    """
    by_sample = ["pos"] if _by_name(table) else []
    return _lists_of_samples(table, schema) + by_sample


def _lists_of_samples(table: Table, schema: pa.Schema) -> list[str]:
    wanted = {c.name for c in table.columns if c.unit == DELTA_LIST_UNIT}
    paths = leaf_paths(schema)
    return [p for p in paths if p.endswith(".list.element") and p.split(".")[0] in wanted]


def first_change(column: pa.ChunkedArray, start: int, stop: int) -> int:
    """The first row from `start` to `stop` whose value is not that of the row before; or 0."""
    import pyarrow as pa

    part = column.slice(start - 1, stop - start + 2)
    if len(part) < 2 or part.null_count:
        return 0
    if not pa.types.is_dictionary(part.type):
        part = part.dictionary_encode()
    joined = part.unify_dictionaries().combine_chunks()
    numbers = joined.indices.to_numpy(zero_copy_only=False)
    changes = (numbers[1:] != numbers[:-1]).nonzero()[0]
    return start + int(changes[0]) if len(changes) else 0


def in_slices(table: Table) -> bool:
    """Whether row groups end with the rows of a name: those of a sample's calls, say."""
    return _by_name(table) and "row_group_rows" not in table.options


def least_rows(table: Table) -> int:
    """Rows from which on a row group ends where the name changes; 0 where names are no slices."""
    return LEAST_SLICE_ROWS if in_slices(table) else 0


def file_bytes(table: Table) -> int:
    """The bytes from which on a file is full."""
    default = SLICE_FILE_BYTES if in_slices(table) else FILE_BYTES
    return int(table.options.get("file_bytes", default))


def smallest_rows(table: Table) -> int:
    """Rows of a file of an ingest for whose columns the smallest packing is tried, as upkeep does.

    All where the table's `packing` is `smallest`; else those of its option, the first ones.
    """
    if table.options.get("packing") == "smallest":
        return sys.maxsize
    return int(table.options.get("smallest_rows", 0))


def row_group_rows(table: Table) -> int:
    """The most rows of a row group: fewer where a table is read one name at a time."""
    default = SLICE_ROW_GROUP_ROWS if _by_name(table) else ROW_GROUP_ROWS
    return int(table.options.get("row_group_rows", default))


def _by_name(table: Table) -> bool:
    """Whether the rows are sorted by a text first, such as the sample's name."""
    first = table.sort_by[0] if table.sort_by else ""
    return any(c.name == first and c.type == "string" for c in table.columns)


def leaf_paths(schema: pa.Schema) -> list[str]:
    """The Parquet paths of all leaf columns, in file order."""
    return [path for field in schema for path in _paths(field.name, field.type)]


def _paths(prefix: str, type_: pa.DataType) -> list[str]:
    import pyarrow as pa

    if pa.types.is_list(type_):
        return _paths(f"{prefix}.list.{type_.value_field.name}", type_.value_type)
    if pa.types.is_struct(type_):
        parts = [type_.field(number) for number in range(type_.num_fields)]
        return [path for part in parts for path in _paths(f"{prefix}.{part.name}", part.type)]
    return [prefix]
