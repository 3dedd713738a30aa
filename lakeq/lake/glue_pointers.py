"""The pointers of a lake whose tables AWS Glue names; writers share it through a log on S3.

Glue moves one table at a time, a commit of lakeq several, with checksums and the versions of raw
objects. So a commit is first put into the log as an intent, then each table is moved in Glue, by
version check, and then the commit's end is written. Until then readers of lakeq see none of it.
What the log adds up to is kept in the lake's folder on this machine, in the layout of a local
lake's catalog. docs/adr/0092-glue.md.
"""

from __future__ import annotations

import fcntl
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lakeq.config import VERSION
from lakeq.errors import BadLake, LakeqError, StorageUnavailable
from lakeq.lake import versions as lake_versions
from lakeq.lake.glue import GlueTables
from lakeq.lake.pointers import (
    CATALOG_NAME,
    Checksum,
    Pointers,
    Switch,
    Undone,
    drop_sums,
    keep_sums,
    keep_ways,
    split,
)
from lakeq.lake.shared_log import CHECKPOINT_EVERY, DONE, UNDONE, Behind, Entry, SharedLog

if TYPE_CHECKING:
    from lakeq.config import Settings
    from lakeq.lake.io import WarehouseIO

_STEPS = """
CREATE TABLE IF NOT EXISTS lakeq_steps (
    number INTEGER NOT NULL, name TEXT NOT NULL, old TEXT, new TEXT NOT NULL,
    undone INTEGER NOT NULL, PRIMARY KEY (name, new)
) WITHOUT ROWID
"""
_TRIES = 5  # at a log that another machine trims
_KEPT_STEPS = 1000  # entries back; older ones no late writer can still be at
_POINT = "INSERT OR REPLACE INTO iceberg_tables VALUES (?, ?, ?, ?, ?, 'TABLE')"
_NAMESPACE = "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true')"


class GluePointers(Pointers):
    """The pointers of the lake at `settings.warehouse`."""

    shared = True

    def __init__(self, settings: Settings, files: WarehouseIO) -> None:
        super().__init__(settings.lake)
        self._root = settings.warehouse
        self._log = SharedLog(self._root, files)
        self.glue = GlueTables(settings, self._root, files)
        self._lake_id: str | None = None

    def create(self, warehouse: str) -> None:
        """Make the lake on S3, unless it is there."""
        if self._ready() is None:
            self._log.make(VERSION)
            self._ready()

    def warehouse(self) -> str | None:
        """Where the lake is, or None when there is no lake yet."""
        return self._root if self._ready() is not None else None

    def current(self, table: str) -> str | None:
        """The current metadata file of `table` (dataset.table), or None when it is not there."""
        return self._locations([table]).get(table)

    def taken(self, names: Collection[str]) -> dict[str, str]:
        """The metadata files of those of `names` that Glue has, though the lake's log may not.

        Raises `UsageError` when a table of that name lies elsewhere.
        """
        return self.glue.locations(names) | self._locations(names)

    def all(self) -> dict[str, str]:
        """The current metadata file of each table, in the order of the tables' names."""
        return self._locations(None)

    def switch(
        self,
        switches: Sequence[Switch],
        sums: Mapping[str, Checksum] | None = None,
        claims: Mapping[str, Sequence[lake_versions.Claim]] | None = None,
    ) -> bool:
        """Make all the steps, or none: False when another writer was first.

        Raises `Outdated` when a claim does not stand, and `Undone` when the commit was begun and
        another tool was faster at one of its tables: it is taken back then.
        """
        body = _body(switches, sums or {}, claims or {})
        while True:
            self.settle()
            number = self._number() + 1  # taken by another writer if anything changes below
            now = self._locations([switch.table for switch in switches])
            if any(now.get(switch.table) != switch.old for switch in switches):
                return False
            with self._transaction() as connection:
                for dataset, made in (claims or {}).items():
                    lake_versions.check(connection, dataset, made)
            if self._log.put(number, body):
                break
        if not switches:
            self._sync()
            return True
        if not self._finish(Entry(number, body, None), own=True):
            raise Undone
        return True

    def settle(self) -> None:
        """Bring a commit that another writer began to its end, and know what the log says."""
        while (pending := self._sync()) is not None:
            self._finish(pending)

    def versions(self, dataset: str, uris: Collection[str]) -> dict[str, lake_versions.Version]:
        """The versions of raw objects that the lake holds, of those among `uris` that it knows."""
        self._sync()
        return super().versions(dataset, uris)

    def all_versions(self, dataset: str, prefix: str = "") -> Iterator[lake_versions.Version]:
        """Every version of a dataset's objects whose URIs begin with `prefix`, by URI."""
        self._sync()
        yield from super().all_versions(dataset, prefix)

    def note_ways(self, dataset: str, ways: Mapping[str, str]) -> None:
        """Keep how objects were read, by their URIs: with which options, as JSON."""
        if ways:
            self._tell({"ways": {dataset: dict(ways)}})

    def ways(self, dataset: str) -> dict[str, str]:
        """How the objects of a dataset were read, by their URIs, where it was kept."""
        self._sync()
        return super().ways(dataset)

    def forget(self, paths: Sequence[str]) -> None:
        """Drop the checksums of files that are no more."""
        if paths:
            self._tell({"forget": list(paths)})

    def _tell(self, what: dict[str, Any]) -> None:
        """Put an entry without steps into the log."""
        body = {**_body((), {}, {}), **what}
        while True:
            self.settle()
            if self._log.put(self._number() + 1, body):
                self._sync()
                return

    # Where tables stand.

    def _locations(self, names: Collection[str] | None) -> dict[str, str]:
        """The metadata files of `names`, or of all tables, at one moment between two commits.

        Glue is asked before the log: whatever Glue shows of a commit, the log has its entry.
        """
        if self._ready() is None:
            return {}
        if names is None:
            self._sync()
        before = self._number()
        found = self.glue.locations(self._known() if names is None else names)
        pending = self._sync()
        now = {}
        with self._connection() as connection:
            for name in sorted(self._known()) if names is None else names:
                at = _settled(connection, name, found.get(name), pending, before)
                if at is not None:
                    now[name] = at
        return now

    def _known(self) -> list[str]:
        rows = self._read("SELECT table_namespace || '.' || table_name FROM iceberg_tables")
        return [str(row[0]) for row in rows]

    # Commits that were begun.

    def _finish(self, entry: Entry, *, own: bool = False) -> bool:
        """Move the tables of a commit on, and write its end; False when it is taken back.

        When that fails, one's `own` commit is taken back, if that can be had; another's is left.
        """
        try:
            moved = all(
                self.glue.step(table, self._accepted(table, old), new)
                for table, old, new in entry.switches
            )
        except LakeqError:
            if own:  # without the right to go on, say
                with suppress(LakeqError):
                    self._end(entry, UNDONE)
            raise
        return self._end(entry, DONE if moved else UNDONE)

    def _end(self, entry: Entry, outcome: bytes) -> bool:
        """Write how a commit ended unless it is written, and make Glue so."""
        self._log.end(entry.number, outcome)
        self._sync()
        undone = self._is_undone(entry.number)
        if undone:
            for table, old, new in entry.switches:
                self.glue.back(table, new, old)
        elif entry.number % CHECKPOINT_EVERY == 0:
            self._keep_checkpoint()
        return not undone

    def _is_undone(self, number: int) -> bool:
        """How a commit ended, by what the log says: another may have ended it long ago."""
        rows = self._read("SELECT undone FROM lakeq_steps WHERE number = ?", (number,))
        if not rows:
            what = f"{_KEPT_STEPS:,} commits were made while this one waited: its end is not known"
            raise StorageUnavailable(what, self._root, "run it again: what is there is replaced")
        return any(bool(row[0]) for row in rows)

    def trim(self, before: datetime) -> int:
        """Delete what of the log was written `before` and a checkpoint has; how many objects.

        A machine that was away for longer begins at the checkpoint.
        """
        if self._ready() is None:
            return 0
        self.settle()
        self._keep_checkpoint()
        return self._log.trim(before)

    def _accepted(self, table: str, old: str | None) -> set[str | None]:
        """What Glue may say when `old` is current: also the step of a commit that was undone."""
        rows = self._read("SELECT new, old FROM lakeq_steps WHERE name = ? AND undone", (table,))
        return {old} | {str(new) for new, before in rows if before == old}

    # The replica.

    def _ready(self) -> str | None:
        """Which lake is on S3, asked once; a replica of another one is begun anew."""
        if self._lake_id is None:
            self._lake_id = self._log.lake_id()
            if self._lake_id is not None:
                self._check_replica(self._lake_id)
        return self._lake_id

    def _check_replica(self, lake_id: str) -> None:
        self._make_folder()
        with self._replica_lock():
            rows = self._read("SELECT value FROM lakeq_settings WHERE key = 'lake_id'")
            if rows != [(lake_id,)]:
                self._new_replica(lake_id)

    @contextmanager
    def _replica_lock(self) -> Iterator[None]:
        with (self.path.parent / ".replica.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
            yield

    def _new_replica(self, lake_id: str) -> None:
        checkpoint = self._log.checkpoint()
        new = Pointers(self.path.parent)
        new.path = self.path.with_name(f".{self.path.name}.new")
        new.path.unlink(missing_ok=True)
        if checkpoint is not None:
            new.path.write_bytes(checkpoint[1])
        new.create(self._root)
        with new._transaction() as connection:  # noqa: SLF001  # one of our own kind
            connection.execute(_STEPS)
            connection.execute(lake_versions.TABLE)
            keep = "INSERT OR REPLACE INTO lakeq_settings VALUES (?, ?)"
            connection.execute(keep, ("lake_id", lake_id))
            connection.execute(keep, ("number", str(checkpoint[0] if checkpoint else 0)))
        new.path.replace(self.path)

    def _sync(self) -> Entry | None:
        """Take in what the log has more; returns the commit at its end that is only begun."""
        lake_id = self._ready()
        if lake_id is None:
            return None
        for _ in range(_TRIES):
            try:
                return self._taken_in()
            except Behind:
                with self._replica_lock():
                    self._new_replica(lake_id)
        hint = "restore them, or publish the lake's tables to a new place"
        raise BadLake("entries of the lake's log are missing", f"{self._root}/_lakeq/log", hint)

    def _taken_in(self) -> Entry | None:
        for entry in self._log.after(self._number()):
            if entry.outcome is None:
                return entry
            with self._transaction() as connection:
                if _number(connection) == entry.number - 1:  # or another process took it in
                    _take_in(connection, entry)
        return None

    def _number(self) -> int:
        """The last entry of the log that the replica has."""
        with self._connection() as connection:
            return _number(connection)

    def _keep_checkpoint(self) -> None:
        """Put the replica beside the log."""
        with self._connection() as connection:
            number, data = _number(connection), connection.serialize()
        self._log.put_checkpoint(number, data)


def _number(connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT value FROM lakeq_settings WHERE key = 'number'").fetchall()
    return int(rows[0][0]) if rows else 0


def _settled(
    connection: sqlite3.Connection, name: str, at: str | None, pending: Entry | None, before: int
) -> str | None:
    """The metadata file of a table between two commits, where Glue said `at`.

    A commit that is only begun, or undone, is stepped back from; one that ended after `before`,
    when Glue was asked, is gone on to.
    """
    begun = {(table, new): old for table, old, new in pending.switches} if pending else {}
    back = "SELECT old FROM lakeq_steps WHERE name = ? AND new = ? AND undone"
    while at is not None:
        if (name, at) in begun:
            at = begun[name, at]
        elif rows := connection.execute(back, (name, at)).fetchall():
            at = rows[0][0]
        else:
            break
    on = "SELECT new FROM lakeq_steps WHERE name = ? AND old IS ? AND NOT undone AND number > ?"
    while rows := connection.execute(on, (name, at, before)).fetchall():
        at = rows[0][0]
    return at


def _take_in(connection: sqlite3.Connection, entry: Entry) -> None:
    """Make the replica what it is after `entry`."""
    body = entry.body
    undone = entry.outcome != DONE
    steps = [(entry.number, table, old, new, int(undone)) for table, old, new in entry.switches]
    connection.executemany("INSERT OR REPLACE INTO lakeq_steps VALUES (?, ?, ?, ?, ?)", steps)
    connection.execute("DELETE FROM lakeq_steps WHERE number < ?", (entry.number - _KEPT_STEPS,))
    if not undone:
        for table, old, new in entry.switches:
            dataset, name = split(table)
            connection.execute(_NAMESPACE, (CATALOG_NAME, dataset))
            connection.execute(_POINT, (CATALOG_NAME, dataset, name, new, old))
        for dataset, claims in body.get("claims", {}).items():
            made = [_claim(claim) for claim in claims]
            lake_versions.apply(connection, dataset, made, body["lakeq"], body["at"])
        sums = body.get("sums", {}).items()
        keep_sums(connection, {p: Checksum(a, b, c, None, tuple(d)) for p, (a, b, c, d) in sums})
        for dataset, ways in body.get("ways", {}).items():
            keep_ways(connection, dataset, ways)
        if body.get("forget"):
            drop_sums(connection, body["forget"])
    keep = "INSERT OR REPLACE INTO lakeq_settings VALUES ('number', ?)"
    connection.execute(keep, (str(entry.number),))


def _body(
    switches: Sequence[Switch],
    sums: Mapping[str, Checksum],
    claims: Mapping[str, Sequence[lake_versions.Claim]],
) -> dict[str, Any]:
    """An entry of the log."""
    return {
        "id": uuid.uuid4().hex,
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "lakeq": VERSION,
        "switches": [list(switch) for switch in switches],
        "sums": {p: [*s[:3], list(s.chunk_crc32s)] for p, s in sums.items()},
        "claims": {dataset: [_told(c) for c in made] for dataset, made in claims.items()},
    }


def _told(claim: lake_versions.Claim) -> list[Any]:
    new = claim.version
    version = [new.uri, new.etag, new.version_id, new.sequencer, sorted(new.tables), new.removed]
    return [version, claim.expected, claim.forget]


def _claim(told: list[Any]) -> lake_versions.Claim:
    (uri, etag, version_id, sequencer, tables, removed), expected, forget = told
    version = lake_versions.Version(uri, etag, version_id, sequencer, frozenset(tables), removed)
    return lake_versions.Claim(version, expected, forget)
