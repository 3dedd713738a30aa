"""What was run, scanned and spent: one SQLite file of lines that are only ever added.

A run (a query, an ingest, a maintenance) begins with a reservation of the most it can cost and
ends with its lines in one transaction: a first line of its own kind, and one each for what S3 asks
for requests, for bytes that leave the region and for bytes that stay. So the sum of the lines is
what was spent, and a budget is checked against lines and open reservations together.

The file is the setting `ledger`, else `ledger.db` in the lake's folder, else, where that may not
be written or is not there, one for this lake in the user's own state folder. A ledger that cannot
be written is told of once and stops no query, unless a budget cannot be checked without it.

A run whose process ended without settling, as after kill -9, becomes a line `interrupted` when
the next one begins: it costs what it had reserved, the most it can have cost.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TypeVar
from zlib import crc32

from lakeq import config, cost
from lakeq.alerts import Alert, tell
from lakeq.budget import Budget, Spender
from lakeq.errors import BudgetRefused, BudgetTooSmall, LimitPassed, QueryRefused
from lakeq.ledger import owner as owners
from lakeq.ledger import store
from lakeq.ledger.store import Values
from lakeq.ledger.text import abridged, encoded, error_text, without_secrets

FILE_NAME = "ledger.db"
T = TypeVar("T")
_told: set[Path] = set()  # ledgers that this process has said it cannot write


@dataclass(frozen=True, slots=True)
class Line:
    """One amount of a run: bytes, a count of what `kind` counts, and dollars.

    `kind` is one of `query`, `ingest`, `convert`, `maintain`, `storage`, `request`, `egress`.
    None is not known.
    """

    kind: str
    bytes: int | None = None
    count: int | None = None
    usd: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a query took of one table: its snapshot, the bytes read and the bytes of its files."""

    snapshot: int
    read: int
    size: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget for one share of spenders in one period, and what of it is gone."""

    budget: Budget
    share: tuple[tuple[str, str], ...]
    period: str
    usd: Decimal
    reserved: Decimal

    @property
    def left(self) -> Decimal:
        """Dollars that may still be reserved."""
        left = cost.total([self.budget.usd, -self.usd, -self.reserved])
        return max(left, Decimal(0))

    @property
    def key(self) -> str:
        """Tells this share of the budget from every other, whatever the period."""
        parts = [self.share, self.budget.per, store.plain(self.budget.usd)]
        return json.dumps(parts, separators=(",", ":"))


class Ledger:
    """The ledger of a lake, for one spender; making it opens nothing."""

    def __init__(self, settings: config.Settings) -> None:
        self.lake = settings.place if settings.catalog else str(settings.lake.absolute())
        self.budgets = settings.budget
        self.spender = Spender(
            settings.user or os_user(), settings.project, tuple(sorted(settings.tags.items()))
        )
        self.book = cost.prices(settings.prices)
        self.sns_topic = settings.sns_topic
        self.settings = settings

    @property
    def path(self) -> Path:
        """The file, which may come to lie beside the lake once there is one."""
        return place(self.settings)

    @property
    def store(self) -> store.Store:
        """The ledger's file, opened anew by each use."""
        return store.Store(self.path)

    def begin(
        self,
        kind: str,
        subject: str = "",
        *,
        sql: str | None = None,
        parameters: Mapping[str, object] | None = None,
        options: Mapping[str, object] | None = None,
        engine: str | None = None,
    ) -> Run:
        """A run that starts now; nothing is written until it reserves or settles."""
        return Run(self, kind, subject, sql, parameters or {}, options or {}, engine)

    def spending(self, now: datetime | None = None) -> list[Spent]:
        """Every budget for this spender, as it stands now."""
        with self.store.reading() as connection:
            return list(self.spent(connection, now or datetime.now(UTC)))

    def lacks(self, usd: Decimal) -> BudgetRefused | None:
        """Why `usd` more could not be set aside now; None where they could."""
        with self.store.reading() as connection:
            return self.lacking(connection, usd, datetime.now(UTC))

    def lacking(
        self, connection: sqlite3.Connection | None, usd: Decimal, moment: datetime
    ) -> BudgetRefused | None:
        """Why `usd` more cannot be set aside at `moment`; None where every budget has them."""
        for spent in self.spent(connection, moment):
            if cost.total([spent.usd, spent.reserved, usd]) > spent.budget.usd:
                return _refusal(spent, usd)
        return None

    def spent(self, connection: sqlite3.Connection | None, moment: datetime) -> Iterable[Spent]:
        """What is gone of each budget that is for this spender, in the periods of `moment`."""
        for budget in self.budgets:
            share = budget.share(self.spender)
            if share is None:
                continue
            period = budget.period(moment)
            usd, reserved = Decimal(0), Decimal(0)
            if connection is not None:
                usd = _total(connection, share, period)
                reserved = _reserved(connection, share, period)
            yield Spent(budget, share, period, usd, reserved)

    def look(self, sql: str) -> list[Values]:
        """The rows of a query on the ledger; none where it is not there or cannot be read."""
        try:
            with self.store.reading() as connection:
                return [] if connection is None else store.rows(connection, sql)
        except (sqlite3.Error, OSError):
            return []

    def attempt(
        self, path: Path, work: Callable[[sqlite3.Connection], T], *, must: bool = False
    ) -> T | None:
        """The result of `work` in one transaction; None, and a word about it, where it cannot be.

        With `must` that is `BudgetRefused`: a budget that cannot be checked lets nothing run.
        """
        try:
            with store.Store(path).transaction() as connection:
                return work(connection)
        except (sqlite3.Error, OSError) as error:
            if must:
                what = f"the budget cannot be checked: {error}"
                hint = "make the ledger writable, or set ledger = FILE"
                raise BudgetRefused(what, str(path), hint) from error
            if path not in _told:
                _told.add(path)
                tell(f"warning: the ledger cannot be written, so this run is not in it: {error}\n"
                     f"  where: {path}")  # fmt: skip
            return None


class Run:
    """One query, ingest or maintenance on its way from reservation to lines."""

    def __init__(
        self,
        ledger: Ledger,
        kind: str,
        subject: str,
        sql: str | None,
        parameters: Mapping[str, object],
        options: Mapping[str, object],
        engine: str | None,
    ) -> None:
        self.ledger = ledger
        self.kind = kind
        self.id = f"{time.time_ns():016x}{os.urandom(4).hex()}"
        self.started = datetime.now(UTC)
        self.line: int | None = None  # the number of the run's first line, once it is written
        self.alerts: tuple[Alert, ...] = ()
        self._clock = time.perf_counter()
        self._allowed = sql is None
        self._path: Path | None = None  # the file that holds its reservation
        self._done = False
        self._head: dict[str, object] = {
            "run": self.id,
            "started": _iso(self.started),
            "prices": ledger.book.version,
            "user": ledger.spender.user,
            "project": ledger.spender.project,
            "tags": _json(dict(ledger.spender.tags)),
            "lake": ledger.lake,
            "version": config.VERSION,
        }
        self._details: dict[str, object] = {
            "subject": without_secrets(subject) or None,
            "sql": sql and without_secrets(sql),
            "parameters": encoded(parameters) if parameters else None,
            "options": _json(dict(options)) if options else None,
            "engine": engine,
        }

    @property
    def is_budgeted(self) -> bool:
        """Whether any budget is for this run."""
        spender = self.ledger.spender
        return any(budget.share(spender) is not None for budget in self.ledger.budgets)

    def allow(self) -> None:
        """The guard has let the SQL pass: its text may be kept whole."""
        self._allowed = True

    def reserve(
        self,
        usd: Decimal,
        *,
        planned: tuple[int, int] | None = None,
        tables: Mapping[str, int] | None = None,
    ) -> None:
        """Set aside the most that the run can cost; `BudgetRefused` where a budget lacks it.

        `planned` are the fewest and the most bytes, `tables` the snapshots that will be read.
        """
        if planned:
            self._details["planned"] = _json(planned)
        if tables:
            self._details["tables"] = _json({t: {"snapshot": s} for t, s in tables.items()})
        path = self.ledger.path
        refusal = self.ledger.attempt(path, lambda c: self._reserve(c, usd), must=self.is_budgeted)
        if isinstance(refusal, BudgetRefused):
            raise refusal
        self._path = path

    def reserve_more(self, usd: Decimal) -> None:
        """Set aside `usd` on top of what is; `BudgetRefused` where a budget lacks it."""
        if self._path is None:
            self.reserve(usd)
            return
        refusal = self.ledger.attempt(
            self._path, lambda c: self._reserve_more(c, usd), must=self.is_budgeted
        )
        if isinstance(refusal, BudgetRefused):
            raise refusal

    def _reserve_more(self, connection: sqlite3.Connection, usd: Decimal) -> BudgetRefused | None:
        refusal = self.ledger.lacking(connection, usd, self.started)
        if refusal is not None:
            return refusal
        query = "SELECT usd FROM reservations WHERE run = ?"
        row = connection.execute(query, (self.id,)).fetchone()
        held = cost.total([Decimal(str(row[0])) if row else Decimal(0), usd])
        update = "UPDATE reservations SET usd = ? WHERE run = ?"
        connection.execute(update, (store.plain(held), self.id))
        return None

    def _reserve(self, connection: sqlite3.Connection, usd: Decimal) -> BudgetRefused | None:
        reclaim(connection)
        refusal = self.ledger.lacking(connection, usd, self.started)
        if refusal is not None:
            return refusal
        reservation = (self.id, store.plain(usd), json.dumps(owners.here()), self._first_json())
        connection.execute("INSERT INTO reservations VALUES (?, ?, ?, ?)", reservation)
        return None

    def settle(
        self,
        lines: Sequence[Line],
        outcome: str = "ok",
        *,
        seconds: float | None = None,
        tables: Mapping[str, Scanned] | None = None,
        digest: str | None = None,
        error: BaseException | None = None,
        raw_sizes: Mapping[tuple[str, int], int] | None = None,
        objects: Mapping[str, int] | None = None,
    ) -> None:
        """End the run: its lines in place of its reservation, once; tell of budgets used up.

        The first line is the run's own; `raw_sizes` are the bytes of the raw objects behind
        the snapshots of tables, where an ingest knows them, and `objects` those of each object.
        Never raises for the ledger's sake.
        """
        if self._done:
            return
        self._done = True
        ended = datetime.now(UTC)
        if tables is not None:
            self._details["tables"] = _json({t: _scanned(s) for t, s in tables.items()})
        self._details |= {"digest": digest, "error": error_text(error)}
        took = time.perf_counter() - self._clock if seconds is None else seconds
        written = [
            {**(self._first() if number == 0 else self._head), **_amounts(line, outcome, ended)}
            for number, line in enumerate(lines)
        ]
        written[0]["seconds"] = round(took, 6)

        def work(connection: sqlite3.Connection) -> tuple[int | None, tuple[Alert, ...]]:
            connection.execute("DELETE FROM reservations WHERE run = ?", (self.id,))
            ids = store.append(connection, written)
            _keep_raw_sizes(connection, raw_sizes or {}, objects or {})
            return (ids[0] if ids else None), tuple(self._crossed(connection, ended))

        path = self.ledger.path  # the run itself may have made the lake, beside which it now lies
        done = self.ledger.attempt(path, work)
        if self._path not in (None, path):
            self._release(self._path)
        if done is not None:
            self.line, self.alerts = done
            for alert in self.alerts:
                alert.send(self.ledger.settings)

    def _release(self, path: Path) -> None:
        """Take back a reservation in another file than the lines'."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM reservations WHERE run = ?", (self.id,))

        self.ledger.attempt(path, work)

    def fail(self, error: BaseException) -> None:
        """End a run that read nothing, by the error that stopped it."""
        stopped = isinstance(error, LimitPassed)
        refused = isinstance(error, QueryRefused | BudgetRefused) and not stopped
        outcome = "refused" if refused else outcome_of(error)
        self.settle([Line(self.kind, bytes=0, count=0)], outcome, error=error)

    def _first(self) -> dict[str, object]:
        details = dict(self._details)
        if not self._allowed and isinstance(details["sql"], str):
            details["sql"] = abridged(details["sql"])
            details["parameters"] = None
        return {**self._head, **details}

    def _first_json(self) -> str:
        return _json({**self._first(), "kind": self.kind})

    def _crossed(self, connection: sqlite3.Connection, now: datetime) -> Iterable[Alert]:
        """Alerts that nobody has told yet in this period."""
        for spent in self.ledger.spent(connection, self.started):
            for percent in spent.budget.alerts:
                if not spent.usd or spent.usd * 100 < spent.budget.usd * percent:
                    continue
                told = (spent.key, spent.period, percent, _iso(now), store.plain(spent.usd))
                cursor = connection.execute("INSERT OR IGNORE INTO alerts VALUES (?,?,?,?,?)", told)
                if cursor.rowcount:
                    yield Alert(spent.budget, spent.share, spent.period, percent, spent.usd)


def place(settings: config.Settings) -> Path:
    """The file of the ledger for a lake; see the head of this module."""
    if settings.ledger is not None:
        return settings.ledger
    beside = settings.lake / FILE_NAME
    if settings.catalog:  # the folder is this machine's own; it may not be there yet
        settings.lake.mkdir(parents=True, exist_ok=True)
    may_write = os.access(settings.lake, os.W_OK | os.X_OK)
    if may_write and (not beside.exists() or os.access(beside, os.W_OK)):
        return beside
    lake = settings.lake.absolute()
    return config.state_dir() / "ledgers" / f"{lake.name}-{crc32(os.fsencode(lake)):08x}.db"


def os_user() -> str:
    """The name of the operating system's user, or the number where there is no name."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def outcome_of(error: BaseException | None) -> str:
    """How a run ended, by what ended it."""
    if error is None:
        return "ok"
    return "failed" if isinstance(error, Exception) else "cancelled"


def reclaim(connection: sqlite3.Connection) -> int:
    """Turn the reservations of processes that are gone into lines `interrupted`; how many."""
    now = datetime.now(UTC)
    gone = []
    for row in store.rows(connection, "SELECT * FROM reservations"):
        line = json.loads(str(row["line"]))
        owner = owners.Owner(*json.loads(str(row["owner"])))
        if owners.is_gone(owner, datetime.fromisoformat(line["started"]), now):
            ended = {"outcome": "interrupted", "ended": _iso(now), "usd": row["usd"]}
            gone.append({**line, **ended})
    store.append(connection, gone)
    runs = [(line["run"],) for line in gone]
    connection.executemany("DELETE FROM reservations WHERE run = ?", runs)
    return len(gone)


def _total(
    connection: sqlite3.Connection, share: tuple[tuple[str, str], ...], period: str
) -> Decimal:
    """Dollars of all lines of a share of spenders in a period."""
    days = "SELECT * FROM totals WHERE day >= ? AND day < ?"
    found = store.rows(connection, days, (period, period + "~"))
    return cost.total(Decimal(str(row["usd"])) for row in found if _has(row, share))


def _reserved(
    connection: sqlite3.Connection, share: tuple[tuple[str, str], ...], period: str
) -> Decimal:
    found = []
    for row in store.rows(connection, "SELECT usd, line FROM reservations"):
        line = json.loads(str(row["line"]))
        if line["started"].startswith(period) and _has(line, share):
            found.append(Decimal(str(row["usd"])))
    return cost.total(found)


def _has(row: Mapping[str, object], share: tuple[tuple[str, str], ...]) -> bool:
    tags = tuple(json.loads(str(row["tags"])).items())
    spender = Spender(str(row["user"]), str(row["project"]), tags)
    return all(spender.value(scope) == value for scope, value in share)


def _refusal(spent: Spent, usd: Decimal) -> BudgetRefused:
    budget, whole = spent.budget, cost.dollars(spent.budget.usd)
    held = f" and {cost.dollars(spent.reserved)} reserved" if spent.reserved else ""
    what = (
        f"this would cost up to {cost.dollars(usd)}, but of {whole} of the budget "
        f"{budget.title} for {spent.period}, {cost.dollars(spent.usd)} are spent{held}"
    )
    kind = BudgetTooSmall if usd > budget.usd else BudgetRefused
    return kind(what, budget.origin, "nothing was read; see: lakeq budget")


def _amounts(line: Line, outcome: str, ended: datetime) -> dict[str, object]:
    return {
        "kind": line.kind,
        "outcome": outcome,
        "ended": _iso(ended),
        "bytes": line.bytes,
        "count": line.count,
        "usd": store.plain(line.usd),
    }


def _keep_raw_sizes(
    connection: sqlite3.Connection,
    sizes: Mapping[tuple[str, int], int],
    objects: Mapping[str, int],
) -> None:
    rows = [(name, snapshot, count) for (name, snapshot), count in sizes.items()]
    connection.executemany("INSERT OR IGNORE INTO raw_sizes VALUES (?, ?, ?)", rows)
    connection.executemany("INSERT OR REPLACE INTO objects VALUES (?, ?)", list(objects.items()))


def _scanned(scanned: Scanned) -> dict[str, int]:
    return {"snapshot": scanned.snapshot, "bytes": scanned.read, "size": scanned.size}


def _iso(moment: datetime) -> str:
    """UTC, to the microsecond, of one length, so that text sorts as time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f+00:00")


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))
