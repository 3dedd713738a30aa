"""What became of one event: the word that a worker and Lambda answer their queue by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from lakeq.ingest.messages import Event

Status = Literal[
    "committed",  # its rows are in the lake
    "duplicate",  # they were there before
    "stale",  # a newer version of the object is there
    "gone",  # the object is no longer there, and the lake has no rows of it
    "removed",  # the object was deleted, and its rows with it
    "skipped",  # of no interest
    "refused",  # forged, or of an unknown shape: to the dead letters at once
    "poison",  # the object is not what its format says: to the dead letters after all attempts
    "failed",  # something that may pass: the message is to come again
]
SETTLED = frozenset(["committed", "duplicate", "stale", "gone", "removed", "skipped"])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event, and why where nothing came of it."""

    status: Status
    reason: str = ""
    throttled: bool = False  # a service that is not there or asks for less: others will meet it too
    unaffordable: bool = False  # a budget lacks what it can cost: nothing was read

    @property
    def settled(self) -> bool:
        """Whether the event needs nothing more."""
        return self.status in SETTLED


class Core(Protocol):
    """Brings objects into the lake: one outcome for each event, in the order of the events.

    Work that cannot be finished before `deadline` (of `time.monotonic`) is not begun: its outcome
    is `failed`. Raises only what concerns all of them, such as a lake that cannot be reached.
    """

    def __call__(self, events: Sequence[Event], deadline: float) -> Sequence[Outcome]:
        """Bring in the objects of `events`, which an allow-list has passed."""
        ...
