"""What the workers of a lake tell each other and `lakeq ingest status`: LAKE/ingest.db.

Nothing in it decides what is in the lake; that stands in the lake's catalog. Lost, it costs a
second reading of an object here and there, and the memory of where a backfill was.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lakeq.errors import StorageUnavailable
from lakeq.ledger import owner as owners

FILE_NAME = "ingest.db"
CLAIM_S = 120.0  # that an object is held for before others no longer wait for it
KEPT_GAPS = 200  # between events of one topic, of which the usual gap is the median
KEPT_MINUTES = 7 * 24 * 60
_TABLES = """
CREATE TABLE IF NOT EXISTS working (
    uri TEXT PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS activity (
    minute INTEGER NOT NULL, dataset TEXT NOT NULL, what TEXT NOT NULL, amount REAL NOT NULL,
    PRIMARY KEY (minute, dataset, what)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heard (
    dataset TEXT NOT NULL, topic TEXT NOT NULL, at REAL NOT NULL, gaps TEXT NOT NULL,
    PRIMARY KEY (dataset, topic)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
    name TEXT PRIMARY KEY, after TEXT NOT NULL, done INTEGER NOT NULL, at REAL NOT NULL
) WITHOUT ROWID;
"""

_ADD = "INSERT INTO activity VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET amount = "
_SUM = _ADD + "amount + excluded.amount"
_LARGEST = _ADD + "max(amount, excluded.amount)"


@dataclass(frozen=True, slots=True)
class Heard:
    """When a topic was last heard of, and the usual gap between two events: None is not known."""

    dataset: str
    topic: str
    at: datetime
    usual_gap_s: float | None


class Store:
    """The file of one lake; opened anew by each use, but by threads once each."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME
        self._local = threading.local()
        self._me = json.dumps(owners.here())

    def begin(self, uri: str, now: float | None = None) -> bool:
        """Whether this thread may work on an object now: nobody else alive does."""
        at = time.time() if now is None else now
        mine = f"{self._me} {threading.get_ident()}"
        with self._transaction() as connection:
            found = connection.execute("SELECT owner, until FROM working WHERE uri = ?", (uri,))
            row = found.fetchone()
            if row and row[0] != mine and row[1] > at and not _is_gone(row[0]):
                return False
            values = (uri, mine, at + CLAIM_S)
            connection.execute("INSERT OR REPLACE INTO working VALUES (?, ?, ?)", values)
            return True

    def end(self, uris: Collection[str]) -> None:
        """Give up the work on these objects."""
        mine = f"{self._me} {threading.get_ident()}"
        with self._transaction() as connection:
            drop = "DELETE FROM working WHERE uri = ? AND owner = ?"
            connection.executemany(drop, [(uri, mine) for uri in uris])

    def add(self, dataset: str, amounts: Mapping[str, float], now: float | None = None) -> None:
        """Add to this minute's amounts; of those that begin with `max ` the largest is kept."""
        minute = int((time.time() if now is None else now) // 60)
        with self._transaction() as connection:
            for what, amount in amounts.items():
                join = _LARGEST if what.startswith("max ") else _SUM
                connection.execute(join, (minute, dataset, what, amount))
            old = "DELETE FROM activity WHERE minute < ?"
            connection.execute(old, (minute - KEPT_MINUTES,))

    def activity(self, minutes: int, now: float | None = None) -> dict[str, dict[str, float]]:
        """The amounts of the last `minutes`, by dataset and by what they are of."""
        first = int((time.time() if now is None else now) // 60) - minutes
        found: dict[str, dict[str, float]] = {}
        query = "SELECT dataset, what, amount FROM activity WHERE minute > ?"
        for dataset, what, amount in self._read(query, (first,)):
            amounts = found.setdefault(str(dataset), {})
            known, number = amounts.get(str(what), 0.0), float(str(amount))
            largest = str(what).startswith("max ")
            amounts[str(what)] = max(known, number) if largest else known + number
        return found

    def hear(self, dataset: str, topics: Collection[str], now: float | None = None) -> None:
        """Note that events of these topics came now."""
        at = time.time() if now is None else now
        with self._transaction() as connection:
            for topic in set(topics):
                query = "SELECT at, gaps FROM heard WHERE dataset = ? AND topic = ?"
                row = connection.execute(query, (dataset, topic)).fetchone()
                gaps = json.loads(row[1]) if row else []
                if row and at > row[0]:
                    gaps = [*gaps, round(at - row[0], 3)][-KEPT_GAPS:]
                last = max(at, row[0]) if row else at
                values = (dataset, topic, last, json.dumps(gaps))
                connection.execute("INSERT OR REPLACE INTO heard VALUES (?, ?, ?, ?)", values)

    def heard(self, dataset: str = "") -> list[Heard]:
        """Every topic that was heard of, by dataset and ARN."""
        query = "SELECT dataset, topic, at, gaps FROM heard ORDER BY 1, 2"
        found = []
        for name, topic, at, gaps in self._read(query):
            if dataset in ("", name):
                told = sorted(json.loads(str(gaps)))
                usual = told[len(told) // 2] if told else None
                when = datetime.fromtimestamp(float(str(at)), UTC)
                found.append(Heard(str(name), str(topic), when, usual))
        return found

    def mark(self, name: str) -> tuple[str, int]:
        """Behind which object a backfill goes on, and how many it has done; ("", 0) at first."""
        rows = self._read("SELECT after, done FROM marks WHERE name = ?", (name,))
        return (str(rows[0][0]), int(str(rows[0][1]))) if rows else ("", 0)

    def set_mark(self, name: str, after: str, done: int) -> None:
        """Keep it."""
        with self._transaction() as connection:
            values = (name, after, done, time.time())
            connection.execute("INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?)", values)

    def drop_mark(self, name: str) -> None:
        """Forget it: the backfill is done."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM marks WHERE name = ?", (name,))

    def _read(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        if not self.path.exists():
            return []
        try:
            return self._connection().execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise self._explained(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = None
        try:
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.commit()
        except BaseException as error:
            if connection is not None and connection.in_transaction:
                connection.rollback()
            if isinstance(error, sqlite3.Error):
                raise self._explained(error) from error
            raise

    def _explained(self, error: sqlite3.Error) -> StorageUnavailable:
        what = f"the disk is full or the ingest's own file is locked: {error}"
        return StorageUnavailable(what, str(self.path), "make room, or try again")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # see above: nothing hangs on it
            connection.executescript(_TABLES)
            self._local.connection = connection
        return connection


def _is_gone(owner: str) -> bool:
    """Whether the process of an owner has ended, as far as can be known here."""
    told = json.loads(owner.rpartition("]")[0] + "]")
    now = datetime.now(UTC)
    return owners.is_gone(owners.Owner(*told), now, now)
