"""A query from its text to another engine's: parsed, qualified, typed, rewritten, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import OptimizeError, ParseError
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from lakeq.dialect import TRINO, Translated, check, refusal, shape
from lakeq.dialect.expressions import rewrite
from lakeq.dialect.types import annotate
from lakeq.dialect.write import PLAIN, PlainDuckDB, fill

if TYPE_CHECKING:
    from lakeq.snapshot import TableSnapshot

BINDABLE = frozenset({exp.Literal, exp.Boolean, exp.Cast})


class Asked(NamedTuple):
    """How the text is wanted; see `lakeq.dialect.translate`."""

    target: str
    table_name: Callable[[str], str]
    bind: bool
    as_json: tuple[bool, ...]


def rewritten(
    sql: str, tables: Mapping[str, TableSnapshot], literals: Mapping[str, str], asked: Asked
) -> Translated:
    """See `lakeq.dialect.translate`."""
    target = asked.target
    schema = _schema(tables)
    tree = _parsed(sql, target)
    check.clauses(tree, target)
    bound = _bind(tree, literals, bind=asked.bind)
    order_all = shape.before(tree, target)
    tree = _qualified(tree, schema, target)
    tree = annotate(tree, schema)
    tree = shape.after(tree, target, order_all)
    tree = annotate(tree, schema)
    tree = rewrite(tree, target)
    tree = shape.finish(tree, target)
    check.functions(tree, target)
    if any(asked.as_json):
        _as_json(tree, asked)
    parameters = _parameters(tree, bound)
    _name_tables(tree, tables, target, asked.table_name)
    ordered = tree.args.get("order") is not None
    text = tree.sql(dialect=PLAIN[target], pretty=True, unsupported_level=sqlglot.ErrorLevel.IGNORE)
    return Translated(text, ordered, parameters)


def _as_json(tree: exp.Expr, asked: Asked) -> None:
    """Columns with parts as JSON text; what ORDER BY sorts by stays what it was."""
    if not isinstance(tree, exp.Select) or tree.args.get("distinct") is not None:
        raise refusal("a list or struct as a result of UNION or DISTINCT", asked.target, "SELECT")
    for wanted, projection in zip(asked.as_json, list(tree.expressions), strict=True):
        if wanted:
            text = fill(asked.target, "JSON_FORMAT(CAST({0} AS JSON))", projection.unalias())
            name = projection.alias_or_name
            projection.replace(exp.alias_(text, name, quoted=True))


def _schema(tables: Mapping[str, TableSnapshot]) -> MappingSchema:
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name, table in tables.items():
        dataset, _, short = name.partition(".")
        columns = {column.name: column.duckdb_type for column in table.columns}
        found.setdefault(dataset, {})[short] = columns
    return MappingSchema(cast("dict[str, object]", found), dialect="duckdb")


def _parsed(sql: str, target: str) -> exp.Expr:
    try:
        found = sqlglot.parse(sql, read=PlainDuckDB)
    except ParseError as error:
        place = error.errors[0] if error.errors else {}
        near = f"{place.get('highlight', '')!r} in line {place.get('line', '?')}"
        raise refusal(f"what stands at {near}", target) from error
    trees = [tree for tree in found if tree is not None]
    if len(trees) != 1 or not isinstance(trees[0], exp.Query):
        raise refusal("what is not one SELECT", target)
    return trees[0]


def _qualified(tree: exp.Expr, schema: MappingSchema, target: str) -> exp.Expr:
    try:
        return qualify(
            tree,
            schema=schema,
            dialect=PlainDuckDB,
            quote_identifiers=True,
            validate_qualify_columns=False,
        )
    except OptimizeError as error:
        raise refusal(f"a query of which sqlglot says: {error}", target) from error


def _bind(tree: exp.Expr, literals: Mapping[str, str], *, bind: bool) -> dict[str, tuple[str, str]]:
    """Put values in the place of parameters; with `bind` those that can be bound are marked."""
    bound: dict[str, tuple[str, str]] = {}
    for node in list(tree.find_all(exp.Parameter, exp.Placeholder)):
        name = node.name
        value = sqlglot.parse_one(literals[name], read=PlainDuckDB)
        if bind and isinstance(value, exp.Literal) and value.is_string and len(value.name) < 1000:
            mark = f"lakeq parameter {name}"
            bound[mark] = (name, value.name)
            value = exp.cast(exp.Literal.string(mark), "VARCHAR")
        if isinstance(node.parent, exp.Limit | exp.Offset) and (count := _whole(value)):
            value = count
        node.replace(value if isinstance(value, exp.Literal | exp.Cast) else exp.paren(value))
    return bound


def _whole(value: exp.Expr) -> exp.Expr | None:
    """A number of rows as Spark and Trino want it: written out, without a type."""
    inner = value.this if isinstance(value, exp.Cast) else value
    if isinstance(inner, exp.Literal) and inner.name.isdigit():
        return exp.Literal.number(inner.name)
    return None


def _parameters(tree: exp.Expr, bound: Mapping[str, tuple[str, str]]) -> tuple[str, ...]:
    """Make the marked values `?`; returns the texts to bind, in the order of the text."""
    if not bound:
        return ()
    found = [
        node
        for node in tree.walk(bfs=False)
        if isinstance(node, exp.Literal) and node.is_string and node.name in bound
    ]
    texts = []
    for node in found:
        texts.append("'" + bound[node.name][1].replace("'", "''") + "'")
        node.replace(exp.Placeholder())
    return tuple(texts)


def _name_tables(
    tree: exp.Expr,
    tables: Mapping[str, TableSnapshot],
    target: str,
    table_name: Callable[[str], str],
) -> None:
    """Give the lake's tables the names that they have in the engine."""
    for table in list(tree.find_all(exp.Table)):
        name = f"{table.db}.{table.name}"
        if not table.db or name not in tables:
            continue
        if target == TRINO:
            text = f"SELECT 1 FROM {table_name(name)}"  # noqa: S608  # the engine's own quoting
            new = sqlglot.parse_one(text, read=PLAIN[target]).find(exp.Table) or table
        else:
            new = exp.Table(this=exp.to_identifier(table_name(name), quoted=True))
        for key in ("joins", "laterals"):
            if table.args.get(key):
                new.set(key, table.args[key])
        alias = exp.TableAlias(this=exp.to_identifier(table.alias_or_name, quoted=True))
        new.set("alias", alias)
        table.replace(new)
