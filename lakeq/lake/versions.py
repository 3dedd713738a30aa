"""Which version of each raw object the lake holds: written in the transaction that makes it so.

A row stands in the lake's catalog, beside the pointers, for every object that was brought in,
also for one without rows and one that was left for another of the same thing. So it is known
without a look at any file whether an object is there already, and two writers of one object
cannot both take place: a commit claims the revision that it was prepared on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

TABLE = """
CREATE TABLE IF NOT EXISTS lakeq_versions (
    dataset TEXT NOT NULL,
    uri TEXT NOT NULL,
    etag TEXT NOT NULL,
    version_id TEXT NOT NULL,
    sequencer TEXT NOT NULL,
    tables TEXT NOT NULL,
    removed INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    at TEXT NOT NULL,
    lakeq TEXT NOT NULL,
    PRIMARY KEY (dataset, uri)
) WITHOUT ROWID
"""
COLUMNS = "uri, etag, version_id, sequencer, tables, removed, revision, at, lakeq"
_AT_ONCE = 500  # bound to one statement; SQLite takes 32,766
_UPSERT = "INSERT OR REPLACE INTO lakeq_versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


@dataclass(frozen=True, slots=True)
class Version:
    """The version of one object that the lake holds; "" is not known.

    `tables` are those it was brought into. `removed`: the object is known to be gone.
    `revision` grows with each change; `at` is the time of the last one, UTC, ISO 8601; `lakeq`
    is the version of lakeq that made it.
    """

    uri: str
    etag: str = ""
    version_id: str = ""
    sequencer: str = ""
    tables: frozenset[str] = frozenset()
    removed: bool = False
    revision: int = 0
    at: str = ""
    lakeq: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a commit says of one object: it is now `version`, and `expected` was its revision.

    `expected` None takes place whatever was there, and keeps what it does not know better.
    `forget` drops the row: what the lake has of the object is no whole version.
    """

    version: Version
    expected: int | None = None
    forget: bool = False


class Outdated(Exception):  # a turn of events, not an error of the user's
    """Another writer brought in another version of these objects meanwhile."""

    def __init__(self, uris: Collection[str]) -> None:
        super().__init__(", ".join(sorted(uris)))
        self.uris = frozenset(uris)


def version(row: Sequence[object]) -> Version:
    """The version that a row of `COLUMNS` holds."""
    uri, etag, version_id, sequencer, tables, removed, revision, at, lakeq = row
    return Version(
        str(uri),
        str(etag),
        str(version_id),
        str(sequencer),
        frozenset(json.loads(str(tables))),
        bool(removed),
        int(str(revision)),
        str(at),
        str(lakeq),
    )


def queries(dataset: str, uris: Collection[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Statements, with their values, that select the versions of `uris`."""
    wanted = list(dict.fromkeys(uris))
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        marks = ", ".join("?" * len(part))
        text = f"SELECT {COLUMNS} FROM lakeq_versions WHERE dataset = ? AND uri IN ({marks})"  # noqa: S608  # marks
        yield text, (dataset, *part)


def check(
    connection: sqlite3.Connection, dataset: str, claims: Collection[Claim]
) -> dict[str, Version]:
    """What is held of the claims' objects; `Outdated` with those whose revision is another now."""
    connection.execute(TABLE)
    known: dict[str, Version] = {}
    for text, values in queries(dataset, [claim.version.uri for claim in claims]):
        known |= {found.uri: found for found in map(version, connection.execute(text, values))}
    late = {c.version.uri for c in claims if not _stands(c, known)}
    if late:
        raise Outdated(late)
    return known


def apply(
    connection: sqlite3.Connection,
    dataset: str,
    claims: Iterable[Claim],
    lakeq: str,
    at: str = "",
) -> None:
    """Make the claims true, at the time `at` or now; raises what `check` does."""
    wanted = list(claims)
    known = check(connection, dataset, wanted)
    at = at or datetime.now(UTC).isoformat(timespec="milliseconds")
    gone = [(dataset, claim.version.uri) for claim in wanted if claim.forget]
    connection.executemany("DELETE FROM lakeq_versions WHERE dataset = ? AND uri = ?", gone)
    rows = [_row(dataset, claim, known, at, lakeq) for claim in wanted if not claim.forget]
    connection.executemany(_UPSERT, rows)


def _stands(claim: Claim, known: Mapping[str, Version]) -> bool:
    if claim.expected is None:
        return True
    held = known.get(claim.version.uri)
    return (held.revision if held else 0) == claim.expected


def _row(
    dataset: str, claim: Claim, known: Mapping[str, Version], at: str, lakeq: str
) -> tuple[object, ...]:
    new = claim.version
    held = known.get(new.uri, Version(new.uri))
    sequencer, tables = new.sequencer, new.tables
    if claim.expected is None and new.etag == held.etag:  # told by hand: the same, in more tables
        sequencer, tables = sequencer or held.sequencer, tables | held.tables
    return (
        dataset,
        new.uri,
        new.etag,
        new.version_id,
        sequencer,
        json.dumps(sorted(tables)),
        int(new.removed),
        held.revision + 1,
        at,
        lakeq,
    )
