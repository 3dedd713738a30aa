"""Raw formats that only tests have, and what the tests of the lake share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from lakeq import types
from lakeq.catalog import Table
from lakeq.config import S3Settings, Settings
from lakeq.lake import At, IcebergLake
from lakeq.lake.parquet import NewFile
from lakeq.lake.session import Session
from tests.lake_formats.tally import SITES

FOLDER = str(Path(__file__).parent)


def lake_at(folder: Path, warehouse: str = "", s3: S3Settings | None = None) -> IcebergLake:
    """The lake in `folder`."""
    return IcebergLake(Settings(lake=folder, warehouse=warehouse, s3=s3 or S3Settings()))


def put(
    lake: IcebergLake, source: str, rows: Sequence[dict[str, object]], table: Table = SITES
) -> int:
    """Replace the rows of `source`; returns the snapshot's id."""
    from lakeq.lake.commit import Change

    with lake.session() as session:
        writer = lake.writer(table, session)
        files = []
        for number, (partition, part) in enumerate(_partitions(table, rows)):
            file = writer.open(source, partition, number)
            file.write(pa.RecordBatch.from_pylist(part, types.arrow_schema(table)))
            files.append(file.close())
        change = Change(table, frozenset([source]), tuple(files))
        return lake.commit_all([change], session)[table.qualified]


def _partitions(
    table: Table, rows: Sequence[dict[str, object]]
) -> Iterator[tuple[tuple[str, ...], list[dict[str, object]]]]:
    keys = [tuple(str(row[column]) for column in table.partition_by) for row in rows]
    for key in dict.fromkeys(keys):
        yield key, [row for row, own in zip(rows, keys, strict=True) if own == key]


def sites(*positions: int, contig: str = "22") -> list[dict[str, object]]:
    """Rows of the made table of sites."""
    return [{"contig": contig, "pos": pos, "allele": "A", "carriers": [0]} for pos in positions]


def positions(lake: IcebergLake, at: At | None = None, table: str = "made.sites") -> list[int]:
    """The positions in the table, in the order of its files."""
    return list(lake.read_table(table, at)["pos"].to_pylist())


@contextmanager
def file_limit(limit_bytes: int) -> Iterator[None]:
    """No file may grow beyond `limit_bytes`: what a full disk looks like to a writer."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def warehouse_files(lake: IcebergLake) -> set[str]:
    return {str(path) for path in (lake.folder / "warehouse").rglob("*") if path.is_file()}


def named_files(lake: IcebergLake) -> set[str]:
    """Every file that PyIceberg's own catalog says the lake's tables have."""
    from pyiceberg.catalog.sql import SqlCatalog

    catalog = SqlCatalog("lakeq", uri=f"sqlite:///{lake.folder}/catalog.db")
    named: set[str] = set()
    for namespace in catalog.list_namespaces():
        for identifier in catalog.list_tables(namespace):
            table = catalog.load_table(identifier)
            named |= {table.metadata_location}
            named |= {entry.metadata_file for entry in table.metadata.metadata_log}
            for snapshot in table.snapshots():
                named |= {snapshot.manifest_list}
                for manifest in snapshot.manifests(table.io):
                    named |= {manifest.manifest_path}
                    entries = manifest.fetch_manifest_entry(table.io)
                    named |= {entry.data_file.file_path for entry in entries}
    return named


def new_file(
    lake: IcebergLake,
    session: Session,
    table: Table,
    partition: tuple[str, ...],
    rows: list[dict[str, object]],
    source: str = "s3://b/a",
) -> NewFile:
    """A finished data file of the object `source`."""
    file = lake.writer(table, session).open(source, partition, 0)
    file.write(pa.RecordBatch.from_pylist(rows, types.arrow_schema(table)))
    return file.close()
