"""Which of two versions of one object is newer.

S3 gives every event of a key a `sequencer`: hexadecimal numbers that grow. "Right pad the shorter
one with zeros, then compare them lexicographically" (Amazon S3 User Guide, "Event message
structure"); they mean nothing between keys. Times of events are never asked: they are of the
sender's clock, and two events can have the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from lakeq.ingest.messages import Event

Relation = Literal["newer", "same", "restated", "older", "unknown"]


@dataclass(frozen=True, slots=True)
class Held:
    """The version of an object that the lake has, as far as it is known; "" is not known.

    `removed` means that the lake knows the object to be gone.
    """

    etag: str = ""
    version_id: str = ""
    sequencer: str = ""
    removed: bool = False


def compare_sequencers(one: str, other: str) -> int:
    """-1, 0 or 1 as `one` is older than, the same as or newer than `other`; both hexadecimal."""
    if one == other:
        return 0
    width = max(len(one), len(other))
    first, second = one.upper().ljust(width, "0"), other.upper().ljust(width, "0")
    return (first > second) - (first < second)


def relation(event: Event, held: Held) -> Relation:
    """What `event` is to the version that the lake holds of the same object.

    - `same`: the version that is held; nothing is to be read.
    - `restated`: newer, and its bytes are those that are held (an overwrite by the same content):
      nothing is to be read, and the newer sequencer is to be kept.
    - `older`: stale, to be acknowledged and forgotten.
    - `newer`: to be read, or for a removal to be looked at.
    - `unknown`: nothing in the two tells their order; what S3 has now decides.
    """
    removal = event.kind == "removed"
    if not (event.sequencer and held.sequencer):
        return _unordered(event, held, removal)
    order = compare_sequencers(event.sequencer, held.sequencer)
    if order < 0:
        return "older"
    if order == 0:
        return "same"
    if removal or held.removed or not event.etag or event.etag != held.etag:
        return "newer"
    return "restated"


def _unordered(event: Event, held: Held, removal: bool) -> Relation:
    if removal or held.removed:
        return "same" if removal and held.removed else "unknown"
    if event.version_id and event.version_id == held.version_id:
        return "same"
    # the content is the same, so what is held is right whichever of the two is newer
    return "same" if event.etag and event.etag == held.etag else "unknown"


def newest(events: Iterable[Event]) -> list[Event]:
    """One event for each object: the newest, in the order in which objects were first named.

    Where two events of one object do not tell which is newer (a sequencer is missing), the one
    that stays names no version: whoever reads it reads what S3 has now, and where S3 has nothing
    the object is gone.
    """
    found: dict[tuple[str, str], Event] = {}
    for event in events:
        place = (event.bucket, event.key)
        known = found.get(place)
        found[place] = event if known is None else _newer(known, event)
    return list(found.values())


def _newer(one: Event, other: Event) -> Event:
    if one.sequencer and other.sequencer:
        order = compare_sequencers(other.sequencer, one.sequencer)
        return other if order > 0 else one
    if one.kind == other.kind and _pin(one) == _pin(other):
        return other if other.sequencer else one
    kind = one.kind if one.kind == other.kind else "created"
    return replace(other, kind=kind, version_id="", etag="", size=None, sequencer="")


def _pin(event: Event) -> tuple[str, str]:
    return event.version_id, event.etag
