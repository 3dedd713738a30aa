"""The ledger's file: SQLite in WAL mode, lines that are only ever added, open reservations.

On a network file system, such as EFS under AWS Lambda, it has a rollback journal instead: WAL
needs memory that all who use it share (sqlite.org/wal.html), and a journal only locks.

Every change is one `BEGIN IMMEDIATE` transaction: after kill -9 it is there whole or not at all.
`synchronous` is NORMAL: a power cut can cost the last lines, never the file, and no run waits for
the disk. Dollars are decimal
text; SQLite never adds them, because its SUM is floating point. What is added up so often that
reading all lines would be slow, dollars per day and spender, stands in `totals`, changed in the
same transaction as the lines.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from lakeq import cost

VERSION = 2
READABLE = (1, VERSION)  # version 1 had no engine; it gets the column with the next line
BUSY_TIMEOUT_S = 20.0
KINDS = ("query", "ingest", "convert", "maintain", "storage", "request", "egress")
OUTCOMES = ("ok", "failed", "refused", "cancelled", "interrupted")
_SCHEMA = f"""
CREATE TABLE lines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN {KINDS}),
    outcome TEXT NOT NULL CHECK (outcome IN {OUTCOMES}),
    started TEXT NOT NULL,
    ended TEXT NOT NULL,
    seconds REAL,
    bytes INTEGER,
    count INTEGER,
    usd TEXT NOT NULL,
    prices TEXT NOT NULL,
    user TEXT NOT NULL,
    project TEXT NOT NULL,
    tags TEXT NOT NULL,
    lake TEXT NOT NULL,
    subject TEXT,
    tables TEXT,
    sql TEXT,
    parameters TEXT,
    options TEXT,
    planned TEXT,
    digest TEXT,
    error TEXT,
    version TEXT NOT NULL,
    engine TEXT,
    UNIQUE (run, kind)
);
CREATE INDEX lines_by_time ON lines (started);
CREATE TRIGGER lines_stay BEFORE UPDATE ON lines
    BEGIN SELECT RAISE(ABORT, 'lines of the ledger are never changed'); END;
CREATE TRIGGER lines_remain BEFORE DELETE ON lines
    BEGIN SELECT RAISE(ABORT, 'lines of the ledger are never deleted'); END;
CREATE TABLE totals (
    day TEXT NOT NULL,
    user TEXT NOT NULL,
    project TEXT NOT NULL,
    tags TEXT NOT NULL,
    usd TEXT NOT NULL,
    PRIMARY KEY (day, user, project, tags)
) WITHOUT ROWID;
CREATE TABLE reservations (
    run TEXT PRIMARY KEY,
    usd TEXT NOT NULL,
    owner TEXT NOT NULL,
    line TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE alerts (
    budget TEXT NOT NULL,
    period TEXT NOT NULL,
    percent INTEGER NOT NULL,
    at TEXT NOT NULL,
    spent TEXT NOT NULL,
    PRIMARY KEY (budget, period, percent)
) WITHOUT ROWID;
CREATE TABLE objects (
    uri TEXT PRIMARY KEY,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE raw_sizes (
    name TEXT NOT NULL,
    snapshot INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (name, snapshot)
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""
_INSERT = """
INSERT INTO lines VALUES (
    NULL, :run, :kind, :outcome, :started, :ended, :seconds, :bytes, :count, :usd, :prices, :user,
    :project, :tags, :lake, :subject, :tables, :sql, :parameters, :options, :planned, :digest,
    :error, :version, :engine)
ON CONFLICT (run, kind) DO NOTHING
"""
_NAMES = re.findall(r":(\w+)", _INSERT)
_TOTAL = "SELECT usd FROM totals WHERE day = ? AND user = ? AND project = ? AND tags = ?"
_MOUNTS = Path("/proc/self/mounts")
_REMOTE = ("nfs", "efs", "cifs", "smb", "9p", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs")
KEPT = 4  # ledgers whose log one process keeps
_kept: dict[Path, sqlite3.Connection] = {}
Values = Mapping[str, object]


class Store:
    """The ledger in the file `path`; each use opens it anew, so forks and threads are no matter."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One change, whole or not at all. Raises `sqlite3.Error` and `OSError`."""
        if not self.path.exists():
            self._create()
        with contextlib.closing(self._open("rw")) as connection:
            if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                self._keep_log()
                connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                _upgrade(connection)
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The ledger as it is at one moment; None where there is none yet."""
        if not self.path.exists():
            yield None
            return
        with contextlib.closing(self._open("ro")) as connection:
            connection.execute("BEGIN")
            yield connection

    def _keep_log(self) -> None:
        """Keep a read-only connection open while the process lives.

        The last connection that is closed copies the log into the file and waits for the disk, 2
        to 60 ms (measured). One that is read-only cannot, so the log stays, as after kill -9, and
        is copied once in some hundred runs, when it has grown to 4 MB.
        """
        if self.path in _kept:
            return
        connection = self._open("ro")
        connection.execute("SELECT 1 FROM lines LIMIT 1").fetchall()  # only then it holds the log
        while len(_kept) >= KEPT:
            _kept.pop(next(iter(_kept))).close()
        _kept[self.path] = connection

    def _open(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _check_version(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        """Make the file beside its place and link it there, so that nobody meets half of it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            with contextlib.closing(sqlite3.connect(part, isolation_level=None)) as connection:
                if not _is_remote(self.path.parent):
                    connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
            self._place(part)
        finally:
            for suffix in ("", "-wal", "-shm"):
                part.with_name(part.name + suffix).unlink(missing_ok=True)

    def _place(self, part: Path) -> None:
        try:
            os.link(part, self.path)
        except FileExistsError:
            return  # another process was first
        except OSError:  # a file system without hard links
            if not self.path.exists():
                part.replace(self.path)


def _is_remote(folder: Path) -> bool:
    """Whether a folder lies on a network file system, as far as the system tells."""
    try:
        mounts = _MOUNTS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    where, kind = "", ""
    real = str(folder.resolve())
    for line in mounts:
        _, place, found, *_ = line.split(" ")
        inside = real == place or real.startswith(place.rstrip("/") + "/")
        if inside and len(place) >= len(where):
            where, kind = place, found
    return kind.startswith(_REMOTE)


def _check_version(connection: sqlite3.Connection) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found not in READABLE:
        what = f"the ledger has version {found}, this lakeq knows {VERSION}"
        raise sqlite3.DatabaseError(what)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Within a transaction, so that of two processes one does it, and a kill leaves it undone."""
    if connection.execute("PRAGMA user_version").fetchone()[0] == 1:
        connection.execute("ALTER TABLE lines ADD COLUMN engine TEXT")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _let_go() -> None:
    """In a forked child: its parent's connections are not its own, nor are their locks."""
    while _kept:
        _kept.popitem()[1].close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def append(connection: sqlite3.Connection, lines: Iterable[Values]) -> list[int]:
    """Add lines, once for each run and kind, with their dollars to the totals; returns the new ids.

    A line that is there already is left alone, so that doing it again doubles nothing.
    """
    added = []
    for line in lines:
        cursor = connection.execute(_INSERT, dict.fromkeys(_NAMES) | dict(line))
        if cursor.rowcount:
            added.append(cursor.lastrowid or 0)
            _add_up(connection, line)
    return added


def _add_up(connection: sqlite3.Connection, line: Values) -> None:
    usd = Decimal(str(line["usd"]))
    if not usd:
        return
    key = (str(line["started"])[:10], line["user"], line["project"], line["tags"])
    row = connection.execute(_TOTAL, key).fetchone()
    total = plain(cost.EXACT.add(usd, Decimal(row[0] if row else 0)))
    connection.execute("INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?, ?)", (*key, total))


def rows(connection: sqlite3.Connection, sql: str, values: Sequence[object] = ()) -> list[Values]:
    """The rows of a query as mappings."""
    cursor = connection.execute(sql, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def plain(amount: Decimal) -> str:
    """`amount` as text without an exponent or trailing zeros: 0.00005."""
    return f"{amount.normalize(cost.EXACT):f}" if amount else "0"
