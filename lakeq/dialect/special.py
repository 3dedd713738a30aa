"""Functions of numbers and text that depend on types or on written values."""

from __future__ import annotations

import re

from sqlglot import exp

from lakeq.dialect import SPARK, refusal
from lakeq.dialect.types import FLOATS, TEXTS, WHOLE, Kind, kind
from lakeq.dialect.words import Call, integer, literal_int, literal_text, writer
from lakeq.dialect.write import fill

# RE2 takes these, Java's regular expressions read them in another way, or not at all.
_RE2_ONLY = re.compile(r"\\[CQEpPzZAG]|\[\[:|\(\?P|\(\?[a-zA-Z^-]|\\x\{")


@writer("CEIL")
def _ceil(call: Call, target: str) -> exp.Expr:
    return _whole(call, target, "CEIL")


@writer("FLOOR")
def _floor(call: Call, target: str) -> exp.Expr:
    return _whole(call, target, "FLOOR")


def _whole(call: Call, target: str, name: str) -> exp.Expr:
    """Spark makes BIGINT of a double here, which is too small for large ones."""
    (value,) = call.expressions
    if target == SPARK and kind(value) in FLOATS:
        return fill(
            target,
            f"IF(ABS({{0}}) < 9000000000000000, CAST({name}({{0}}) AS {kind(value).value}), {{0}})",
            value,
        )
    return fill(target, f"{name}({{0}})", value)


@writer("ROUND2")
def _round(call: Call, target: str) -> exp.Expr:
    """DuckDB multiplies, rounds and divides; Java rounds the decimal digits of the number."""
    value, digits = call.expressions
    places = literal_int(digits)
    if places is None or not 0 <= places <= 15:
        raise refusal("round(x, n) with n that is not a whole number from 0 to 15", target)
    if kind(value) not in FLOATS:
        if kind(value) == Kind.UNKNOWN:
            raise refusal("round() of a value whose type is not known here", target, "CAST it")
        return fill(target, "ROUND({0}, {1})", value, integer(places))
    if places == 0:
        return fill(target, "ROUND({0})", value)
    factor = exp.cast(exp.Literal.number(10**places), "DOUBLE")
    scaled = fill(target, "ROUND(CAST({0} AS DOUBLE) * {1}) / {1}", value, factor)
    return fill(target, "CAST({0} AS REAL)", scaled) if kind(value) == Kind.FLOAT else scaled


@writer("MOD")
def _mod(call: Call, target: str) -> exp.Expr:
    return fill(target, "{0} % NULLIF({1}, 0)", *call.expressions)


@writer("SUBSTR")
def _substr(call: Call, target: str) -> exp.Expr:
    text, start, *length = call.expressions
    first = literal_int(start)
    if first is None or first < 1:
        raise refusal("substr() that does not begin at a written number from 1", target)
    if length and (literal_int(length[0]) or -1) < 0 and literal_int(length[0]) != 0:
        raise refusal("substr() whose length is not a written number", target)
    return fill(target, "SUBSTR({*})", text, integer(first), *length)


@writer("LEFT")
def _left(call: Call, target: str) -> exp.Expr:
    text, count = call.expressions
    if (literal_int(count) or 0) < 1:
        raise refusal("left() of a number that is not written, from 1", target, "substr(x, 1, n)")
    return fill(target, "SUBSTR({0}, 1, {1})", text, count)


@writer("RIGHT")
def _right(call: Call, target: str) -> exp.Expr:
    text, count = call.expressions
    if (literal_int(count) or 0) < 1:
        raise refusal("right() of a number that is not written, from 1", target)
    if target == SPARK:
        return fill(target, "RIGHT({0}, {1})", text, count)
    return fill(target, "SUBSTR({0}, GREATEST(LENGTH({0}) - {1}, 0) + 1)", text, count)


@writer("CONCAT")
def _concat(call: Call, target: str) -> exp.Expr:
    """DuckDB's leaves NULL out; the others' makes all of it NULL."""
    parts = []
    for part in call.expressions:
        if kind(part) not in TEXTS | WHOLE | {Kind.UNKNOWN, Kind.NULL}:
            raise refusal(f"concat() of {kind(part).value}", target, "CAST it to VARCHAR")
        parts.append(
            fill(
                target,
                "COALESCE(CAST({0} AS VARCHAR), '')"
                if target != SPARK
                else "COALESCE(CAST({0} AS STRING), '')",
                part,
            )
        )
    if len(parts) == 1:
        return parts[0]
    return fill(target, "CONCAT({*})", *parts)


@writer("SPLIT_PART")
def _split_part(call: Call, target: str) -> exp.Expr:
    text, separator, number = call.expressions
    if (literal_int(number) or 0) < 1:
        raise refusal("split_part() of a part whose number is not written, from 1", target)
    if not literal_text(separator):
        raise refusal("split_part() by a separator that is not written out", target)
    found = fill(target, "SPLIT_PART({0}, {1}, {2})", text, separator, number)
    return (
        found
        if target == SPARK
        else fill(target, "CASE WHEN {0} IS NULL THEN NULL ELSE COALESCE({1}, '') END", text, found)
    )


@writer("SPLIT")
def _split(call: Call, target: str) -> exp.Expr:
    text, separator = call.expressions
    by = literal_text(separator)
    if not by:
        raise refusal(f"{call.name}() by a separator that is not written out", target)
    if target == SPARK:  # which takes a regular expression
        quoted = re.sub(r"([^\w\s])", r"[\1]", by.replace("\\", "\\\\")).replace("[^]", r"\^")
        return fill(target, "SPLIT({0}, {1})", text, exp.Literal.string(quoted))
    return fill(target, "SPLIT({0}, {1})", text, separator)


def _pattern(node: exp.Expr, target: str) -> str:
    """A regular expression that RE2 and Java read in the same way."""
    found = literal_text(node)
    if found is None:
        raise refusal("a regular expression that is not written out", target)
    if odd := _RE2_ONLY.search(found):
        raise refusal(f"{odd[0]!r} in a regular expression", target)
    return found


@writer("REGEXP_MATCHES")
def _regexp_matches(call: Call, target: str) -> exp.Expr:
    text, pattern = call.expressions
    _pattern(pattern, target)
    return fill(
        target, "{0} RLIKE {1}" if target == SPARK else "REGEXP_LIKE({0}, {1})", text, pattern
    )


@writer("REGEXP_FULL")
def _regexp_full(call: Call, target: str) -> exp.Expr:
    text, pattern = call.expressions
    whole = exp.Literal.string(f"^(?:{_pattern(pattern, target)})$")
    return fill(
        target, "{0} RLIKE {1}" if target == SPARK else "REGEXP_LIKE({0}, {1})", text, whole
    )


@writer("REGEXP_EXTRACT")
def _regexp_extract(call: Call, target: str) -> exp.Expr:
    text, pattern, *group = call.expressions
    _pattern(pattern, target)
    number = literal_int(group[0]) if group else 0
    if number is None:
        raise refusal("regexp_extract() of a group whose number is not written", target)
    found = fill(target, "REGEXP_EXTRACT({0}, {1}, {2})", text, pattern, integer(number))
    if target == SPARK:
        return found
    return fill(target, "CASE WHEN {0} IS NULL THEN NULL ELSE COALESCE({1}, '') END", text, found)


@writer("REGEXP_REPLACE")
def _regexp_replace(call: Call, target: str) -> exp.Expr:
    text, pattern, new, options = call.expressions
    if literal_text(options) != "g":
        raise refusal("regexp_replace() with options other than 'g'", target)
    _pattern(pattern, target)
    by = literal_text(new)
    if by is None:
        raise refusal("regexp_replace() by a text that is not written out", target)
    if target == SPARK and re.search(r"\$|\\(?!\d)", by):  # not alike in Java and in Sail
        raise refusal("regexp_replace() by a text with $ or a backslash", target)
    java = re.sub(r"\\(\d)|([$\\])", lambda m: f"${m[1]}" if m[1] else "\\" + m[2], by)
    return fill(target, "REGEXP_REPLACE({0}, {1}, {2})", text, pattern, exp.Literal.string(java))


@writer("ASCII")
def _ascii(call: Call, target: str) -> exp.Expr:
    (text,) = call.expressions
    if target == SPARK:
        return fill(target, "ASCII({0})", text)
    return fill(
        target,
        "CASE WHEN {0} = '' THEN 0 ELSE CODEPOINT(CAST(SUBSTR({0}, 1, 1) AS VARCHAR(1))) END",
        text,
    )
