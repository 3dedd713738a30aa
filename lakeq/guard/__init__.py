"""What SQL may do: one SELECT over the catalog's tables, and no join across genome assemblies.

The text is parsed by DuckDB's own parser (`json_serialize_sql`), so what is judged is what runs.
Everything is refused that is not known to be harmless: statements other than SELECT, tables that
are neither in the catalog nor a CTE, table functions but `unnest`, `range` and `generate_series`,
and every function that is not in the list of those that only compute. DESCRIBE, SUMMARIZE and
EXPLAIN look at what a query may read. Each refusal names what, the line and what to do instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import combinations
from typing import TYPE_CHECKING, Any

from lakeq.errors import AssemblyMismatch, QueryFailed, QueryRefused, UnknownName
from lakeq.guard import functions as guard_functions
from lakeq.guard.text import line, statements, without_explain

if TYPE_CHECKING:
    from lakeq.catalog import Dataset, Macro, Table

MAX_QUERY_BYTES = 1 << 20  # a query is typed or generated; past this it is data
TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})
SHOWN = ("DESCRIBE", "SUMMARY")  # of SHOW_REF: over a table or query, never over the session
_READING = ("SELECT", "FROM", "WITH", "VALUES", "TABLE", "DESCRIBE", "DESC", "SUMMARIZE", "SHOW")
# What to do instead of a statement that is no SELECT.
_INSTEAD = {
    "COPY": "write the rows of a SELECT to a file: -o FILE",
    "EXPORT": "write the rows of a SELECT to a file: -o FILE",
    "SET": "settings stand in lakeq.toml or LAKEQ_*: lakeq config show",
    "RESET": "settings stand in lakeq.toml or LAKEQ_*: lakeq config show",
    "PIVOT": "list the values: PIVOT t ON c IN (...) USING ...",
    "CREATE": "name parts of the query with WITH; rows come into the lake by lakeq ingest",
    "INSERT": "rows come into the lake by lakeq ingest",
    "PREPARE": "bind values to $name: -p name=value, or params={'name': value}",
    "EXECUTE": "bind values to $name: -p name=value, or params={'name': value}",
}

# The words that DuckDB gives to tables and queries in its tree (TableReferenceType, QueryNodeType).
_TABLES_AND_QUERIES = re.compile(
    r"(BASE_TABLE|SUBQUERY|JOIN|TABLE_FUNCTION|EXPRESSION_LIST|PIVOT|SHOW_REF|COLUMN_DATA|CTE"
    r"|DELIM_GET|[A-Z_]+_REF|[A-Z_]+_NODE)"
)

Node = dict[str, Any]  # DuckDB's JSON: its shape is the parser's, checked as it is walked
Origins = frozenset[tuple[str, str]]  # (assembly, table) of the positions that rows may carry
NOWHERE: Origins = frozenset()


@dataclass(frozen=True, slots=True)
class Guarded:
    """A query that may run.

    `tables` are the catalog tables it reads, `parameters` those it names, in order. `sql` is what
    an engine is to run: the text that was judged, and nothing else. With `explain` it asks only
    for the plan of it. Calls of the catalog's `macros` are still to be written out.
    """

    tables: tuple[Table, ...]
    parameters: tuple[str, ...]
    sql: str
    explain: bool = False
    macros: Mapping[str, Macro] = field(default_factory=dict)


def check(
    sql: str,
    datasets: Mapping[str, Dataset],
    serialize: Callable[[str], str],
    *,
    across_assemblies: bool = False,
) -> Guarded:
    """Say what `sql` reads, or refuse it.

    `datasets` are the catalog's, by name in lower case; only those that the query names are
    looked up. `serialize` is DuckDB's `json_serialize_sql`.
    Raises `QueryFailed` when it does not parse, `QueryRefused` when it does what no query may,
    `UnknownName` for a table that is not in the catalog, and `AssemblyMismatch` when tables of
    two assemblies meet in a join, semi-join, correlated subquery, INTERSECT or EXCEPT, unless
    `across_assemblies`.
    """
    _check_text(sql)
    explained = without_explain(sql)
    if explained and explained.options:
        option = explained.options.lstrip("( ").upper()
        what = f"EXPLAIN {option} is not allowed: it would run the query, or name files"
        hint = "write EXPLAIN SELECT; what a query reads and costs: run it, or --dry-run"
        raise QueryRefused(what, line(sql, 0), hint)
    text = explained.sql if explained else sql
    statement = _one_statement(text, serialize)
    walk = _Walk(text, datasets, across_assemblies=across_assemblies)
    try:
        walk.query(statement["node"], {})
        walk.complete(statement["node"])
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", "the query") from error
    parameters = tuple(str(p["key"]) for p in statement.get("named_param_map", []))
    tables, macros = tuple(walk.used.values()), walk.macros()
    return Guarded(tables, parameters, text, explained is not None, macros)


def _check_text(sql: str) -> None:
    try:
        length = len(sql.encode())
    except UnicodeEncodeError as error:
        where = line(sql[: error.start], None if error.start == 0 else error.start)
        raise QueryRefused(f"not text: character {error.start} is half of one", where) from error
    if length > MAX_QUERY_BYTES:
        raise QueryRefused(f"the query is longer than {MAX_QUERY_BYTES} bytes", "the query")
    if "\0" in sql:
        raise QueryRefused("the query holds a NUL character", _at(sql, sql.index("\0")))


def _one_statement(sql: str, serialize: Callable[[str], str]) -> Node:
    try:
        parsed: Node = json.loads(serialize(sql))
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", "the query") from error
    if parsed.get("error"):
        raise _parse_error(parsed, sql)
    found = parsed.get("statements", [])
    if not found:
        raise QueryRefused("there is no query", "the query", "give one SELECT")
    if len(found) > 1:
        second = statements(sql)[1:2]
        where = _at(sql, second[0].position) if second else "the query"
        hint = "run them one at a time"
        raise QueryRefused(f"{len(found)} statements in one query", where, hint)
    statement: Node = found[0]
    return statement


def _parse_error(parsed: Node, sql: str) -> QueryFailed | QueryRefused:
    message = str(parsed.get("error_message", "the query does not parse"))
    if "Only SELECT" in message:
        return _not_select(sql)
    if "Mixing named and positional" in message:
        return QueryRefused(message, "the query", "name all parameters: $name")
    position = parsed.get("position")
    return QueryFailed(message, line(sql, int(position) if position is not None else None))


def _not_select(sql: str) -> QueryRefused:
    """The refusal of a statement that would change or inspect the session, or write."""
    found = [s for s in statements(sql) if s.word not in _READING and s.word != "("]
    hint = "write one SELECT over the catalog's tables: lakeq tables"
    if not found:
        return QueryRefused("only SELECT is allowed", "the query", hint)
    word, where = found[0].word, _at(sql, found[0].position)
    what = f"{word} is not allowed: a query is one SELECT"
    return QueryRefused(what, where, _INSTEAD.get(word, hint))


def _at(sql: str, position: int) -> str:
    """Where character `position` of the query stands."""
    return line(sql, len(sql[:position].encode()))


@dataclass(frozen=True, slots=True)
class _Subquery:
    """A query inside an expression; a scalar one gives a single value, others match rows."""

    scalar: bool
    origins: Origins


Found = tuple[list[Origins], list[_Subquery]]  # a reference's joined inputs; its conditions'


class _Walk:
    """One pass over a parsed query; `used` collects its catalog tables by qualified name."""

    def __init__(
        self, sql: str, datasets: Mapping[str, Dataset], *, across_assemblies: bool
    ) -> None:
        self.sql = sql
        self.datasets = datasets
        self.across_assemblies = across_assemblies
        self.used: dict[str, Table] = {}
        self.seen: set[int] = set()
        self.calls: list[Node] = []  # of functions that are not DuckDB's

    def complete(self, root: Node) -> None:
        """Refuse when the tree holds a query or a table at a place that the walk did not visit."""
        for node in _dicts(root):
            kind = node.get("type")
            unvisited = id(node) not in self.seen and "class" not in node
            if unvisited and isinstance(kind, str) and _TABLES_AND_QUERIES.fullmatch(kind):
                raise self.refuse(f"{kind} is not allowed here", node)

    def refuse(self, what: str, node: Node, hint: str = "") -> QueryRefused:
        where = line(self.sql, node.get("query_location"))
        if where == line(self.sql, None):  # a part without a place: where the query begins
            where = _at(self.sql, statements(self.sql)[0].position)
        return QueryRefused(what, where, hint)

    # Queries: each returns the origins of the rows it gives.

    def query(self, node: Node, ctes: Mapping[str, Origins]) -> Origins:
        self.seen.add(id(node))
        kinds = {
            "SELECT_NODE": self.select,
            "SET_OPERATION_NODE": self.set_operation,
            "RECURSIVE_CTE_NODE": self.recursive,
        }
        if node.get("type") not in kinds:
            raise self.refuse(f"{node.get('type')} is not allowed", node)
        return kinds[node["type"]](node, self.with_ctes(node, ctes))

    def with_ctes(self, node: Node, ctes: Mapping[str, Origins]) -> Mapping[str, Origins]:
        scope = dict(ctes)
        for entry in node.get("cte_map", {}).get("map", []):
            value = entry["value"]
            scope[entry["key"].lower()] = self.query(value["query"]["node"], scope)
            self.expressions({k: v for k, v in value.items() if k != "query"}, scope)
        return scope

    def select(self, node: Node, ctes: Mapping[str, Origins]) -> Origins:
        source = node.get("from_table", {"type": "EMPTY"})
        inputs, conditions = self.reference(source, ctes)
        rest = {k: v for k, v in node.items() if k not in ("from_table", "cte_map")}
        subqueries = conditions + self.expressions(rest, ctes)
        # Without FROM, scalar subqueries stand side by side; nothing is matched to anything.
        matched = bool(inputs) or any(not s.scalar for s in subqueries)
        found = inputs + [s.origins for s in subqueries]
        if matched:
            self.meet(found, node, source)
        return NOWHERE.union(*found)

    def set_operation(self, node: Node, ctes: Mapping[str, Origins]) -> Origins:
        children = node.get("children") or [node["left"], node["right"]]
        found = [self.query(child, ctes) for child in children]
        skip = ("left", "right", "children", "cte_map")
        subqueries = self.expressions({k: v for k, v in node.items() if k not in skip}, ctes)
        if "UNION" not in str(node.get("setop_type", "")):
            self.meet(found, node, children[0].get("from_table", {}))
        return NOWHERE.union(*found, *(s.origins for s in subqueries))

    def recursive(self, node: Node, ctes: Mapping[str, Origins]) -> Origins:
        name = str(node.get("cte_name", node.get("ctename", ""))).lower()
        start = self.query(node["left"], ctes)
        step = self.query(node["right"], {**ctes, name: start})
        skip = ("left", "right", "cte_map")
        self.expressions({k: v for k, v in node.items() if k not in skip}, ctes)
        return start | step

    # Table references: each returns its joined inputs, and the subqueries of its conditions.

    def reference(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        self.seen.add(id(node))
        kinds = {
            "BASE_TABLE": self.base_table,
            "SUBQUERY": self.derived,
            "JOIN": self.join,
            "TABLE_FUNCTION": self.table_function,
            "EXPRESSION_LIST": self.values,
            "PIVOT": self.pivot,
            "SHOW_REF": self.shown,
        }
        kind = str(node.get("type"))
        if kind == "EMPTY":
            return [], []
        if kind not in kinds:
            raise self.refuse(f"{kind} is not allowed", node)
        return kinds[kind](node, ctes)

    def derived(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        origins = self.query(node["subquery"]["node"], ctes)
        return [origins], self.expressions(node.get("sample"), ctes)

    def shown(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        """DESCRIBE and SUMMARIZE of a table or query: their rows are about columns."""
        if node.get("show_type") not in SHOWN or "query" not in node:
            hint = "use: lakeq tables; or DESCRIBE dataset.table"
            raise self.refuse("SHOW of the session is not allowed", node, hint)
        self.query(node["query"], ctes)
        rest = {k: v for k, v in node.items() if k != "query"}
        return [NOWHERE], self.expressions(rest, ctes)

    def values(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        subqueries = self.expressions(node, ctes)
        return [NOWHERE.union(*(s.origins for s in subqueries))], []

    def base_table(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        if "at_clause" in node:
            raise self.refuse("AT is not allowed in the query", node, "use --at, or at=...")
        name = str(node["table_name"])
        schema, catalog = str(node.get("schema_name", "")), str(node.get("catalog_name", ""))
        sample = self.expressions(node.get("sample"), ctes)
        if not schema and not catalog and name.lower() in ctes:
            return [ctes[name.lower()]], sample
        dataset = schema.lower()
        known = not catalog and dataset in self.datasets
        table = self.datasets[dataset].tables.get(name.lower()) if known else None
        if table is None:
            parts = [part for part in (catalog, schema, name) if part]
            raise self.unknown(parts, line(self.sql, node.get("query_location")))
        self.used[table.qualified] = table
        positions = any(column.name == "contig" for column in table.columns)
        if not (table.assembly and positions):
            return [NOWHERE], sample
        return [frozenset({(table.assembly, table.qualified)})], sample

    def unknown(self, parts: list[str], where: str) -> UnknownName:
        """The error for a table that is not in the catalog; a bare name finds its datasets."""
        known = [t.qualified for dataset in self.datasets.values() for t in dataset.tables.values()]
        name = ".".join(parts)
        bare = [qualified.partition(".")[2] for qualified in known]
        close = get_close_matches(name.lower(), bare, n=1, cutoff=0.75) if len(parts) == 1 else []
        if close:
            full = sorted(q for q in known if q.partition(".")[2] == close[0])
            return UnknownName(f"no table named {name!r}", where, f"did you mean {_or(full)}?")
        return UnknownName.among("table", name, known, where)

    def join(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        left, left_subqueries = self.reference(node["left"], ctes)
        right, right_subqueries = self.reference(node["right"], ctes)
        rest = {k: v for k, v in node.items() if k not in ("left", "right")}
        return left + right, left_subqueries + right_subqueries + self.expressions(rest, ctes)

    def table_function(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        function = node["function"]
        name = str(function.get("function_name", "")).lower()
        qualified = function.get("schema") or function.get("catalog")
        if name not in TABLE_FUNCTIONS or qualified:
            hint = "read the catalog's tables: lakeq tables"
            raise self.refuse(f"the table function {name}() is not allowed", node, hint)
        return [NOWHERE], self.expressions(node, ctes)

    def pivot(self, node: Node, ctes: Mapping[str, Origins]) -> Found:
        inputs, subqueries = self.reference(node["source"], ctes)
        rest = {k: v for k, v in node.items() if k != "source"}
        return inputs, subqueries + self.expressions(rest, ctes)

    # Expressions

    def expressions(self, tree: object, ctes: Mapping[str, Origins]) -> list[_Subquery]:
        """The subqueries in `tree`; functions are checked on the way."""
        found: list[_Subquery] = []
        if isinstance(tree, list):
            for item in tree:
                found += self.expressions(item, ctes)
        elif isinstance(tree, dict):
            if "function_name" in tree:
                self.function(tree)
            inside = tree
            if tree.get("class") == "SUBQUERY":
                origins = self.query(tree["subquery"]["node"], ctes)
                found.append(_Subquery(tree.get("subquery_type") == "SCALAR", origins))
                inside = {k: v for k, v in tree.items() if k != "subquery"}
            for value in inside.values():
                found += self.expressions(value, ctes)
        return found

    def macros(self) -> dict[str, Macro]:
        """The macros that are called, of the datasets that the query reads; refuses other calls."""
        known: dict[str, Macro] = {}
        for name in {table.dataset for table in self.used.values()} if self.calls else ():
            known.update(self.datasets[name].macros)
        found = {}
        for node in self.calls:
            name = str(node["function_name"]).lower()
            if name not in known or node.get("schema") or node.get("catalog"):
                raise self.unknown_function(name, node, known)
            found[name] = known[name]
        return found

    def function(self, node: Node) -> None:
        name = str(node["function_name"]).lower()
        if name in guard_functions.ALLOWED:
            return
        if not guard_functions.refusal(name):
            self.calls.append(node)
            return
        raise self.unknown_function(name, node, ())

    def unknown_function(self, name: str, node: Node, macros: Iterable[str]) -> QueryRefused:
        """The refusal of a function that no query may call."""
        reason = guard_functions.refusal(name)
        if reason:
            hint = "read the catalog's tables: lakeq tables"
            return self.refuse(f"the function {name}() is not allowed: {reason}", node, hint)
        close = get_close_matches(name, [*macros, *guard_functions.NAMES], n=1)
        hint = (
            f"did you mean {close[0]}()?"
            if close
            else "lakeq knows DuckDB's functions that only compute"
        )
        return self.refuse(f"there is no function {name}() that a query may call", node, hint)

    def meet(self, inputs: list[Origins], node: Node, source: Node) -> None:
        """Refuse a match of rows whose positions are of two assemblies."""
        if self.across_assemblies:
            return
        for one, other in combinations([i for i in inputs if i], 2):
            assemblies = dict(sorted(one | other))
            if len(assemblies) > 1:
                location = node.get("query_location", source.get("query_location"))
                raise _mismatch(assemblies, line(self.sql, location))


def _mismatch(tables: Mapping[str, str], where: str) -> AssemblyMismatch:
    described = " and ".join(f"{table} ({assembly})" for assembly, table in sorted(tables.items()))
    names = " and ".join(sorted(tables))
    what = (
        f"this query matches rows of {described}: the same contig and position "
        f"name different bases in {names}, so a join by position gives wrong rows"
    )
    hint = (
        "use a table of the same assembly; or match on rs numbers and say so with "
        "--across-assemblies (Python: across_assemblies=True)"
    )
    return AssemblyMismatch(what, where, hint)


def _or(names: list[str]) -> str:
    return " or ".join(names)


def _dicts(tree: object) -> Iterator[Node]:
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _dicts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _dicts(value)
