"""Operators and functions, one by one, from the leaves up: each becomes what means the same."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

from sqlglot import exp

from lakeq.dialect import SPARK, aggregates, lists, refusal, special, times
from lakeq.dialect.functions import find
from lakeq.dialect.times import micros
from lakeq.dialect.types import FLOATS, LISTS, SMALL, TEXTS, TIMES, WHOLE, Kind, fields, kind
from lakeq.dialect.words import WRITERS, literal_int, literal_text
from lakeq.dialect.write import fill

__all__ = ["aggregates", "rewrite", "special"]  # imported for what they write

Rule = Callable[[exp.Expr, str], exp.Expr]
COMPARED = (exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.NullSafeEQ, exp.NullSafeNEQ)


def rewrite(tree: exp.Expr, target: str) -> exp.Expr:
    """`tree`, qualified and typed, in the words of `target`."""
    nodes = list(tree.walk(bfs=True))
    for node in reversed(nodes):
        rule = next((RULES[kind_] for kind_ in type(node).__mro__ if kind_ in RULES), None)
        if rule is None:
            continue
        type_ = node.type
        new = rule(node, target)
        if new is not node:
            if type_ is not None and type_.this != Kind.UNKNOWN:
                new.type = type_  # DuckDB's, whatever the new text is made of
            if node is tree:
                tree = new
            else:
                node.replace(new)
    return tree


def _call(node: exp.Expr, target: str) -> exp.Expr:
    assert isinstance(node, exp.Anonymous)
    if node.name.lower() == "unnest" or node.args.get("done"):
        return node
    function = find(node.name, len(node.expressions))
    if function is None:
        from lakeq.dialect.check import function_refused

        raise function_refused(node.name.lower(), len(node.expressions), target)
    if function.name in (
        "coalesce",
        "ifnull",
        "greatest",
        "least",
        "list_value",
        "list_pack",
        "if",
    ):
        _alike(node.expressions)
    template = function.template(target)
    if template.startswith("!"):
        raise refusal(template[1:].strip(), target)
    if template.startswith("@"):
        return WRITERS[template[1:]](node, target)
    if _takes_order(node):
        raise refusal(f"ORDER BY in {function.name}()", target)
    if len(node.expressions) == 1 and isinstance(node.expressions[0], exp.Distinct):
        new = exp.Anonymous(this=function.name, expressions=[node.expressions[0].copy()])
        if template.startswith(("AVG", "STDDEV", "VAR")):
            inner = node.expressions[0].expressions[0]
            new.expressions[0].set("expressions", [fill(target, "CAST({0} AS DOUBLE)", inner)])
        return new
    return fill(target, template, *node.expressions)


def _alike(parts: list[exp.Expr]) -> None:
    """Values that must be of one type: decimals beside floats become floats, as in DuckDB."""
    kinds = {kind(part) for part in parts}
    wide = next((k for k in (Kind.DOUBLE, Kind.FLOAT) if k in kinds), None)
    if wide and kinds & {Kind.DECIMAL, *WHOLE}:
        for part in list(parts):
            if kind(part) in {Kind.DECIMAL, *WHOLE}:
                part.replace(exp.cast(part.copy(), wide))


def _takes_order(node: exp.Anonymous) -> bool:
    return any(isinstance(part, exp.Order) for part in node.expressions)


def _divide(node: exp.Expr, target: str) -> exp.Expr:
    """DuckDB's `/` is of floats, and by zero gives an infinity or NaN."""
    assert isinstance(node, exp.Div)
    left, right = node.this, node.expression
    narrow = Kind.FLOAT in (kind(left), kind(right)) and Kind.DOUBLE not in (
        kind(left),
        kind(right),
    )
    wide = fill(target, "CAST({0} AS DOUBLE) / CAST({1} AS DOUBLE)", left, right)
    if target == SPARK and not _never_zero(right):
        wide = fill(
            target,
            "CASE WHEN {1} = 0 THEN CAST({0} AS DOUBLE) * CAST('Infinity' AS DOUBLE) "
            "ELSE CAST({0} AS DOUBLE) / NULLIF(CAST({1} AS DOUBLE), 0) END",
            left,
            right,
        )
    return fill(target, "CAST({0} AS REAL)", wide) if narrow else exp.paren(wide)


def _never_zero(node: exp.Expr) -> bool:
    inside = node.unnest()
    while isinstance(inside, exp.Cast):
        inside = inside.this.unnest()
    if isinstance(inside, exp.Literal) and not inside.is_string:
        return float(inside.name) != 0
    named = isinstance(inside, exp.Anonymous) and inside.name.upper() == "NULLIF"
    return named and literal_int(inside.expressions[1]) == 0


def _int_divide(node: exp.Expr, target: str) -> exp.Expr:
    """Cuts towards zero; by zero it is NULL."""
    left, right = node.this, node.expression
    if kind(left) not in WHOLE or kind(right) not in WHOLE:
        raise refusal("// of numbers that are not known to be whole", target, "floor(a / b)")
    if target == SPARK:
        return fill(target, "({0} DIV NULLIF({1}, 0))", left, right)
    whole = "CAST(({0} - {0} % NULLIF({1}, 0)) / NULLIF({1}, 0) AS BIGINT)"
    return fill(target, whole, left, right)


def _mod(node: exp.Expr, target: str) -> exp.Expr:
    """By zero it is NULL."""
    assert isinstance(node, exp.Mod)
    left, right = _widened(node, target)
    if _never_zero(right):
        return fill(target, "({0} % {1})", left, right)
    return fill(target, "({0} % NULLIF({1}, 0))", left, right)


def _widened(node: exp.Binary, target: str) -> tuple[exp.Expr, exp.Expr]:
    """Both sides: small whole numbers as BIGINT, so that none overflows; decimals beside floats."""
    left, right = node.this, node.expression
    kinds = (kind(left), kind(right))
    if kinds[0] in SMALL and kinds[1] in SMALL and not isinstance(node, exp.Mod):
        return fill(target, "CAST({0} AS BIGINT)", left), right
    return _same_floats(left, right, target)


def _same_floats(left: exp.Expr, right: exp.Expr, target: str) -> tuple[exp.Expr, exp.Expr]:
    """Beside FLOAT, DuckDB makes a decimal FLOAT, beside DOUBLE a DOUBLE."""
    for one, other, swapped in ((left, right, False), (right, left, True)):
        if kind(one) in FLOATS and kind(other) == Kind.DECIMAL:
            name = "REAL" if kind(one) == Kind.FLOAT else "DOUBLE"
            made = fill(target, f"CAST({{0}} AS {name})", other)
            return (made, one) if swapped else (one, made)
    return left, right


def _arithmetic(node: exp.Expr, target: str) -> exp.Expr:
    assert isinstance(node, exp.Binary)
    sign = "+" if isinstance(node, exp.Add) else "-" if isinstance(node, exp.Sub) else "*"
    left, right = node.this, node.expression
    dated = TIMES | {Kind.DATE, Kind.INTERVAL}
    if kind(left) in dated or kind(right) in dated:
        return _of_times(node, sign, target)
    new_left, new_right = _widened(node, target)
    made = exp.paren(fill(target, f"{{0}} {sign} {{1}}", new_left, new_right))
    if kind(node) == Kind.FLOAT and target == SPARK:
        return fill(target, "CAST({0} AS REAL)", made)
    return made


def _of_times(node: exp.Binary, sign: str, target: str) -> exp.Expr:
    left, right = node.this, node.expression
    one, other = kind(left), kind(right)
    if Kind.INTERVAL in (one, other):
        return _with_interval(node, sign, target)
    if sign == "-" and one == other == Kind.DATE:
        text = (
            "CAST(DATEDIFF({0}, {1}) AS BIGINT)"
            if target == SPARK
            else "DATE_DIFF('day', {1}, {0})"
        )
        return fill(target, text, left, right)
    if sign == "-" and {one, other} <= TIMES | {Kind.DATE}:
        return fill(target, "({0} - {1})", micros(left, target), micros(right, target))
    day, days = (left, right) if one == Kind.DATE else (right, left)
    if kind(days) in WHOLE and sign in "+-" and kind(day) == Kind.DATE:
        count = fill(target, "-{0}", days) if sign == "-" else days
        if target == SPARK:
            return fill(target, "DATE_ADD({0}, CAST({1} AS INT))", day, count)
        return fill(target, "CAST(DATE_ADD('day', {1}, {0}) AS DATE)", day, count)
    raise refusal(f"{one.value} {sign} {other.value}", target, "date_diff, epoch, or an INTERVAL")


def _with_interval(node: exp.Binary, sign: str, target: str) -> exp.Expr:
    """A time and a written interval; intervals that a query computes are microseconds."""
    left, right = node.this, node.expression
    if kind(left) == Kind.INTERVAL and kind(right) == Kind.INTERVAL and sign in "+-":
        return fill(target, f"({{0}} {sign} {{1}})", left, right)
    moment, span = (left, right) if kind(right) == Kind.INTERVAL else (right, left)
    if sign == "*" or kind(moment) not in TIMES | {Kind.DATE}:
        raise refusal(f"{kind(left).value} {sign} {kind(right).value}", target, "epoch(interval)")
    if kind(moment) == Kind.DATE:
        zone = "TIMESTAMP_NTZ" if target == SPARK else "TIMESTAMP(6)"
        like = fill(target, f"CAST({{0}} AS {zone})", moment)
        like.type = exp.DataType.build("TIMESTAMP", dialect="duckdb")
        moment = like
    months = span.unnest().args.get("months") if isinstance(span.unnest(), exp.Anonymous) else None
    if months:
        return _plus_months(moment, int(months), sign, target)
    total = fill(target, f"{{0}} {sign} {{1}}", micros(moment, target), span)
    return times.from_micros(total, moment, target)


def _plus_months(moment: exp.Expr, months: int, sign: str, target: str) -> exp.Expr:
    return fill(target, f"({{0}} {sign} INTERVAL '{months}' MONTH)", moment)


def _interval(node: exp.Expr, target: str) -> exp.Expr:
    """A written interval as its microseconds; months cannot be told in them."""
    size = times.interval_us(node)
    if size is not None:
        made = fill(target, "CAST({0} AS BIGINT)", exp.Literal.number(size))
        made.set("us", size)
        return made
    assert isinstance(node, exp.Interval)
    unit = node.args.get("unit")
    word = (unit.name if unit is not None else "").lower().rstrip("s")
    number = literal_int(node.this) if node.this is not None else None
    if number is None and node.this is not None and (literal_text(node.this) or "").isdigit():
        number = int(literal_text(node.this) or 0)
    if word in ("month", "year", "quarter") and number is not None:
        months = number * {"month": 1, "quarter": 3, "year": 12}[word]
        made = exp.Anonymous(this="lakeq_months")
        made.set("months", months)
        return made
    raise refusal("an interval that is not written out", target, "INTERVAL 15 MINUTES")


def _compare(node: exp.Expr, target: str) -> exp.Expr:
    left, right = node.this, node.expression
    new_left, new_right = _same_floats(left, right, target)
    if new_left is not left or new_right is not right:
        made = node.copy()
        made.set("this", new_left.copy())
        made.set("expression", new_right.copy())
        return made
    return node


def _between(node: exp.Expr, target: str) -> exp.Expr:
    value = node.this
    made = node.copy()
    for key in ("low", "high"):
        _, bound = _same_floats(value, node.args[key], target)
        made.set(key, bound.copy())
    return made if kind(value) in FLOATS else node


def _in(node: exp.Expr, target: str) -> exp.Expr:
    value = node.this
    if kind(value) not in FLOATS or not node.expressions:
        return node
    made = node.copy()
    made.set("expressions", [_same_floats(value, e, target)[1].copy() for e in node.expressions])
    return made


def _cast(node: exp.Expr, target: str) -> exp.Expr:
    assert isinstance(node, exp.Cast)
    to = node.to.this
    if to in WHOLE:
        return _to_whole(node, target)
    if to in TEXTS:
        return _to_text(node, target)
    if to in TIMES | {Kind.DATE}:
        return _to_time(node, target)
    if to == Kind.INTERVAL:
        raise refusal("CAST to INTERVAL", target, "write the interval: INTERVAL 1 HOUR")
    return node


def _to_whole(node: exp.Cast, target: str) -> exp.Expr:
    """DuckDB rounds where others cut."""
    value, found = node.this, kind(node.this)
    null = isinstance(value.unnest(), exp.Null)
    if found in (Kind.UNKNOWN, Kind.BOOLEAN) and not null and literal_text(value) is None:
        raise refusal(f"CAST of {found.value} to a whole number", target, "CAST to DOUBLE first")
    if found in FLOATS:
        value = _to_even(value, target)
    elif found == Kind.DECIMAL:
        value = fill(target, "ROUND({0})", value)
    made = node.copy()
    made.set("this", value if value is not node.this else value.copy())
    if node.to.this == Kind.INT128:
        made.set("to", exp.DataType.build("DECIMAL(38, 0)"))
    return made


def _to_time(node: exp.Cast, target: str) -> exp.Expr:
    value, to, found = node.this, node.to.this, kind(node.this)
    text = literal_text(value)
    if text is not None and not isinstance(node, exp.TryCast):
        return _moment(text, to, target)
    if to == Kind.DATE:
        return node
    if found in TEXTS | {Kind.UNKNOWN}:
        raise refusal("CAST of text to a time", target, "CAST(x AS DATE), or a written time")
    if target != SPARK:
        zone = " WITH TIME ZONE" if to != Kind.TIMESTAMP else ""
        return fill(target, f"CAST({{0}} AS TIMESTAMP(6){zone})", value)
    return fill(target, "CAST({0} AS TIMESTAMP_NTZ)", value) if to == Kind.TIMESTAMP else node


def _to_even(value: exp.Expr, target: str) -> exp.Expr:
    """A float as the nearest whole number, of two the even one: DuckDB's cast."""
    return fill(
        target,
        "CASE WHEN ABS({0} - FLOOR({0})) = 0.5 THEN 2 * ROUND({0} / 2) ELSE ROUND({0}) END",
        value,
    )


def _to_text(node: exp.Cast, target: str) -> exp.Expr:
    plain = TEXTS | WHOLE | {Kind.DECIMAL, Kind.BOOLEAN, Kind.DATE, Kind.NULL}
    if kind(node.this) not in plain and not isinstance(node.this.unnest(), exp.Null):
        what = (
            kind(node.this).value if kind(node.this) != Kind.UNKNOWN else "a value of unknown type"
        )
        raise refusal(f"CAST of {what} to VARCHAR", target, "CAST to DECIMAL first, or to DATE")
    return node


def _moment(text: str, to: Kind, target: str) -> exp.Expr:
    """A written date or time in the one spelling that every engine reads."""
    try:
        if to == Kind.DATE:
            day = date.fromisoformat(text.strip()[:10])
            return fill(target, f"DATE '{day.isoformat()}'")
        found = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise refusal(f"the time {text!r}", target, "write it as 2024-01-31 12:00:00") from error
    if to == Kind.TIMESTAMP:
        plain = found.replace(tzinfo=None).isoformat(" ", "microseconds")
        return fill(
            target, f"CAST('{plain}' AS {'TIMESTAMP_NTZ' if target == SPARK else 'TIMESTAMP(6)'})"
        )
    moment = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    plain = moment.replace(tzinfo=None).isoformat(" ", "microseconds")
    if target == SPARK:
        return fill(target, f"CAST('{plain}' AS TIMESTAMP)")
    return fill(target, f"CAST('{plain} UTC' AS TIMESTAMP(6) WITH TIME ZONE)")


def _bracket(node: exp.Expr, target: str) -> exp.Expr:
    assert isinstance(node, exp.Bracket)
    value = node.this
    if len(node.expressions) != 1:
        raise refusal(f"{node.sql(dialect='duckdb')[:40]}", target)
    index = node.expressions[0]
    if isinstance(index, exp.Slice):
        if index.args.get("step") is not None:
            raise refusal("a slice with a step", target)
        return lists.slice_of(value, index.this, index.expression, target)
    name = literal_text(index)
    if name is not None and kind(value) == Kind.STRUCT:
        return lists.dot(value, name)
    if kind(value) not in LISTS | {Kind.UNKNOWN}:
        raise refusal(f"[…] of {kind(value).value}", target)
    return lists.element_of(value, index, target)


def _struct(node: exp.Expr, target: str) -> exp.Expr:
    return lists.struct_of(fields(node), node.type, target)


def _array(node: exp.Expr, target: str) -> exp.Expr:
    _alike(node.expressions)
    text = "ARRAY({*})" if target == SPARK else "ARRAY[{*}]"
    return fill(target, text, *node.expressions)


def _extract(node: exp.Expr, target: str) -> exp.Expr:
    return times.date_part(node.this.name, node.expression, target)


def _concat(node: exp.Expr, target: str) -> exp.Expr:
    """Text beside text, or a list beside a list."""
    kinds = {kind(node.this), kind(node.expression)}
    if kinds <= LISTS | {Kind.NULL}:
        return fill(target, "CONCAT({0}, {1})", node.this, node.expression)
    if not kinds <= TEXTS | WHOLE | {Kind.NULL}:
        raise refusal("|| of what is not known to be text", target, "CAST it to VARCHAR")
    name = "STRING" if target == SPARK else "VARCHAR"
    sides = [
        fill(target, f"CAST({{0}} AS {name})", side) if kind(side) in WHOLE else side
        for side in (node.this, node.expression)
    ]
    return fill(target, "CONCAT({0}, {1})", *sides)


def _like(node: exp.Expr, target: str) -> exp.Expr:
    """`ESCAPE` is written where Spark takes a backslash for one of its own."""
    if isinstance(node, exp.ILike):
        pattern = literal_text(node.expression)
        if pattern is None:
            raise refusal("ILIKE of a pattern that is not written out", target, "lower(x) LIKE …")
        lower = exp.Literal.string(pattern.lower())
        return _like(exp.Like(this=fill(target, "LOWER({0})", node.this), expression=lower), target)
    if isinstance(node.parent, exp.Escape):
        return node
    text = literal_text(node.expression)
    if target == SPARK and (text is None or "\\" in text):
        raise refusal("LIKE of a pattern with a backslash", target, "strpos(x, y) > 0")
    return node


def _similar(node: exp.Expr, target: str) -> exp.Expr:
    call = exp.Anonymous(this="regexp_full_match", expressions=[node.this, node.expression])
    return WRITERS["REGEXP_FULL"](call, target)


def _filter(node: exp.Expr, target: str) -> exp.Expr:
    """Some rules take the condition into what they write."""
    return node.this if node.this.args.get("filtered") else node


def _position(node: exp.Expr, target: str) -> exp.Expr:
    call = exp.Anonymous(this="strpos", expressions=[node.this, node.args["substr"]])
    return _call(call, target)


def _power(node: exp.Expr, target: str) -> exp.Expr:
    return fill(
        target, "POWER(CAST({0} AS DOUBLE), CAST({1} AS DOUBLE))", node.this, node.expression
    )


RULES: dict[type, Rule] = {
    exp.Anonymous: _call,
    exp.Div: _divide,
    exp.IntDiv: _int_divide,
    exp.Mod: _mod,
    exp.Add: _arithmetic,
    exp.Sub: _arithmetic,
    exp.Mul: _arithmetic,
    exp.Pow: _power,
    exp.Interval: _interval,
    exp.Between: _between,
    exp.In: _in,
    exp.Cast: _cast,
    exp.Bracket: _bracket,
    exp.Struct: _struct,
    exp.Array: _array,
    exp.Extract: _extract,
    exp.DPipe: _concat,
    exp.Like: _like,
    exp.ILike: _like,
    exp.SimilarTo: _similar,
    exp.StrPosition: _position,
    exp.Filter: _filter,
    **dict.fromkeys(COMPARED, _compare),
}
