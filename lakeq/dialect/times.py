"""Dates and times; an interval that a query computes is microseconds in every translation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from sqlglot import exp

from lakeq.dialect import SPARK, refusal
from lakeq.dialect.types import TIMES, Kind, kind
from lakeq.dialect.words import Call, integer, literal_text, writer
from lakeq.dialect.write import fill

MICROSECONDS = {
    "microsecond": 1,
    "millisecond": 1_000,
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 604_800_000_000,
}
UNITS = ("year", "quarter", "month", "week", "day", "hour", "minute", "second")
PARTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {  # of date_part, as Spark and Trino write them
        "year": ("YEAR({0})", "YEAR({0})"),
        "quarter": ("QUARTER({0})", "QUARTER({0})"),
        "month": ("MONTH({0})", "MONTH({0})"),
        "week": ("WEEKOFYEAR({0})", "WEEK({0})"),
        "day": ("DAY({0})", "DAY({0})"),
        "doy": ("DAYOFYEAR({0})", "DAY_OF_YEAR({0})"),
        "dow": ("DAYOFWEEK({0}) - 1", "DAY_OF_WEEK({0}) % 7"),
        "isodow": ("(DAYOFWEEK({0}) + 5) % 7 + 1", "DAY_OF_WEEK({0})"),
        "hour": ("HOUR({0})", "HOUR({0})"),
        "minute": ("MINUTE({0})", "MINUTE({0})"),
        "second": ("SECOND({0})", "SECOND({0})"),
    }
)


def interval_us(node: exp.Expr) -> int | None:
    """The microseconds of an interval that is written out; None for months and what is not."""
    inside = node.unnest()
    known = inside.args.get("us")
    if isinstance(known, int):  # the rule for intervals was here before
        return known
    if not isinstance(inside, exp.Interval) or inside.this is None:
        return None
    unit = inside.args.get("unit")
    text = inside.this.unnest()
    while isinstance(text, exp.Cast):
        text = text.this.unnest()
    value = text.name if isinstance(text, exp.Literal) else ""
    word = (unit.name if unit is not None else "").lower().rstrip("s")
    if unit is None and (match := re.fullmatch(r"\s*(\d+)\s+([a-zA-Z]+)\s*", value)):
        value, word = match[1], match[2].lower().rstrip("s")
    if word not in MICROSECONDS or not value.strip().isdigit():
        return None
    return int(value) * MICROSECONDS[word]


def micros(node: exp.Expr, target: str) -> exp.Expr:
    """Microseconds since 1970, a BIGINT."""
    if target == SPARK:
        # whatever is known of its type: Spark refuses times without a zone, Sail does not
        return fill(target, "UNIX_MICROS(CAST({0} AS TIMESTAMP))", node)
    # to_unixtime is a double: exact to a quarter of a microsecond until the year 2100
    return fill(target, "CAST(ROUND(TO_UNIXTIME({0}) * 1e6) AS BIGINT)", node)


def from_micros(value: exp.Expr, like: exp.Expr, target: str) -> exp.Expr:
    """The time so many microseconds after 1970, of the type of `like`."""
    if target == SPARK:
        found = fill(target, "TIMESTAMP_MICROS({0})", value)
        if kind(like) == Kind.TIMESTAMP:
            return fill(target, "CAST({0} AS TIMESTAMP_NTZ)", found)
        return found
    found = fill(target, "FROM_UNIXTIME_NANOS({0} * 1000)", value)
    if kind(like) == Kind.TIMESTAMP:
        return fill(target, "CAST({0} AS TIMESTAMP(6))", found)
    return fill(target, "CAST({0} AS TIMESTAMP(6) WITH TIME ZONE)", found)


@writer("DATE_TRUNC")
def _date_trunc(call: Call, target: str) -> exp.Expr:
    unit, value = call.expressions
    return truncated(_unit(unit, call.name, target), value, target)


def truncated(unit: str, value: exp.Expr, target: str) -> exp.Expr:
    """The start of the unit that `value` lies in: a time, also of a date."""
    if kind(value) == Kind.DATE:
        zone = "TIMESTAMP_NTZ" if target == SPARK else "TIMESTAMP(6)"
        value = fill(target, f"CAST({{0}} AS {zone})", value)
        value.type = exp.DataType.build("TIMESTAMP", dialect="duckdb")
    found = fill(target, "DATE_TRUNC({0}, {1})", exp.Literal.string(unit), value)
    if target == SPARK and kind(value) == Kind.TIMESTAMP:
        return fill(target, "CAST({0} AS TIMESTAMP_NTZ)", found)
    return found


def _unit(node: exp.Expr, name: str, target: str) -> str:
    unit = (literal_text(node) or node.name or "").lower().rstrip("s")
    if unit not in UNITS:
        raise refusal(f"{name}() of {unit or 'a unit that is not written out'}", target)
    return unit


@writer("DATE_PART")
def _date_part(call: Call, target: str) -> exp.Expr:
    part, value = call.expressions
    return date_part(literal_text(part) or "", value, target)


def date_part(part: str, value: exp.Expr, target: str) -> exp.Expr:
    """One number of a date or time, a BIGINT."""
    name = {"dayofweek": "dow", "dayofyear": "doy", "weekofyear": "week"}.get(part.lower(), part)
    if name.lower() == "epoch":
        return epoch(value, target)
    if name.lower() not in PARTS or kind(value) == Kind.INTERVAL:
        raise refusal(f"date_part() of {part!r}", target, f"one of {', '.join(PARTS)}")
    spark, trino = PARTS[name.lower()]
    found = fill(target, spark if target == SPARK else trino, value)
    return fill(target, "CAST({0} AS BIGINT)", found)


@writer("MAKE_DATE")
def _make_date(call: Call, target: str) -> exp.Expr:
    return fill(
        target,
        "CAST(DATE_ADD('day', {2} - 1, "
        "DATE_ADD('month', ({0} - 1970) * 12 + {1} - 1, DATE '1970-01-01')) AS DATE)",
        *call.expressions,
    )


@writer("EPOCH")
def _epoch(call: Call, target: str) -> exp.Expr:
    return epoch(call.expressions[0], target)


def epoch(value: exp.Expr, target: str) -> exp.Expr:
    """Seconds since 1970, or of an interval, which is microseconds in every translation."""
    found = value if kind(value) == Kind.INTERVAL else micros(value, target)
    return fill(target, "CAST({0} AS DOUBLE) / 1e6", found)


@writer("EPOCH_MS")
def _epoch_ms(call: Call, target: str) -> exp.Expr:
    (value,) = call.expressions
    if kind(value) not in TIMES:
        raise refusal("epoch_ms() of what is not a time", target)
    found = micros(value, target)
    return fill(target, "CAST(FLOOR(CAST({0} AS DOUBLE) / 1e3) AS BIGINT)", found)


@writer("MICROS")
def _epoch_us(call: Call, target: str) -> exp.Expr:
    (value,) = call.expressions
    return value if kind(value) == Kind.INTERVAL else micros(value, target)


@writer("TO_TIMESTAMP")
def _to_timestamp(call: Call, target: str) -> exp.Expr:
    value = fill(target, "CAST(ROUND(CAST({0} AS DOUBLE) * 1e6) AS BIGINT)", call.expressions[0])
    return from_micros(value, exp.null(), target)


@writer("DATE_DIFF")
def _date_diff(call: Call, target: str) -> exp.Expr:
    """DuckDB counts boundaries between the two, the others whole units: so both are cut first."""
    unit, begin, end = call.expressions
    word = _unit(unit, call.name, target)
    if word == "week":  # the only unit of which DuckDB counts whole ones
        days = exp.Anonymous(this=call.name, expressions=[exp.Literal.string("day"), begin, end])
        text = (
            "CAST({0} DIV 7 AS BIGINT)"
            if target == SPARK
            else "CAST(({0} - {0} % 7) / 7 AS BIGINT)"
        )
        return fill(target, text, _date_diff(days, target))
    if target != SPARK:
        first, last = (truncated(word, value, target) for value in (begin, end))
        return fill(target, "DATE_DIFF({0}, {1}, {2})", exp.Literal.string(word), first, last)
    if word in ("year", "quarter", "month"):
        months = [_months(value, word, target) for value in (begin, end)]
        return fill(target, "{1} - {0}", *months)
    starts = [
        micros(_instant(truncated(word, value, target), value), target) for value in (begin, end)
    ]
    size = integer(MICROSECONDS[word])
    return fill(target, "CAST(({1} - {0}) DIV {2} AS BIGINT)", *starts, size)


def _instant(cut: exp.Expr, value: exp.Expr) -> exp.Expr:
    cut.type = (
        exp.DataType.build("TIMESTAMP", dialect="duckdb")
        if kind(value)
        in (
            Kind.DATE,
            Kind.TIMESTAMP,
        )
        else value.type
    )
    return cut


def _months(value: exp.Expr, word: str, target: str) -> exp.Expr:
    """How many years, quarters or months from the year 0 on."""
    texts = {
        "year": "CAST(YEAR({0}) AS BIGINT)",
        "quarter": "CAST(YEAR({0}) * 4 + QUARTER({0}) AS BIGINT)",
        "month": "CAST(YEAR({0}) * 12 + MONTH({0}) AS BIGINT)",
    }
    return fill(target, texts[word], value)


@writer("TIME_BUCKET")
def _time_bucket(call: Call, target: str) -> exp.Expr:
    """Buckets of a fixed width, counted from Monday 2000-01-03."""
    width, value = call.expressions
    step = interval_us(width)
    if not step:
        raise refusal("time_bucket() of months, or of an interval that is not written out", target)
    if kind(value) not in TIMES:
        raise refusal("time_bucket() of what is not a time", target, "CAST it to TIMESTAMPTZ")
    origin = 946_857_600_000_000
    offset = origin % step
    number = micros(value, target)
    rest = fill(target, "(({0} - {1}) % {2} + {2}) % {2}", number, integer(offset), integer(step))
    return from_micros(fill(target, "{0} - {1}", number, rest), value, target)
