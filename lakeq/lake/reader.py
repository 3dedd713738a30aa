"""What a lake holds: its tables, their snapshots and files, and whether those are whole.

None of it changes the lake, but for side files of what was read and the record of files found
whole.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lakeq._packed_files import PackedFiles, contents
from lakeq.config import GLUE
from lakeq.errors import BadLake, NotFound
from lakeq.lake.at import snapshot_id
from lakeq.lake.pointers import Checksum, Pointers, Stamp, split
from lakeq.lake.side import Side, SideFiles
from lakeq.storage.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from lakeq.config import Settings
    from lakeq.lake.at import At
    from lakeq.lake.commit import Contents
    from lakeq.lake.io import WarehouseIO
    from lakeq.lake.session import Session
    from lakeq.lake.verify import Allow, Checked, Inventory, Listed
    from lakeq.lake.versions import Version
    from lakeq.snapshot import DataFile, SnapshotInfo, TableSnapshot
    from lakeq.storage.s3 import Buckets


def _pointers(settings: Settings, files: Callable[[], WarehouseIO]) -> Pointers:
    if settings.catalog != GLUE:
        return Pointers(settings.lake)
    from lakeq.lake.glue_pointers import GluePointers

    return GluePointers(settings, files())


class LakeReader:
    """The lake that `settings` name, to be read; nothing is read before it is needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.folder = settings.lake
        self.tally = Tally()  # requests to the warehouse, where that is on S3
        self._shared_buckets: tuple[int, Buckets] | None = None
        self._pointers = _pointers(settings, self._files)
        self._side_files = SideFiles(self.folder)

    @property
    def is_on_s3(self) -> bool:
        """Whether the lake keeps its files on S3, or will."""
        return (self._pointers.warehouse() or self._settings.warehouse).startswith("s3")

    # Reading: none of this imports PyIceberg, pyarrow or numpy while snapshots are unchanged.

    def tables(self) -> list[str]:
        """The tables that are in the lake, as dataset.table, by name."""
        return list(self._pointers.all())

    def metadata_files(self) -> dict[str, str]:
        """The current metadata file of each table, by qualified name."""
        return self._pointers.all()

    def snapshot(self, name: str, at: At | None = None) -> TableSnapshot:
        """What table `name` holds, now or `at`; see `read`."""
        return self.read([name], at)[name]

    def read(self, names: Collection[str], at: At | None = None) -> dict[str, TableSnapshot]:
        """What the tables `names` hold at one moment, by name.

        `at` is a snapshot id (a number or its digits) or a time (ISO text or datetime, UTC unless
        it says otherwise); a time means the snapshot that was current then. A table that is not
        in the lake is `NotFound`, and so is an `at` before its first snapshot. A table that
        nothing was ever committed to has snapshot id 0 and no files.
        """
        locations = self._pointers.all()
        for name in names:
            self._check_present(name, locations)
        heads = {name: self._head(name, locations[name]) for name in names}
        if at is None:
            return {name: side.snapshot for name, side in heads.items()}
        return {name: self._at(side, locations[name], at) for name, side in heads.items()}

    def snapshots(self, name: str) -> list[SnapshotInfo]:
        """The history of table `name`, oldest first."""
        locations = self._pointers.all()
        self._check_present(name, locations)
        return list(self._head(name, locations[name]).history)

    @property
    def place(self) -> str:
        """The lake as it was named: a folder, or s3://bucket/prefix of one that Glue names."""
        return self._settings.place

    @property
    def pointers(self) -> Pointers:
        """Which metadata file is current for each table, and what else is kept beside that."""
        return self._pointers

    def files(self) -> WarehouseIO:
        """The lake's files, read and written one by one."""
        return self._files()

    def missing_files(self, snapshot: TableSnapshot) -> list[str]:
        """The data files of `snapshot` that are not where they should be."""
        files = self._files()
        return [file.path for file in snapshot.files if not files.new_input(file.path).exists()]

    def read_table(self, name: str, at: At | None = None) -> pa.Table:
        """All rows of a small table, without `_source`; columns as they are now."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        snapshot = self.snapshot(name, at)
        files = self._files()
        for file in snapshot.files:
            self._check_whole(file)
        parts = [pq.read_table(pa.BufferReader(files.read(f.path))) for f in snapshot.files]
        names = [column.name for column in snapshot.columns if not column.name.startswith("_")]
        if not parts:
            return pa.table({column: pa.nulls(0) for column in names})
        return pa.concat_tables(parts, promote_options="default").select(names)

    def read_file(self, path: str) -> pa.Table:
        """All rows of one small data file, `_source` included; `BadLake` when it is damaged."""
        import pyarrow.parquet as pq

        from lakeq.lake.verify import check_file

        files = self._files()
        _raise_unless_whole(check_file(files, path, self._pointers.checksum(path)), path)
        return pq.read_table(files.opened(path))

    def _check_present(self, name: str, locations: Mapping[str, str]) -> None:
        if name in locations:
            return
        hint = f"ingest it: lakeq ingest {split(name)[0]} OBJECT"
        raise NotFound(f"table {name} is not in the lake", self._settings.place, hint)

    def _head(self, name: str, location: str) -> Side:
        side = self._side_files.read(name, "head", location)
        if side is None:
            from lakeq.lake import read as lake_read

            sums = self._pointers.checksums()
            side = lake_read.head(self._files(expected=sums), name, location, sums=sums)
            self._side_files.write(name, "head", location, side)
            # Packed, as it is read back, thousands of files are planned in a tenth of the time.
            if not isinstance(side.snapshot.files, PackedFiles):
                side = self._side_files.read(name, "head", location) or side
        return side

    def _at(self, head: Side, location: str, at: At) -> TableSnapshot:
        number = snapshot_id(head, at)
        if number == head.snapshot.snapshot_id:
            return head.snapshot
        name = head.snapshot.name
        key = f"{name}@{number}"
        side = self._side_files.read(name, str(number), key)
        if side is None:
            from lakeq.lake import read as lake_read

            known = head.snapshot.files
            sums = self._pointers.checksums()
            files = self._files(expected=sums)
            past = lake_read.as_of(files, name, location, number, known, sums)
            side = Side(past.snapshot)
            self._side_files.write(name, str(number), key, side)
        return side.snapshot

    def _files(
        self, session: Session | None = None, expected: Mapping[str, Checksum] | None = None
    ) -> WarehouseIO:
        from lakeq.lake.io import WarehouseIO

        settings, buckets = self._settings.s3, self._buckets()
        if session is None:
            files = WarehouseIO(settings, tally=self.tally, buckets=buckets)
        else:
            files = WarehouseIO(settings, session.record, self.tally, buckets)
        files.expected = expected or {}
        return files

    def _buckets(self) -> Buckets:
        """The clients of S3, made once by each process: connections do not outlive a fork."""
        from lakeq.storage.s3 import Buckets

        process = os.getpid()
        if self._shared_buckets is None or self._shared_buckets[0] != process:
            self._shared_buckets = (process, Buckets(self._settings.s3, self.tally))
        return self._shared_buckets[1]

    def versions(self, dataset: str, uris: Collection[str]) -> dict[str, Version]:
        """The versions of raw objects that the lake holds, of those among `uris` that it knows."""
        return self._pointers.versions(dataset, uris)

    def all_versions(self, dataset: str, prefix: str = "") -> Iterator[Version]:
        """Every version of a dataset's objects whose URIs begin with `prefix`, by URI."""
        return self._pointers.all_versions(dataset, prefix)

    def inventory(self, name: str, allow: Allow | None = None) -> Inventory:
        """Every file of table `name`, as its metadata has them; no data file is opened.

        `allow` is told how many bytes and files are about to be read, and may refuse by raising.
        """
        from lakeq.lake import verify as lake_verify

        location = self._pointers.current(name)
        if location is None:
            self._check_present(name, {})
        at = location or ""
        contents = self._contents(name, at)
        return lake_verify.inventory(self._files(), at, contents, self._pointers.checksum, allow)

    def damaged_side_files(self, name: str) -> list[Path]:
        """The side files of table `name` that are not what was written; they are made again."""
        return self._side_files.damaged(name)

    def check_data(self, file: Listed | DataFile) -> Checked:
        """One data file held against its checksum, its page CRCs and the manifest."""
        from lakeq.lake import verify as lake_verify

        checksum = self._pointers.checksum(file.path)
        return lake_verify.check_data(self._files(), file, checksum)

    def check_unchanged(self, tables: Iterable[TableSnapshot]) -> None:
        """Raise `BadLake` when a local data file without checksums of its chunks was changed.

        Files have those since lakeq keeps them, and are checked as they are read. An older file of
        the size and the time that it had when it was last found whole is not read again.
        """
        paths = {f.path: f for f in _without_sums(tables) if "://" not in f.path}
        seen = self._pointers.seen() if paths else {}
        new: dict[str, Stamp] = {}
        for path, file in paths.items():
            try:
                status = os.stat(path)  # noqa: PTH116  # a third of the time, for 10,000 files
            except OSError as error:
                hint = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
                raise BadLake("a file of the lake is missing", path, hint) from error
            stamp = (status.st_size, status.st_mtime_ns)
            if seen.get(path) != stamp:
                self._check_whole(file)
                new[path] = stamp
        self._pointers.note_seen(new)

    def _check_whole(self, file: Listed | DataFile) -> None:
        """Raise `BadLake` unless all of a file is what was written; pyarrow may crash on others."""
        _raise_unless_whole(self.check_data(file), file.path)

    def ways(self, dataset: str) -> dict[str, str]:
        """What `note_ways` kept of a dataset."""
        return self._pointers.ways(dataset)

    def metadata_of(self, path: str, size_bytes: int) -> pq.FileMetaData:
        """The Parquet footer of a data file."""
        from lakeq.lake.inside import read_metadata

        return read_metadata(self._files(), path, size_bytes, self._pointers.checksum(path))

    def _contents(self, name: str, location: str) -> Contents | None:
        """The objects that each file of a table's state holds rows of, if a side file says so."""
        side = self._side_files.read(name, "head", location)
        return None if side is None else dict(contents(side.snapshot.files))


def _raise_unless_whole(checked: Checked, path: str) -> None:
    if checked.problem:
        hint = "see: lakeq verify; what can be ingested again: lakeq verify --repair"
        missing = checked.problem == "missing"
        what = f"a data file is damaged: {checked.told}"
        raise BadLake("a file of the lake is missing" if missing else what, path, hint)


def _without_sums(tables: Iterable[TableSnapshot]) -> Iterator[DataFile]:
    for table in tables:
        if isinstance(table.files, PackedFiles) and table.files.all_summed:
            continue
        yield from (file for file in table.files if not file.footer.crc32s)
