"""Empty databases made ahead: a process that asks often does not wait for the next one.

Making a database takes DuckDB 1.5 6 ms of CPU and dropping it 2 ms, as much as all else that a
small query needs beside its data. Each database serves one query and is dropped with it, as
without this; what is made ahead is one that nobody has used.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

QUERIES = 6  # a process that opened so many databases will ask again; a command opens fewer
SPARES = 2  # a query over a virtual table may need a second one to choose its tiles


class Database(NamedTuple):
    """A database in memory, and the folder that it would spill to."""

    connection: duckdb.DuckDBPyConnection
    spill: Path


class Spares:
    """The databases made ahead for one kind of settings; another kind lets go of them."""

    def __init__(self) -> None:
        self._key: object = None
        self._make: Callable[[], Database] | None = None
        self._ready: list[Database] = []
        self._taken = 0
        self._worker: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def take(self, key: object, make: Callable[[], Database]) -> Database:
        """A database that nobody has used; `make` makes one for settings that `key` tells apart."""
        with self._lock:
            self._taken += 1
            stale = self._ready if key != self._key else []
            if key != self._key:
                self._key, self._make, self._ready = key, make, []
            found = self._ready.pop() if self._ready else None
        for each in stale:
            each.connection.close()
        return found or make()

    def drop(self, database: Database) -> None:
        """Close a database whose query is over, and see to the next one."""
        with self._lock:
            worker = self._working() if self._taken >= QUERIES else None
        if worker is None:
            database.connection.close()
            return
        try:
            worker.submit(self._renew, database)
        except RuntimeError:  # the process is about to end
            database.connection.close()

    def _working(self) -> ThreadPoolExecutor:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="lakeq-databases")
            atexit.register(self.clear)
        return self._worker

    def _renew(self, database: Database) -> None:
        database.connection.close()
        with self._lock:
            key, make = self._key, self._make
            wanted = make is not None and len(self._ready) < SPARES
        if not wanted or make is None:
            return
        try:
            made = make()
        except Exception:  # noqa: BLE001  # the query that needs one will be told
            return
        with self._lock:
            if key == self._key and len(self._ready) < SPARES:
                self._ready.append(made)
                return
        made.connection.close()

    def clear(self) -> None:
        """Close what was made ahead."""
        with self._lock:
            found, self._ready = self._ready, []
            self._key = self._make = None
        for each in found:
            each.connection.close()


spares = Spares()


def _after_fork() -> None:
    """A database's threads stay behind in the parent: a child makes its own."""
    global spares  # noqa: PLW0603
    _left.append(spares)
    spares = Spares()


_left: list[Spares] = []  # never closed: closing would wait for threads that are not there
os.register_at_fork(after_in_child=_after_fork)
