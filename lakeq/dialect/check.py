"""What no rule covers is refused: clauses before a query is rewritten, functions after."""

from __future__ import annotations

from difflib import get_close_matches

from sqlglot import exp

from lakeq.dialect import refusal
from lakeq.dialect.functions import INSTEAD, NAMES
from lakeq.dialect.names import KNOWN
from lakeq.errors import QueryRefused

# Kinds of expressions that mean the same everywhere, once the rules have gone over them.
_NODES: tuple[type[exp.Expr], ...] = (
    exp.Select,
    exp.Subquery,
    exp.Union,
    exp.Intersect,
    exp.Except,
    exp.With,
    exp.CTE,
    exp.From,
    exp.Join,
    exp.Table,
    exp.TableAlias,
    exp.Values,
    exp.Tuple,
    exp.Where,
    exp.Group,
    exp.Cube,
    exp.Rollup,
    exp.GroupingSets,
    exp.Having,
    exp.Qualify,
    exp.Order,
    exp.Ordered,
    exp.Limit,
    exp.Offset,
    exp.Fetch,
    exp.Distinct,
    exp.Star,
    exp.Alias,
    exp.Column,
    exp.Dot,
    exp.Identifier,
    exp.Literal,
    exp.Boolean,
    exp.Null,
    exp.Paren,
    exp.Var,
    exp.Cast,
    exp.TryCast,
    exp.DataType,
    exp.DataTypeParam,
    exp.ColumnDef,
    exp.Case,
    exp.If,
    exp.And,
    exp.Or,
    exp.Not,
    exp.EQ,
    exp.NEQ,
    exp.LT,
    exp.LTE,
    exp.GT,
    exp.GTE,
    exp.Is,
    exp.NullSafeEQ,
    exp.NullSafeNEQ,
    exp.Between,
    exp.In,
    exp.Exists,
    exp.Like,
    exp.ILike,
    exp.RegexpLike,
    exp.Escape,
    exp.Neg,
    exp.Add,
    exp.Sub,
    exp.Mul,
    exp.Div,
    exp.IntDiv,
    exp.Mod,
    exp.DPipe,
    exp.Interval,
    exp.Lambda,
    exp.Array,
    exp.Anonymous,
    exp.Coalesce,
    exp.Filter,
    exp.WithinGroup,
    exp.Window,
    exp.WindowSpec,
    exp.Unnest,
    exp.Lateral,
    exp.Placeholder,
)
_CLAUSES: tuple[tuple[type[exp.Expr], str, str], ...] = (
    (exp.Pivot, "PIVOT and UNPIVOT", "count(*) FILTER (WHERE …), or UNION ALL"),
    (exp.TableSample, "TABLESAMPLE", "WHERE on a column that is spread evenly, such as pos % 100"),
    (exp.Collate, "COLLATE", "lower(x) on both sides"),
    (exp.List, "list(…)[…]", "array_agg(…) in a subquery, then […]"),
    (exp.Comprehension, "a list comprehension", "list_transform and list_filter"),
    (exp.Describe, "DESCRIBE", "lakeq describe"),
    (exp.Summarize, "SUMMARIZE", "count, min, max and avg"),
)


def clauses(tree: exp.Expr, target: str) -> None:
    """Refuse what no engine but DuckDB has."""
    for kind, name, hint in _CLAUSES:
        if tree.find(kind):
            raise refusal(name, target, hint)
    if any(isinstance(lateral.this, exp.Subquery) for lateral in tree.find_all(exp.Lateral)):
        raise refusal("LATERAL", target, "a join with a grouped subquery")
    if any(with_.args.get("recursive") for with_ in tree.find_all(exp.With)):
        raise refusal("WITH RECURSIVE", target)
    for join in tree.find_all(exp.Join):
        words = {str(join.args.get(key) or "").upper() for key in ("method", "kind")}
        if "ASOF" in words:
            raise refusal("ASOF JOIN", target, "arg_max(value, time) FILTER (WHERE time <= …)")
        if "POSITIONAL" in words:
            raise refusal("POSITIONAL JOIN", target, "join on row_number() OVER (ORDER BY …)")
    _unknown(tree, target)


def _unknown(tree: exp.Expr, target: str) -> None:
    for call in tree.find_all(exp.Anonymous):
        name = call.name.lower()
        if name == "columns":
            raise refusal("COLUMNS(…)", target, "name the columns")
        if name not in NAMES | {"unnest"}:
            raise function_refused(name, len(call.expressions), target)


def function_refused(name: str, arguments: int, target: str) -> QueryRefused:
    """The refusal of a function, with the nearest one that is portable."""
    if name in NAMES:
        what = f"the function {name}() with {arguments} arguments"
        return refusal(what, target, INSTEAD.get(name, ""))
    hint = INSTEAD.get(name, "")
    if not hint and name.startswith("st_"):
        hint = "a box of columns: longitude BETWEEN … AND latitude BETWEEN …"
    if not hint:
        close = get_close_matches(name, NAMES, n=1, cutoff=0.7)
        hint = f"{close[0]}() is portable" if close else ""
    return refusal(f"the function {name}()", target, hint)


def functions(tree: exp.Expr, target: str) -> None:
    """Refuse what is left and is in no list: last line of defence, after all rules."""
    known = KNOWN[target]
    for node in tree.walk():
        if isinstance(node, exp.Anonymous):
            if node.name.lower() not in known:
                raise function_refused(node.name.lower(), len(node.expressions), target)
        elif not isinstance(node, _NODES):
            text = node.sql(dialect="duckdb")[:60]
            raise refusal(f"{type(node).__name__}: {text}", target)
