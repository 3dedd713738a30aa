"""One query on several engines: what each read, took and asked, and whether their rows agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lakeq import cost, engines
from lakeq._query_text import with_dollars
from lakeq.digest import is_ordered
from lakeq.engines import Row

if TYPE_CHECKING:
    from lakeq.config import Settings
    from lakeq.query import Report, Result

CLOSE = 1e-12  # floats of two engines may differ so much: they add up in another order


@dataclass(frozen=True, slots=True)
class Comparison:
    """The reports by engine, in the order asked; `difference` says where rows differ, else ""."""

    rows: Sequence[Row]
    reports: Mapping[str, Report]
    difference: str

    def table(self) -> list[tuple[object, ...]]:
        """A row for each engine: name, rows, seconds, bytes, dollars."""
        return [
            (name, r.rows, r.seconds, r.bytes_scanned, r.cost_usd)
            for name, r in self.reports.items()
        ]

    def __str__(self) -> str:
        head = f"{'engine':<8} {'rows':>10} {'seconds':>9} {'bytes':>12} {'dollars':>10}"
        lines = [
            f"{name:<8} {r.rows:>10,} {r.seconds:>9.2f} {cost.size(r.bytes_scanned):>12} "
            f"{cost.dollars(r.cost_usd):>10}"
            for name, r in self.reports.items()
        ]
        return "\n".join([head, *lines, self.difference or "the rows agree"])


def compare(
    run: Callable[..., Result],
    names: Sequence[str],
    query: tuple[str, Mapping[str, object] | None],
    settings: Settings,
) -> Comparison:
    """`run(engine=name)` for each of `names`, all rows of one before the next begins.

    The rows of the first are what the others are held against; `query` is its text and parameters.
    """
    found: dict[str, Sequence[Row]] = {}
    reports = {}
    for name in names:
        result = run(engine=name)
        found[name], reports[name] = result.rows(), result.report
    ordered = _is_ordered(query, settings)
    first, *others = found
    difference = ""
    for name in others:
        difference = difference or _difference(
            first, found[first], name, found[name], ordered=ordered
        )
    return Comparison(found[first], reports, difference)


def _is_ordered(query: tuple[str, Mapping[str, object] | None], settings: Settings) -> bool:
    """Whether the query has an ORDER BY at its top, as DuckDB's parser tells it."""
    place = engines.planner(settings)
    try:
        return is_ordered(place.serialize(with_dollars(query[0], query[1] or {})))
    finally:
        place.close()


def _difference(
    one: str, rows: Sequence[Row], other: str, others: Sequence[Row], *, ordered: bool
) -> str:
    if len(rows) != len(others):
        return f"the rows differ: {len(rows):,} on {one}, {len(others):,} on {other}"
    if not ordered:
        rows, others = sorted(rows, key=repr), sorted(others, key=repr)
    for number, (row, its) in enumerate(zip(rows, others, strict=True), 1):
        if not same(row, its):
            return f"row {number:,} differs: {row} on {one}, {its} on {other}"
    return ""


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, floats to 1e-12."""
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return one == other or both_nan or math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return bool(one == other)
