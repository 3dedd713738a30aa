"""What a worker counts: for `lakeq ingest status`, for the metrics and for its log."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from lakeq.errors import StorageUnavailable

if TYPE_CHECKING:
    from lakeq.ingest.outcome import Outcome
    from lakeq.ingest.store import Store

FLUSH_S = 5.0


class Listener(Protocol):
    """Who is told of each thing as it happens, such as the metrics."""

    def event(self, status: str, lag_s: float | None) -> None:
        """What became of an event, and how long after it happened."""
        ...

    def bytes_read(self, amount: int) -> None:
        """Raw bytes were read."""
        ...

    def throttled(self) -> None:
        """A service asked for less."""
        ...


@dataclass
class Tally:
    """The counts of one process for one dataset; they go to the store every few seconds.

    Clocks differ: an event that happened in the future has no lag.
    """

    store: Store
    dataset: str
    listeners: Sequence[Listener] = ()
    clock: Callable[[], float] = time.time
    counts: Counter[str] = field(default_factory=Counter)
    lags: Counter[int] = field(default_factory=Counter)  # by whole seconds, up to 10 minutes
    _pending: dict[str, float] = field(default_factory=dict)
    _topics: set[str] = field(default_factory=set)
    _flushed: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def settled(self, outcomes: Sequence[Outcome], happened: Sequence[datetime | None]) -> None:
        """Note what became of the events of one message, and when each had happened."""
        now = datetime.fromtimestamp(self.clock(), UTC)
        with self._lock:
            for outcome, at in zip(outcomes, happened, strict=True):
                lag = None
                if outcome.status == "committed" and at is not None:
                    lag = max(0.0, (now - at).total_seconds())
                    self.lags[min(600, int(lag))] += 1
                    self._add("lag s", lag)
                    self._add("lags", 1)
                    self._pending["max lag s"] = max(self._pending.get("max lag s", 0), lag)
                self.counts[outcome.status] += 1
                self._add(outcome.status, 1)
                for listener in self.listeners:
                    listener.event(outcome.status, lag)
        self.flush()

    def note(self, what: str, amount: float = 1) -> None:
        """Count something else."""
        with self._lock:
            self.counts[what] += int(amount)
            self._add(what, amount)
        for listener in self.listeners:
            if what == "bytes":
                listener.bytes_read(int(amount))
            elif what == "throttled":
                listener.throttled()

    def heard(self, topics: Collection[str]) -> None:
        """Events of these topics came."""
        with self._lock:
            self._topics.update(filter(None, topics))

    def _add(self, what: str, amount: float) -> None:
        self._pending[what] = self._pending.get(what, 0.0) + amount

    def flush(self, *, now: bool = False) -> None:
        """Write what is pending, if that is some seconds old; a full disk only loses counts."""
        with self._lock:
            if not now and time.monotonic() - self._flushed < FLUSH_S:
                return
            self._flushed = time.monotonic()
            pending, self._pending = self._pending, {}
            topics, self._topics = self._topics, set()
        try:
            if pending:
                self.store.add(self.dataset, pending, self.clock())
            if topics:
                self.store.hear(self.dataset, topics, self.clock())
        except StorageUnavailable:
            return
