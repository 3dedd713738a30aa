"""What a snapshot holds, as Iceberg's metadata and the Parquet footers say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING

from lakeq._packed_files import grown
from lakeq.errors import BadLake, NotFound
from lakeq.lake.commit import Staged, live_files, load_metadata, partition_values, source_in
from lakeq.lake.inside import Inside, inside_of, read_inside, with_inside
from lakeq.lake.io import WarehouseIO
from lakeq.lake.parquet import NewFile
from lakeq.lake.pointers import Checksum
from lakeq.lake.schema import SOURCE, duckdb_type
from lakeq.lake.side import Side, from_milliseconds
from lakeq.snapshot import DataFile, Footer, SnapshotColumn, SnapshotInfo, TableSnapshot

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile as IcebergFile
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot

Sums = Mapping[str, Checksum]
NO_SUMS: Sums = MappingProxyType({})
FOOTER_READERS = 32  # threads, as many as connections; a footer on S3 is one request of some 30 ms
UNREAD = Footer((), (), (), ())
MANY_FILES = 1000  # from here on arrays take less time than it takes to load what reads them
FOOTERS_A_TURN = 32  # to hand over one at a time takes as long as reading it from a disk


def head(
    files: WarehouseIO,
    name: str,
    location: str,
    known: Iterable[DataFile] = (),
    sums: Sums = NO_SUMS,
    *,
    lenient: bool = False,
) -> Side:
    """The current snapshot and the history of the table whose metadata file is at `location`.

    `known` are files whose footers need not be read again; `sums` are checksums of files. A table
    that nothing was ever committed to has snapshot 0 without files. When `lenient`, a file whose
    footer cannot be read is one without row groups.
    """
    metadata = load_metadata(files, location)
    current, schema = metadata.current_snapshot(), metadata.schema()
    return _side(files, name, metadata, current, schema, known, sums, lenient=lenient)


def as_of(
    files: WarehouseIO,
    name: str,
    location: str,
    snapshot_id: int,
    known: Iterable[DataFile],
    sums: Sums = NO_SUMS,
) -> Side:
    """One snapshot of the table's past, with the columns it had then."""
    metadata = load_metadata(files, location)
    snapshot = metadata.snapshot_by_id(snapshot_id)
    if snapshot is None:
        raise NotFound(f"no snapshot {snapshot_id}", name, f"see: lakeq snapshots {name}")
    schema = metadata.schema()
    if snapshot.schema_id is not None:
        schema = metadata.schema_by_id(snapshot.schema_id) or schema
    return _side(files, name, metadata, snapshot, schema, known, sums)


def after_commit(staged: Staged, before: Sequence[DataFile], new: Mapping[str, NewFile]) -> Side:
    """The side of a table right after a commit, without reading anything back.

    `before` are the files of the snapshot that the commit started from, `new` the added ones.
    """
    kept = before
    if staged.removed:
        kept = [file for file in before if file.path not in staged.removed]
    new = {**new, **{file.path: file for file in staged.made}}
    added = [
        with_inside(file, inside_of(made.metadata, made.size_bytes, made.checksum))
        for file in _bare(staged.metadata, staged.added)
        for made in (new[file.path],)
    ]
    added.sort(key=lambda file: file.path.rpartition("/")[2])
    metadata = staged.metadata
    snapshot = _snapshot(staged.name, metadata, metadata.current_snapshot(), metadata.schema())
    return Side(_with(snapshot, grown(kept, added)), history(metadata), log(metadata))


def history(metadata: TableMetadata) -> tuple[SnapshotInfo, ...]:
    """Every snapshot of the table, oldest first."""
    return tuple(_info(snapshot) for snapshot in metadata.snapshots)


def log(metadata: TableMetadata) -> tuple[tuple[int, int], ...]:
    """When which snapshot became current, oldest first."""
    return tuple((entry.timestamp_ms, entry.snapshot_id) for entry in metadata.snapshot_log)


def _info(snapshot: Snapshot) -> SnapshotInfo:
    summary = snapshot.summary
    numbers = summary.additional_properties if summary else {}
    return SnapshotInfo(
        snapshot_id=snapshot.snapshot_id,
        committed_at=from_milliseconds(snapshot.timestamp_ms),
        operation=summary.operation.value if summary else "",
        rows=int(numbers.get("total-records", 0)),
        files=int(numbers.get("total-data-files", 0)),
        size_bytes=int(numbers.get("total-files-size", 0)),
    )


def _side(
    files: WarehouseIO,
    name: str,
    metadata: TableMetadata,
    snapshot: Snapshot | None,
    schema: Schema,
    known: Iterable[DataFile],
    sums: Sums,
    *,
    lenient: bool = False,
) -> Side:
    found = live_files(files, metadata, snapshot.snapshot_id if snapshot else None)
    bare = _bare(metadata, [file for _, file in found])
    data_files = _with_footers(files, bare, known, sums, lenient=lenient)
    described = _snapshot(name, metadata, snapshot, schema)
    return Side(_with(described, data_files), history(metadata), log(metadata))


def _bare(metadata: TableMetadata, files: Iterable[IcebergFile]) -> list[DataFile]:
    """The files as the manifests have them, their footers unread."""
    number = metadata.schema().find_field(SOURCE).field_id
    specs = metadata.specs()
    partitions: dict[tuple[object, ...], tuple[tuple[str, str | None], ...]] = {}
    bare = []
    for file in files:
        key = (file.spec_id, *(file.partition[at] for at in range(len(file.partition))))
        if key not in partitions:
            partitions[key] = partition_values(metadata, specs[file.spec_id], file)
        size, rows = file.file_size_in_bytes, file.record_count
        source = source_in(number, file)
        bare.append(DataFile(file.file_path, size, rows, UNREAD, partitions[key], source))
    return bare


def _with_footers(
    files: WarehouseIO,
    bare: Sequence[DataFile],
    known: Iterable[DataFile],
    sums: Sums,
    *,
    lenient: bool,
) -> Sequence[DataFile]:
    footers = {file.path: Inside(file.footer, file.members, file.order) for file in known}
    unread = [file for file in bare if file.path not in footers]

    def read(file: DataFile) -> Inside:
        found = footers.get(file.path)
        return found or read_inside(files, file.path, file.size_bytes, sums.get(file.path))

    def read_leniently(file: DataFile) -> Inside:
        try:
            return read(file)
        except BadLake:
            return Inside(UNREAD, (), "")

    def read_some(some: Sequence[DataFile]) -> list[Inside]:
        return [read_leniently(file) if lenient else read(file) for file in some]

    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        if len(unread) >= MANY_FILES and not lenient:
            from lakeq.lake.read_many import read_many

            return read_many(files, bare, sums, read, pool)
        step = max(1, min(FOOTERS_A_TURN, len(unread) // FOOTER_READERS))
        parts = [unread[at : at + step] for at in range(0, len(unread), step)]
        for part, insides in zip(parts, pool.map(read_some, parts), strict=True):
            footers.update(zip((file.path for file in part), insides, strict=True))
    return tuple(with_inside(file, footers[file.path]) for file in bare)


def _snapshot(
    name: str, metadata: TableMetadata, snapshot: Snapshot | None, schema: Schema
) -> TableSnapshot:
    columns = (
        SnapshotColumn(field.field_id, field.name, duckdb_type(field.field_type))
        for field in schema.fields
    )
    time = snapshot.timestamp_ms if snapshot else metadata.last_updated_ms
    number = snapshot.snapshot_id if snapshot else 0
    return TableSnapshot(name, number, from_milliseconds(time), tuple(columns), ())


def _with(snapshot: TableSnapshot, files: Sequence[DataFile]) -> TableSnapshot:
    number, time = snapshot.snapshot_id, snapshot.committed_at
    return TableSnapshot(snapshot.name, number, time, snapshot.columns, files)
