"""Functions of lists and structs."""

from __future__ import annotations

from sqlglot import exp

from lakeq.dialect import SPARK, refusal
from lakeq.dialect.times import from_micros, interval_us, micros
from lakeq.dialect.types import (
    FLOATS,
    LISTS,
    TEXTS,
    TIMES,
    WHOLE,
    Kind,
    element,
    fields,
    kind,
    list_of,
)
from lakeq.dialect.words import Call, integer, literal_int, literal_text, writer
from lakeq.dialect.write import fill


@writer("LEN")
def _len(call: Call, target: str) -> exp.Expr:
    (value,) = call.expressions
    if kind(value) in LISTS:
        if target == SPARK:
            return fill(
                target, "CASE WHEN {0} IS NULL THEN NULL ELSE CAST(SIZE({0}) AS BIGINT) END", value
            )
        return fill(target, "CARDINALITY({0})", value)
    if kind(value) in TEXTS:
        text = "CAST(CHAR_LENGTH({0}) AS BIGINT)" if target == SPARK else "LENGTH({0})"
        return fill(target, text, value)
    hint = "char_length(x) is of text, list_sum and the like of lists; or CAST it"
    raise refusal(f"{call.name}() of a value whose type is not known here", target, hint)


@writer("CONTAINS")
def _contains(call: Call, target: str) -> exp.Expr:
    value, part = call.expressions
    if kind(value) in LISTS:
        return _list_contains(call, target)
    if kind(value) not in TEXTS:
        raise refusal("contains() of a value whose type is not known here", target, "CAST it")
    return fill(
        target, "CONTAINS({0}, {1})" if target == SPARK else "STRPOS({0}, {1}) > 0", value, part
    )


@writer("LIST_CONTAINS")
def _list_contains(call: Call, target: str) -> exp.Expr:
    """DuckDB says false where the others do not know, because of a NULL among the elements."""
    values, wanted = call.expressions
    if isinstance(wanted, exp.Null):  # Spark takes no NULL without a type
        return fill(target, "CAST(NULL AS BOOLEAN)")
    name = "ARRAY_CONTAINS" if target == SPARK else "CONTAINS"
    return fill(
        target,
        "CASE WHEN {0} IS NULL OR {1} IS NULL THEN NULL "
        f"ELSE COALESCE({name}({{0}}, {{1}}), FALSE) END",
        values,
        wanted,
    )


@writer("ELEMENT")
def _element(call: Call, target: str) -> exp.Expr:
    values, index = call.expressions
    return element_of(values, index, target)


def element_of(values: exp.Expr, index: exp.Expr, target: str) -> exp.Expr:
    """`values[index]`: from 1, from the end when negative, NULL outside."""
    if kind(values) in TEXTS:
        raise refusal("text[index]", target, "substr(text, n, 1)")
    name = "TRY_ELEMENT_AT" if target == SPARK else "ELEMENT_AT"
    number = literal_int(index)
    if number == 0:
        return exp.null()
    place = index if number is not None else fill(target, "NULLIF({0}, 0)", index)
    if target == SPARK:
        place = fill(target, "CAST({0} AS INT)", place)
    return fill(target, f"{name}({{0}}, {{1}})", values, place)


@writer("SLICE")
def _slice(call: Call, target: str) -> exp.Expr:
    values, begin, end = call.expressions
    return slice_of(values, begin, end, target)


def slice_of(
    values: exp.Expr, begin: exp.Expr | None, end: exp.Expr | None, target: str
) -> exp.Expr:
    """`values[begin:end]`, both included; only written bounds from 1 mean the same everywhere."""
    first = 1 if begin is None else literal_int(begin)
    last = None if end is None else literal_int(end)
    if kind(values) not in LISTS:
        raise refusal("a slice of what is not known to be a list", target, "substr() of text")
    if first is None or first < 1 or (end is not None and (last is None or last < 0)):
        raise refusal("a slice whose bounds are not written numbers from 1", target)
    size = "SIZE" if target == SPARK else "CARDINALITY"
    if last is None:
        return fill(
            target,
            f"SLICE({{0}}, {{1}}, GREATEST({size}({{0}}) - {{1}} + 1, 0))",
            values,
            integer(first),
        )
    count = max(last - first + 1, 0)
    return fill(target, "SLICE({0}, {1}, {2})", values, integer(first), integer(count))


@writer("LIST_SUM")
def _list_sum(call: Call, target: str) -> exp.Expr:
    (values,) = call.expressions
    known = filtered(values, target)
    inner = element(values.type).this
    wide = "DOUBLE" if inner in FLOATS else "DECIMAL(38, 0)" if inner in WHOLE else ""
    if not wide:
        raise refusal("list_sum() of a list whose elements' type is not known here", target, "CAST")
    size = "SIZE" if target == SPARK else "CARDINALITY"
    lambda_ = "(a, e) -> CAST(a + e AS " + wide + ")"
    name, last = ("AGGREGATE", "") if target == SPARK else ("REDUCE", ", a -> a")
    return fill(
        target,
        f"CASE WHEN {size}({{0}}) > 0 THEN {name}({{0}}, CAST(0 AS {wide}), {lambda_}{last}) END",
        known,
    )


@writer("LIST_AVG")
def _list_avg(call: Call, target: str) -> exp.Expr:
    (values,) = call.expressions
    known = filtered(values, target)
    size = "SIZE" if target == SPARK else "CARDINALITY"
    name, last = ("AGGREGATE", "") if target == SPARK else ("REDUCE", ", a -> a")
    return fill(
        target,
        f"CASE WHEN {size}({{0}}) > 0 THEN {name}({{0}}, CAST(0 AS DOUBLE), "
        f"(a, e) -> a + CAST(e AS DOUBLE){last}) / CAST({size}({{0}}) AS DOUBLE) END",
        known,
    )


def filtered(values: exp.Expr, target: str) -> exp.Expr:
    """`values` without NULLs."""
    found = fill(target, "FILTER({0}, e -> e IS NOT NULL)", values)
    found.type = values.type
    return found


@writer("LIST_CONCAT")
def _list_concat(call: Call, target: str) -> exp.Expr:
    """NULL counts as an empty list here."""
    one, other = call.expressions
    return fill(
        target,
        "CASE WHEN {0} IS NULL THEN {1} WHEN {1} IS NULL THEN {0} ELSE CONCAT({0}, {1}) END",
        one,
        other,
    )


@writer("INTERSECT")
def _intersect(call: Call, target: str) -> exp.Expr:
    one, other = call.expressions
    return fill(target, "ARRAY_INTERSECT({0}, {1})", filtered(one, target), filtered(other, target))


@writer("RANGE")
def _range(call: Call, target: str) -> exp.Expr:
    """A list of numbers or times; empty where the end comes first, not backwards."""
    name, arguments = call.name.lower(), list(call.expressions)
    if len(arguments) == 1:
        arguments.insert(0, integer(0))
    start, stop, *rest = arguments
    if kind(start) in TIMES | {Kind.DATE}:
        return _times(name, start, stop, rest, target)
    step = literal_int(rest[0]) if rest else 1
    if not step:
        raise refusal(f"{name}() with a step that is not a written number", target)
    first, last = (fill(target, "CAST({0} AS BIGINT)", part) for part in (start, stop))
    if name == "range":
        last = fill(target, "{0} - {1}", last, integer(1 if step > 0 else -1))
    compared = "<=" if step > 0 else ">="
    by = fill(target, "CAST({0} AS BIGINT)", integer(step))
    return _sequence(target, first, last, by, compared)


def _sequence(
    target: str,
    first: exp.Expr,
    last: exp.Expr,
    by: exp.Expr,
    compared: str = "<=",
) -> exp.Expr:
    empty = (
        "CAST(ARRAY() AS ARRAY<BIGINT>)" if target == SPARK else "CAST(ARRAY[] AS ARRAY(BIGINT))"
    )
    return fill(
        target,
        f"CASE WHEN {{0}} IS NULL OR {{1}} IS NULL THEN NULL WHEN {{0}} {compared} {{1}} "
        f"THEN SEQUENCE({{0}}, {{1}}, {{2}}) ELSE {empty} END",
        first,
        last,
        by,
    )


def _times(
    name: str, start: exp.Expr, stop: exp.Expr, rest: list[exp.Expr], target: str
) -> exp.Expr:
    step = interval_us(rest[0]) if rest else None
    if not step or step < 0:
        raise refusal(f"{name}() of times with a step that is not days, hours or less", target)
    if kind(start) == Kind.DATE:
        raise refusal(f"{name}() of dates", target, "CAST the dates to TIMESTAMPTZ")
    first, last = micros(start, target), micros(stop, target)
    less = 1 if name == "range" else 0
    count = fill(
        target,
        "CAST(FLOOR(CAST({0} - {1} - {2} AS DOUBLE) / {3}) AS BIGINT)",
        last,
        first,
        integer(less),
        exp.cast(integer(step), "DOUBLE"),
    )
    zero, one = (fill(target, "CAST({0} AS BIGINT)", integer(n)) for n in (0, 1))
    numbers = _sequence(target, zero, count, one)
    moment = from_micros(fill(target, "{0} + n * {1}", first, integer(step)), start, target)
    made = fill(target, "TRANSFORM({0}, n -> {1})", numbers, moment)
    made.type = list_of(start.type)
    return made


@writer("FIELD")
def _field(call: Call, target: str) -> exp.Expr:
    value, name = call.expressions
    text = literal_text(name)
    if text is None or kind(value) not in {Kind.STRUCT, Kind.UNKNOWN}:
        raise refusal("struct_extract() of a field that is not named", target, "write s.field")
    return dot(value, text)


def dot(value: exp.Expr, name: str) -> exp.Expr:
    """A field of a struct."""
    inner = value if isinstance(value, exp.Column | exp.Dot | exp.Paren) else exp.paren(value)
    return exp.Dot(this=inner.copy(), expression=exp.to_identifier(name, quoted=True))


@writer("STRUCT")
def _struct(call: Call, target: str) -> exp.Expr:
    return struct_of(fields(call), call.type, target)


def struct_of(
    parts: list[tuple[str, exp.Expr]], type_: exp.DataType | None, target: str
) -> exp.Expr:
    """A struct of named values; Trino names them by a cast, so their types must be known."""
    values = [value for _, value in parts]
    if target == SPARK:
        pairs = [part for name, value in parts for part in (exp.Literal.string(name), value)]
        return fill(target, "NAMED_STRUCT({*})", *pairs)
    if type_ is None or type_.this != Kind.STRUCT:
        raise refusal("a struct of values whose types are not known here", target, "CAST them")
    row = fill(target, "ROW({*})", *values)
    named = type_.copy()
    for part in named.expressions:
        part.this.set("quoted", True)
        if part.args["kind"].this == Kind.NULL:  # Trino has no such type to cast to
            raise refusal("a NULL without a type in a struct", target, "NULL::INT and the like")
    return exp.Cast(this=row, to=named)
