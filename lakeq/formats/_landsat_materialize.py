"""The rows of a virtual table of pixels as they are written to Parquet.

Longitude and latitude are left NULL: as numbers of 8 bytes they would take more than all bands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lakeq.formats._landsat_pixels import PixelRows
from lakeq.selection import Selection, Wanted

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import ReadContext
    from lakeq.storage import SourceObject

LEFT_OUT = frozenset({"lon", "lat"})


def rows_of(table: Table, index: pa.Table, context: ReadContext) -> Iterator[pa.RecordBatch]:
    """All rows of `table` for the products whose tiles are `index`, by block."""
    import duckdb
    import pyarrow as pa

    from lakeq import types
    from lakeq.formats._landsat_columns import repeated

    names = [column.name for column in table.columns]
    present = set(index["band"].to_pylist()) | (set(names) - _bands(table))
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")

        def ask(sql: str) -> Mapping[str, Any]:
            # The capsule of a stream, which is read once: of tables DuckDB imports pandas.
            connection.register("tile_index", index.to_reader().__arrow_c_stream__())
            found = connection.execute(sql).to_arrow_table()
            return {name: found[name].to_pylist() for name in found.column_names}

        def pinned(uri: str, _size: int, _version: str) -> SourceObject:
            return context.other(uri)

        columns = tuple(n for n in names if n in present and n not in LEFT_OUT)
        threads = os.cpu_count() or 1
        rows = PixelRows(table, Wanted(columns, Selection(), ask, pinned, threads))
    schema = types.arrow_schema(table)
    same: dict[str, pa.Array] = {}  # columns with one value, or NULL alone, as long as any batch
    for batch in rows.batches():
        count = batch.num_rows
        arrays = []
        for part in schema:
            if part.name in batch.schema.names:
                arrays.append(batch[part.name])
                continue
            known = same.get(part.name)
            if known is None or len(known) < count:
                known = same[part.name] = repeated(rows.constants.get(part.name), part.type, count)
            arrays.append(known[:count])
        yield pa.RecordBatch.from_arrays(arrays, names=schema.names)


def _bands(table: Table) -> set[str]:
    from lakeq.formats._landsat_columns import PLACES
    from lakeq.formats._landsat_quality import FLAGS

    return {column.name for column in table.columns} - {*PLACES, *FLAGS}
