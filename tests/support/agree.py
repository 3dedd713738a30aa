"""Rows of two engines side by side: order where the query has one, NULLs, floats to 1e-12."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lakeq.api import Lake

CLOSE = 1e-12


def same(one: object, other: object) -> bool:
    """Whether two values are the same, floats to 1e-12, of one Python type."""
    if isinstance(one, float) and isinstance(other, float):
        both_nan = math.isnan(one) and math.isnan(other)
        return one == other or both_nan or math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE)
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


def agree(
    lake: Lake, engine: str, sql: str, params: Mapping[str, object] | None = None, *, ordered: bool
) -> int:
    """Run `sql` on DuckDB and on `engine`; assert equal names, types and rows; returns the rows."""
    wanted, got = lake.sql(sql, params), lake.sql(sql, params, engine=engine)
    rows, others = wanted.rows(), got.rows()
    assert got.arrow().schema == wanted.arrow().schema
    assert got.report.engine == engine
    if not ordered:
        rows, others = sorted(rows, key=repr), sorted(others, key=repr)
    assert len(rows) == len(others)
    for number, (row, other) in enumerate(zip(rows, others, strict=True)):
        assert same(row, other), f"row {number}: {row} on DuckDB, {other} on {engine}"
    return len(rows)


def ordered(sql: str) -> bool:
    """Whether the outermost SELECT has an ORDER BY."""
    return "order by" in sql.rsplit(")", 1)[-1].lower()
