"""Types of expressions as DuckDB has them, as far as the rules need to know them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlglot import exp
from sqlglot.expressions import DType
from sqlglot.optimizer.annotate_types import TypeAnnotator

from lakeq.dialect.functions import find

if TYPE_CHECKING:
    from sqlglot.schema import MappingSchema

Kind = DType
SMALL = frozenset({Kind.TINYINT, Kind.SMALLINT, Kind.INT})
WHOLE = SMALL | {Kind.BIGINT, Kind.INT128}
FLOATS = frozenset({Kind.FLOAT, Kind.DOUBLE})
NUMBERS = WHOLE | FLOATS | {Kind.DECIMAL}
TEXTS = frozenset({Kind.TEXT, Kind.VARCHAR})
LISTS = frozenset({Kind.ARRAY, Kind.LIST})
TIMES = frozenset({Kind.TIMESTAMP, Kind.TIMESTAMPTZ, Kind.TIMESTAMPLTZ, Kind.DATETIME})
UNKNOWN = exp.DataType(this=Kind.UNKNOWN)
_NAMED = {
    "bool": "BOOLEAN",
    "tinyint": "TINYINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "hugeint": "HUGEINT",
    "double": "DOUBLE",
    "text": "VARCHAR",
    "date": "DATE",
    "timestamptz": "TIMESTAMP WITH TIME ZONE",
    "list<text>": "VARCHAR[]",
    "list<bigint>": "BIGINT[]",
}


def built(text: str) -> exp.DataType:
    """A type as DuckDB writes it."""
    found: exp.DataType = exp.DataType.build(text, dialect="duckdb")
    return found


def kind(node: exp.Expr | None) -> Kind:
    """What an expression's type is, `UNKNOWN` where nobody said."""
    found = node.type if node is not None else None
    return found.this if isinstance(found, exp.DataType) else Kind.UNKNOWN


def element(type_: exp.DataType | None) -> exp.DataType:
    """The type of a list's elements."""
    if type_ is not None and type_.this in LISTS and type_.expressions:
        found = type_.expressions[0]
        return found if isinstance(found, exp.DataType) else UNKNOWN
    return UNKNOWN


def list_of(type_: exp.DataType | None) -> exp.DataType:
    """The type of a list of such elements."""
    inner = (type_ or UNKNOWN).copy()
    return exp.DataType(this=Kind.ARRAY, expressions=[inner], nested=True)


def returned(call: exp.Anonymous) -> exp.DataType:
    """The type that DuckDB gives a call, `UNKNOWN` where the table of functions does not say."""
    arguments = call.expressions
    function = find(call.name, len(arguments))
    if function is None:
        return UNKNOWN
    rule = function.returns
    first = arguments[0].type if arguments else None
    if rule in _NAMED:
        return built(_NAMED[rule])
    if rule.startswith("="):
        return _same(call, int(rule[1:]))
    if rule == "elem0":
        return element(first)
    if rule == "list0":
        return list_of(widest([part.type for part in arguments]))
    return _special(rule, call, first)


_ALIKE = frozenset({"coalesce", "ifnull", "greatest", "least", "if", "list_value", "list_pack"})


def _same(call: exp.Anonymous, number: int) -> exp.DataType:
    parts = call.expressions[number:]
    if call.name.lower() not in _ALIKE:
        parts = parts[:1]
    return widest([part.type for part in parts])


def widest(types: Iterable[exp.DataType | None]) -> exp.DataType:
    """The type that DuckDB gives values of these types in one place."""
    found = exp.DataType(this=Kind.NULL)
    for type_ in types:
        found = wider(found, type_ if type_ is not None else UNKNOWN)
    return UNKNOWN if found.this == Kind.NULL else found


def wider(one: exp.DataType, other: exp.DataType) -> exp.DataType:
    """The type that holds the values of both; `UNKNOWN` where no rule here says."""
    kinds = (one.this, other.this)
    if Kind.NULL in kinds:
        return other if one.this == Kind.NULL else one
    if Kind.UNKNOWN in kinds:
        return UNKNOWN
    if set(kinds) <= NUMBERS:
        return _number(one, other)
    if set(kinds) <= LISTS:
        return list_of(wider(element(one), element(other)))
    if set(kinds) <= TEXTS or one == other:
        return one
    if set(kinds) == {Kind.STRUCT}:
        return _structs(one, other)
    return one if one.this == other.this else UNKNOWN


def _structs(one: exp.DataType, other: exp.DataType) -> exp.DataType:
    """Structs of the same names, field by field."""
    parts = []
    for left, right in zip(one.expressions, other.expressions, strict=False):
        same = left.name.lower() == right.name.lower()
        if not same or len(one.expressions) != len(other.expressions):
            return UNKNOWN
        type_ = wider(left.args["kind"], right.args["kind"])
        parts.append(exp.ColumnDef(this=left.this.copy(), kind=type_))
    return exp.DataType(this=Kind.STRUCT, expressions=parts, nested=True)


def _number(one: exp.DataType, other: exp.DataType) -> exp.DataType:
    kinds = (one.this, other.this)
    if Kind.DECIMAL in kinds and not FLOATS.intersection(kinds):
        return built(f"DECIMAL(38, {max(_scale(one), _scale(other))})")
    order = (
        (Kind.DOUBLE, "DOUBLE"),
        (Kind.FLOAT, "FLOAT"),
        (Kind.INT128, "HUGEINT"),
        (Kind.BIGINT, "BIGINT"),
        (Kind.INT, "INTEGER"),
        (Kind.SMALLINT, "SMALLINT"),
    )
    return built(next((name for kind_, name in order if kind_ in kinds), "TINYINT"))


class _Annotator(TypeAnnotator):
    """sqlglot's, with DuckDB's rule for values of several types in one place."""

    def _maybe_coerce(
        self, type1: exp.DataType | DType, type2: exp.DataType | DType
    ) -> exp.DataType | DType:
        one, other = (
            t if isinstance(t, exp.DataType) else exp.DataType(this=t) for t in (type1, type2)
        )
        return wider(one, other)


def _special(rule: str, call: exp.Anonymous, first: exp.DataType | None) -> exp.DataType:
    found = UNKNOWN
    if rule in ("sum", "sum0"):
        summed = first if rule == "sum" else element(first)
        found = _sum(summed)
    elif rule == "quantile":
        known = first.this if first is not None else Kind.UNKNOWN
        found = built("FLOAT" if known == Kind.FLOAT else "DOUBLE")
    elif rule == "@range":
        found = list_of(first if first is not None and first.this in TIMES else built("BIGINT"))
    elif rule == "trunc":
        second = call.expressions[1]
        found = built("TIMESTAMP") if kind(second) == Kind.DATE else second.type or UNKNOWN
    elif rule == "field":
        found = field(first, call.expressions[1].name)
    elif rule == "lambda":
        body = call.expressions[1].this if isinstance(call.expressions[1], exp.Lambda) else None
        found = list_of(body.type if body is not None else None)
    elif rule == "struct":
        found = _struct(call)
    return found


def _sum(type_: exp.DataType | None) -> exp.DataType:
    this = type_.this if type_ is not None else Kind.UNKNOWN
    if this in WHOLE:
        return built("HUGEINT")
    if this in FLOATS:
        return built("DOUBLE")
    return type_ if type_ is not None and this == Kind.DECIMAL else UNKNOWN


def field(type_: exp.DataType | None, name: str) -> exp.DataType:
    """The type of a struct's field."""
    if type_ is not None and type_.this == Kind.STRUCT:
        for part in type_.expressions:
            if isinstance(part, exp.ColumnDef) and part.name.lower() == name.lower():
                found = part.args.get("kind")
                return found if isinstance(found, exp.DataType) else UNKNOWN
    return UNKNOWN


def _struct(call: exp.Anonymous) -> exp.DataType:
    parts = []
    for name, value in fields(call):
        if value.type is None or value.type.this == Kind.UNKNOWN:
            return UNKNOWN
        parts.append(exp.ColumnDef(this=exp.to_identifier(name), kind=value.type.copy()))
    return exp.DataType(this=Kind.STRUCT, expressions=parts, nested=True)


def fields(node: exp.Expr) -> list[tuple[str, exp.Expr]]:
    """Names and values of `struct_pack(a := 1, b)` and `{'a': 1}`."""
    found = []
    for part in node.expressions:
        if isinstance(part, exp.PropertyEQ | exp.EQ | exp.Alias):
            value = part.this if isinstance(part, exp.Alias) else part.expression
            name = part.alias if isinstance(part, exp.Alias) else part.this.name
            found.append((name, value))
        else:
            found.append((part.name or part.output_name, part))
    return found


def annotate(tree: exp.Expr, schema: MappingSchema) -> exp.Expr:
    """Give every expression of a qualified query its type, where that can be told."""
    metadata: dict[Any, Any] = dict(TypeAnnotator(schema).expression_metadata)
    metadata |= {
        exp.Anonymous: {"annotator": lambda self, e: _set(self, e, returned(e))},
        exp.Literal: {"annotator": lambda self, e: _set(self, e, _literal(e))},
        exp.Div: {"annotator": lambda self, e: _set(self, e, _divided(e))},
        exp.IntDiv: {"annotator": lambda self, e: _set(self, e, _arithmetic(e))},
        exp.Add: {"annotator": lambda self, e: _set(self, e, _arithmetic(e))},
        exp.Sub: {"annotator": lambda self, e: _set(self, e, _arithmetic(e))},
        exp.Mul: {"annotator": lambda self, e: _set(self, e, _arithmetic(e))},
        exp.Mod: {"annotator": lambda self, e: _set(self, e, _arithmetic(e))},
        exp.Pow: {"annotator": lambda self, e: _set(self, e, built("DOUBLE"))},
        exp.Interval: {"annotator": lambda self, e: _set(self, e, built("INTERVAL"))},
        exp.StrPosition: {"annotator": lambda self, e: _set(self, e, built("BIGINT"))},
        exp.Extract: {"annotator": lambda self, e: _set(self, e, built("BIGINT"))},
        exp.Bracket: {"annotator": lambda self, e: _set(self, e, _bracket(e))},
        exp.Array: {"annotator": lambda self, e: _set(self, e, _array(e))},
        exp.Struct: {"annotator": lambda self, e: _set(self, e, _struct(e))},
        exp.Filter: {"annotator": lambda self, e: _set(self, e, e.this.type)},
        exp.Order: {"annotator": lambda self, e: _set(self, e, e.this.type if e.this else None)},
        exp.Distinct: {"annotator": lambda self, e: _set(self, e, _first(e))},
        exp.Window: {"annotator": lambda self, e: _set(self, e, e.this.type)},
        exp.Unnest: {"annotator": lambda self, e: _set(self, e, element(_first(e)))},
    }
    return _Annotator(schema, expression_metadata=metadata).annotate(tree)


def _set(annotator: Any, node: exp.Expr, type_: exp.DataType | None) -> exp.Expr:
    annotator._set_type(node, type_ or UNKNOWN)  # noqa: SLF001  # as sqlglot's own annotators do
    return node


def _first(node: exp.Expr) -> exp.DataType | None:
    return node.expressions[0].type if node.expressions else None


def _literal(node: exp.Literal) -> exp.DataType:
    text = node.name
    if node.is_string:
        return built("VARCHAR")
    if text.isdigit():
        return built(
            "INTEGER" if int(text) < 2**31 else "BIGINT" if int(text) < 2**63 else "HUGEINT"
        )
    if "e" in text.lower():
        return built("DOUBLE")
    whole, _, part = text.partition(".")
    return built(f"DECIMAL({max(len(whole.lstrip('0') + part), 1)}, {len(part)})")


def _divided(node: exp.Div) -> exp.DataType:
    both = {kind(node.this), kind(node.expression)}
    floats = Kind.FLOAT in both and Kind.DOUBLE not in both
    return built("FLOAT" if floats else "DOUBLE")


def _arithmetic(node: exp.Binary) -> exp.DataType:
    """The type of a sum, difference, product or remainder."""
    left, right = node.this.type, node.expression.type
    one = left.this if left is not None else Kind.UNKNOWN
    other = right.this if right is not None else Kind.UNKNOWN
    time = _of_times(node, one, other, left, right)
    if time is not None:
        return time
    if Kind.UNKNOWN in (one, other):
        return UNKNOWN
    for wide in (Kind.DOUBLE, Kind.FLOAT):
        if wide in (one, other):
            return built(wide.value)
    if Kind.DECIMAL in (one, other) and isinstance(node, exp.Mul):
        return built(f"DECIMAL(38, {min(_scale(left) + _scale(right), 38)})")
    return wider(left or UNKNOWN, right or UNKNOWN)


def _of_times(
    node: exp.Binary,
    one: Kind,
    other: Kind,
    left: exp.DataType | None,
    right: exp.DataType | None,
) -> exp.DataType | None:
    dated = TIMES | {Kind.DATE}
    if Kind.INTERVAL in (one, other):
        for this, type_ in ((one, left), (other, right)):
            if this in TIMES:
                return type_
            if this == Kind.DATE:
                return built("TIMESTAMP")
        return built("INTERVAL")
    if isinstance(node, exp.Sub) and one in dated and other in dated:
        whole_days = one == other == Kind.DATE
        return built("BIGINT" if whole_days else "INTERVAL")
    if one == Kind.DATE and other in WHOLE:
        return left
    return right if other == Kind.DATE and one in WHOLE else None


def _scale(type_: exp.DataType | None) -> int:
    if type_ is None or type_.this != Kind.DECIMAL or len(type_.expressions) < 2:
        return 0
    return int(type_.expressions[1].name)


def _bracket(node: exp.Bracket) -> exp.DataType:
    type_: exp.DataType | None = node.this.type
    if type_ is None or len(node.expressions) != 1:
        return UNKNOWN
    index = node.expressions[0]
    if isinstance(index, exp.Slice):
        return type_
    if type_.this == Kind.STRUCT and isinstance(index, exp.Literal):
        return field(type_, index.name)
    return element(type_)


def _array(node: exp.Array) -> exp.DataType:
    if not node.expressions:
        return list_of(exp.DataType(this=Kind.NULL))
    return list_of(widest([part.type for part in node.expressions]))
