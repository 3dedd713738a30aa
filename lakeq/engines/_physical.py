"""The names that a table's columns have in its files, found by Iceberg field id."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lakeq.config import S3Settings
    from lakeq.snapshot import TableSnapshot

READERS = 16  # threads; a footer on S3 is one request of some 30 ms


class Group(NamedTuple):
    """Files whose columns have the same names; None stands for a column that they lack."""

    paths: tuple[str, ...]
    names: tuple[str | None, ...]


def groups(table: TableSnapshot, s3: S3Settings) -> Iterator[Group]:
    """The files of `table` in groups, in their order; names in the order of the table's columns."""
    if not table.files:
        return
    ids = [column.field_id for column in table.columns]
    with ThreadPoolExecutor(READERS) as pool:
        known = list(pool.map(lambda file: _names(file.path, file.size_bytes, s3), table.files))
    found: dict[tuple[str | None, ...], list[str]] = {}
    for file, by_id in zip(table.files, known, strict=True):
        names = tuple(dict(by_id).get(number) for number in ids)
        found.setdefault(names, []).append(file.path)
    for names, paths in found.items():
        yield Group(tuple(paths), names)


@lru_cache(maxsize=100_000)  # a data file never changes
def _names(path: str, size_bytes: int, s3: S3Settings) -> tuple[tuple[int, str], ...]:
    """The field id and the name of each top-level column of a file; by name where it has no ids."""
    from lakeq.lake.inside import read_metadata
    from lakeq.lake.io import WarehouseIO

    schema = read_metadata(WarehouseIO(s3), path, size_bytes, None).schema.to_arrow_schema()
    return tuple(
        (int((field.metadata or {}).get(b"PARQUET:field_id", b"-1")), field.name)
        for field in schema
    )
