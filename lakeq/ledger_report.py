"""The ledger read back: its history run by run, and reports of where the dollars went."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from lakeq import cost
from lakeq.errors import BadLake, NotFound, UnknownName, UsageError
from lakeq.ledger import Ledger, store

_SINCE = "SELECT * FROM lines WHERE started >= ? ORDER BY id DESC"
_ONE_RUN = """
SELECT * FROM lines WHERE run = (SELECT run FROM lines WHERE id = ?) ORDER BY id DESC
"""
_AGE = re.compile(r"(\d{1,6})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_PLACES = Decimal("1e-12")  # dollars of one query are shared among its tables to this place


@dataclass(frozen=True, slots=True)
class Entry:
    """One run as the ledger has it.

    `id` is what `lakeq rerun` takes. `bytes` were scanned (query), read raw (ingest) or rewritten
    (maintain); None is not known. `usd` is the sum of the run's lines. `what` is the SQL, or what
    was ingested or maintained. `engine` ran the query; None for other runs, and for queries that
    were recorded before the ledger had it.
    """

    id: int
    started: datetime
    kind: str
    outcome: str
    seconds: float | None
    bytes: int | None
    rows: int | None
    usd: Decimal
    user: str
    project: str
    tags: Mapping[str, str]
    what: str
    error: str | None
    prices: str
    engine: str | None
    line: Mapping[str, object]  # the first line with all its columns
    lines: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are wanted; what is None is not looked at. `tags` must all be there."""

    since: datetime | None = None
    user: str | None = None
    project: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    failed: bool = False
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What one table, user, project, query, engine or day cost.

    `usd` is what the queries cost, `other_usd` what ingests and maintenance cost.
    `usd_per_query` and `usd_per_tb` are of the queries; None where there are none. `pruning_usd` is
    what reading the tables whole would have cost more, `parquet_usd` what reading the raw objects
    would have cost more than that; None where a raw size is not known.
    """

    key: str
    queries: int
    bytes: int
    usd: Decimal
    usd_per_query: Decimal | None
    usd_per_tb: Decimal | None
    other_usd: Decimal
    pruning_usd: Decimal
    parquet_usd: Decimal | None


def since(text: str, now: datetime | None = None) -> datetime:
    """A moment from a UTC date or time, or from an age such as 7d or 12h."""
    if found := _AGE.fullmatch(text):
        return (now or datetime.now(UTC)) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        hint = "such as 2026-11-01, 2026-11-01T12:00 or 7d"
        raise UsageError(f"not a time or an age: {text!r}", "--since", hint) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def history(ledger: Ledger, wanted: Filter | None = None) -> list[Entry]:
    """The runs in the ledger, newest first."""
    wanted = wanted or Filter()
    found: list[Entry] = []
    for entry in _entries(ledger, wanted.since):
        if wanted.limit is not None and len(found) >= wanted.limit:
            break
        if _is_wanted(entry, wanted):
            found.append(entry)
    return found


def entry(ledger: Ledger, number: int | None = None) -> Entry:
    """The run that has this number, or the newest query that ended well; `NotFound` if none."""
    for found in _entries(ledger, None, number):
        if number is not None or (found.kind == "query" and found.outcome == "ok"):
            return found
    what = "no query has ended well" if number is None else f"no run {number} in the ledger"
    raise NotFound(what, str(ledger.path), "see: lakeq history")


def report(ledger: Ledger, by: str, wanted: Filter | None = None) -> list[Share]:
    """What each table, user, project, query, engine or day cost, the dearest first."""
    if by not in KEYS:
        raise UnknownName.among("report", by, KEYS, "lakeq cost report --by")
    raw = _raw_sizes(ledger)
    shares: dict[str, _Sum] = {}
    for found in history(ledger, wanted):
        for key, part in KEYS[by](found):
            shares.setdefault(key, _Sum()).add(found, part, raw, ledger.book)
    done = [total.share(key) for key, total in shares.items()]
    return sorted(done, key=lambda share: (-(share.usd + share.other_usd), share.key))


def _entries(ledger: Ledger, start: datetime | None, number: int | None = None) -> Iterator[Entry]:
    """Runs, newest first."""
    first = "1970" if start is None else start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    sql, values = _SINCE, [first]
    if number is not None:
        sql, values = _ONE_RUN, [str(number)]
    runs: dict[str, list[Mapping[str, object]]] = {}
    try:
        with ledger.store.reading() as connection:
            if connection is None:
                return
            for line in store.rows(connection, sql, values):
                runs.setdefault(str(line["run"]), []).append(line)
    except sqlite3.Error as error:
        raise BadLake(f"the ledger cannot be read: {error}", str(ledger.path)) from error
    for lines in runs.values():
        yield _entry(lines[::-1])


def _entry(lines: Sequence[Mapping[str, object]]) -> Entry:
    main = lines[0]
    what = main["sql"] or main["subject"] or ""
    return Entry(
        id=int(str(main["id"])),
        started=datetime.fromisoformat(str(main["started"])),
        kind=str(main["kind"]),
        outcome=str(main["outcome"]),
        seconds=_number(main["seconds"]),
        bytes=_whole(main["bytes"]),
        rows=_whole(main["count"]) if main["kind"] == "query" else None,
        usd=cost.total(Decimal(str(line["usd"])) for line in lines),
        user=str(main["user"]),
        project=str(main["project"]),
        tags=json.loads(str(main["tags"])),
        what=" ".join(str(what).split()),
        error=None if main["error"] is None else str(main["error"]),
        prices=str(main["prices"]),
        engine=None if main.get("engine") is None else str(main["engine"]),
        line=main,
        lines=tuple(lines),
    )


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _is_wanted(entry: Entry, wanted: Filter) -> bool:
    return (
        wanted.user in (None, entry.user)
        and wanted.project in (None, entry.project)
        and all(entry.tags.get(name) == value for name, value in wanted.tags)
        and (not wanted.failed or entry.outcome != "ok")
    )


# Reports


Part = tuple[str, Fraction]  # a key and its share of a run


def _by_table(entry: Entry) -> Iterable[Part]:
    """Tables by the bytes read of them; where nothing was read, alike."""
    tables: dict[str, dict[str, int]] = json.loads(str(entry.line["tables"] or "{}"))
    if not tables:
        return [("(no table)", Fraction(1))]
    read = {name: facts.get("bytes", 0) for name, facts in tables.items()}
    whole = sum(read.values())
    if not whole:
        return [(name, Fraction(1, len(tables))) for name in tables]
    return [(name, Fraction(count, whole)) for name, count in read.items()]


def _tags(entry: Entry) -> list[str]:
    """Each tag as name=value; a run with several counts in full for each of them."""
    return [f"{name}={value}" for name, value in entry.tags.items()] or ["(none)"]


KEYS: Mapping[str, Callable[[Entry], Iterable[Part]]] = {
    "table": _by_table,
    "user": lambda entry: [(entry.user, Fraction(1))],
    "project": lambda entry: [(entry.project or "(none)", Fraction(1))],
    "query": lambda entry: [(entry.what, Fraction(1))],
    "tag": lambda entry: [(tag, Fraction(1)) for tag in _tags(entry)],
    "engine": lambda entry: [(entry.engine or "(not recorded)", Fraction(1))],
    "day": lambda entry: [(entry.started.strftime("%Y-%m-%d"), Fraction(1))],
}


class _Sum:
    """Adds up the parts of runs that have one key; exact until it is told."""

    def __init__(self) -> None:
        self.queries = 0
        self.bytes = Fraction(0)
        self.usd = Fraction(0)
        self.other = Fraction(0)
        self.pruning = Fraction(0)
        self.parquet: Fraction | None = Fraction(0)

    def add(
        self,
        entry: Entry,
        part: Fraction,
        raw: Mapping[tuple[str, int], int],
        book: cost.PriceBook,
    ) -> None:
        usd = Fraction(entry.usd) * part
        if entry.kind != "query":
            self.other += usd
            return
        self.queries += 1
        self.usd += usd
        self.bytes += (entry.bytes or 0) * part
        if entry.outcome == "ok":
            self._save(entry, part, raw, book)

    def _save(
        self,
        entry: Entry,
        part: Fraction,
        raw: Mapping[tuple[str, int], int],
        book: cost.PriceBook,
    ) -> None:
        tables: dict[str, dict[str, int]] = json.loads(str(entry.line["tables"] or "{}"))
        if not tables:
            return
        whole = sum(facts.get("size", 0) for facts in tables.values())
        asked = Fraction(cost.athena_cost_usd(whole, book))
        scanned = Fraction(cost.athena_cost_usd(entry.bytes or 0, book))
        self.pruning += (asked - scanned) * part
        sizes = _raw_by_dataset(tables, raw)
        if sizes is None:
            self.parquet = None
        elif self.parquet is not None:
            objects = Fraction(cost.athena_cost_usd(sum(sizes.values()), book))
            self.parquet += (objects - asked) * part

    def share(self, key: str) -> Share:
        queries, count = self.queries, self.bytes
        return Share(
            key=key,
            queries=queries,
            bytes=round(count),
            usd=_dollars(self.usd),
            usd_per_query=_dollars(self.usd / queries) if queries else None,
            usd_per_tb=_per_tb(self.usd, count) if count else None,
            other_usd=_dollars(self.other),
            pruning_usd=_dollars(self.pruning),
            parquet_usd=None if self.parquet is None else _dollars(self.parquet),
        )


def _raw_by_dataset(
    tables: Mapping[str, Mapping[str, int]], raw: Mapping[tuple[str, int], int]
) -> dict[str, int] | None:
    """Raw bytes behind the tables of each dataset, whose tables come from the same objects."""
    sizes: dict[str, int] = {}
    for name, facts in tables.items():
        found = raw.get((name, facts["snapshot"]))
        if found is None:
            return None
        dataset = name.partition(".")[0]
        sizes[dataset] = max(sizes.get(dataset, 0), found)
    return sizes


def _raw_sizes(ledger: Ledger) -> dict[tuple[str, int], int]:
    found = ledger.look("SELECT * FROM raw_sizes")
    return {(str(r["name"]), int(str(r["snapshot"]))): int(str(r["bytes"])) for r in found}


def _per_tb(usd: Fraction, count: Fraction) -> Decimal:
    """A price to compare with others: to the cent."""
    return Decimal(round(100 * usd * cost.TB / count)) / 100


def _dollars(amount: Fraction) -> Decimal:
    """To the last digit where it ends within 12 places, else rounded there."""
    exact = cost.EXACT.divide(Decimal(amount.numerator), Decimal(amount.denominator))
    short = exact.quantize(_PLACES, context=cost.EXACT)
    return Decimal(store.plain(exact if Fraction(exact) == amount else short))
