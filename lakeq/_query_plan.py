"""The plan of a query that the guard let pass: values written out, virtual tables chosen."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lakeq import engines, planner
from lakeq._query_text import with_values
from lakeq.errors import UsageError
from lakeq.planner import Planned

if TYPE_CHECKING:
    from lakeq._virtual import Virtual
    from lakeq.config import Settings
    from lakeq.cost import PriceBook
    from lakeq.guard import Guarded
    from lakeq.snapshot import TableSnapshot

PLANNER = "duckdb"  # judges and plans all queries, and runs those of no other engine
# What DuckDB folds into the plan and may give another value when the query runs.
_CLOCK = re.compile(
    r"\b(?:(?:age|now|today|get_current_\w+|transaction_timestamp)\s*\("
    r"|(?:current_|local)(?:date|time|timestamp)\b)",
    re.IGNORECASE,
)


def planned(
    place: engines.Planner,
    sql: str,
    given: Mapping[str, object],
    tables: Mapping[str, TableSnapshot],
    book: PriceBook,
    *,
    stops: bool,
    virtual: Virtual | None = None,
) -> Planned:
    """The plan of `sql` with the parameters `given`, over `tables` of the lake."""
    literals = {name: place.literal(value) for name, value in given.items()}
    known = None not in literals.values()
    text = with_values(sql, {name: str(value) for name, value in literals.items()})
    whole = tables if virtual is None else {**tables, **virtual.stubs}

    def explain() -> str:
        return place.logical_plan(text, whole) if known else planner.UNKNOWN

    if virtual is not None:
        virtual.lake = tables
    choose = None if virtual is None else virtual.choose
    timeless = not _CLOCK.search(sql)
    found = planner.make(whole, book, explain, stops=stops, timeless=timeless, virtual=choose)
    return found if virtual is None else virtual.settled(found)


def written_out(allowed: Guarded, place: engines.Planner) -> Guarded:
    """The query with the catalog's macros replaced by what they stand for."""
    if not allowed.macros:
        return allowed
    from lakeq import macros

    def serialize(sql: str) -> str:
        return place.serialize(sql, whole=True)

    sql = macros.expand(allowed.sql, allowed.macros, serialize, place.deserialize)
    return replace(allowed, sql=sql, macros={})


def virtual_tables(
    allowed: Guarded,
    settings: Settings,
    place: engines.Planner,
    given: Mapping[str, object],
    read: Callable[[Sequence[str]], Mapping[str, TableSnapshot]],
) -> Virtual | None:
    """The virtual tables of a query; only DuckDB can read them, and only when it runs."""
    name = next((table.qualified for table in allowed.tables if table.index), None)
    if name is None:
        return None
    from lakeq import _virtual

    if settings.engine != PLANNER:
        what = f"engine {settings.engine} cannot read {name}, which is virtual"
        raise UsageError(what, "the query", "use engine duckdb")
    if allowed.explain:
        what = f"EXPLAIN of {name}, which is virtual, would have to choose its tiles"
        raise UsageError(what, "the query", "see what it reads: --dry-run")
    return _virtual.find(allowed.sql, allowed.tables, settings, place, given, read)
