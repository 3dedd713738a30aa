"""Rows of what a virtual table is joined with, as bounds: against the rows taken one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lakeq import _virtual_sides
from lakeq._virtual_sides import rows_of
from lakeq.join_sides import MAX_ROWS, Bound, Side
from lakeq.selection import Domain, Spans

PAIRS = st.lists(
    st.tuples(
        st.one_of(st.none(), st.floats(-9, 9), st.just(float("nan"))),
        st.one_of(st.none(), st.integers(-9, 9)),
    ),
    max_size=20,
)


def spans(bounds: list[tuple[str, str]], columns: dict[str, Any]) -> Spans:
    side = Side("landsat.pixels#1", {}, tuple(Bound(*bound) for bound in bounds))
    return rows_of(side, pa.table(columns), {"product_id"})


def held(found: Spans, value: float) -> bool:
    """Whether a value of x lies in one of the rows."""
    rows = zip(found.low["x"], found.high["x"], strict=True)
    return any(low <= value <= high for low, high in rows)


@given(PAIRS)
def test_bounds_hold_what_a_row_does(pairs: list[tuple[float | None, int | None]]) -> None:
    lows = pa.array([low for low, _ in pairs], pa.float64(), from_pandas=False)
    highs = pa.array([high for _, high in pairs], pa.int64())
    found = spans([("x", "low"), ("x", "high")], {"b0": lows, "b1": highs})
    for value in (-9.0, -0.5, 0.0, 3.0, 9.0):
        wanted = any(
            low is not None and high is not None and low <= value <= high for low, high in pairs
        )
        assert held(found, value) == wanted


def test_days_and_times_are_microseconds() -> None:
    micros = 1_575_158_400_000_000
    day, time = [date(2019, 12, 1)], [datetime(2019, 12, 1, tzinfo=UTC)]
    for values in (pa.array(day), pa.array(time, pa.timestamp("us", "UTC"))):
        assert spans([("acquired", "low")], {"b0": values}).of("acquired") == Domain(low=micros)


def test_decimals_are_numbers_and_slices_begin_where_they_do() -> None:
    values = pa.array([Decimal("0.5"), Decimal("1.5"), Decimal("2.5")]).slice(1)
    assert spans([("x", "value")], {"b0": values}).of("x") == Domain(1.5, 2.5)


def test_texts_of_text_columns_are_kept_for_all_rows() -> None:
    values = pa.array(["a", "b", None])
    assert spans([("product_id", "value")], {"b0": values}).of("product_id") == Domain(
        values=frozenset("ab")
    )


def test_a_bound_of_another_type_bounds_nothing() -> None:
    found = spans([("line", "low"), ("x", "low")], {"b0": ["7"], "b1": [True]})
    assert found.of("line").anything
    assert found.of("x").anything
    assert found.count == 1


def test_of_very_many_rows_their_hull_is_kept() -> None:
    values = pa.array(range(MAX_ROWS + 1))
    found = spans([("x", "value")], {"b0": values})
    assert (found.count, found.of("x")) == (1, Domain(0.0, float(MAX_ROWS)))


def test_no_rows_leave_nothing() -> None:
    found = spans([("x", "low")], {"b0": pa.array([None], pa.int64())})
    assert found.of("x").empty
    assert _virtual_sides.DAY_US == 24 * 3600 * 10**6
