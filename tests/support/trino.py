"""What Trino's Parquet reader reads of a file, worked out from pyarrow's view of its footer.

A second account of the rules in `lakeq.planner.reads.athena_file`, made from Trino's source and
documentation without lakeq's: MetadataReader.readFooter (48 KiB, then a longer footer again),
ParquetPageSourceFactory.createDataSource (parquet.small-file-threshold, 3 MB: read whole),
AbstractParquetDataSource.planChunksRead and mergeAdjacentDiskRanges (parquet.max-merge-distance
1 MB, parquet.max-buffer-size 8 MB), TupleDomainParquetPredicate (row groups by their statistics).
Athena's engine version 3 comes from Trino. There is no Athena here to ask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

MB = 1024 * 1024
Between = Mapping[str, tuple[Any, Any]]  # leaf path -> least and most, None where open


def bytes_read(paths: Sequence[Path], leaves: Collection[str], where: Between) -> int:
    """Bytes of all requests for the leaf columns `leaves` of rows that `where` may let pass."""
    return sum(length for path in paths for _, length in requests(path, leaves, where))


def requests(path: Path, leaves: Collection[str], where: Between) -> list[tuple[int, int]]:
    """The ranges that are requested of one file, as (offset, length)."""
    metadata, size = pq.read_metadata(path), path.stat().st_size
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    if not any(_matches(group, where) for group in groups):
        return []  # Iceberg's bounds of the file rule it out
    if size <= 3 * MB:
        return [(0, size)]
    made = [(size - 48 * 1024, 48 * 1024)]
    footer = metadata.serialized_size + 8
    if footer > 48 * 1024:
        made.append((size - footer, footer))
    small: list[tuple[int, int]] = []
    large: list[tuple[int, int]] = []
    for group in groups:
        if _matches(group, where):
            for number in range(group.num_columns):
                chunk = group.column(number)
                if chunk.path_in_schema in leaves:
                    start = chunk.data_page_offset
                    if chunk.has_dictionary_page:
                        start = min(start, chunk.dictionary_page_offset)
                    piece = (start, start + chunk.total_compressed_size)
                    (small if piece[1] - piece[0] <= 8 * MB else large).append(piece)
    for start, end in [*_merged(small), *large]:
        made += [(at, min(8 * MB, end - at)) for at in range(start, end, 8 * MB)]
    return made


def _merged(pieces: list[tuple[int, int]]) -> list[tuple[int, int]]:
    done: list[tuple[int, int]] = []
    for piece in sorted(pieces):
        if done:
            span = (done[-1][0], max(done[-1][1], piece[1]))
            if span[1] - span[0] <= 8 * MB and done[-1][1] + MB >= piece[0]:
                done[-1] = span
                continue
        done.append(piece)
    return done


def _matches(group: Any, where: Between) -> bool:
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema in where and chunk.statistics and chunk.statistics.has_min_max:
            least, most = where[chunk.path_in_schema]
            if least is not None and chunk.statistics.max < least:
                return False
            if most is not None and chunk.statistics.min > most:
                return False
    return True
