"""Rows sorted by significance, contig, position and alleles, in memory of one bucket.

Rows go to buckets of equal (significance rank, contig rank) as they come, in one file of the
read's own folder; buckets are then read in order and sorted one by one. The largest bucket of a
whole ClinVar of 4.2 million (uncertain significance on chromosome 2) is estimated at 200,000 rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lakeq import contigs, types

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

BATCH_ROWS = 1 << 16
KEYS = {"significance_rank": "int32", "contig": "string", "pos": "int64"}
KEYS |= {"ref": "string", "alt": "string"}
_NO_CONTIG = len(contigs.CHROMOSOMES) + 1  # after the chromosomes and all other contigs


def with_keys(schema: pa.Schema) -> pa.Schema:
    """`schema` and those columns that rows are sorted by which it lacks."""
    import pyarrow as pa

    for name, type_ in KEYS.items():
        if name not in schema.names:
            schema = schema.append(pa.field(name, types.to_arrow(type_)))
    return schema


class SortedRows:
    """Takes batches in any order, then gives them sorted."""

    def __init__(self, schema: pa.Schema, path: Path) -> None:
        """Rows of `schema`, which has the columns `KEYS`, kept in the new file `path`."""
        import pyarrow as pa

        self.schema = schema
        self._path = path
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer: Any = pa.ipc.new_file(str(path), schema, options=options)
        self._batches: dict[tuple[int, int], list[int]] = {}
        self._written = 0

    def add(self, rows: pa.RecordBatch) -> None:
        """Take some rows."""
        import numpy as np
        import pyarrow as pa

        ranks = rows["significance_rank"].to_numpy(zero_copy_only=False).astype(np.int64)
        keys = ranks * (_NO_CONTIG + 1) + _contig_ranks(rows["contig"])
        order = np.argsort(keys, kind="stable")
        rows = rows.take(pa.array(order))
        values, firsts = np.unique(keys[order], return_index=True)
        for key, first, last in zip(values, firsts, [*firsts[1:], len(keys)], strict=True):
            self._writer.write_batch(rows.slice(first, last - first))
            bucket = divmod(int(key), _NO_CONTIG + 1)
            self._batches.setdefault(bucket, []).append(self._written)
            self._written += 1

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows in order, in batches of at most `BATCH_ROWS`; ends the taking."""
        import pyarrow as pa

        self._writer.close()
        with pa.memory_map(str(self._path)) as file:
            reader = pa.ipc.open_file(file)
            for bucket in sorted(self._batches):
                parts = [reader.get_batch(number) for number in self._batches[bucket]]
                yield from _sorted(pa.Table.from_batches(parts, self.schema))
        self._path.unlink()


def _contig_ranks(names: pa.Array) -> Any:
    import pyarrow as pa

    coded = names.dictionary_encode()
    ranks = pa.array([contigs.rank(name) for name in coded.dictionary.to_pylist()], pa.int64())
    return ranks.take(coded.indices).fill_null(_NO_CONTIG).to_numpy(zero_copy_only=False)


def _sorted(rows: pa.Table) -> Iterator[pa.RecordBatch]:
    import pyarrow.compute as pc

    keys = [(name, "ascending") for name in KEYS]
    order = pc.sort_indices(rows, sort_keys=keys)
    yield from rows.take(order).combine_chunks().to_batches(BATCH_ROWS)
