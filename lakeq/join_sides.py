"""What a virtual table is joined with, as queries of its own that give bounds for its columns.

`from points p join landsat.pixels x on x.x between p.x - 15 and p.x + 15` leaves x, for each row of
points, from p.x - 15 to p.x + 15. The small side is asked first (`select distinct p.x - 15,
p.x + 15 from points p`), and its answers choose the tiles. Everything here works on the tree of
DuckDB's own parser and is careful in one direction: a condition that is not understood bounds
nothing.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from lakeq.occurrences import MARK, nodes

if TYPE_CHECKING:
    from lakeq.occurrences import Occurrence

Node = dict[str, Any]
MAX_ROWS = 20_000  # of a side; of more, only the whole range of each column counts
_LESS = ("COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO")
_MORE = ("COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO")
_FLIPPED = {"COMPARE_EQUAL": "COMPARE_EQUAL", **dict(zip(_LESS, _MORE, strict=True)),
            **dict(zip(_MORE, _LESS, strict=True))}  # fmt: skip
_VOLATILE = frozenset({"random", "gen_random_uuid", "uuid", "uuidv4", "uuidv7", "nextval"})
_UNKNOWN = frozenset({"WINDOW", "PARAMETER", "LAMBDA", "STAR", "DEFAULT"}) - {"PARAMETER"}


class Bound(NamedTuple):
    """One bound of a column, "low", "high" or "value", in the answer's column of its number."""

    column: str
    kind: str


class Side(NamedTuple):
    """A query whose rows bound the columns of one mention; `tree` is for `json_deserialize_sql`."""

    occurrence: str
    tree: Node
    bounds: tuple[Bound, ...]


@dataclass(slots=True)
class _Item:
    """One table of a FROM; `columns` of a virtual one: name here, mention and column there."""

    alias: str
    node: Node
    heavy: bool
    columns: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def sides(tree: Node, occurrences: Sequence[Occurrence], template: Node) -> list[Side]:
    """The sides of all mentions in a query; `template` is the tree of `select distinct 1`."""
    return _Sides(occurrences, template).of_query(tree["statements"][0]["node"], {}, [])


class _Sides:
    def __init__(self, occurrences: Sequence[Occurrence], template: Node) -> None:
        self.columns = {
            each.name: {column.name: (each.name, column.name) for column in each.table.columns}
            for each in occurrences
        }
        self.template = template
        self.uses: dict[str, int] = {}

    def of_query(self, node: Node, ctes: Mapping[str, Node], shown: list[Node]) -> list[Side]:
        """The sides of a query and of those in it; `shown` are the entries of CTEs around it."""
        found: list[Side] = []
        known, entries = dict(ctes), list(shown)
        inside = node.get("cte_map", {}).get("map", [])
        named = Counter(_own_names(node)) if inside else Counter()
        for entry in inside:
            inner = entry["value"]["query"]["node"]
            found += self.of_query(inner, known, entries)
            known[entry["key"].lower()] = inner
            entries.append(entry)
            self.uses[entry["key"].lower()] = named[entry["key"].lower()]
        if node.get("type") == "SELECT_NODE" and node.get("from_table"):
            found += self.of_select(node, known, entries)
        for child in _inner_queries(node):
            found += self.of_query(child, known, entries)
        return found

    def of_select(self, node: Node, ctes: Mapping[str, Node], entries: list[Node]) -> list[Side]:
        source = node["from_table"]
        items = [self.item(leaf, ctes) for leaf in _leaves(source)]
        conditions = list(_conjuncts(node.get("where_clause")))
        targets = {id(item) for item in items}
        by_node = {id(item.node): item for item in items}
        rules: list[tuple[Node, set[int]]] = [(each, targets) for each in conditions]
        for condition, leaves in _join_conditions(source):
            rules.append((condition, {id(by_node[id(leaf)]) for leaf in leaves}))
        found = []
        for item in items:
            if item.columns:
                side = self.side(item, items, rules, source, entries)
                found += side
        return found

    def item(self, leaf: Node, ctes: Mapping[str, Node]) -> _Item:
        alias = str(leaf.get("alias") or leaf.get("table_name") or "").lower()
        heavy = self.is_heavy(leaf, ctes)
        columns = self.resolved(leaf, ctes) if heavy else {}
        return _Item(alias, leaf, heavy, columns)

    def is_heavy(self, tree: Node, ctes: Mapping[str, Node]) -> bool:
        """Whether rows of a virtual table are in it."""
        for each in nodes(tree):
            if each.get("type") != "BASE_TABLE":
                continue
            if MARK in each["table_name"]:
                return True
            name = each["table_name"].lower()
            if not each["schema_name"] and name in ctes:
                outer = {k: v for k, v in ctes.items() if k != name}
                if self.is_heavy(ctes[name], outer):
                    return True
        return False

    def resolved(self, leaf: Node, ctes: Mapping[str, Node]) -> Mapping[str, tuple[str, str]]:
        """The columns of a table or of a plain SELECT over one that are those of a mention."""
        if leaf.get("column_name_alias") or leaf.get("sample"):
            return {}
        if leaf["type"] == "SUBQUERY":
            return self.of_plain(leaf["subquery"]["node"], ctes)
        if leaf["type"] != "BASE_TABLE":
            return {}
        name = leaf["table_name"].lower()
        if MARK in name:
            return self.columns.get(f"{leaf['schema_name']}.{name}".lower(), {})
        if not leaf["schema_name"] and name in ctes and self.uses.get(name) == 1:
            return self.of_plain(ctes[name], {k: v for k, v in ctes.items() if k != name})
        return {}

    def of_plain(self, node: Node, ctes: Mapping[str, Node]) -> Mapping[str, tuple[str, str]]:
        """Of a SELECT whose rows are rows of its tables: no groups, limits or windows."""
        plain = (
            node.get("type") == "SELECT_NODE"
            and not node["group_expressions"]
            and not node["modifiers"]
            and not node["cte_map"]["map"]
            and node["aggregate_handling"] == "STANDARD_HANDLING"
            and not any(node.get(key) for key in ("having", "sample", "qualify"))
            and not any(
                each.get("class") == "WINDOW" or each.get("function_name") == "unnest"
                for each in nodes(node["select_list"])
            )
        )
        if not plain or not _is_inner(node["from_table"]):
            return {}
        items = [self.item(leaf, ctes) for leaf in _leaves(node["from_table"])]
        found: dict[str, tuple[str, str]] = {}
        for expression in node["select_list"]:
            if expression.get("class") == "STAR":
                if len(items) != 1 or expression["exclude_list"] or expression["replace_list"]:
                    return {}
                found |= items[0].columns
            elif (place := _place(expression, items)) is not None:
                found[str(expression["alias"] or expression["column_names"][-1]).lower()] = place
        # An aggregate without GROUP BY makes one row of all.
        if any(_may_aggregate(expression) for expression in node["select_list"]):
            return {}
        return found

    def side(
        self,
        item: _Item,
        items: Sequence[_Item],
        rules: Sequence[tuple[Node, set[int]]],
        source: Node,
        entries: list[Node],
    ) -> list[Side]:
        """The queries that bound an item, at most one for each mention in it."""
        wanted: dict[str, list[tuple[Bound, Node]]] = {}
        free = [
            rule for rule, _ in rules
            if not _uses(rule, items) and not _unusable(rule)
        ]  # fmt: skip
        subqueries: list[Side] = []
        for rule, leaves in rules:
            if id(item) not in leaves:
                continue
            if (inner := _in_subquery(rule, item, items)) is not None:
                (name, column), query = inner
                if not self.is_heavy(query, {e["key"].lower(): e["value"]["query"]["node"]
                                             for e in entries}):  # fmt: skip
                    subqueries.append(self.asked_query(name, column, query, entries))
                continue
            for place, kind, expression in _bounds(rule, item, items):
                wanted.setdefault(place[0], []).append((Bound(place[1], kind), expression))
        small = _without(source, [each.node for each in items if each.heavy])
        if small is None or not wanted:
            return subqueries
        found = []
        for name, bounds in wanted.items():
            query = self.query([expression for _, expression in bounds], small, free, entries)
            found.append(Side(name, query, tuple(bound for bound, _ in bounds)))
        return found + subqueries

    def asked_query(self, name: str, column: str, query: Node, entries: list[Node]) -> Side:
        alias = "lakeq_side"
        source = {"type": "SUBQUERY", "alias": alias, "sample": None, "query_location": 0,
                  "subquery": {"node": query, "named_param_map": []},
                  "column_name_alias": ["value"]}  # fmt: skip
        reference = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0,
                     "column_names": [alias, "value"]}  # fmt: skip
        return Side(name, self.query([reference], source, [], entries), (Bound(column, "value"),))

    def query(
        self, expressions: Sequence[Node], source: Node, free: Sequence[Node], entries: list[Node]
    ) -> Node:
        tree = copy.deepcopy(self.template)
        node = tree["statements"][0]["node"]
        # Parts of the query are shared, not copied: they may hold thousands of values.
        node["select_list"] = [dict(e, alias=f"b{n}") for n, e in enumerate(expressions)]
        node["from_table"] = source
        node["cte_map"] = {"map": list(entries)}
        if free:
            node["where_clause"] = {
                "class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "",
                "query_location": 0, "children": list(free),
            }  # fmt: skip
        return tree


def _own_names(tree: Node) -> Iterator[str]:
    """The names without a schema of all tables in a query."""
    for each in nodes(tree):
        if each.get("type") == "BASE_TABLE" and not each["schema_name"]:
            yield str(each["table_name"]).lower()


def _inner_queries(node: Node) -> Iterator[Node]:
    """The queries directly inside of a query, its CTEs aside."""
    stack: list[object] = [value for key, value in node.items() if key != "cte_map"]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if str(each.get("type", "")).endswith("_NODE"):
                yield each
            else:
                stack += each.values()
        elif isinstance(each, list):
            stack += each


def _leaves(source: Node) -> Iterator[Node]:
    if source["type"] == "JOIN":
        yield from _leaves(source["left"])
        yield from _leaves(source["right"])
    else:
        yield source


def _is_inner(source: Node) -> bool:
    if source["type"] != "JOIN":
        return True
    inner = source["join_type"] == "INNER" and source["ref_type"] in ("REGULAR", "CROSS")
    return inner and _is_inner(source["left"]) and _is_inner(source["right"])


def _conjuncts(condition: Node | None) -> Iterator[Node]:
    if not condition:
        return
    if condition.get("type") == "CONJUNCTION_AND":
        for child in condition["children"]:
            yield from _conjuncts(child)
    else:
        yield condition


def _join_conditions(source: Node) -> Iterator[tuple[Node, list[Node]]]:
    """Conditions of joins, each with the tables whose rows it may leave out unseen."""
    if source["type"] != "JOIN":
        return
    left, right = list(_leaves(source["left"])), list(_leaves(source["right"]))
    concerned = {"INNER": left + right, "SEMI": left + right, "LEFT": right, "ANTI": right,
                 "RIGHT": left}.get(source["join_type"], [])  # fmt: skip
    if source["ref_type"] in ("REGULAR", "CROSS"):
        for condition in _conjuncts(source.get("condition")):
            yield condition, concerned
        for name in source.get("using_columns", []):
            for one, two in ((a, b) for a in left for b in right):
                references = [
                    {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0,
                     "column_names": [str(each.get("alias") or each.get("table_name")), name]}
                    for each in (one, two)
                ]  # fmt: skip
                if len(left) == 1 and len(right) == 1:
                    yield {"class": "COMPARISON", "type": "COMPARE_EQUAL", "alias": "",
                           "query_location": 0, "left": references[0],
                           "right": references[1]}, concerned  # fmt: skip
    yield from _join_conditions(source["left"])
    yield from _join_conditions(source["right"])


def _owner(reference: Node, items: Sequence[_Item]) -> _Item | None:
    """The item that a column is of: by its table's name, or a heavy one that has the column."""
    names = [str(name).lower() for name in reference["column_names"]]
    if len(names) > 1:
        named = next((item for item in items if item.alias == names[0]), None)
        if named is not None:
            return named
    return next((item for item in items if item.heavy and names[0] in item.columns), None)


def _place(expression: Node, items: Sequence[_Item]) -> tuple[str, str] | None:
    """The mention and column that a plain reference means."""
    if expression.get("class") != "COLUMN_REF":
        return None
    owner = _owner(expression, items)
    if owner is None or len(expression["column_names"]) > 2:
        return None
    return owner.columns.get(str(expression["column_names"][-1]).lower())


def _uses(tree: Node, items: Sequence[_Item]) -> bool:
    """Whether rows of a heavy item are in an expression."""
    for each in nodes(tree):
        if each.get("class") == "COLUMN_REF":
            owner = _owner(each, items)
            if owner is not None and owner.heavy:
                return True
        if each.get("type") == "BASE_TABLE" and MARK in each["table_name"]:
            return True
    return False


def _unusable(tree: Node) -> bool:
    return any(
        each.get("class") in _UNKNOWN or each.get("function_name") in _VOLATILE
        for each in nodes(tree)
    )


def _may_aggregate(expression: Node) -> bool:
    """Whether a function without rows of its own may make one row of many."""
    return any(
        each.get("class") == "FUNCTION" and not each.get("is_operator")
        and each["function_name"] in _AGGREGATES
        for each in nodes(expression)
    )  # fmt: skip


_AGGREGATES = frozenset(
    [
        "any_value",
        "approx_count_distinct",
        "approx_quantile",
        "arg_max",
        "arg_min",
        "array_agg",
        "avg",
        "bit_and",
        "bit_or",
        "bit_xor",
        "bool_and",
        "bool_or",
        "count",
        "count_if",
        "count_star",
        "countif",
        "covar_pop",
        "covar_samp",
        "corr",
        "entropy",
        "favg",
        "first",
        "fsum",
        "group_concat",
        "histogram",
        "kurtosis",
        "last",
        "list",
        "listagg",
        "mad",
        "max",
        "max_by",
        "mean",
        "median",
        "min",
        "min_by",
        "mode",
        "product",
        "quantile",
        "quantile_cont",
        "quantile_disc",
        "regr_slope",
        "regr_intercept",
        "skewness",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "string_agg",
        "sum",
        "sumkahan",
        "kahan_sum",
        "var_pop",
        "var_samp",
        "variance",
        "arbitrary",
        "argmax",
        "argmin",
        "approx_top_k",
        "reservoir_quantile",
        "sem",
    ]
)

_Found = tuple[tuple[str, str], str, Node]


def _bounds(rule: Node, item: _Item, items: Sequence[_Item]) -> Iterator[_Found]:
    """What a condition says of columns of an item, in terms of what is not heavy."""
    if rule.get("class") == "BETWEEN" and rule["type"] == "COMPARE_BETWEEN":
        yield from _compared(
            "COMPARE_GREATERTHANOREQUALTO", rule["input"], rule["lower"], item, items
        )
        yield from _compared("COMPARE_LESSTHANOREQUALTO", rule["input"], rule["upper"], item, items)
    elif rule.get("class") == "COMPARISON" and rule["type"] in _FLIPPED:
        yield from _compared(rule["type"], rule["left"], rule["right"], item, items)
        yield from _compared(_FLIPPED[rule["type"]], rule["right"], rule["left"], item, items)


def _compared(
    comparison: str, left: Node, right: Node, item: _Item, items: Sequence[_Item]
) -> Iterator[_Found]:
    """Of `left comparison right`, with a column of the item somewhere in `left`."""
    if _uses(right, items) or _unusable(right):
        return
    if left.get("class") == "COLUMN_REF":
        place = _place(left, items)
        if place is not None and _owner(left, items) is item:
            kind = (
                "value"
                if comparison == "COMPARE_EQUAL"
                else "high"
                if comparison in _LESS
                else "low"
            )
            yield place, kind, right
    elif left.get("class") == "FUNCTION" and not left.get("schema"):
        name, parts = left["function_name"], left["children"]
        if name in ("+", "-") and len(parts) == 2:
            other = "-" if name == "+" else "+"
            yield from _compared(comparison, parts[0], _call(other, right, parts[1]), item, items)
            if name == "+":
                yield from _compared(comparison, parts[1], _call("-", right, parts[0]), item, items)
            else:  # k - column < e: column > k - e
                turned = _FLIPPED[comparison]
                yield from _compared(turned, parts[1], _call("-", parts[0], right), item, items)
        elif name in ("abs", "@") and len(parts) == 1 and comparison in _LESS:
            yield from _compared(comparison, parts[0], right, item, items)
            yield from _compared(_FLIPPED[comparison], parts[0], _call("-", right), item, items)


def _call(name: str, *parts: Node) -> Node:
    return {"class": "FUNCTION", "type": "FUNCTION", "alias": "", "query_location": 0,
            "function_name": name, "schema": "", "children": list(parts), "filter": None,
            "order_bys": {"type": "ORDER_MODIFIER", "orders": []}, "distinct": False,
            "is_operator": True, "export_state": False, "catalog": ""}  # fmt: skip


def _in_subquery(
    rule: Node, item: _Item, items: Sequence[_Item]
) -> tuple[tuple[str, str], Node] | None:
    """Of `column in (select ...)`: the column and the query."""
    if rule.get("class") != "SUBQUERY" or rule.get("subquery_type") != "ANY":
        return None
    if rule.get("comparison_type") != "COMPARE_EQUAL" or not rule.get("child"):
        return None
    place = _place(rule["child"], items)
    if place is None or _owner(rule["child"], items) is not item:
        return None
    return place, rule["subquery"]["node"]


def _without(source: Node, heavy: Sequence[Node]) -> Node | None:
    """A FROM without its heavy tables; None where nothing is left, or it cannot be told.

    What is left may have more rows, never fewer: outer joins stay only where nothing of them goes.
    """
    if source["type"] != "JOIN":
        return None if any(source is each for each in heavy) else source
    if not any(leaf is each for leaf in _leaves(source) for each in heavy):
        return source
    left, right = _without(source["left"], heavy), _without(source["right"], heavy)
    if left is None or right is None:
        return left or right
    if source["ref_type"] not in ("REGULAR", "CROSS") or source["join_type"] not in (
        "INNER", "SEMI", "LEFT", "RIGHT"):  # fmt: skip
        return None
    if source["join_type"] != "INNER":
        return None
    return dict(source, left=left, right=right, condition=None, using_columns=[], ref_type="CROSS")
