"""The upkeep of a table's metadata: old snapshots given up, and what nothing names deleted.

Files are deleted only after the switch that gave them up; their names are journalled before, so a
process killed in between leaves them to the next writer's sweep.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from pyiceberg.table.update.snapshot import ExpireSnapshots

from lakeq.lake.commit import Remembering, Staged, StagingCatalog, load_metadata, snapshot_files
from lakeq.lake.io import WarehouseIO

if TYPE_CHECKING:
    from pyiceberg.table.metadata import TableMetadata


@dataclass(frozen=True, slots=True)
class Expiry:
    """What giving up old snapshots means: their number, and files that only they name."""

    snapshots: int
    paths: tuple[str, ...]


def expired(files: WarehouseIO, location: str, before: datetime) -> Expiry:
    """What would go with the snapshots older than `before`; the current one stays."""
    metadata = load_metadata(files, location)
    old = _old(metadata, before)
    if not old:
        return Expiry(0, ())
    staying = set(snapshot_files(files, metadata, lambda number: number not in old))
    named = dict.fromkeys(snapshot_files(files, metadata, lambda number: number in old))
    return Expiry(len(old), tuple(path for path in named if path not in staying))


def stage_expiry(catalog: StagingCatalog, name: str, before: datetime) -> Staged:
    """Prepare the table's next state without the snapshots older than `before`."""
    transaction = Remembering(catalog.load_table(name))
    expire = ExpireSnapshots(transaction)
    for number in _old(transaction.table_metadata, before):
        expire.by_id(number)
    expire.commit()
    transaction.commit_transaction()
    return catalog.staged[-1]


def _old(metadata: TableMetadata, before: datetime) -> frozenset[int]:
    milliseconds = before.timestamp() * 1000
    kept = {ref.snapshot_id for ref in metadata.refs.values()} | {metadata.current_snapshot_id}
    return frozenset(
        snapshot.snapshot_id
        for snapshot in metadata.snapshots
        if snapshot.timestamp_ms < milliseconds and snapshot.snapshot_id not in kept
    )


def orphans(
    files: WarehouseIO,
    location: Callable[[], str],
    journalled: Callable[[], Collection[str]],
    before: datetime | None = None,
) -> Iterator[tuple[str, int]]:
    """The files below a table that no snapshot names and no writer is at work on, with sizes.

    What is there is listed first, then the writers are asked, then the table: a file that a
    writer makes and commits meanwhile is known to one of the latter two. On S3 only files that
    were written `before` are looked at.
    """
    metadata = load_metadata(files, location())
    found = list(files.listed(metadata.location, before=before))
    at_work = journalled()
    folders = tuple(path for path in at_work if path.endswith("/"))
    current = location()
    metadata = load_metadata(files, current)
    named = {current, *(entry.metadata_file for entry in metadata.metadata_log)}
    named.update(snapshot_files(files, metadata))
    for path, size in found:
        if path not in named and path not in at_work and not path.startswith(folders):
            yield path, size


def sizes(files: WarehouseIO, paths: Collection[str]) -> Mapping[str, int]:
    """Bytes of those of `paths` that are there."""
    from lakeq.errors import NotFound

    found = {}
    for path in paths:
        try:
            found[path] = files.size(path)
        except NotFound:
            continue
    return found
