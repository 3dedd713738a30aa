"""A watch over a running query: what it has read and how long it runs, against its limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lakeq.errors import LimitPassed


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most that a query may take; None is no limit. `words` tell bytes for people, as money."""

    bytes: int | None = None
    seconds: float | None = None
    words: Callable[[int], str] = str

    def __bool__(self) -> bool:
        return self.bytes is not None or self.seconds is not None


class Meter:
    """Counts what a query reads and refuses what would pass its allowance, before it is read.

    When the allowance is used up, of bytes or of seconds, `stop` is called until `close`; `check`
    then says what happened.
    """

    def __init__(self, allowance: Allowance, stop: Callable[[], None]) -> None:
        self._allowance = allowance
        self._stop = stop
        self._done = threading.Event()
        self._passed = threading.Event()
        self._lock = threading.Lock()
        self._started = time.perf_counter()
        self._read = 0
        self._reason = ""
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def take(self, length: int) -> None:
        """Count `length` bytes that are about to be read, or raise `LimitPassed`."""
        limit = self._allowance.bytes
        with self._lock:
            if limit is not None and not self._reason and self._read + length > limit:
                self._reason = f"stopped before reading more; {limit:,} bytes are allowed"
            if not self._reason:
                self._read += length
        if self._reason:
            self._passed.set()
            self.check()

    def close(self) -> None:
        """End the watch; may be called again."""
        self._done.set()
        self._passed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def check(self) -> None:
        """Raise `LimitPassed` when a limit has been passed."""
        if self._reason:
            read = self._read
            bill = f"{read:,} bytes, {self._allowance.words(read)}" if read else "nothing"
            words = f"{self._reason}; it has read {bill}"
            hint = "raise the limit, or see: lakeq sql --dry-run"
            raise LimitPassed(words, "the query", hint)

    def _watch(self) -> None:
        """Wait for one of the limits, then interrupt until the query has ended.

        It may be between two steps just now.
        """
        if not self._passed.wait(self._allowance.seconds):
            ran = time.perf_counter() - self._started
            told = f"stopped after {ran:.1f} s; max_seconds is {self._allowance.seconds:g}"
            with self._lock:
                self._reason = self._reason or told
        while not self._done.is_set():
            with suppress(Exception):  # it has ended just now, and its connection is closed
                self._stop()
            self._done.wait(0.05)
