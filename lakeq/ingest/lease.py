"""The lease on a message: how long it stays hidden from others, and who keeps it so.

A message that was received is hidden for a while. As long as its work goes on the while is
extended; when that fails until it is over, or the work takes longer than it may, the lease is
lost: `check` raises, and nothing that was done is committed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lakeq.ingest.core import LeaseLost

VISIBILITY_S = 120.0
INTERVAL_S = 40.0
MAX_RUNTIME_S = 1800.0
MARGIN_S = 5.0  # before the end of the while: what is begun then might end after it

_log = logging.getLogger(__name__)
Extend = Callable[[int], None]


@dataclass
class Lease:
    """The lease on one message; `extend` hides it for so many seconds from now.

    Received at `begun` of `clock`. `extensions` counts those that succeeded.
    """

    extend: Extend
    what: str = "the message"
    visibility_s: float = VISIBILITY_S
    interval_s: float = INTERVAL_S
    max_runtime_s: float = MAX_RUNTIME_S
    clock: Callable[[], float] = time.monotonic
    begun: float = field(default=-1.0)
    extensions: int = 0
    _until: float = 0.0
    _next: float = 0.0
    _over: bool = False

    def __post_init__(self) -> None:
        self.begun = self.clock() if self.begun < 0 else self.begun
        self._until = self.begun + self.visibility_s
        self._next = self.begun + self.interval_s

    def beat(self) -> None:
        """Extend the lease if it is time; what goes wrong is tried again a second later."""
        now = self.clock()
        if self._over or now < self._next or now >= self.begun + self.max_runtime_s:
            return
        if now >= self._until:
            return  # it may be another's by now
        seconds = min(self.visibility_s, self.begun + self.max_runtime_s - now)
        try:
            self.extend(max(1, int(seconds)))
        except Exception as error:  # noqa: BLE001  # throttled, unreachable: the lease still stands
            _log.warning("%s: the lease was not extended: %s", self.what, error)
            self._next = now + 1
            return
        self.extensions += 1
        self._until = now + seconds
        self._next = now + self.interval_s

    def check(self) -> None:
        """Raise `LeaseLost` when the work is to end."""
        now = self.clock()
        margin = min(MARGIN_S, self.visibility_s / 10)
        if now >= self.begun + self.max_runtime_s - margin:
            what = f"the work takes longer than the {self.max_runtime_s:,.0f} s that it may"
            raise LeaseLost(what, self.what, "see --max-runtime")
        if self._over or now >= self._until - margin:
            raise LeaseLost("the lease was lost", self.what, "another worker may have it")

    def end(self) -> None:
        """The message was answered: nothing more to extend."""
        self._over = True


class Heart:
    """A thread that keeps leases; it ends with `close`."""

    def __init__(self, pause_s: float = 1.0) -> None:
        self._by_id: dict[int, Lease] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pause = pause_s
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def add(self, lease: Lease) -> None:
        """Keep a lease until it is dropped."""
        with self._lock:
            self._by_id[id(lease)] = lease

    def drop(self, lease: Lease) -> None:
        """Keep it no longer."""
        lease.end()
        with self._lock:
            self._by_id.pop(id(lease), None)

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            with self._lock:
                leases = list(self._by_id.values())
            for lease in leases:
                lease.beat()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
