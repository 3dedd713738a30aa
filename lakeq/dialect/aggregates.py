"""Aggregates: types of sums, NULLs, exact quantiles, and rows in order."""

from __future__ import annotations

from sqlglot import exp

from lakeq.dialect import SPARK, refusal
from lakeq.dialect.lists import struct_of
from lakeq.dialect.types import FLOATS, SMALL, TEXTS, WHOLE, Kind, kind
from lakeq.dialect.words import Call, literal_text, writer
from lakeq.dialect.write import fill


@writer("SUM")
def _sum(call: Call, target: str) -> exp.Expr:
    """HUGEINT of whole numbers, DOUBLE of floats, as DuckDB adds them."""
    (value,) = call.expressions
    inside = _inside(value)
    this = kind(inside)
    if this in FLOATS:
        return _rewrapped("SUM", value, fill(target, "CAST({0} AS DOUBLE)", inside))
    if this in WHOLE - SMALL:
        return _rewrapped("SUM", value, fill(target, "CAST({0} AS DECIMAL(38, 0))", inside))
    if this in SMALL:
        return _rewrapped("SUM", value, fill(target, "CAST({0} AS BIGINT)", inside))
    if this in (Kind.DECIMAL, Kind.BOOLEAN):
        if this == Kind.BOOLEAN:
            return _rewrapped("SUM", value, fill(target, "CAST({0} AS BIGINT)", inside))
        return call
    raise refusal("sum() of a value whose type is not known here", target, "CAST it")


def _inside(value: exp.Expr) -> exp.Expr:
    return value.expressions[0] if isinstance(value, exp.Distinct) else value


def _rewrapped(name: str, value: exp.Expr, new: exp.Expr) -> exp.Expr:
    """A call of the aggregate `name`, DISTINCT as before."""
    inner = exp.Distinct(expressions=[new]) if isinstance(value, exp.Distinct) else new
    return exp.Anonymous(this=name, expressions=[inner])


@writer("ANY_VALUE")
def _any_value(call: Call, target: str) -> exp.Expr:
    (value,) = call.expressions
    # The same in Trino, where ANY_VALUE came later, with release 413
    name = "ANY_VALUE({0}, TRUE)" if target == SPARK else "ARBITRARY({0})"
    return fill(target, name, value)


@writer("ARG_MAX")
def _arg_max(call: Call, target: str) -> exp.Expr:
    return _arg("MAX_BY", call, target)


@writer("ARG_MIN")
def _arg_min(call: Call, target: str) -> exp.Expr:
    return _arg("MIN_BY", call, target)


def _arg(name: str, call: Call, target: str) -> exp.Expr:
    """DuckDB looks at rows only whose value and order are both known."""
    value, order = call.expressions
    found = fill(target, f"{name}({{0}}, {{1}})", value, order)
    return exp.Filter(this=found, expression=exp.Where(this=fill(target, "{0} IS NOT NULL", value)))


@writer("MEDIAN")
def _median(call: Call, target: str) -> exp.Expr:
    return _quantile(call.expressions[0], exp.Literal.number("0.5"), call, target)


@writer("QUANTILE")
def _quantile_cont(call: Call, target: str) -> exp.Expr:
    value, share = call.expressions
    inside = share.unnest()
    while isinstance(inside, exp.Cast):
        inside = inside.this.unnest()
    if not (
        isinstance(inside, exp.Literal) and not inside.is_string and 0 <= float(inside.name) <= 1
    ):
        raise refusal("quantile_cont() of a share that is not a written number", target)
    return _quantile(value, exp.Literal.number(inside.name), call, target)


def _quantile(value: exp.Expr, share: exp.Expr, call: Call, target: str) -> exp.Expr:
    """Exact, between the two nearest values: Trino's own quantiles are approximate."""
    if kind(value) not in FLOATS | WHOLE | {Kind.DECIMAL}:
        raise refusal(f"{call.name}() of what is not a number", target, "epoch(x) of times")
    number = fill(target, "CAST({0} AS DOUBLE)", value)
    if target == SPARK:
        return fill(target, "PERCENTILE({0}, {1})", number, share)
    if isinstance(call.parent, exp.Window):
        raise refusal(f"{call.name}() OVER", target, "group in a CTE, and join")
    condition = fill(target, "{0} IS NOT NULL", number)
    if isinstance(call.parent, exp.Filter):
        condition = fill(target, "{0} AND {1}", condition, call.parent.expression.this)
    place = "(CARDINALITY(a) - 1) * CAST({1} AS DOUBLE)"
    low = f"ELEMENT_AT(a, CAST(FLOOR({place}) AS BIGINT) + 1)"
    high = f"ELEMENT_AT(a, CAST(CEIL({place}) AS BIGINT) + 1)"
    made = fill(
        target,
        "ELEMENT_AT(TRANSFORM(ARRAY[ARRAY_SORT(ARRAY_AGG({0}) FILTER (WHERE {2}))], "
        f"a -> {low} + ({high} - {low}) * ({place} - FLOOR({place}))), 1)",
        number,
        share,
        condition,
    )
    made.set("filtered", isinstance(call.parent, exp.Filter))
    return made


@writer("STRING_AGG")
def _string_agg(call: Call, target: str) -> exp.Expr:
    value, separator = call.expressions
    value, order = _ordered(value, separator)
    text, by = value, separator.this if isinstance(separator, exp.Order) else separator
    if literal_text(by) is None:
        raise refusal(f"{call.name}() with a separator that is not written out", target)
    if kind(_inside(text)) not in TEXTS and isinstance(text, exp.Distinct):
        raise refusal(f"{call.name}(DISTINCT …) of what is not text", target, "CAST it first")
    if kind(_inside(text)) not in TEXTS:
        text = fill(
            target, "CAST({0} AS STRING)" if target == SPARK else "CAST({0} AS VARCHAR)", text
        )
    if target == SPARK:
        return _as_set(call, text, by, order) or _within(text, by, order)
    collected = exp.Filter(
        this=exp.Anonymous(this="ARRAY_AGG", expressions=[_with_order(text, order)]),
        expression=exp.Where(this=fill(target, "{0} IS NOT NULL", _inside(text))),
    )
    return exp.Anonymous(this="ARRAY_JOIN", expressions=[collected, by.copy()])


def _as_set(call: Call, text: exp.Expr, by: exp.Expr, order: exp.Order | None) -> exp.Expr | None:
    """Different texts joined by way of a set; None where that cannot be written.

    Spark 4.2 fails on a LISTAGG of different texts beside another aggregate of different values.
    """
    if not isinstance(text, exp.Distinct) or isinstance(call.parent, exp.Filter | exp.Window):
        return None
    inner, descending = _inside(text), False
    if order is not None:
        (by_what, *more) = order.expressions
        if more or by_what.this != inner:
            return None
        descending = bool(by_what.args.get("desc"))
    collected = f"SORT_ARRAY(COLLECT_SET({{0}}), {str(not descending).upper()})"
    joined = f"CASE WHEN COUNT({{0}}) > 0 THEN ARRAY_JOIN({collected}, {{1}}) END"
    return fill(SPARK, joined, inner, by)


def _within(text: exp.Expr, by: exp.Expr, order: exp.Order | None) -> exp.Expr:
    found: exp.Expr = exp.Anonymous(this="LISTAGG", expressions=[text.copy(), by.copy()])
    if order is not None:
        plain = exp.Order(expressions=[part.copy() for part in order.expressions])
        found = exp.WithinGroup(this=found, expression=plain)
    return found


def _ordered(*arguments: exp.Expr) -> tuple[exp.Expr, exp.Order | None]:
    """The first argument, and the ORDER BY that hangs on the last."""
    first, last = arguments[0], arguments[-1]
    order = last if isinstance(last, exp.Order) else None
    return (first.this if isinstance(first, exp.Order) else first), order


def _with_order(value: exp.Expr, order: exp.Order | None) -> exp.Expr:
    if order is None:
        return value.copy()
    return exp.Order(this=value.copy(), expressions=[part.copy() for part in order.expressions])


@writer("LIST")
def _list(call: Call, target: str) -> exp.Expr:
    """DuckDB keeps NULLs and gives NULL for no rows; Spark drops them and gives an empty list."""
    value, order = _ordered(*call.expressions)
    if isinstance(value, exp.Distinct):
        raise refusal(f"{call.name}(DISTINCT)", target, "SELECT DISTINCT first")
    if target != SPARK:
        return exp.Anonymous(this="ARRAY_AGG", expressions=[_with_order(value, order)])
    if isinstance(call.parent, exp.Filter | exp.Window):
        raise refusal(f"{call.name}() with FILTER or OVER", target, "filter in WHERE, or in a CTE")
    keys = list(order.expressions) if order is not None else []
    for key in keys:
        if key.args.get("nulls_first"):
            raise refusal(f"{call.name}(… ORDER BY … NULLS FIRST)", target, "subquery")
        if key.args.get("desc") and kind(key.this) not in WHOLE | FLOATS | {Kind.DECIMAL}:
            raise refusal(
                f"{call.name}(… ORDER BY … DESC) of what is no number", target, "subquery"
            )
    parts = [("k" + str(n), _sort_key(key, target)) for n, key in enumerate(keys)]
    packed = struct_of(
        [part for n, one in parts for part in ((n + "n", _is_null(one, target)), (n, one))]
        + [("v", value)],
        None,
        target,
    )
    collected = fill(target, "COLLECT_LIST({0})", packed)
    if keys:
        collected = fill(target, "ARRAY_SORT({0})", collected)
    return fill(target, "CASE WHEN COUNT(1) > 0 THEN TRANSFORM({0}, e -> e.v) END", collected)


def _sort_key(key: exp.Expr, target: str) -> exp.Expr:
    return fill(target, "-{0}", key.this) if key.args.get("desc") else key.this


def _is_null(value: exp.Expr, target: str) -> exp.Expr:
    return fill(target, "{0} IS NULL", value)
