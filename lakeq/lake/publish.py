"""A table's current snapshot in another lake: the same files elsewhere, the same facts about them.

The records of manifests are carried over as they are but for the path: row counts, partition
values, bounds, field ids, sort order. What the destination has already stays.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import StagedTable
from pyiceberg.table.update import (
    AddSchemaUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
)

from lakeq.errors import BadLake, UsageError
from lakeq.lake.commit import (
    WHY,
    Remembering,
    RememberingCreate,
    Staged,
    StagingCatalog,
    live_files,
    produced,
)
from lakeq.lake.io import is_s3
from lakeq.lake.pointers import Checksum, split

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata

    from lakeq.lake.io import WarehouseIO

FROM = "lakeq.published-from"  # the uuid of the table that a published one is a copy of
PUBLISHED = "publish"  # why a snapshot was made
MOST_BYTES = 5 << 30  # that one PUT takes
PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Copy:
    """One table to be published: its metadata, its files, and where each of them goes."""

    name: str
    metadata: TableMetadata
    files: tuple[tuple[DataFile, str], ...]  # with the path in the destination
    kept: frozenset[str]  # paths that the destination's table has

    @property
    def new(self) -> Iterator[tuple[DataFile, str]]:
        """The files that the destination's table lacks."""
        return ((file, path) for file, path in self.files if path not in self.kept)


def copy_of(
    files: WarehouseIO,
    name: str,
    metadata: TableMetadata,
    there: tuple[WarehouseIO, str, TableMetadata | None],
) -> Copy:
    """What it takes to publish a table; `there` is the destination: files, folder, the table.

    Raises `UsageError` when the destination has another table by that name, or one whose rows
    others than `lakeq publish` changed.
    """
    target, root, present = there
    folder = f"{root}/{name.replace('.', '/')}"
    kept: frozenset[str] = frozenset()
    if present is not None:
        _check_same(name, metadata, present)
        found = live_files(target, present, present.current_snapshot_id)
        kept = frozenset(file.file_path for _, file in found)
    live = [file for _, file in live_files(files, metadata, metadata.current_snapshot_id)]
    for file in live:
        if file.file_size_in_bytes > MOST_BYTES:
            what = f"a file of {file.file_size_in_bytes:,} bytes is more than one PUT takes"
            raise UsageError(what, file.file_path, f"compact it first: lakeq maintain {name}")
    placed = tuple((file, _place(file.file_path, metadata.location, folder)) for file in live)
    return Copy(name, metadata, placed, kept)


def _place(path: str, location: str, folder: str) -> str:
    """Where a file goes: at the same place below the table."""
    below = path.removeprefix(f"{location}/")
    if below == path:
        digest = hashlib.sha256(path.encode()).hexdigest()[:16]
        below = f"data/{digest}-{path.rpartition('/')[2]}"
    placed = f"{folder}/{below}"
    if placed == path:
        hint = "publish to another prefix: two lakes would delete each other's files"
        raise UsageError("the lake's files lie at the destination already", folder, hint)
    return placed


def _check_same(name: str, metadata: TableMetadata, present: TableMetadata) -> None:
    hint = "publish to another prefix, or with another glue.prefix"
    if present.properties.get(FROM) != str(metadata.table_uuid):
        what = f"the destination has a table {name} that is no copy of this lake's"
        raise UsageError(what, present.location, hint)
    current = present.current_snapshot()
    why = current.summary.additional_properties.get(WHY) if current and current.summary else None
    if current is not None and why != PUBLISHED:
        what = f"others than lakeq publish have changed {name} at the destination"
        hint = f"ingest and compact in one of the two lakes only; {hint}"
        raise UsageError(what, f"{present.location}, snapshot {current.snapshot_id}", hint)


def stage_copy(catalog: StagingCatalog, copy: Copy) -> Staged:
    """Prepare the destination's next state of one table."""
    transaction = _transaction(catalog, copy)
    metadata = transaction.table_metadata
    present = live_files(catalog.files, metadata, metadata.current_snapshot_id)
    known = {file.file_path for _, file in present}
    wanted = {path for _, path in copy.files}
    removed = [file for _, file in present if file.file_path not in wanted]
    added = [_record(file, path, metadata) for file, path in copy.files if path not in known]
    if removed or added or not metadata.current_snapshot_id:
        produced(transaction, catalog.files, removed, added, PUBLISHED)
    count = len(catalog.staged)
    transaction.commit_transaction()
    if len(catalog.staged) == count:
        location = transaction.location
        return Staged(copy.name, location, location, metadata)
    return catalog.staged[-1]


def _transaction(catalog: StagingCatalog, copy: Copy) -> Remembering:
    """A transaction that has the table with the schema of the source."""
    source = copy.metadata
    told = {**source.properties, FROM: str(source.table_uuid)}
    try:
        present = catalog.load_table(copy.name)
    except NoSuchTableError:
        location = f"{catalog.warehouse}/{copy.name.replace('.', '/')}"
        empty: dict[str, object] = {
            "snapshots": [],
            "current_snapshot_id": None,
            "refs": {},
            "snapshot_log": [],
        }
        own = {"table_uuid": uuid.uuid4(), "location": location, "properties": told}
        bare = source.model_copy(update={**empty, **own, "metadata_log": []})
        return RememberingCreate(StagedTable(split(copy.name), bare, "", catalog.files, catalog))
    transaction = Remembering(present)
    metadata = present.metadata
    if metadata.schema().fields != source.schema().fields:
        number = max(schema.schema_id for schema in metadata.schemas) + 1
        schema = Schema(*source.schema().fields, schema_id=number)
        added = AddSchemaUpdate.model_validate({"schema": schema})
        current = SetCurrentSchemaUpdate.model_validate({"schema-id": -1})
        transaction._apply((added, current))  # noqa: SLF001  # update_schema gives ids of its own
    if any(metadata.properties.get(key) != value for key, value in told.items()):
        transaction._apply((SetPropertiesUpdate(updates=told),))  # noqa: SLF001  # as above
    return transaction


def _record(file: DataFile, path: str, metadata: TableMetadata) -> DataFile:
    """The manifest's record of a file, with another path."""
    record = DataFile.from_args(
        content=file.content,
        file_path=path,
        file_format=file.file_format,
        partition=file.partition,
        record_count=file.record_count,
        file_size_in_bytes=file.file_size_in_bytes,
        column_sizes=file.column_sizes,
        value_counts=file.value_counts,
        null_value_counts=file.null_value_counts,
        nan_value_counts=file.nan_value_counts,
        lower_bounds=file.lower_bounds,
        upper_bounds=file.upper_bounds,
        key_metadata=file.key_metadata,
        split_offsets=file.split_offsets,
        equality_ids=file.equality_ids,
        sort_order_id=file.sort_order_id,
    )
    record.spec_id = metadata.default_spec_id
    return record


def send(
    files: WarehouseIO, path: str, target: WarehouseIO, place: str, known: Checksum | None
) -> tuple[Checksum, bool]:
    """Put one data file at `place` unless it is there; its checksum, and whether bytes went.

    Raises `BadLake` when the file is not what was written, `UsageError` when another file is at
    `place`.
    """
    found = _sum(files, path)
    if known is not None and found[:2] != known[:2]:
        hint = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
        raise BadLake(
            "a data file is damaged: its sha256 is not that of what was written", path, hint
        )
    checksum = known or found
    digest = base64.b64encode(bytes.fromhex(checksum.sha256)).decode()
    there = target.told(place)
    if there is None:
        more = {"ChecksumAlgorithm": "SHA256", "ChecksumSHA256": digest}
        if is_s3(path):
            sent = target.put_new(place, files.read(path), **more)
        else:
            with files.stream(path) as body:
                sent = target.put_new(place, body, **more)
        if sent:
            return checksum, True
        there = target.told(place)
    size, told = there or (-1, "")
    same = told == digest if told else _sum(target, place).sha256 == checksum.sha256
    if size != checksum.size_bytes or not same:
        hint = "delete it, or publish to another prefix"
        raise UsageError("another file lies where one is to be published", place, hint)
    return checksum, False


def _sum(files: WarehouseIO, path: str) -> Checksum:
    digest, size = hashlib.sha256(), 0
    with files.stream(path) as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return Checksum(size, digest.hexdigest())
