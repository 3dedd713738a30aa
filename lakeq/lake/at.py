"""Which snapshot of a table is meant: by its id, or as of a time."""

from __future__ import annotations

from datetime import UTC, datetime

from lakeq.errors import NotFound, UsageError
from lakeq.lake.side import Side, from_milliseconds, milliseconds

At = int | str | datetime


def snapshot_id(head: Side, at: At) -> int:
    """The snapshot that `at` means; `NotFound` says which ones there are."""
    name = head.snapshot.name
    if isinstance(at, str) and at.isascii() and at.isdigit():
        at = int(at)
    if isinstance(at, int):
        if any(info.snapshot_id == at for info in head.history):
            return at
        hint = f"see: lakeq snapshots {name}; a time is written 2024-01-31 or 2024-01-31T12:00"
        raise NotFound(f"no snapshot {at}", name, hint)
    moment = _utc(at) if isinstance(at, datetime) else _time(at)
    current = [number for time_, number in head.log if time_ <= milliseconds(moment)]
    if current:
        return current[-1]
    if not head.log:
        raise NotFound("nothing was ever committed", name, "ingest into it first")
    first = from_milliseconds(head.log[0][0]).isoformat(timespec="milliseconds")
    what = f"no snapshot at {moment.isoformat()}: the earliest is of {first}"
    raise NotFound(what, name, f"see: lakeq snapshots {name}")


def _time(text: str) -> datetime:
    try:
        return _utc(datetime.fromisoformat(text))
    except ValueError as error:
        hint = "give a snapshot id, or a time such as 2024-01-31T12:00:00Z"
        raise UsageError(f"neither snapshot nor time: {text!r}", "--at", hint) from error


def _utc(time_: datetime) -> datetime:
    return time_.replace(tzinfo=UTC) if time_.tzinfo is None else time_.astimezone(UTC)
