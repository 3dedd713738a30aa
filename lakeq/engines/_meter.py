"""A watch over a running query: what it has read and how long it runs, against its limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lakeq.errors import LimitPassed

POLL_S = 0.005  # at 1 GB/s from a local disk 5 MB; the log is asked in 2 ms


@dataclass(frozen=True, slots=True)
class Allowance:
    """The most that a query may take; None is no limit. `words` tell bytes for people, as money."""

    bytes: int | None = None
    seconds: float | None = None
    words: Callable[[int], str] = str

    def __bool__(self) -> bool:
        return self.bytes is not None or self.seconds is not None


class Meter:
    """Calls `stop` when the query passes its allowance; `check` then says what happened.

    `bytes_read` gives None where the engine cannot be asked just now; the last number holds then.
    """

    def __init__(
        self, allowance: Allowance, bytes_read: Callable[[], int | None], stop: Callable[[], None]
    ) -> None:
        self._allowance = allowance
        self._bytes_read = bytes_read
        self._stop = stop
        self._done = threading.Event()
        self._started = time.perf_counter()
        self._read = 0
        self._reason = ""
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch; may be called again."""
        self._done.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def check(self) -> None:
        """Raise `LimitPassed` when a limit has been passed."""
        if self._reason:
            read = self._count()
            words = f"{self._reason}; it has read {read:,} bytes, {self._allowance.words(read)}"
            hint = "raise the limit, or see: lakeq sql --dry-run"
            raise LimitPassed(words, "the query", hint)

    def _count(self) -> int:
        read = self._bytes_read()
        if read is not None:
            self._read = read
        return self._read

    def _watch(self) -> None:
        while not self._done.wait(POLL_S):
            self._reason = self._passed()
            if self._reason:
                self._keep_stopping()
                return

    def _keep_stopping(self) -> None:
        """Interrupt until the query has ended: it may be between two steps just now."""
        while True:
            self._stop()
            if self._done.wait(0.05):
                return

    def _passed(self) -> str:
        """Which limit has been passed; the engine is asked only for a limit of bytes."""
        limit, seconds = self._allowance.bytes, self._allowance.seconds
        ran = time.perf_counter() - self._started
        if seconds is not None and ran > seconds:
            return f"stopped after {ran:.1f} s; max_seconds is {seconds:g}"
        if limit is not None and self._count() > limit:
            return f"stopped while reading; {limit:,} bytes are allowed"
        return ""
