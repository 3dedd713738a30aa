"""The SQLite catalog of a lake: which metadata file is current for each of its tables.

The file has the layout of PyIceberg's `SqlCatalog`, so other tools can open it:
`SqlCatalog("lakeq", uri="sqlite:///LAKE/catalog.db")`. It is read and written with the standard
library, because a query of an unchanged snapshot must not pay for SQLAlchemy and PyIceberg, and
because all tables of one ingest are switched in one transaction, which `SqlCatalog` has not.
"""

from __future__ import annotations

import sqlite3
import sys
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lakeq.config import VERSION
from lakeq.errors import AccessDenied, BadLake, LakeqError, StorageUnavailable, UsageError
from lakeq.lake import versions as lake_versions

if TYPE_CHECKING:
    from datetime import datetime

FILE_NAME = "catalog.db"
CATALOG_NAME = "lakeq"
BUSY_TIMEOUT_S = 60.0  # a switch holds the lock for milliseconds; this outlasts a stalled disk

_TABLES = """
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
);
CREATE TABLE IF NOT EXISTS lakeq_settings (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);
"""
_SUMS = """
CREATE TABLE IF NOT EXISTS lakeq_checksums (
    path TEXT NOT NULL PRIMARY KEY,
    size_bytes INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    footer_crc32 INTEGER
) WITHOUT ROWID
"""
_SEEN = """
CREATE TABLE IF NOT EXISTS lakeq_seen (
    path TEXT NOT NULL PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
) WITHOUT ROWID
"""
_CHUNKS = """
CREATE TABLE IF NOT EXISTS lakeq_chunk_sums (path TEXT NOT NULL PRIMARY KEY, crc32s BLOB NOT NULL)
WITHOUT ROWID
"""
_WAYS = """
CREATE TABLE IF NOT EXISTS lakeq_ways (
    dataset TEXT NOT NULL, source TEXT NOT NULL, way TEXT NOT NULL, PRIMARY KEY (dataset, source)
) WITHOUT ROWID
"""
_SUM_COLUMNS = "path, size_bytes, sha256, footer_crc32"
_NAMESPACE = "INSERT OR IGNORE INTO iceberg_namespace_properties VALUES (?, ?, 'exists', 'true')"
_INSERT = "INSERT OR IGNORE INTO iceberg_tables VALUES (?, ?, ?, ?, NULL, 'TABLE')"
_UPDATE = """
UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = metadata_location
WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?
"""


class Switch(NamedTuple):
    """One table's step from one metadata file to the next; `old` is None for a new table."""

    table: str
    old: str | None
    new: str


class Checksum(NamedTuple):
    """What a file of the lake was when it was written.

    `footer_crc32` is that of a Parquet file's footer with its length and magic, None for others.
    `mtime_ns` is when a local data file was finished; it is kept apart, as `Stamp`. `chunk_crc32s`
    are those of a data file's column chunks, row group by row group, in the order of its columns.
    """

    size_bytes: int
    sha256: str
    footer_crc32: int | None = None
    mtime_ns: int | None = None
    chunk_crc32s: tuple[int, ...] = ()


Stamp = tuple[int, int]  # size and mtime_ns that a local file had when it was last found whole


class Undone(Exception):  # a turn of events, not an error of the user's
    """A commit that was begun was taken back; the files that it named are left for a later sweep.

    A writer that is late by a moment may still name them.
    """


class Pointers:
    """The pointers of the lake in `folder`; nothing is opened or made before it is needed."""

    shared = False  # whether writers on other machines, unseen by this one, may be at work

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def settle(self) -> None:
        """Bring a commit that a killed writer began to its end; here none is ever half done."""

    def trim(self, before: datetime) -> int:  # what a shared log needs
        """Delete what of a shared log was written `before`; how many objects: here none."""
        return 0

    def exists(self) -> bool:
        """Whether the lake was ever written to."""
        return self.path.exists()

    def create(self, warehouse: str) -> None:
        """Make the catalog unless it is there; the first caller's `warehouse` is remembered."""
        self._make_folder()
        with self._transaction() as connection:
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            remember = "INSERT OR IGNORE INTO lakeq_settings VALUES ('warehouse', ?)"
            connection.execute(remember, (warehouse,))

    def warehouse(self) -> str | None:
        """The warehouse that the lake was made with, or None when there is no lake yet."""
        rows = self._read("SELECT value FROM lakeq_settings WHERE key = 'warehouse'")
        return str(rows[0][0]) if rows else None

    def current(self, table: str) -> str | None:
        """The current metadata file of `table` (dataset.table), or None when it is not there."""
        rows = self._read(
            "SELECT metadata_location FROM iceberg_tables"
            " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
            (CATALOG_NAME, *split(table)),
        )
        if rows and rows[0][0] is None:
            raise BadLake(f"{table} has no metadata file", str(self.path))
        return str(rows[0][0]) if rows else None

    def taken(self, names: Collection[str]) -> dict[str, str]:
        """The metadata files of those of `names` that are there, or that the catalog has."""
        return {name: at for name, at in self.all().items() if name in names}

    def all(self) -> dict[str, str]:
        """The current metadata file of each table, in the order of the tables' names."""
        rows = self._read(
            "SELECT table_namespace || '.' || table_name, metadata_location FROM iceberg_tables"
            " WHERE catalog_name = ? AND metadata_location IS NOT NULL ORDER BY 1",
            (CATALOG_NAME,),
        )
        return {str(name): str(location) for name, location in rows}

    def switch(
        self,
        switches: Sequence[Switch],
        sums: Mapping[str, Checksum] | None = None,
        claims: Mapping[str, Sequence[lake_versions.Claim]] | None = None,
    ) -> bool:
        """Make all the steps in one transaction, or none: False when another writer was first.

        `sums` are the checksums of the files that the steps bring, by path, `claims` what the
        steps make of raw objects, by dataset; both are kept with the same transaction. Raises
        `Outdated` when a claim does not stand, and nothing is done.
        """
        with self._transaction() as connection:
            for dataset, made in (claims or {}).items():
                lake_versions.apply(connection, dataset, made, VERSION)
            if all(self._step(connection, switch) for switch in switches):
                keep_sums(connection, sums or {})
                return True
            connection.rollback()
            return False

    def checksums(self) -> dict[str, Checksum]:
        """The checksums of all files that were committed, by path."""
        rows = self._read(f"SELECT {_SUM_COLUMNS} FROM lakeq_checksums")  # noqa: S608  # a constant
        read = self._read("SELECT path, crc32s FROM lakeq_chunk_sums")
        chunks: dict[object, Any] = dict(read)  # type: ignore[arg-type]  # two columns
        return {str(row[0]): _checksum(row, chunks.get(row[0], b"")) for row in rows}

    def checksum(self, path: str) -> Checksum | None:
        """The checksum of one file, if it was kept."""
        query = f"SELECT {_SUM_COLUMNS} FROM lakeq_checksums WHERE path = ?"  # noqa: S608  # as above
        rows = self._read(query, (path,))
        if not rows:
            return None
        query = "SELECT crc32s FROM lakeq_chunk_sums WHERE path = ?"
        chunks: list[Any] = self._read(query, (path,))
        return _checksum(rows[0], chunks[0][0] if chunks else b"")

    def versions(self, dataset: str, uris: Collection[str]) -> dict[str, lake_versions.Version]:
        """The versions of raw objects that the lake holds, of those among `uris` that it knows."""
        rows = (row for query in lake_versions.queries(dataset, uris) for row in self._read(*query))
        return {found.uri: found for found in map(lake_versions.version, rows)}

    def all_versions(self, dataset: str, prefix: str = "") -> Iterator[lake_versions.Version]:
        """Every version of a dataset's objects whose URIs begin with `prefix`, by URI."""
        query = (
            f"SELECT {lake_versions.COLUMNS} FROM lakeq_versions"  # noqa: S608  # a constant
            " WHERE dataset = ? AND substr(uri, 1, ?) = ? ORDER BY uri"
        )
        rows = self._read(query, (dataset, len(prefix), prefix))
        yield from map(lake_versions.version, rows)

    def seen(self) -> dict[str, Stamp]:
        """What the local data files were when they were last found whole, by path."""
        rows = self._read("SELECT path, size_bytes, mtime_ns FROM lakeq_seen")
        return {str(path): (size, time) for path, size, time in rows}  # type: ignore[misc]  # as made

    def note_seen(self, stamps: Mapping[str, Stamp]) -> None:
        """Keep what files were when they were found whole, if the lake can be written to."""
        if stamps:
            with suppress(LakeqError), self._transaction() as connection:
                _note(connection, stamps)

    def note_ways(self, dataset: str, ways: Mapping[str, str]) -> None:
        """Keep how objects were read, by their URIs: with which options, as JSON."""
        with self._transaction() as connection:
            keep_ways(connection, dataset, ways)

    def ways(self, dataset: str) -> dict[str, str]:
        """How the objects of a dataset were read, by their URIs, where it was kept."""
        rows = self._read("SELECT source, way FROM lakeq_ways WHERE dataset = ?", (dataset,))
        return {str(source): str(way) for source, way in rows}

    def forget(self, paths: Sequence[str]) -> None:
        """Drop the checksums of files that are no more."""
        if paths and self.checksums():  # a lake made before checksums has no table for them
            with self._transaction() as connection:
                drop_sums(connection, paths)

    @staticmethod
    def _step(connection: sqlite3.Connection, switch: Switch) -> bool:
        dataset, name = split(switch.table)
        if switch.old is None:
            connection.execute(_NAMESPACE, (CATALOG_NAME, dataset))
            cursor = connection.execute(_INSERT, (CATALOG_NAME, dataset, name, switch.new))
        else:
            values = (switch.new, CATALOG_NAME, dataset, name, switch.old)
            cursor = connection.execute(_UPDATE, values)
        return cursor.rowcount == 1

    def _make_folder(self) -> None:
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            where = str(folder)
            raise UsageError("the lake is not a folder", where, "name a folder: --lake") from error
        except OSError as error:
            raise os_error(error, f"cannot make the lake: {error.strerror}", folder) from error

    def _read(self, sql: str, values: Sequence[str | int] = ()) -> list[tuple[object, ...]]:
        if self.path.parent.exists() and not self.path.parent.is_dir():
            where = str(self.path.parent)
            raise UsageError("the lake is not a folder", where, "name a folder: --lake")
        if not self.exists():
            return []
        with self._connection() as connection:
            try:
                return connection.execute(sql, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):  # killed between making the file and its tables
                    return []
                raise

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            if connection.in_transaction:
                connection.commit()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
            yield connection
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            if connection is not None:
                connection.close()

    def _explained(self, error: sqlite3.Error) -> LakeqError:
        where = str(self.path)
        text = str(error)
        if "locked" in text or "busy" in text:
            hint = "another process holds the lake; try again"
            return StorageUnavailable(f"the lake is locked: {text}", where, hint)
        if "full" in text:
            hint = "make room, then run the command again"
            return StorageUnavailable(f"the disk is full: {text}", where, hint)
        if "readonly" in text or "unable to open" in text:
            hint = "check who may write to the lake's folder"
            return AccessDenied(f"cannot write to the lake: {text}", where, hint)
        hint = "restore the file from a backup, or ingest again into a new lake"
        return BadLake(f"the lake's catalog is damaged: {text}", where, hint)


def keep_sums(connection: sqlite3.Connection, sums: Mapping[str, Checksum]) -> None:
    """Keep the checksums of files, by path."""
    if sums:
        connection.execute(_SUMS)  # a lake made before checksums has no table for them
        rows = [(path, *checksum[:3]) for path, checksum in sums.items()]
        insert = "INSERT OR REPLACE INTO lakeq_checksums VALUES (?, ?, ?, ?)"
        connection.executemany(insert, rows)
        _note(connection, {p: (c[0], c[3]) for p, c in sums.items() if c[3]})
        _note_chunks(connection, sums)


def keep_ways(connection: sqlite3.Connection, dataset: str, ways: Mapping[str, str]) -> None:
    """Keep how objects were read."""
    connection.execute(_WAYS)
    rows = [(dataset, source, way) for source, way in ways.items()]
    connection.executemany("INSERT OR REPLACE INTO lakeq_ways VALUES (?, ?, ?)", rows)


def drop_sums(connection: sqlite3.Connection, paths: Sequence[str]) -> None:
    """Drop the checksums of files that are no more."""
    for statement in (_SUMS, _SEEN, _CHUNKS):
        connection.execute(statement)
    for table in ("lakeq_checksums", "lakeq_seen", "lakeq_chunk_sums"):
        drop = f"DELETE FROM {table} WHERE path = ?"  # noqa: S608  # one of the three
        connection.executemany(drop, [(path,) for path in paths])


def _note(connection: sqlite3.Connection, stamps: Mapping[str, Stamp]) -> None:
    connection.execute(_SEEN)
    rows = [(path, *stamp) for path, stamp in stamps.items()]
    connection.executemany("INSERT OR REPLACE INTO lakeq_seen VALUES (?, ?, ?)", rows)


def _note_chunks(connection: sqlite3.Connection, sums: Mapping[str, Checksum]) -> None:
    connection.execute(_CHUNKS)
    rows = [(path, _packed(c.chunk_crc32s)) for path, c in sums.items() if c.chunk_crc32s]
    connection.executemany("INSERT OR REPLACE INTO lakeq_chunk_sums VALUES (?, ?)", rows)


def _packed(crc32s: Sequence[int]) -> bytes:
    """32-bit numbers, the lowest byte first."""
    numbers = array("I", crc32s)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _checksum(row: tuple[Any, ...], packed: bytes) -> Checksum:
    _, size, digest, crc = row
    numbers = array("I", packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    chunks = tuple(numbers)
    return Checksum(int(size), str(digest), None if crc is None else int(crc), None, chunks)


def split(table: str) -> tuple[str, str]:
    """Dataset and table of a qualified name."""
    dataset, _, name = table.partition(".")
    return dataset, name


def os_error(error: OSError, what: str, path: Path | str) -> LakeqError:
    """The error for a failed call to the operating system on one of the lake's files."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        hint = "make room, or name another place with --lake or temp_dir, then run it again"
        return StorageUnavailable(f"the disk is full: {what}", str(path), hint)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return AccessDenied(what, str(path), "check who may write to this folder")
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR):
        hint = "restore the file from a backup, or ingest again into a new lake"
        return BadLake(what, str(path), hint)
    return StorageUnavailable(what, str(path), "try again; check the disk")
