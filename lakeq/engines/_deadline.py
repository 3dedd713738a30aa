"""The end of a query's time: it is interrupted, and everything that it is asked then raises."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from lakeq.errors import BudgetRefused

if TYPE_CHECKING:
    import duckdb

AGAIN_S = 0.05  # an interrupt that comes between two steps of a query is lost


class Deadline:
    """Stops the work of one session after `seconds`, from a thread of its own."""

    def __init__(self, session: duckdb.DuckDBPyConnection, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self._started = time.monotonic()
        self._passed = False
        self._done = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        if self._done.wait(self._seconds):
            return
        self._passed = True
        while not self._done.wait(AGAIN_S):
            self._session.interrupt()

    def check(self) -> None:
        """Raise `BudgetRefused` when the time is over."""
        if self._passed:
            self.cancel()
            took = time.monotonic() - self._started
            what = f"stopped after {took:.1f} s: the query may take {self._seconds:g} s"
            hint = "raise --max-seconds, or ask for fewer rows or columns"
            raise BudgetRefused(what, "the query", hint)

    def cancel(self) -> None:
        """The query is done; may be called again."""
        self._done.set()
