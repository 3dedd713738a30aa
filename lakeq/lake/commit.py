"""One commit: the rows of some objects replaced in some tables, all of them at once or not at all.

PyIceberg makes each table's next metadata; the catalog it talks to here only collects them. Then
one SQLite transaction switches all tables, if nobody was faster.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog, MetastoreCatalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.exceptions import NoSuchTableError, ValidationError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import (
    CommitTableResponse,
    CreateTableTransaction,
    StagedTable,
    Transaction,
)
from pyiceberg.table import (
    Table as IcebergTable,
)
from pyiceberg.table.metadata import new_table_metadata
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER
from pyiceberg.table.update.snapshot import _ManifestMergeManager, _OverwriteFiles

from lakeq.config import VERSION
from lakeq.errors import BadLake, LakeqError, StorageUnavailable
from lakeq.lake.inside import read_inside
from lakeq.lake.io import WarehouseIO
from lakeq.lake.metrics import leaves, of_footer, serialized
from lakeq.lake.parquet import NewFile
from lakeq.lake.pointers import CATALOG_NAME, Pointers, Switch, split
from lakeq.lake.schema import SOURCE, evolve, partition_spec, properties, schema_of

if TYPE_CHECKING:
    from pyiceberg.io import FileIO
    from pyiceberg.manifest import ManifestEntry
    from pyiceberg.partitioning import PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.table.metadata import TableMetadata
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update import TableRequirement, TableUpdate
    from pyiceberg.typedef import Identifier

    from lakeq.catalog import Table

T = TypeVar("T")
Contents = Mapping[str, Sequence[tuple[str, int]]]  # file -> objects with their rows in it
Remains = Callable[["Table", DataFile, frozenset[str]], NewFile]

WHY = "lakeq.why"  # in a snapshot's summary
MADE_BY = "lakeq.version"  # in a snapshot's summary
MANIFEST_BYTES = 8 << 20
MERGE_AT_MANIFESTS = 20  # 300 single commits grew from 29 to 960 ms without merging (DESIGN.md)


class Overtaken(Exception):  # a turn of events, not an error of the user's
    """Another writer changed a table in a way that this commit's preparation did not know."""


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit does to one table: the rows of `sources` go, the rows of `files` come.

    With `whole`, or `Table.replace` "table", all rows go. `covers` tells of further sources whose
    rows go. `rewrites` are paths of files whose rows `files` hold, and nothing else goes then.

    The commit is `Overtaken` with `base` unless the table's current snapshot is that one (0: the
    table has none); with `expected` unless exactly these files, by path, hold rows that go or
    rows of sources that `watch` tells of; and when a file of `rewrites` is no longer there. `why`
    goes into the snapshot's summary.
    """

    table: Table
    sources: frozenset[str]
    files: tuple[NewFile, ...]
    base: int | None = None
    whole: bool = False
    covers: Callable[[str], bool] | None = None
    expected: frozenset[str] | None = None
    watch: Callable[[str], bool] | None = None
    rewrites: frozenset[str] = frozenset()
    why: str = ""

    def takes(self, source: str) -> bool:
        """Whether the rows of `source` go."""
        return source in self.sources or (self.covers is not None and self.covers(source))

    def minds(self, source: str) -> bool:
        """Whether it matters to `expected` which files hold rows of `source`."""
        return self.takes(source) or (self.watch is not None and self.watch(source))


@dataclass(frozen=True, slots=True)
class Staged:
    """One table's next state, written but not yet current."""

    name: str
    old: str | None
    location: str
    metadata: TableMetadata
    added: tuple[DataFile, ...] = ()
    removed: frozenset[str] = frozenset()
    made: tuple[NewFile, ...] = ()  # what remains of files that held rows of other sources too

    @property
    def switch(self) -> Switch | None:
        """The step that makes it current; None when it is the current state already."""
        return None if self.old == self.location else Switch(self.name, self.old, self.location)

    @property
    def snapshot_id(self) -> int:
        """The current snapshot of this state, 0 when it has none."""
        return self.metadata.current_snapshot_id or 0


def load_metadata(files: WarehouseIO, location: str) -> TableMetadata:
    """The table metadata at `location`; `BadLake` when it is missing or damaged."""
    try:
        metadata = FromInputFile.table_metadata(files.new_input(location))
    except (ValueError, ValidationError) as error:  # not UTF-8, not JSON, or not Iceberg's JSON
        hint = "restore the file from a backup, or ingest again into a new lake"
        raise BadLake("a metadata file is damaged", location, hint) from error
    past = {name: _Past(getattr(metadata, name)) for name in ("snapshots", "snapshot_log")}
    return metadata.model_copy(update=past)


class _Past(list[T]):
    """A table's past, which copies of its metadata share: what is in it never changes.

    PyIceberg copies all metadata to its depth four times a commit: with 200 snapshots that was a
    third of a commit's time, and memory for several times the past that the process then keeps.
    """

    def __deepcopy__(self, memo: dict[int, object]) -> _Past[T]:
        return _Past(self)

    def __add__(self, more: Iterable[T]) -> _Past[T]:  # type: ignore[override]  # list's has an overload
        return _Past([*self, *more])


class Remembering(Transaction):
    """A transaction that works its metadata out once per update.

    PyIceberg copies all of it at each of some twenty looks: 150 ms a commit with 140 columns.
    """

    _seen: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata after the updates so far."""
        if self._seen is None or self._seen[0] is not self._updates:
            self._seen = (self._updates, super().table_metadata)
        return self._seen[1]

    @property
    def location(self) -> str:
        """The metadata file that this transaction starts from."""
        return self._table.metadata_location


class RememberingCreate(Remembering, CreateTableTransaction):
    """The same for a new table."""


@dataclass
class StagingCatalog(NoopCatalog, MetastoreCatalog):
    """A catalog that writes metadata files and collects them instead of making them current.

    `contents` tells, for a table and its metadata file, the objects whose rows each of its files
    holds, or None when that is not known without reading manifests. `remains` makes what is left
    of a file when the rows of some objects go.
    """

    pointers: Pointers
    files: WarehouseIO
    warehouse: str
    contents: Callable[[str, str], Contents | None]
    remains: Remains
    staged: list[Staged] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(CATALOG_NAME)

    def _load_file_io(self, *_: object, **__: object) -> FileIO:
        return self.files

    def load_table(self, identifier: str | Identifier) -> IcebergTable:
        """The table as the pointers have it now."""
        name = ".".join(Catalog.identifier_to_tuple(identifier))
        location = self.pointers.current(name)
        if location is None:
            raise NoSuchTableError(name)
        metadata = load_metadata(self.files, location)
        return IcebergTable(split(name), metadata, location, self.files, self)

    def new_table(self, table: Table) -> StagedTable:
        """A table that is not there yet."""
        schema = schema_of(table)
        location = f"{self.warehouse}/{table.dataset}/{table.name}"
        metadata = new_table_metadata(
            location=location,
            schema=schema,
            partition_spec=partition_spec(table, schema),
            sort_order=UNSORTED_SORT_ORDER,
            properties=properties(table),
        )
        return StagedTable(split(table.qualified), metadata, "", self.files, self)

    def described(self, table: Table, base: str | None) -> TableMetadata:
        """The metadata at `base` as the next commit to `table` would have it; new where None."""
        if base is None:
            return self.new_table(table).metadata
        metadata = load_metadata(self.files, base)
        name = split(table.qualified)
        transaction = Remembering(IcebergTable(name, metadata, base, self.files, self))
        evolve(transaction, table)
        return transaction.table_metadata

    def commit_table(
        self,
        table: IcebergTable,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Write the table's next metadata file and note it."""
        base = None if isinstance(table, StagedTable) else table
        following = self._update_and_stage_table(base, table.name(), requirements, updates)
        location, metadata = following.metadata_location, following.metadata
        self._write_metadata(metadata, self.files, location)
        old = base.metadata_location if base else None
        self.staged.append(Staged(".".join(table.name()), old, location, metadata))
        return CommitTableResponse.model_validate(
            {"metadata": metadata, "metadata-location": location}
        )

    def planned(self, table: Table) -> TableMetadata:
        """The metadata of the table as the catalog describes it, new or grown."""
        if self.pointers.current(table.qualified) is None:
            return self.new_table(table).metadata
        return self.transaction(table).table_metadata

    def transaction(self, table: Table) -> Remembering:
        """A transaction that has the table as the catalog describes it, new or grown."""
        try:
            present = self.load_table(table.qualified)
        except NoSuchTableError:
            return RememberingCreate(self.new_table(table))
        transaction = Remembering(present)
        evolve(transaction, table)
        return transaction


class _Replace(_OverwriteFiles):
    """Deletes and adds whole files in one snapshot, and merges small manifests as it goes.

    PyIceberg merges manifests only for appends, so a lake of replacing commits would read two
    more manifests for each of them. It also looks in every manifest for what is deleted, even
    when that is nothing: a commit that only adds would take time by the files that there are.
    """

    def _existing_manifests(self) -> list[ManifestFile]:
        if self._deleted_data_files or self._parent_snapshot_id is None:
            return super()._existing_manifests()
        parent = self._transaction.table_metadata.snapshot_by_id(self._parent_snapshot_id)
        return parent.manifests(self._io) if parent is not None else []

    def _deleted_entries(self) -> list[ManifestEntry]:
        return super()._deleted_entries() if self._deleted_data_files else []

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        own = self.snapshot_id
        live = [
            manifest
            for manifest in manifests
            if manifest.added_snapshot_id == own
            or manifest.has_added_files()
            or manifest.has_existing_files()
        ]
        merging: _ManifestMergeManager[Any] = _ManifestMergeManager(
            MANIFEST_BYTES, MERGE_AT_MANIFESTS, True, self
        )
        merged = merging.merge_manifests(live)
        kept = {manifest.manifest_path for manifest in merged}
        for path in self._written_manifests:  # written a moment ago and merged into another
            if path not in kept:
                self._io.delete(path)
        return merged


def stage(catalog: StagingCatalog, change: Change) -> Staged:
    """Prepare one table's change: write its metadata, unless the table stays as it is."""
    transaction = catalog.transaction(change.table)
    metadata = transaction.table_metadata
    if change.base is not None and (metadata.current_snapshot_id or 0) != change.base:
        raise Overtaken(change.table.qualified)
    removed, made = _outgoing(catalog, transaction, change)
    added = tuple(data_files(metadata, (*change.files, *made)))
    if removed or added:
        produced(transaction, catalog.files, removed, added, change.why)
    count = len(catalog.staged)
    transaction.commit_transaction()
    if len(catalog.staged) == count:
        location = transaction.location
        return Staged(change.table.qualified, location, location, metadata)
    done = catalog.staged[-1]
    gone = frozenset(file.file_path for file in removed)
    return Staged(done.name, done.old, done.location, done.metadata, added, gone, tuple(made))


def produced(
    transaction: Remembering,
    files: WarehouseIO,
    removed: Collection[DataFile],
    added: Collection[DataFile],
    why: str,
) -> None:
    """Add a snapshot to the transaction: files that go and files that come."""
    operation = Operation.OVERWRITE if removed else Operation.APPEND
    told = {MADE_BY: VERSION} | ({WHY: why} if why else {})
    producer = _Replace(operation, transaction, files, uuid.uuid4(), snapshot_properties=told)
    for old in removed:
        producer.delete_data_file(old)
    for new in added:
        producer.append_data_file(new)
    producer.commit()


def live_files(
    files: FileIO, metadata: TableMetadata, snapshot_id: int | None
) -> list[tuple[int, DataFile]]:
    """The data files of a snapshot with the sequence numbers of the commits that added them."""
    snapshot = metadata.snapshot_by_id(snapshot_id) if snapshot_id else None
    if snapshot is None:
        return []
    found = []
    for manifest in manifests_of(files, snapshot):
        for entry in _entries(files, manifest):
            if entry.data_file.content != DataFileContent.DATA:
                hint = "rewrite the table without delete files"
                where = entry.data_file.file_path
                raise BadLake("the table has delete files, which lakeq cannot read", where, hint)
            found.append((entry.sequence_number or 0, entry.data_file))
    return sorted(found, key=lambda pair: (pair[0], pair[1].file_path.rpartition("/")[2]))


def manifests_of(files: FileIO, snapshot: Snapshot) -> list[ManifestFile]:
    """The manifests of a snapshot; `BadLake` when their list is damaged."""
    return _whole(snapshot.manifest_list, lambda: snapshot.manifests(files))


def _entries(files: FileIO, manifest: ManifestFile) -> list[ManifestEntry]:
    return _whole(manifest.manifest_path, lambda: manifest.fetch_manifest_entry(files))


def manifest_files(files: FileIO, manifest: ManifestFile) -> Iterator[DataFile]:
    """The data files that a manifest names; `BadLake` when it is damaged."""
    return (entry.data_file for entry in _entries(files, manifest))


def _whole(path: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except LakeqError:
        raise
    except Exception as error:  # the Avro reader raises whatever the damage leads it to
        hint = "restore the file from a backup, or ingest again into a new lake"
        raise BadLake(f"a manifest is damaged: {error}", path, hint) from error


def source_of(schema: Schema, file: DataFile) -> str | None:
    """The one object whose rows `file` holds, or None where its bounds show several."""
    return source_in(schema.find_field(SOURCE).field_id, file)


def source_in(number: int, file: DataFile) -> str | None:
    """The same, by the id of the column that names the objects."""
    low = (file.lower_bounds or {}).get(number)
    high = (file.upper_bounds or {}).get(number)
    return low.decode() if low is not None and low == high else None


def _outgoing(
    catalog: StagingCatalog, transaction: Remembering, change: Change
) -> tuple[list[DataFile], list[NewFile]]:
    """The files that go, and new ones with those rows of them that stay."""
    metadata = transaction.table_metadata
    whole = change.whole or change.table.replace == "table"
    known = catalog.contents(change.table.qualified, transaction.location)
    if not (whole or change.rewrites) and _untouched(known, change, metadata):
        return [], []
    found = live_files(catalog.files, metadata, metadata.current_snapshot_id)
    present = [file for _, file in found]
    if change.rewrites:
        return _rewritten(present, change), []
    if whole:
        return present, []
    return _replaced(catalog, metadata.schema(), present, known, change)


def _untouched(known: Contents | None, change: Change, metadata: TableMetadata) -> bool:
    """Whether it is certain without reading manifests that the table has no row that matters."""
    if metadata.current_snapshot_id:
        if known is None or not all(known.values()):
            return False
        if any(change.minds(source) for inside in known.values() for source, _ in inside):
            return False
    if change.expected:
        raise Overtaken(change.table.qualified)
    return True


def _rewritten(present: Collection[DataFile], change: Change) -> list[DataFile]:
    files = [file for file in present if file.file_path in change.rewrites]
    if len(files) != len(change.rewrites):
        raise Overtaken(change.table.qualified)
    return files


def _replaced(
    catalog: StagingCatalog,
    schema: Schema,
    present: Collection[DataFile],
    known: Contents | None,
    change: Change,
) -> tuple[list[DataFile], list[NewFile]]:
    minded, removed = set(), []
    rests: list[tuple[DataFile, frozenset[str]]] = []
    for file in present:
        sources = _sources_of(catalog.files, schema, file, known)
        if any(map(change.minds, sources)):
            minded.add(file.file_path)
        if gone := frozenset(filter(change.takes, sources)):
            removed.append(file)
            rests += [(file, gone)] if len(gone) < len(sources) else []
    if change.expected is not None and change.expected != minded:
        raise Overtaken(change.table.qualified)
    return removed, [catalog.remains(change.table, file, gone) for file, gone in rests]


def _sources_of(
    files: WarehouseIO, schema: Schema, file: DataFile, known: Contents | None
) -> list[str]:
    source = source_of(schema, file)
    if source is not None:
        return [source]
    inside = (known or {}).get(file.file_path) or contents_of(files, file)
    return [source for source, _ in inside]


def contents_of(files: WarehouseIO, file: DataFile) -> Sequence[tuple[str, int]]:
    """The objects that a file of several has rows of, from its footer or else from its rows."""
    path, size = file.file_path, file.file_size_in_bytes
    named = read_inside(files, path, size).members
    if named:
        return named
    try:
        column = pq.read_table(files.opened(path), columns=[SOURCE])[SOURCE]
    except (KeyError, ValueError, pa.ArrowInvalid) as error:
        what = "a file does not say which objects its rows come from"
        hint = "lakeq did not write it; ingest into a new lake"
        raise BadLake(what, path, hint) from error
    return [(found["values"], found["counts"]) for found in column.value_counts().to_pylist()]


def data_files(metadata: TableMetadata, new: Collection[NewFile]) -> list[DataFile]:
    """The manifest's records of new files: counts and bounds from their footers, and partitions."""
    schema = metadata.schema()
    columns = leaves(schema, dict(metadata.properties))
    records = []
    for file in new:
        _check_ids(schema, file)
        metrics = of_footer(file.metadata, columns)
        record = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=file.path,
            file_format=FileFormat.PARQUET,
            partition=metrics.partition(metadata.spec(), schema),
            file_size_in_bytes=file.size_bytes,
            sort_order_id=None,
            equality_ids=None,
            key_metadata=None,
            **serialized(metrics, columns),
        )
        record.spec_id = metadata.default_spec_id
        records.append(record)
    return records


def _check_ids(schema: Schema, file: NewFile) -> None:
    """Columns added by another writer meanwhile may have taken the ids this file was given."""
    ids = {field.name: field.field_id for field in schema.fields}
    for column in file.metadata.schema.to_arrow_schema():
        field_id = int((column.metadata or {}).get(b"PARQUET:field_id", b"-1"))
        if ids.get(column.name) != field_id:
            what = f"column {column.name} was added by another writer meanwhile"
            raise StorageUnavailable(what, file.path, "run the command again")


def partition_values(
    metadata: TableMetadata, spec: PartitionSpec, file: DataFile
) -> tuple[tuple[str, str | None], ...]:
    """The partition of a file: names and values as text."""
    schema = metadata.schema()
    values = []
    for number, part in enumerate(spec.fields):
        value = file.partition[number]
        type_ = schema.find_field(part.source_id).field_type
        text = None if value is None else part.transform.to_human_string(type_, value)
        values.append((part.name, text))
    return tuple(values)


def named_files(files: WarehouseIO, tables: Mapping[str, str], paths: Collection[str]) -> set[str]:
    """Every file that a snapshot names, of those tables in whose folders `paths` lie."""
    named: set[str] = set()
    for location in tables.values():
        metadata = load_metadata(files, location)
        if any(path.startswith(f"{metadata.location}/") for path in paths):
            named.add(location)
            named.update(entry.metadata_file for entry in metadata.metadata_log)
            named.update(snapshot_files(files, metadata))
    return named


def snapshot_files(
    files: WarehouseIO, metadata: TableMetadata, wanted: Callable[[int], bool] = lambda _: True
) -> Iterator[str]:
    """Every file that the snapshots with a `wanted` id name, manifests and their lists too."""
    seen = set()
    for snapshot in metadata.snapshots:
        if not wanted(snapshot.snapshot_id):
            continue
        yield snapshot.manifest_list
        for manifest in manifests_of(files, snapshot):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                yield manifest.manifest_path
                yield from (entry.data_file.file_path for entry in _entries(files, manifest))
