"""Old snapshots given up while a worker goes on.

Each commit writes all of a table's past anew, so a past that grows for ever makes commits slow and
large: after 250 of them one takes a third more, after a day of radar chunks it would take seconds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from lakeq.errors import LakeqError

EVERY = 100  # commits
CLOSE_S = 5.0  # what is not done by then is left to the next writer's sweep

_log = logging.getLogger(__name__)


class Upkeep:
    """Calls `expire` in a thread of its own after each so many commits, one at a time."""

    def __init__(self, expire: Callable[[], object], every: int = EVERY) -> None:
        self._expire = expire
        self._every = every
        self._count = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def committed(self) -> None:
        """A commit was made."""
        with self._lock:
            self._count += 1
            at_work = self._thread is not None and self._thread.is_alive()
            if self._count >= self._every and not at_work:
                self._count = 0
                self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            self._expire()
        except LakeqError as error:  # a lake that is busy: after the next commits
            _log.warning("old snapshots were not given up: %s", error)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Wait for what is being done, for a while."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout_s)
