"""Templates in a target's SQL, with expressions in their places."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

import sqlglot
from sqlglot import exp
from sqlglot.dialects.duckdb import DuckDB
from sqlglot.dialects.spark import Spark
from sqlglot.dialects.trino import Trino

if TYPE_CHECKING:
    from sqlglot.dialects.dialect import Dialect

_KEPT = ("CAST", "TRY_CAST", "EXTRACT")


def _plain(base: type[Dialect], name: str, *keep: str) -> type[Dialect]:
    """`base` with a parser that takes no function for one that sqlglot knows, but casts."""
    parser: Any = base.parser_class
    own = type(
        "Parser",
        (parser,),
        {
            "FUNCTIONS": {},
            "FUNCTION_PARSERS": {
                k: v for k, v in parser.FUNCTION_PARSERS.items() if k in (*_KEPT, *keep)
            },
            "NO_PAREN_FUNCTION_PARSERS": {
                k: v for k, v in parser.NO_PAREN_FUNCTION_PARSERS.items() if k in ("CASE", "MAP")
            },
            "NO_PAREN_FUNCTIONS": {},
        },
    )
    # Brackets stay as they are written: sqlglot would count from 0
    body = {"Parser": own, "INDEX_OFFSET": 0, "__module__": __name__}
    return cast("type[Dialect]", type(name, (base,), body))


PlainDuckDB = _plain(DuckDB, "PlainDuckDB", "POSITION")
PLAIN = {"spark": _plain(Spark, "PlainSpark"), "trino": _plain(Trino, "PlainTrino")}
_TIGHT = (
    exp.Column,
    exp.Identifier,
    exp.Literal,
    exp.Anonymous,
    exp.Cast,
    exp.Paren,
    exp.Boolean,
    exp.Null,
    exp.Lambda,
    exp.Case,
    exp.Array,
    exp.Dot,
    exp.Order,
    exp.Distinct,
    exp.Star,
    exp.Interval,
    exp.Subquery,
    exp.Placeholder,
)


def fill(target: str, template: str, *arguments: exp.Expr) -> exp.Expr:
    """`template` in the SQL of `target`; `{0}` is the first argument, `{*}` are all of them."""
    tree = _parsed(target, template, len(arguments)).copy()
    for column in list(tree.find_all(exp.Column)):
        if column.name.startswith("ARG__") and not column.table:
            argument = arguments[int(column.name.removeprefix("ARG__"))]
            found = argument.copy() if isinstance(argument, _TIGHT) else exp.paren(argument.copy())
            if column is tree:
                return found
            column.replace(found)
    return tree


@lru_cache(maxsize=2048)
def _parsed(target: str, template: str, count: int) -> exp.Expr:
    everything = ", ".join(f"ARG__{n}" for n in range(count))
    text = template.replace("{*}", everything)
    for number in range(count):
        text = text.replace(f"{{{number}}}", f"ARG__{number}")
    return sqlglot.parse_one(text, read=PLAIN[target])
