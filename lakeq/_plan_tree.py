"""DuckDB's own plan of a query, read: what each scan takes, and what surely runs to its end.

The plan is `json_serialize_plan` of the query over empty tables of the right types: the tree of
DuckDB's LogicalOperator classes with typed values, so nothing here parses SQL or printed filters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Node = dict[str, Any]  # DuckDB's JSON: its shape is DuckDB's, checked as it is walked

NO_COLUMN = 2**63  # indexes from here on are virtual columns: row ids, or "no column at all"
SCAN = "seq_scan"
STREAMING = frozenset(
    {"LOGICAL_PROJECTION", "LOGICAL_FILTER", "LOGICAL_UNNEST", "LOGICAL_WINDOW", "LOGICAL_UNION"}
)
BLOCKING = frozenset(
    {"LOGICAL_AGGREGATE_AND_GROUP_BY", "LOGICAL_DISTINCT", "LOGICAL_ORDER_BY", "LOGICAL_PIVOT"}
)
STOPPING = frozenset({"LOGICAL_LIMIT", "LOGICAL_TOP_N", "LOGICAL_SAMPLE"})
NEEDS_ALL_LEFT = frozenset({"LEFT", "ANTI", "MARK", "OUTER", "SINGLE"})


@dataclass(frozen=True, slots=True)
class Column:
    """One projected column: its number in the table and, of a struct, the fields in it.

    `fields` are paths of field numbers; empty means the whole column.
    """

    number: int
    fields: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan of a table: columns in the order of reading, and DuckDB's filter of each column.

    `filters` maps the number of a column to DuckDB's TableFilter. `repeated` scans are inside the
    recursive part of a recursive query; `late` ones may be read a second time for the rows chosen.
    """

    table: str
    columns: tuple[Column, ...]
    filters: Mapping[int, Node]
    repeated: bool = False
    late: bool = False


@dataclass(frozen=True, slots=True)
class Floor:
    """What is surely read, as a rule over the scans below.

    "scan": the scan numbered `scan`, to its end; "sum": all parts; "whole": all parts, whatever
    stops above them; "least": one of the parts, no matter which; "stop": as much of the parts as
    gives a first row; "nothing".
    """

    rule: str
    parts: tuple[Floor, ...] = ()
    scan: int = -1


NOTHING = Floor("nothing")


@dataclass(frozen=True, slots=True)
class Tree:
    """The scans of a query and what of them is surely read."""

    scans: tuple[Scan, ...]
    floor: Floor


class UnknownPlan(Exception):
    """DuckDB would not serialize the plan, or it holds what this module does not know.

    Not for users: the planner falls back to whole tables.
    """


def read(serialized: str, *, stops: bool) -> Tree:
    """The scans of a serialized plan; `stops` says that the reader may leave before the last row.

    Raises `UnknownPlan`.
    """
    parsed: Node = json.loads(serialized)
    if parsed.get("error") or len(parsed.get("plans", ())) != 1:
        raise UnknownPlan(str(parsed.get("error_message", "no plan")))
    walk = _Walk()
    floor = walk.visit(parsed["plans"][0], repeated=False, late=False)
    return Tree(tuple(walk.scans), Floor("stop", (floor,)) if stops else floor)


class _Walk:
    """One pass over a plan."""

    def __init__(self) -> None:
        self.scans: list[Scan] = []

    def visit(self, node: Node, *, repeated: bool, late: bool) -> Floor:
        kind = str(node.get("type"))
        if kind == "LOGICAL_GET" and node.get("name") == SCAN:
            return self.scan(node, repeated=repeated, late=late)
        late = (late and kind in STREAMING) or kind in STOPPING
        children: Sequence[Node] = node.get("children", ())
        if kind == "LOGICAL_RECURSIVE_CTE":
            start = self.visit(children[0], repeated=repeated, late=False)
            for child in children[1:]:
                self.visit(child, repeated=True, late=False)
            return start
        floors = [self.visit(child, repeated=repeated, late=late) for child in children]
        if kind.endswith("_JOIN") or kind == "LOGICAL_CROSS_PRODUCT":
            return _of_join(str(node.get("join_type", "")), kind, floors)
        return _of(kind, floors)

    def scan(self, node: Node, *, repeated: bool, late: bool) -> Floor:
        data = node["function_data"]
        filters = {
            int(entry["key"]): entry["value"]
            for entry in node.get("table_filters", {}).get("filters", ())
        }
        sampled = bool(node.get("extra_info", {}).get("sample_options"))
        columns = tuple(_columns(node.get("column_indexes", ())))
        table = f"{data['schema']}.{data['table']}"
        self.scans.append(Scan(table, columns, filters, repeated, late))
        return NOTHING if sampled else Floor("scan", scan=len(self.scans) - 1)


def _columns(indexes: Iterable[Node]) -> Iterable[Column]:
    for entry in indexes:
        if entry["index"] < NO_COLUMN:
            yield Column(entry["index"], tuple(_fields(entry.get("child_indexes", ()))))


def _fields(children: Sequence[Node]) -> Iterable[tuple[int, ...]]:
    for child in children:
        below = list(_fields(child.get("child_indexes", ())))
        if not below:
            yield (child["index"],)
        for path in below:
            yield (child["index"], *path)


def _of(kind: str, floors: Sequence[Floor]) -> Floor:
    """What is surely read below an operator that is no join."""
    if not floors:
        return NOTHING
    if kind in STREAMING:
        return Floor("sum", tuple(floors))
    if kind in BLOCKING:
        return Floor("whole", tuple(floors))
    if kind in STOPPING:
        return Floor("stop", tuple(floors))
    if kind == "LOGICAL_MATERIALIZED_CTE":
        return Floor("sum", (Floor("whole", (floors[0],)), *floors[1:]))
    return NOTHING


def _of_join(how: str, kind: str, floors: Sequence[Floor]) -> Floor:
    """Of a join, the side that is built is read; whether the other is depends on what it holds.

    DuckDB chooses the side by its estimates, skips the other when the first is empty and prunes
    it by the first one's keys.
    """
    left = floors[0] if floors else NOTHING
    if kind not in ("LOGICAL_COMPARISON_JOIN", "LOGICAL_ANY_JOIN"):
        return NOTHING
    if how in NEEDS_ALL_LEFT:
        return left
    return Floor("least", tuple(floors))


def without_filters(tree: Tree) -> Tree:
    """The tree with filters of unknown value: they prune nothing and may let no row pass."""
    scans = tuple(
        replace(scan, filters={number: {"filter_type": "UNKNOWN"} for number in scan.filters})
        for scan in tree.scans
    )
    return Tree(scans, NOTHING)
