"""What writes a function that no template can write, and how written values are read."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import exp

from lakeq.dialect.types import WHOLE, kind

Call = exp.Anonymous
Writer = Callable[[Call, str], exp.Expr]


WRITERS: dict[str, Writer] = {}


def writer(name: str) -> Callable[[Writer], Writer]:
    """Register what writes `@name`."""

    def keep(function: Writer) -> Writer:
        WRITERS[name] = function
        return function

    return keep


def literal_text(node: exp.Expr) -> str | None:
    """The text of a string literal."""
    inside = node.unnest()
    return inside.name if isinstance(inside, exp.Literal) and inside.is_string else None


def literal_int(node: exp.Expr) -> int | None:
    """The value of a whole number that is written out; casts around it are looked through."""
    inside = node.unnest()
    while isinstance(inside, exp.Cast) and kind(inside) in WHOLE:
        inside = inside.this.unnest()
    sign = 1
    if isinstance(inside, exp.Neg):
        sign, inside = -1, inside.this.unnest()
    if isinstance(inside, exp.Literal) and inside.name.isdigit():
        return sign * int(inside.name)
    return None


def integer(value: int) -> exp.Expr:
    """A whole number as a literal."""
    return exp.Literal.number(value)
