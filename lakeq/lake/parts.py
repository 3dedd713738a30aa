"""Data files that other processes write for a lake whose own writer commits them.

A worker writes below a folder that the lake's writer named and journalled, so that whatever a dead
worker leaves is found by listing that folder. What a worker tells of its files is held against the
files themselves before it is believed.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

from lakeq.errors import BadLake, StorageUnavailable
from lakeq.lake.inside import footer_bytes
from lakeq.lake.io import WarehouseIO, is_s3
from lakeq.lake.parquet import NewFile, TableWriter
from lakeq.lake.session import Session

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.config import S3Settings
    from lakeq.lake.places import Place, Written
    from lakeq.storage.tally import Tally


def writer(
    table: Table, place: Place, folder: str, scratch: Path, s3: S3Settings, tally: Tally
) -> TableWriter:
    """What makes a table's files in a worker; raises `ValueError` for a schema that is none."""
    from pyiceberg.schema import Schema

    from lakeq.lake.schema import arrow_schema

    schema = arrow_schema(Schema.model_validate_json(place.schema), table)
    session = Session(io.StringIO(), scratch)  # the lake's own writer has journalled the folder
    files = WarehouseIO(s3, tally=tally)
    return TableWriter(table, schema, place.location, files, session, folder)


def taken(files: WarehouseIO, folder: str, source: str, written: Written) -> NewFile:
    """The file that a worker wrote, as a commit takes it.

    `BadLake` when it lies elsewhere than in `folder` or is not what the worker told;
    `StorageUnavailable` when it cannot be seen from here.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, checksum = written.path, written.checksum
    if not path.startswith(folder) or ".." in path.split("/"):
        raise BadLake("a worker wrote outside of its folder", path, "do not trust that worker")
    if not is_s3(path) and not Path(path).is_file():
        hint = "workers and this machine must see one file system; or keep the lake on S3"
        raise StorageUnavailable("a worker's file is not to be seen from here", path, hint)
    tail = footer_bytes(files, path, checksum.size_bytes)
    if crc32(tail) != checksum.footer_crc32:
        raise BadLake("a worker's file is not what it wrote", path, "run the command again")
    metadata = pq.read_metadata(pa.BufferReader(b"PAR1" + tail))
    if metadata.num_rows != written.rows:
        raise BadLake("a worker's file has other rows than it told", path, "run the command again")
    if not is_s3(path):
        checksum = checksum._replace(mtime_ns=Path(path).stat().st_mtime_ns)
    return NewFile(
        path, ((source, written.rows),), checksum.size_bytes, metadata, checksum=checksum
    )


def spread(files: WarehouseIO, paths: Iterable[str]) -> Iterator[str]:
    """`paths`, those of folders replaced by the files that are there below them."""
    for path in paths:
        if path.endswith("/"):
            yield from (found for found, _size in files.listed(path.rstrip("/")))
        else:
            yield path


def clear(files: WarehouseIO, folder: str, keep: Collection[str]) -> list[str]:
    """Delete what lies below a folder of parts but `keep`; returns what was deleted."""
    gone = [path for path in spread(files, [folder]) if path not in keep]
    for path in gone:
        files.delete(path)
    prune(folder)
    return gone


def prune(folder: str) -> None:
    """Remove the empty folders of a local folder of parts."""
    if is_s3(folder) or not Path(folder).is_dir():
        return
    for place, _folders, _files in os.walk(folder, topdown=False):
        with suppress(OSError):  # it holds files
            Path(place).rmdir()
