"""DuckDB's pushed-down filters against the bounds of a column chunk: what survives, what is sure.

Two judgements differ on purpose. `judge` is the truth about the rows. It prunes files, which DuckDB
then never opens. `duckdb_reads` repeats DuckDB 1.5.5 in what it makes of the same bounds
(ConstantFilter, InFilter and others, `CheckStatistics`), so that the plan counts the row groups
that DuckDB will read: text it compares over shared lengths only, and booleans not at all.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from lakeq.snapshot import Bounds

Node = dict[str, Any]
Value = int | float | str | bool

_TEXT_BYTES = 8  # of a text's bounds that DuckDB keeps where it does not look at the footer's own
_COMPARES: dict[str, str] = {
    "COMPARE_EQUAL": "=",
    "COMPARE_NOTEQUAL": "<>",
    "COMPARE_GREATERTHAN": ">",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
    "COMPARE_LESSTHAN": "<",
    "COMPARE_LESSTHANOREQUALTO": "<=",
}
_OPPOSITES = {"=": "<>", "<>": "=", ">": "<=", ">=": "<", "<": ">=", "<=": ">"}
_TURNED = {"=": "=", "<>": "<>", ">": "<", ">=": "<=", "<": ">", "<=": ">="}
_NULLS = {"OPERATOR_IS_NOT_NULL": "not null", "OPERATOR_IS_NULL": "null"}
_NOT_NULLS = {"OPERATOR_IS_NOT_NULL": "null", "OPERATOR_IS_NULL": "not null"}
_INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE"}
)
_FLOATS = frozenset({"FLOAT", "DOUBLE"})


class Pass(Enum):
    """How many of the rows that have the bounds pass a filter."""

    NONE = 0
    UNKNOWN = 1
    SOME = 2  # one at least: the one that the bound is taken from
    ALL = 3


class Filter(NamedTuple):
    """One pushed-down filter of one column; `fields` leads into a struct.

    `kind` is "compare", "in", "null", "not null", "and", "or", "expression" or "other"; `optional`
    filters skip row groups and test no row. An "expression" tests rows by its one child, and DuckDB
    prunes by none. `pruning` marks an "other" one that DuckDB may prune by.
    """

    kind: str
    fields: tuple[int, ...] = ()
    operator: str = ""
    values: tuple[Value, ...] = ()
    children: tuple[Filter, ...] = ()
    optional: bool = False
    pruning: bool = False


OTHER = Filter("other")


def parse(node: Node, fields: tuple[int, ...] = ()) -> Filter:
    """A TableFilter of DuckDB's serialized plan; what is not known here is "other"."""
    kind = node.get("filter_type")
    if kind == "OPTIONAL_FILTER":
        child = node.get("child_filter")
        inner = parse(child, fields) if child else OTHER
        return inner._replace(optional=True)
    if kind == "STRUCT_EXTRACT" and "child_filter" in node:
        return parse(node["child_filter"], (*fields, int(node.get("child_idx", 0))))
    if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR"):
        children = tuple(parse(child, fields) for child in node.get("child_filters", ()))
        return Filter("and" if kind == "CONJUNCTION_AND" else "or", fields, children=children)
    return _leaf(node, fields)


def _leaf(node: Node, fields: tuple[int, ...]) -> Filter:
    kind = node.get("filter_type")
    if kind == "IS_NULL":
        return Filter("null", fields)
    if kind == "IS_NOT_NULL":
        return Filter("not null", fields)
    if kind == "CONSTANT_COMPARISON" and node.get("comparison_type") in _COMPARES:
        value = _constant(node.get("constant", {}))
        if value is not None:
            return Filter("compare", fields, _COMPARES[node["comparison_type"]], (value,))
    if kind == "IN_FILTER":
        values = [_constant(value) for value in node.get("values", ())]
        known = tuple(value for value in values if value is not None)
        if known and len(known) == len(values):
            return Filter("in", fields, "=", known)
    if kind == "EXPRESSION_FILTER":
        return Filter("expression", fields, children=(asked(node.get("expr", {}), 0, fields),))
    return Filter("other", fields, pruning=True)


def asked(
    node: Node, column: int, fields: tuple[int, ...] = (), *, negated: bool = False
) -> Filter:
    """What a bound expression, or its negation, asks of the column that it refers to as `column`.

    What it asks of others, and what is not known here, is "other": it may be true or not.
    """
    kind, children = str(node.get("type")), node.get("children", ())
    if kind == "OPERATOR_NOT" and len(children) == 1:
        return asked(children[0], column, fields, negated=not negated)
    if kind in ("CONJUNCTION_AND", "CONJUNCTION_OR") and children:
        parts = tuple(asked(child, column, fields, negated=negated) for child in children)
        every = (kind == "CONJUNCTION_AND") is not negated  # NOT of an AND is an OR of NOTs
        return Filter("and" if every else "or", fields, children=parts)
    if kind in _COMPARES and "left" in node and "right" in node:
        return _compared(node, column, fields, negated=negated)
    if not children or not _is_column(children[0], column):
        return OTHER
    if kind in _NULLS and len(children) == 1:
        return Filter(_NULLS[kind] if not negated else _NOT_NULLS[kind], fields)
    values = [_constant_of(child) for child in children[1:]]
    known = tuple(value for value in values if value is not None)
    if kind != "COMPARE_IN" or not known or len(known) < len(values):
        return OTHER
    if not negated:
        return Filter("in", fields, "=", known)
    parts = tuple(Filter("compare", fields, "<>", (value,)) for value in known)
    return Filter("and", fields, children=parts)


def _compared(node: Node, column: int, fields: tuple[int, ...], *, negated: bool) -> Filter:
    """Of a comparison of the column with a constant, whichever of them stands first."""
    operator, left, right = _COMPARES[str(node["type"])], node["left"], node["right"]
    if _is_column(right, column):
        operator, left, right = _TURNED[operator], right, left
    constant = _constant_of(right)
    if constant is None or not _is_column(left, column):
        return OTHER
    return Filter("compare", fields, _OPPOSITES[operator] if negated else operator, (constant,))


def _is_column(node: Node, column: int) -> bool:
    """Whether it is a plain reference to the column; DuckDB leaves out an index of 0."""
    return node.get("expression_class") == "BOUND_REF" and int(node.get("index", 0)) == column


def _constant_of(node: Node) -> Value | None:
    known = node.get("expression_class") == "BOUND_CONSTANT"
    return _constant(node.get("value", {})) if known else None


def certain(filter_: Filter) -> Filter | None:
    """The part of a filter that alone can rule rows out; None where nothing can."""
    parts = [certain(child) for child in filter_.children]
    known = tuple(part for part in parts if part is not None)
    if filter_.kind in ("and", "or"):
        enough = known if filter_.kind == "and" else len(known) == len(parts)
        return filter_._replace(children=known) if enough else None
    return None if filter_.kind == "other" else filter_


def _constant(node: Node) -> Value | None:
    """The value, where its type orders in Python as in DuckDB; others are None.

    A decimal is the number of its last digit, as its column stores it: DuckDB compares the two only
    when they have the same scale.
    """
    type_, value = str(node.get("type", {}).get("id")), node.get("value")
    if type_ == "VARCHAR" and isinstance(value, str):
        return value
    if type_ == "BOOLEAN" and isinstance(value, bool):
        return value
    if (type_ in _INTEGERS or type_ == "DECIMAL") and isinstance(value, int):
        return value
    if type_ in _FLOATS and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return None


Lookup = Callable[[tuple[int, ...]], Bounds | None]


def judge(filter_: Filter, bounds_of: Lookup) -> Pass:
    """How many rows pass, by the bounds that `bounds_of` gives for a path of struct fields."""
    if filter_.kind == "expression":
        return judge(filter_.children[0], bounds_of)
    if filter_.kind == "and":
        return _both([judge(child, bounds_of) for child in filter_.children])
    if filter_.kind == "or":
        return max((judge(c, bounds_of) for c in filter_.children), key=lambda p: p.value)
    bounds = bounds_of(filter_.fields)
    if bounds is None or filter_.kind == "other":
        return Pass.UNKNOWN
    if filter_.kind in ("null", "not null"):
        return _null(filter_.kind == "null", bounds)
    if bounds.all_null:
        return Pass.NONE
    found = max((_compare(filter_.operator, v, bounds) for v in filter_.values), key=_rank)
    return Pass.SOME if found is Pass.ALL and bounds.nulls != 0 else found


def _rank(found: Pass) -> int:
    return found.value


def _both(found: list[Pass]) -> Pass:
    """Of a conjunction: rows that pass one part may be others than those that pass the next."""
    if Pass.NONE in found:
        return Pass.NONE
    partial = [each for each in found if each is not Pass.ALL]
    if not partial:
        return Pass.ALL
    return partial[0] if len(partial) == 1 else Pass.UNKNOWN


def _null(wanted: bool, bounds: Bounds) -> Pass:
    if bounds.nulls < 0:
        return Pass.SOME if not wanted and bounds.low is not None else Pass.UNKNOWN
    if wanted:
        return Pass.ALL if bounds.all_null else Pass.SOME if bounds.nulls else Pass.NONE
    return Pass.NONE if bounds.all_null else Pass.SOME if bounds.nulls else Pass.ALL


def _compare(operator: str, value: Value, bounds: Bounds) -> Pass:
    """Of the rows that are not null; the bounds are values that occur."""
    low: Any = bounds.low
    high: Any = bounds.high
    if low is None or high is None or not _comparable(value, low):
        return Pass.UNKNOWN
    if operator == "=":
        if value < low or value > high:
            return Pass.NONE
        return Pass.ALL if low == high else Pass.SOME if value in (low, high) else Pass.UNKNOWN
    if operator == "<>":
        if low == high == value:
            return Pass.NONE
        return Pass.ALL if value < low or value > high else Pass.SOME
    test: Callable[[Any], bool] = {
        ">": lambda x: x > value,
        ">=": lambda x: x >= value,
        "<": lambda x: x < value,
        "<=": lambda x: x <= value,
    }[operator]
    passed = test(low) + test(high)
    return (Pass.NONE, Pass.SOME, Pass.ALL)[passed]


def _comparable(value: object, low: object) -> bool:
    texts = isinstance(value, str), isinstance(low, str)
    return texts[0] == texts[1] and isinstance(value, bool) == isinstance(low, bool)


def duckdb_reads(filter_: Filter, bounds_of: Lookup) -> bool:
    """Whether DuckDB reads a row group for which it has these bounds."""
    return not _skips(filter_, bounds_of, nested=False)


def may_skip(filter_: Filter, bounds_of: Lookup) -> bool:
    """Whether DuckDB may know bounds that are not known here, and skip a row group by them."""
    if filter_.kind in ("and", "or"):
        return any(may_skip(child, bounds_of) for child in filter_.children)
    if filter_.kind in ("other", "expression"):
        return filter_.pruning
    bounds = bounds_of(filter_.fields)
    return bounds is None or (bounds.low is None and not bounds.all_null)


def _skips(filter_: Filter, bounds_of: Lookup, *, nested: bool) -> bool:
    if filter_.kind == "and":
        inside = nested or filter_.optional
        return any(_skips(child, bounds_of, nested=inside) for child in filter_.children)
    if filter_.kind == "or":
        return bool(filter_.children) and all(
            _skips(child, bounds_of, nested=True) for child in filter_.children
        )
    bounds = bounds_of(filter_.fields)
    if bounds is None or filter_.kind in ("other", "expression"):
        return False
    if filter_.kind in ("null", "not null"):
        return _null(filter_.kind == "null", bounds) is Pass.NONE
    if bounds.all_null:
        return True
    if any(isinstance(value, bool) for value in filter_.values):
        return False
    if isinstance(filter_.values[0], str):
        short = nested or filter_.optional or filter_.kind == "in" or bool(filter_.fields)
        return all(_text_skips(filter_.operator, v, bounds, short=short) for v in filter_.values)
    return all(_compare(filter_.operator, value, bounds) is Pass.NONE for value in filter_.values)


def _text_skips(operator: str, value: Value, bounds: Bounds, *, short: bool) -> bool:
    """StringStats::CheckZonemap: the bounds and the constant are compared over shared bytes."""
    if not isinstance(bounds.low, str) or not isinstance(bounds.high, str):
        return False
    low, high = (text_side(value, each, short=short) for each in (bounds.low, bounds.high))
    return bool(text_skips(operator, low < 0, high > 0))


def text_side(value: Value, bound: str, *, short: bool) -> int:
    """-1 where DuckDB sees `value` below `bound`, 1 where above it, 0 where it sees no difference.

    `short`: of the bound it has the first bytes only.
    """
    wanted, found = str(value).encode(), bound.encode()
    if short:
        found = found[:_TEXT_BYTES].ljust(_TEXT_BYTES, b"\0")
    wanted, found = wanted[: len(found)], found[: len(wanted)]
    return (wanted > found) - (wanted < found)


def text_skips(operator: str, below: Any, above: Any) -> Any:
    """Whether DuckDB skips: the constant is `below` the low bound, or `above` the high one.

    Of booleans a boolean, of arrays of them an array.
    """
    if operator == "=":
        return below | above
    if operator in (">", ">="):
        return above
    return below if operator in ("<", "<=") else False
