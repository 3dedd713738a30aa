"""The Iceberg lake: tables made and grown, objects' rows replaced, snapshots read, orphans swept.

A lake is a folder with the SQLite catalog, side files of its snapshots and, unless the warehouse
is on S3, the tables' files. A table is what its current snapshot names; nothing is ever listed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from lakeq.errors import BadLake, LakeqError, StorageUnavailable, UsageError
from lakeq.lake.at import At as At
from lakeq.lake.pointers import Checksum, Undone
from lakeq.lake.reader import LakeReader
from lakeq.lake.versions import Claim, Outdated
from lakeq.snapshot import DataFile, TableSnapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.lake.commit import Change, Remains, Staged, StagingCatalog
    from lakeq.lake.io import WarehouseIO
    from lakeq.lake.parquet import NewFile, TableWriter
    from lakeq.lake.places import Place, Written
    from lakeq.lake.rebuild import Known
    from lakeq.lake.rewrite import Remainders
    from lakeq.lake.session import Session

COMMIT_ATTEMPTS = 31  # the first and 30 more
UNSEEN_WRITER = timedelta(days=1)  # the longest that another machine writes before it commits
_LONGEST_WAIT_S = 2.0


def _import_commit() -> None:
    with suppress(ImportError):
        import lakeq.lake.commit  # noqa: F401  # only to have it loaded


class Expired(NamedTuple):
    """What giving up old snapshots freed, or would free."""

    snapshots: int
    files: int
    size_bytes: int


class IcebergLake(LakeReader):
    """The lake that `settings` name; nothing is read or made before it is needed."""

    def create(self) -> str:
        """Make the lake unless it is there; returns its warehouse, a folder or s3://bucket/prefix.

        The warehouse is chosen once: a setting that contradicts it is a `UsageError`.
        """
        wanted = self._settings.warehouse.rstrip("/")
        present = self._pointers.warehouse()
        if present is None:
            self._pointers.create(wanted)
            present = self._pointers.warehouse() or ""
        if wanted and wanted != present:
            what = f"the lake's warehouse is {present or 'inside the lake'}, not {wanted}"
            hint = "leave the setting out, or name another lake: --lake"
            raise UsageError(what, str(self.folder), hint)
        return present or str(self.folder.absolute() / "warehouse")

    def prepare(self) -> None:
        """Begin to import, in a thread, what a commit needs: PyIceberg takes a quarter of a second.

        An import that fails there fails again, and is told, where it is needed.
        """
        threading.Thread(target=_import_commit, name="lakeq-prepare", daemon=True).start()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A writing session, for the files of one ingest; sweeps after killed writers first.

        When the block fails, what it wrote and no snapshot names is deleted.
        """
        from lakeq.lake import session as lake_session

        self.create()
        self._pointers.settle()
        self.sweep()
        try:
            with lake_session.session(self.folder, self._settings.temp_dir) as session:
                yield session
        except BaseException:
            with suppress(LakeqError):  # the next session sweeps again
                self.sweep()
            raise

    def ensure_table(self, table: Table) -> None:
        """Make `table` without rows, or add the catalog's new columns to it.

        A column of another type than the catalog says is `BadLake`.
        """
        from lakeq.lake.commit import Change

        self.commit_all([Change(table, frozenset(), ())])

    def write_schema(self, table: Table) -> pa.Schema:
        """The Arrow schema of the table's data files: field ids, `_source` last.

        Includes columns that the lake's table lacks and the next commit adds.
        """
        from lakeq.lake.schema import arrow_schema

        return arrow_schema(self._staging(self._files()).planned(table).schema(), table)

    def writer(self, table: Table, session: Session) -> TableWriter:
        """What makes the table's new data files; nothing names them before a commit does."""
        from lakeq.lake.parquet import TableWriter
        from lakeq.lake.schema import arrow_schema

        files = self._files(session)
        metadata = self._staging(files).planned(table)
        schema = arrow_schema(metadata.schema(), table)
        return TableWriter(table, schema, metadata.location, files, session)

    # Files that other processes write: see `lakeq.lake.parts`.

    def place_of(self, table: Table) -> Place:
        """Where new files of `table` go, for a worker to write them."""
        from lakeq.lake.places import Place

        metadata = self._staging(self._files()).planned(table)
        return Place(metadata.location, metadata.schema().model_dump_json())

    def take(self, written: Mapping[str, Sequence[Written]], source: str) -> list[NewFile]:
        """The files that a worker wrote of one object, by the folder they must lie in.

        Each is looked at; raises `BadLake` and `StorageUnavailable` as `lakeq.lake.parts.taken`.
        """
        from lakeq.lake.parts import taken

        files = self._files()
        return [taken(files, folder, source, w) for folder, found in written.items() for w in found]

    def clear(self, folder: str, keep: Collection[str]) -> list[str]:
        """Delete what workers left below a folder of parts, but the files `keep`."""
        from lakeq.lake import parts

        return parts.clear(self._files(), folder, keep)

    def restore(self, path: str, new: NewFile) -> bool:
        """Put `new` in the place of the lost file at `path` if it is the same to the byte.

        It is deleted in any case.
        """
        kept, made = self._pointers.checksum(path), new.checksum
        same = kept is not None and made is not None and kept[:2] == made[:2]
        warehouse = self._files()
        if same:
            data = warehouse.read(new.path)
            warehouse.delete(path)
            warehouse.write(path, data)
        warehouse.delete(new.path)
        return same

    def delete(self, files: Iterable[NewFile]) -> None:
        """Delete new files that no commit took."""
        warehouse = self._files()
        for file in files:
            warehouse.delete(file.path)

    def commit(self, table: Table, sources: Collection[str], files: Sequence[NewFile]) -> int:
        """Replace the rows of `sources` in `table` by `files`; returns the snapshot's id.

        One Iceberg snapshot and one switch. When `Table.replace` is "table", all rows go.
        """
        from lakeq.lake.commit import Change

        change = Change(table, frozenset(sources), tuple(files))
        return self.commit_all([change])[table.qualified]

    def commit_all(
        self,
        changes: Sequence[Change],
        session: Session | None = None,
        claims: Mapping[str, Sequence[Claim]] | None = None,
    ) -> dict[str, int]:
        """Make several tables' changes current at one instant; returns their snapshot ids.

        Readers see all of it or none. A commit that another writer overtakes is prepared again,
        30 times at the most. Raises `Overtaken` for a change whose `base` is no longer current.
        `claims` say, by dataset, which versions of raw objects are there then; `Outdated` is
        raised when another writer was there first.
        """
        if session is None:
            with self.session() as own:
                return self.commit_all(changes, own, claims)
        remains = self._remainders(session)
        taken: list[NewFile] = []
        try:
            staged = self.persist(lambda: self._try_commit(changes, session, remains, claims or {}))
            taken = [file for state in staged for file in state.made]
            return {state.name: state.snapshot_id for state in staged}
        finally:
            remains.drop_all_but(taken)

    def persist(self, attempt: Callable[[], list[Staged] | None]) -> list[Staged]:
        """The outcome of the first attempt that is not overtaken, after ever longer waits."""
        for number in range(COMMIT_ATTEMPTS):
            if number:
                _wait(number)
            staged = attempt()
            if staged is not None:
                return staged
        what = f"{COMMIT_ATTEMPTS} commits in a row were overtaken by other writers"
        raise StorageUnavailable(what, self._settings.place, "try again when fewer are writing")

    def _remainders(self, session: Session) -> Remainders:
        from lakeq.lake.rewrite import Remainders

        return Remainders(
            self._files(), lambda table: self.writer(table, session), self._check_whole
        )

    def _try_commit(
        self,
        changes: Sequence[Change],
        session: Session,
        remains: Remainders,
        claims: Mapping[str, Sequence[Claim]],
    ) -> list[Staged] | None:
        from lakeq.lake.commit import stage

        new = [file for change in changes for file in change.files]
        sums = {file.path: file.checksum for file in new if file.checksum}
        staged = self.switch(
            lambda staging: [stage(staging, change) for change in changes],
            session,
            sums,
            claims,
            remains,
        )
        for change, state in zip(changes, staged or (), strict=staged is not None):
            if state.switch:
                self._remember(change, state)
        return staged

    def switch(
        self,
        prepare: Callable[[StagingCatalog], list[Staged]],
        session: Session,
        sums: Mapping[str, Checksum],
        claims: Mapping[str, Sequence[Claim]],
        remains: Remainders | None = None,
    ) -> list[Staged] | None:
        """Try once to make current what `prepare` writes; None when another writer was faster.

        `sums` are the checksums of the data files that it names, by path.
        """
        files = self._files(session)
        try:
            staged = prepare(self._staging(files, remains))
        except BaseException:
            files.discard()
            raise
        made = {f.path: f.checksum for state in staged for f in state.made if f.checksum}
        switches = [state.switch for state in staged if state.switch]
        try:
            if not self._pointers.switch(switches, {**files.sums, **sums, **made}, claims):
                files.discard()
                return None
        except Outdated:
            files.discard()
            raise
        except BaseException as error:  # the files may be named: a sweep will know
            if remains is not None:
                remains.leave()
            if isinstance(error, Undone):
                return None
            raise
        return staged

    def _remember(self, change: Change, state: Staged) -> None:
        """Write the side file of the table's new head, from that of the old one if it is there."""
        from lakeq.lake import read as lake_read

        before: Sequence[DataFile] = ()
        if state.old is not None:
            old = self._side_files.read(state.name, "head", state.old)
            if old is None:
                self._head(state.name, state.location)
                return
            before = old.snapshot.files
        side = lake_read.after_commit(state, before, {file.path: file for file in change.files})
        self._side_files.write(state.name, "head", state.location, side)

    def sweep(self) -> list[str]:
        """Delete what killed writers left and no snapshot names; returns the paths deleted.

        Writers at work are not disturbed: each holds a lock on the list of its own files.
        """
        from lakeq.lake import session as lake_session

        with lake_session.dead(self.folder) as paths:
            if not paths:
                return []
            from lakeq.lake import parts
            from lakeq.lake.commit import named_files

            self._pointers.settle()  # what a killed writer's commit names, if it is to be
            files = self._files()
            there = [p for p in parts.spread(files, paths) if files.new_input(p).exists()]
            # usually nothing is there, and the pasts of all tables are long to read
            named = named_files(files, self._pointers.all(), there) if there else ()
            orphans = [path for path in there if path not in named]
            for path in orphans:
                files.delete(path)
            for folder in filter(lambda path: path.endswith("/"), paths):
                parts.prune(folder)
            self._pointers.forget(orphans)
            return orphans

    # Upkeep.

    def expire(self, name: str, before: datetime, *, dry_run: bool = False) -> Expired:
        """Give up the snapshots of table `name` older than `before`, and delete their files.

        The current snapshot stays, whatever its age. In a dry run nothing is done.
        """
        from lakeq.lake import upkeep as lake_upkeep

        for attempt in range(COMMIT_ATTEMPTS):
            if attempt:
                _wait(attempt)
            with self.session() as session:
                files = self._files(session)
                location = self._pointers.current(name)
                if location is None:
                    self._check_present(name, self._pointers.all())
                going = lake_upkeep.expired(files, location or "", before)
                sizes = lake_upkeep.sizes(files, going.paths)
                done = Expired(going.snapshots, len(sizes), sum(sizes.values()))
                if dry_run or not going.snapshots:
                    return done
                for path in sizes:
                    session.record(path)
                staged = lake_upkeep.stage_expiry(self._staging(files), name, before)
                try:
                    switched = staged.old == location and self._switched(staged, files)
                except Undone:
                    continue
                if not switched:
                    files.discard()
                    continue
                self._head(name, staged.location)
                for path in sizes:
                    files.delete(path)
                self._pointers.forget(list(sizes))
                return done
        what = f"{COMMIT_ATTEMPTS} times in a row another writer was faster"
        raise StorageUnavailable(what, name, "try again when fewer are writing")

    def _switched(self, staged: Staged, files: WarehouseIO) -> bool:
        return staged.switch is not None and self._pointers.switch([staged.switch], files.sums)

    def orphans(self, name: str) -> dict[str, int]:
        """The files below table `name` that no snapshot names and no writer is at work on.

        By path, with their bytes. Another tool's unfinished files would be among them. In a lake
        that other machines write to, only files that are a day old.
        """
        from lakeq.lake import session as lake_session
        from lakeq.lake import upkeep as lake_upkeep

        self._check_present(name, self._pointers.all())

        def location() -> str:
            return self._pointers.current(name) or ""

        def at_work() -> set[str]:
            return lake_session.journalled(self.folder)

        before = datetime.now(UTC) - UNSEEN_WRITER if self._pointers.shared else None
        return dict(lake_upkeep.orphans(self._files(), location, at_work, before))

    def trim(self) -> int:
        """Delete old entries of a shared log, as long as writers are waited for; how many objects.

        A lake of one machine has no log.
        """
        return self._pointers.trim(datetime.now(UTC) - UNSEEN_WRITER)

    def delete_paths(self, paths: Iterable[str]) -> None:
        """Delete files that nothing names."""
        files = self._files()
        gone = list(paths)
        for path in gone:
            files.delete(path)
        self._pointers.forget(gone)

    def note_ways(self, dataset: str, ways: Mapping[str, str]) -> None:
        """Keep with which options, as JSON, objects were ingested, by their URIs."""
        self._pointers.note_ways(dataset, ways)

    def rebuild(self, name: str, table: Table | None) -> tuple[int, ...]:
        """Write what is damaged or missing of the metadata of table `name` anew.

        `table` is what the catalog says of it, None where no catalog describes it. One switch,
        after everything that it names was looked at. Returns the older snapshots that could not be
        told and were given up. Raises `BadLake` when the current one cannot be told exactly; the
        lake is then as before.
        """
        from lakeq.lake import rebuild as lake_rebuild
        from lakeq.lake import session as lake_session

        with lake_session.session(self.folder, self._settings.temp_dir) as session:
            files = self._files(session)
            known = self._known(name, table, files)
            try:
                done = lake_rebuild.rebuild(files, known)
                head = None if done is None else lake_rebuild.checked(files, known, done)
            except BaseException:
                files.discard()
                raise
            if done is None or head is None:
                return ()
            if not self._switched(done.staged, files):
                files.discard()
                raise StorageUnavailable("another writer was faster", name, "run it again")
            self._side_files.write(name, "head", done.staged.location, head)
            for path in done.gone:
                files.delete(path)
            self._pointers.forget(done.gone)
            return done.given_up

    def _known(self, name: str, table: Table | None, files: WarehouseIO) -> Known:
        """What tells of a table beside its metadata."""
        from lakeq.lake.rebuild import Known

        location = self._pointers.current(name) or ""

        def past(number: int) -> TableSnapshot | None:
            side = self._side_files.read(name, str(number), f"{name}@{number}")
            return None if side is None else side.snapshot

        staging = self._staging(files)
        return Known(
            name,
            location,
            location.rpartition("/metadata/")[0],
            self._pointers.checksums(),
            self._side_files.read(name, "head", location),
            past,
            None if table is None else lambda base: staging.described(table, base),
            self.metadata_of,
        )

    def salvage(self, name: str) -> None:
        """Make table `name` known again though footers of its files are damaged or missing.

        What the side file of its head lacks is then unknown, until those files are replaced.
        """
        from lakeq.lake import read as lake_read

        try:
            self.snapshot(name)
        except BadLake:
            location = self._pointers.current(name) or ""
            sums = self._pointers.checksums()
            side = lake_read.head(self._files(), name, location, sums=sums, lenient=True)
            self._side_files.write(name, "head", location, side)

    def _staging(self, files: WarehouseIO, remains: Remains | None = None) -> StagingCatalog:
        from lakeq.lake.commit import StagingCatalog

        warehouse = self._pointers.warehouse() or str(self.folder.absolute() / "warehouse")
        return StagingCatalog(self._pointers, files, warehouse, self._contents, remains or _no_rest)


def _no_rest(table: Table, file: object, gone: object) -> NewFile:
    raise AssertionError(f"{table.qualified} is only looked at, but {gone} of {file} go")


def _wait(attempt: int) -> None:
    """A random while, longer after each attempt, so that writers do not meet again."""
    from random import uniform

    time.sleep(uniform(0, min(_LONGEST_WAIT_S, 0.02 * 2**attempt)))  # not a secret
