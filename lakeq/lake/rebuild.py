"""A table's own metadata made again, from what is left of it, the catalog and the data files.

Iceberg keeps three kinds of files above the data: metadata (JSON), and for each snapshot a list of
manifests and the manifests (Avro). Of a lost one the others, the side files, the checksums in the
lake's catalog and the footers of the data files still tell what it said:

- metadata: the one before it, with the snapshots that came after. The side file of the head has
  their ids, times and sums; where there is none, the lists themselves say which snapshot they are
  of and which came before it.
- a list of manifests: the data files of its snapshot, in one new manifest.
- a manifest: the data files of its snapshot that no other manifest names, from their footers.

Snapshots keep their ids and times, so slices, `lakeq rerun` and time travel go on. Nothing is
switched unless the files, rows and bytes named are those that the snapshot's sums tell, and every
file that is named is there with its footer whole.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.avro.file import AvroFile
from pyiceberg.manifest import (
    DataFile,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.serializers import ToOutputFile
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef
from pyiceberg.table.snapshots import (
    MetadataLogEntry,
    Operation,
    Snapshot,
    SnapshotLogEntry,
    Summary,
)

from lakeq.errors import BadLake, NotFound
from lakeq.lake import read as lake_read
from lakeq.lake.commit import (
    WHY,
    Staged,
    data_files,
    load_metadata,
    manifest_files,
    manifests_of,
)
from lakeq.lake.parquet import NewFile
from lakeq.lake.side import milliseconds
from lakeq.lake.verify import check_file

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from lakeq.lake.io import WarehouseIO
    from lakeq.lake.pointers import Checksum
    from lakeq.lake.side import Side
    from lakeq.snapshot import TableSnapshot

_NUMBER = re.compile(r"(\d+)-[^/]*\.metadata\.json\Z")
_LIST = re.compile(r"snap-(\d+)-[^/]*\.avro\Z")
_HINT = "restore the file from a backup, or ingest into a new lake"


@dataclass(frozen=True, slots=True)
class Known:
    """What the lake tells of a table beside its metadata.

    `side` is the side file of its head, `past` gives the files of an older snapshot where a side
    file has them, `sums` are the checksums of files by path. `described` makes of a metadata file,
    or of none, what the next commit would make of it; it is None when no catalog describes the
    table. `footer` reads that of a data file, by path and bytes, against its checksum.
    """

    name: str
    location: str
    folder: str
    sums: Mapping[str, Checksum]
    side: Side | None
    past: Callable[[int], TableSnapshot | None]
    described: Callable[[str | None], TableMetadata] | None
    footer: Callable[[str, int], pq.FileMetaData]


@dataclass
class Rebuilt:
    """The table's next state; files of the old one that go with it; snapshots that are lost."""

    staged: Staged
    gone: tuple[str, ...]
    given_up: tuple[int, ...]


def rebuild(files: WarehouseIO, known: Known) -> Rebuilt | None:
    """Write what is damaged or missing of a table's metadata anew; None when nothing is.

    Raises `BadLake` when the current snapshot cannot be told exactly. Older ones that cannot are
    given up.
    """
    return _Rebuilding(files, known).run()


def checked(files: WarehouseIO, known: Known, done: Rebuilt) -> Side:
    """The side of the table's next state, read back from what was written.

    `BadLake` unless it names what the table held before, where a side file tells that, and the
    footer of every file is whole.
    """
    before = known.side.snapshot if known.side else None
    held = before.files if before else ()
    side = lake_read.head(files, known.name, done.staged.location, held, known.sums)
    if before is not None and _told_of(side.snapshot) != _told_of(before):
        what = "what was rebuilt names other files than the table held"
        raise BadLake(what, known.location, _HINT)
    return side


def _told_of(table: TableSnapshot) -> object:
    files = sorted((f.path, f.size_bytes, f.rows, f.partition) for f in table.files)
    return table.snapshot_id, table.committed_at, table.columns, files


class _Rebuilding:
    def __init__(self, files: WarehouseIO, known: Known) -> None:
        self._files = files
        self._known = known
        self._sound: dict[str, bool] = {}
        self._gone: list[str] = []
        self._live: dict[str, list[DataFile]] = {}  # of damaged manifests, by their paths
        self._listed: dict[str, int] | None = None

    def run(self) -> Rebuilt | None:
        known = self._known
        whole = self._is_sound(known.location) and self._loads(known.location)
        metadata = load_metadata(self._files, known.location) if whole else self._metadata()
        made, given_up = self._snapshots(metadata)
        if whole and made == list(metadata.snapshots):
            return None
        self._gone.append(known.location)  # whole or not, it names what is damaged
        following = _with_snapshots(
            metadata, made, metadata.current_snapshot_id, metadata.snapshot_log
        )
        location = self._next_location()
        ToOutputFile.table_metadata(following, self._files.new_output(location))
        still = {snapshot.manifest_list for snapshot in made}
        for snapshot in made:
            still.update(m.manifest_path for m in manifests_of(self._files, snapshot))
        gone = tuple(path for path in dict.fromkeys(self._gone) if path not in still)
        staged = Staged(known.name, known.location, location, following)
        return Rebuilt(staged, gone, given_up)

    def _snapshots(self, metadata: TableMetadata) -> tuple[list[Snapshot], tuple[int, ...]]:
        """Every snapshot, whole; and those that cannot be told. The current one comes first."""
        current = metadata.current_snapshot_id
        by_id: dict[int, Snapshot] = {}
        for snapshot in sorted(metadata.snapshots, key=lambda s: s.snapshot_id != current):
            try:
                by_id[snapshot.snapshot_id] = self._snapshot(metadata, snapshot)
            except BadLake:
                if snapshot.snapshot_id == current:
                    raise
                self._gone.append(snapshot.manifest_list)
        told = [by_id[s.snapshot_id] for s in metadata.snapshots if s.snapshot_id in by_id]
        lost = tuple(s.snapshot_id for s in metadata.snapshots if s.snapshot_id not in by_id)
        return told, lost

    # What is whole

    def _is_sound(self, path: str) -> bool:
        if path not in self._sound:
            written = path in self._files.written
            self._sound[path] = (
                written or not check_file(self._files, path, self._known.sums.get(path)).problem
            )
        return self._sound[path]

    def _loads(self, location: str) -> bool:
        try:
            load_metadata(self._files, location)
        except BadLake:
            return False
        return True

    def _lost(self, what: str, where: str = "") -> BadLake:
        return BadLake(f"cannot be rebuilt: {what}", where or self._known.location, _HINT)

    def _in_folder(self) -> dict[str, int]:
        """The files below the table that were committed, with their bytes."""
        if self._listed is None:
            found = self._files.listed(self._known.folder)
            sums = self._known.sums
            self._listed = {path: size for path, size in found if not sums or path in sums}
        return self._listed

    # Metadata

    def _metadata(self) -> TableMetadata:
        """The lost metadata: those before it, with what came after."""
        known = self._known
        before = self._before()
        base = self._described(before)
        snapshots = [*base.snapshots, *self._after(base)]
        if known.side is None:
            snapshots = [s for s in snapshots if s.manifest_list in self._in_folder()]
            current = snapshots[-1].snapshot_id if snapshots else None
            there = {s.snapshot_id for s in base.snapshots}
            new = [(s.timestamp_ms, s.snapshot_id) for s in snapshots if s.snapshot_id not in there]
            log = [*base.snapshot_log, *(_logged(*entry) for entry in new)]
        else:
            ids = [info.snapshot_id for info in known.side.history]
            by_id = {snapshot.snapshot_id: snapshot for snapshot in snapshots}
            snapshots = [by_id[number] for number in ids]
            current = known.side.snapshot.snapshot_id or None
            log = [_logged(*entry) for entry in known.side.log]
        made = _with_snapshots(base, snapshots, current, log)
        if before is not None:
            told = {"metadata-file": before, "timestamp-ms": base.last_updated_ms}
            entry = MetadataLogEntry.model_validate(told)
            made = made.model_copy(update={"metadata_log": [*made.metadata_log, entry]})
        return made

    def _described(self, before: str | None) -> TableMetadata:
        """The table's schema and settings: those of before, grown by the catalog if they had to."""
        known = self._known
        if before is not None:
            metadata = load_metadata(self._files, before)
            if known.side is None or self._has_columns(metadata):
                return metadata
        if known.described is None:
            raise self._lost("no catalog describes the table")
        metadata = known.described(before)
        if not self._has_columns(metadata):
            raise self._lost("the catalog describes other columns than the table had")
        return metadata

    def _before(self) -> str | None:
        """The newest whole metadata file but the lost one."""
        numbered = [
            (int(match[1]), path)
            for path in self._in_folder()
            if path != self._known.location and (match := _NUMBER.search(path))
        ]
        for _, path in sorted(numbered, reverse=True):
            if self._is_sound(path) and self._loads(path):
                return path
        return None

    def _has_columns(self, metadata: TableMetadata) -> bool:
        """Whether the columns are those that the head's side file tells, where there is one."""
        side = self._known.side
        if side is None:
            return True
        wanted = [(column.field_id, column.name) for column in side.snapshot.columns]
        return wanted == [(column.field_id, column.name) for column in metadata.schema().fields]

    def _after(self, base: TableMetadata) -> list[Snapshot]:
        """The snapshots that came after `base`, oldest first."""
        there = {snapshot.snapshot_id for snapshot in base.snapshots}
        lists = {}
        for path in self._in_folder():
            if (match := _LIST.search(path)) and int(match[1]) not in there:
                lists[int(match[1])] = path
        if self._known.side is not None:
            return self._of_history(base, there, lists)
        return self._of_lists(base, lists)

    def _of_history(
        self, base: TableMetadata, there: Collection[int], lists: Mapping[int, str]
    ) -> list[Snapshot]:
        found, parent = [], base.current_snapshot_id
        number = _sequence(base)
        assert self._known.side is not None
        for info in self._known.side.history:
            if info.snapshot_id in there:
                continue
            path = lists.get(info.snapshot_id, "")
            head = self._header(path) if path and self._is_sound(path) else {}
            number = int(head.get("sequence-number", number + 1))
            sums = {
                "total-records": info.rows,
                "total-data-files": info.files,
                "total-files-size": info.size_bytes,
            }
            told = {
                "snapshot-id": info.snapshot_id,
                "parent-snapshot-id": parent,
                "sequence-number": number,
                "timestamp-ms": milliseconds(info.committed_at),
                "manifest-list": path,
                "summary": _summary(info.operation, sums),
                "schema-id": base.current_schema_id,
            }
            found.append(Snapshot.model_validate(told))
            parent = info.snapshot_id
        return found

    def _of_lists(self, base: TableMetadata, lists: Mapping[int, str]) -> list[Snapshot]:
        """By what the lists say of themselves: each names the snapshot before its own."""
        following: dict[str, list[tuple[int, str]]] = {}
        for number, path in lists.items():
            if self._is_sound(path):
                parent = self._header(path).get("parent-snapshot-id", "null")
                following.setdefault(parent, []).append((number, path))
        found = []
        at = str(base.current_snapshot_id) if base.current_snapshot_id else "null"
        time = base.last_updated_ms if base.snapshots else 0
        while step := following.pop(at, []):
            if len(step) > 1:
                raise self._lost(f"several snapshots follow {at}")
            number, path = step[0]
            time = max(time + 1, self._files.modified_ms(path))
            found.append(self._of_list(base, number, path, time))
            at = str(number)
        if following:
            raise self._lost("a list of manifests in between is lost, too")
        return found

    def _of_list(self, base: TableMetadata, number: int, path: str, time: int) -> Snapshot:
        head = self._header(path)
        parent = head.get("parent-snapshot-id", "null")
        told = {
            "snapshot-id": number,
            "parent-snapshot-id": None if parent == "null" else int(parent),
            "sequence-number": int(head["sequence-number"]),
            "timestamp-ms": time,
            "manifest-list": path,
            "schema-id": base.current_schema_id,
        }
        made = Snapshot.model_validate(told)
        manifests = manifests_of(self._files, made)
        counted = {
            "total-records": sum(map(_rows, manifests)),
            "total-data-files": sum(map(_count, manifests)),
        }
        operation = "append" if made.parent_snapshot_id is None else "overwrite"
        return made.model_copy(update={"summary": _summary(operation, counted)})

    def _header(self, path: str) -> Mapping[str, str]:
        with AvroFile[ManifestFile](self._files.new_input(path)) as file:
            return file.header.meta

    # Snapshots

    def _snapshot(self, metadata: TableMetadata, snapshot: Snapshot) -> Snapshot:
        """`snapshot`, with what is damaged of its list and manifests written anew."""
        path = snapshot.manifest_list
        if not path or not self._is_sound(path):
            kept: list[ManifestFile] = []
            bad: list[ManifestFile] = []
        else:
            manifests = manifests_of(self._files, snapshot)
            kept = [m for m in manifests if self._is_sound(m.manifest_path)]
            bad = [m for m in manifests if m not in kept]
            if not bad:
                return snapshot
        named = {file.file_path: file for m in kept for file in manifest_files(self._files, m)}
        rest = self._rest(metadata, snapshot, named, bad)
        self._check_sums(snapshot, [*named.values(), *rest])
        made = self._written(metadata, snapshot, kept, rest)
        self._gone += [path] if path else []
        self._gone += [m.manifest_path for m in bad]
        return made

    def _rest(
        self,
        metadata: TableMetadata,
        snapshot: Snapshot,
        named: Collection[str],
        bad: Sequence[ManifestFile],
    ) -> list[DataFile]:
        """The data files of a snapshot that its whole manifests do not name."""
        paths = [m.manifest_path for m in bad]
        if bad and all(path in self._live for path in paths):
            return [file for path in paths for file in self._live[path]]
        told = self._told(snapshot)
        candidates = told if told is not None else self._candidates(metadata, snapshot, named, bad)
        rest = self._records(metadata, [path for path in candidates if path not in named])
        if len(bad) == 1:
            self._live[paths[0]] = rest
        return rest

    def _told(self, snapshot: Snapshot) -> list[str] | None:
        """The files of a snapshot, where a side file has them."""
        side = self._known.side
        if side is not None and side.snapshot.snapshot_id == snapshot.snapshot_id:
            return [file.path for file in side.snapshot.files]
        past = self._known.past(snapshot.snapshot_id)
        return None if past is None else [file.path for file in past.files]

    def _candidates(
        self,
        metadata: TableMetadata,
        snapshot: Snapshot,
        named: Collection[str],
        bad: Sequence[ManifestFile],
    ) -> list[str]:
        """Committed data files below the table, as many as the snapshot lacks.

        Where there are more, those that only other snapshots name are left out.
        """
        wanted = sum(map(_count, bad)) if bad else _total(snapshot, "total-data-files")
        if wanted is None:
            raise self._lost(f"nothing tells how many files snapshot {snapshot.snapshot_id} has")
        found = [p for p in self._in_folder() if p.endswith(".parquet") and p not in named]
        if len(found) == wanted:
            return found
        others = self._named_by_others(metadata, snapshot)
        fewer = [path for path in found if path not in others]
        if len(fewer) != wanted:
            what = f"{wanted} data files are to be found among {len(found)}, and no side file tells"
            raise self._lost(f"{what} which")
        return fewer

    def _named_by_others(self, metadata: TableMetadata, snapshot: Snapshot) -> set[str]:
        found: set[str] = set()
        for other in metadata.snapshots:
            if other.snapshot_id == snapshot.snapshot_id or not self._is_sound(other.manifest_list):
                continue
            for manifest in manifests_of(self._files, other):
                if self._is_sound(manifest.manifest_path):
                    found.update(f.file_path for f in manifest_files(self._files, manifest))
        return found

    def _records(self, metadata: TableMetadata, paths: Iterable[str]) -> list[DataFile]:
        """What a manifest says of data files, from their footers."""
        new = []
        for path in paths:
            try:
                size = self._files.size(path)
                new.append(NewFile(path, (), size, self._known.footer(path, size)))
            except (NotFound, BadLake) as error:
                what = "a data file that it named is damaged or missing as well"
                raise self._lost(what, path) from error
        return data_files(metadata, new)

    def _check_sums(self, snapshot: Snapshot, found: Sequence[DataFile]) -> None:
        wanted = {
            "files": (_total(snapshot, "total-data-files"), len(found)),
            "rows": (_total(snapshot, "total-records"), sum(f.record_count for f in found)),
            "bytes": (
                _total(snapshot, "total-files-size"),
                sum(f.file_size_in_bytes for f in found),
            ),
        }
        for what, (told, counted) in wanted.items():
            if told is not None and told != counted:
                raise self._lost(
                    f"snapshot {snapshot.snapshot_id} had {told} {what}, {counted} were found"
                )

    def _written(
        self,
        metadata: TableMetadata,
        snapshot: Snapshot,
        kept: Sequence[ManifestFile],
        rest: Sequence[DataFile],
    ) -> Snapshot:
        """A new list, and a new manifest of `rest`."""
        files, number = self._files, snapshot.snapshot_id
        commit = uuid.uuid4()
        folder = f"{metadata.location}/metadata"
        manifests = list(kept)
        sequence = snapshot.sequence_number or 0
        if rest:
            output = files.new_output(f"{folder}/{commit}-m0.avro")
            with write_manifest(
                metadata.format_version,
                metadata.spec(),
                metadata.schema(),
                output,
                number,
                "deflate",
            ) as writer:
                for record in rest:
                    entry = ManifestEntry.from_args(
                        status=ManifestEntryStatus.EXISTING,
                        snapshot_id=number,
                        sequence_number=sequence,
                        file_sequence_number=sequence,
                        data_file=record,
                    )
                    writer.add_entry(entry)
            manifests.append(writer.to_manifest_file())
        path = f"{folder}/snap-{number}-0-{commit}.avro"
        with write_manifest_list(
            metadata.format_version,
            files.new_output(path),
            number,
            snapshot.parent_snapshot_id,
            sequence,
            "deflate",
        ) as lists:
            lists.add_manifests(manifests)
        return snapshot.model_copy(update={"manifest_list": path})

    def _next_location(self) -> str:
        match = _NUMBER.search(self._known.location)
        number = int(match[1]) + 1 if match else 0
        return f"{self._known.folder}/metadata/{number:05d}-{uuid.uuid4()}.metadata.json"


def _with_snapshots(
    base: TableMetadata,
    snapshots: Sequence[Snapshot],
    current: int | None,
    log: Sequence[SnapshotLogEntry],
) -> TableMetadata:
    """`base` with these snapshots, of which `current` is the head."""
    refs = {}
    if current is not None:
        told = {"snapshot-id": current, "type": "branch"}
        refs = {MAIN_BRANCH: SnapshotRef.model_validate(told)}
    there = {snapshot.snapshot_id for snapshot in snapshots}
    changes = {
        "snapshots": list(snapshots),
        "snapshot_log": [entry for entry in log if entry.snapshot_id in there],
        "current_snapshot_id": current,
        "refs": refs,
        "last_sequence_number": max(
            [_sequence(base), *(s.sequence_number or 0 for s in snapshots)]
        ),
        "last_updated_ms": max([base.last_updated_ms, *(s.timestamp_ms for s in snapshots)]),
    }
    text = base.model_copy(update=changes).model_dump_json(exclude_none=True)
    return TableMetadataUtil.parse_raw(text)


def _sequence(metadata: TableMetadata) -> int:
    return int(getattr(metadata, "last_sequence_number", 0))  # tables of version 1 have none


def _logged(time: int, number: int) -> SnapshotLogEntry:
    return SnapshotLogEntry.model_validate({"snapshot-id": number, "timestamp-ms": time})


def _summary(operation: str, sums: Mapping[str, int]) -> Summary:
    told = {name: str(value) for name, value in sums.items()}
    return Summary(Operation(operation or "append"), **told, **{WHY: "metadata rebuilt"})


def _count(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _rows(manifest: ManifestFile) -> int:
    return (manifest.added_rows_count or 0) + (manifest.existing_rows_count or 0)


def _total(snapshot: Snapshot, name: str) -> int | None:
    summary = snapshot.summary
    told = summary.additional_properties.get(name) if summary else None
    return None if told is None else int(told)
