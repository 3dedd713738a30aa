"""A query of the ledger run again on the same snapshots: is the result the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from lakeq.digest import Digest
from lakeq.errors import UsageError
from lakeq.ledger.text import HIDDEN, decoded
from lakeq.query import Report, Result, Snapshots, run

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.config import Settings
    from lakeq.ledger_report import Entry
    from lakeq.snapshot import TableSnapshot


@dataclass(frozen=True, slots=True)
class Rerun:
    """What became of it: `same` is None where it cannot be told, and `verdict` says why."""

    id: int
    same: bool | None
    verdict: str
    report: Report
    line: int | None


@dataclass(frozen=True, slots=True)
class Pinned:
    """A lake whose tables are those of the given snapshots."""

    lake: Snapshots
    snapshots: Mapping[str, int]

    def tables(self) -> Sequence[str]:
        """The tables that are in the lake."""
        return self.lake.tables()

    def read(
        self, names: Sequence[str], at: int | str | datetime | None = None
    ) -> dict[str, TableSnapshot]:
        """The tables as they were; `at` is not looked at."""
        found: dict[str, TableSnapshot] = {}
        for name in names:
            number = self.snapshots.get(name)
            found |= self.lake.read([name], number or None)
        return found

    def check_unchanged(self, tables: Iterable[TableSnapshot]) -> None:
        """Raise `BadLake` when a local file of `tables` is not what was written."""
        self.lake.check_unchanged(tables)


def again(
    entry: Entry, *, datasets: Mapping[str, Dataset], lake: Snapshots, settings: Settings
) -> Rerun:
    """Run the query of `entry` again, with its parameters, on its snapshots and its engine.

    A query that was recorded before the ledger had engines runs on that of `settings`, and the
    verdict says so. Raises `UsageError` for a run that is no query or cannot be repeated, and what
    a query raises, as where its engine is not installed or not reached.
    """
    sql, parameters = _query(entry)
    tables: dict[str, dict[str, int]] = json.loads(str(entry.line["tables"] or "{}"))
    options = json.loads(str(entry.line["options"] or "{}"))
    before = Digest.parse(str(entry.line["digest"])) if entry.line["digest"] else None
    result = run(
        sql,
        datasets=datasets,
        lake=Pinned(lake, {name: facts["snapshot"] for name, facts in tables.items()}),
        settings=replace(settings, engine=entry.engine or settings.engine),
        parameters=parameters,
        across_assemblies=bool(options.get("across_assemblies")),
        max_rows=options.get("max_rows"),
    )
    _read(result, before)
    same, verdict = _judged(entry, before, result)
    if entry.engine is None:
        verdict += f"; the ledger has no engine for it, so it ran on {settings.engine}"
    return Rerun(entry.id, same, verdict, result.report, result.line)


def _query(entry: Entry) -> tuple[str, dict[str, object]]:
    where = f"run {entry.id} of the ledger"
    if entry.kind != "query":
        raise UsageError(f"not a query but {entry.kind}: {entry.what}", where)
    if entry.outcome == "refused":
        raise UsageError("the query was refused, so its text was not kept whole", where)
    text, parameters = str(entry.line["sql"]), str(entry.line["parameters"] or "{}")
    if HIDDEN in text or HIDDEN in parameters:
        raise UsageError("a secret was left out of the query, so it cannot be repeated", where)
    try:
        return text, decoded(parameters)
    except ValueError as error:
        raise UsageError(f"the query cannot be repeated: {error}", where) from error


def _read(result: Result, before: Digest | None) -> None:
    """Read all rows the way that they were read before."""
    parts = result.batches() if before and before.how == "arrow" else result.stream()
    for _ in parts:
        pass


def _judged(entry: Entry, before: Digest | None, result: Result) -> tuple[bool | None, str]:
    now, rows = result.digest, result.report.rows
    counts = (
        f"{entry.rows:,} rows then, {rows:,} now" if entry.rows is not None else f"{rows:,} now"
    )
    if entry.rows is not None and entry.outcome == "ok" and entry.rows != rows:
        return False, f"the result differs: {counts}"
    if before is None or now is None:
        return None, f"cannot tell: a result has no digest ({counts}); see the setting digest_rows"
    if before.set != now.set:
        hint = "; sums of floating-point numbers may differ in their last digits"
        return False, f"the result differs: {counts}, other values{_why(result, hint)}"
    if before.seq != now.seq:
        return True, f"the same {rows:,} rows, in another order: ORDER BY leaves ties"
    return True, f"the same {rows:,} {'row' if rows == 1 else 'rows'}" + (
        " in the same order" if now.seq else ""
    )


def _why(result: Result, hint: str) -> str:
    return hint if any(column.type in ("DOUBLE", "FLOAT") for column in result.columns) else ""
