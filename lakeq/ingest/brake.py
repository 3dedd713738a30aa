"""Slowing down together: after a service throttles, all threads of a worker ask less of it.

Waits are random between 0 and a bound that doubles with each failure in a row, up to a minute
("full jitter": AWS Architecture Blog, Exponential Backoff And Jitter), and halves with a success.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

FIRST_S = 0.5
LONGEST_S = 60.0


class Brake:
    """The pace of one worker."""

    def __init__(
        self,
        first_s: float = FIRST_S,
        longest_s: float = LONGEST_S,
        clock: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self._first, self._longest = first_s, longest_s
        self._clock = clock
        self._chance = chance or random.Random()
        self._lock = threading.Lock()
        self._bound = 0.0
        self._until = 0.0

    def throttled(self) -> float:
        """Note a failure; returns the seconds to wait from now, for all."""
        with self._lock:
            now = self._clock()
            if now >= self._until:  # those that come within one wait are of the same storm
                self._bound = min(self._longest, max(self._first, self._bound * 2))
                self._until = now + self._chance.uniform(0, self._bound)
            return self._until - now

    def succeeded(self) -> None:
        """Note a success."""
        with self._lock:
            self._bound = self._bound / 2 if self._bound > self._first else 0.0

    def left_s(self) -> float:
        """Seconds before the next call is due; 0 when it is now."""
        with self._lock:
            return max(0.0, self._until - self._clock())
