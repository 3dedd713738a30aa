"""DuckDB's own plan of a query, read: what each scan takes, and what surely runs to its end.

The plan is `json_serialize_plan` of the query over empty tables of the right types: the tree of
DuckDB's LogicalOperator classes with typed values, so nothing here parses SQL or printed filters.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Node = dict[str, Any]  # DuckDB's JSON: its shape is DuckDB's, checked as it is walked

FEW_ROWS = 50
NO_COLUMN = 2**63  # indexes from here on are virtual columns: row ids, or "no column at all"
SCAN = "seq_scan"
STREAMING = frozenset(
    {"LOGICAL_PROJECTION", "LOGICAL_FILTER", "LOGICAL_UNNEST", "LOGICAL_WINDOW", "LOGICAL_UNION"}
)
BLOCKING = frozenset(
    {"LOGICAL_AGGREGATE_AND_GROUP_BY", "LOGICAL_DISTINCT", "LOGICAL_ORDER_BY", "LOGICAL_PIVOT"}
)
STOPPING = frozenset({"LOGICAL_LIMIT", "LOGICAL_TOP_N", "LOGICAL_SAMPLE"})
JOINING = frozenset({"LOGICAL_CROSS_PRODUCT", "LOGICAL_EXCEPT", "LOGICAL_INTERSECT"})
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
    recursive part of a recursive query; `late` ones may be read a second time for the rows chosen;
    `dynamic` ones may get further filters while the query runs. Of `limited` ones a LIMIT, or the
    reader, may leave rows unread; `rows` of them, no matter which, are all that a LIMIT can use.
    Those that are not `sure` are a guess where there is no plan, and may be several in truth.
    `above` are conditions that DuckDB tests of all rows after the scan; they refer to columns by
    their place in `outputs`, which has the columns' numbers.
    """

    table: str
    columns: tuple[Column, ...]
    filters: Mapping[int, Node]
    repeated: bool = False
    late: bool = False
    dynamic: bool = False
    limited: bool = False
    rows: int | None = None
    sure: bool = True
    above: tuple[Node, ...] = ()
    outputs: tuple[int, ...] = ()


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
    """The scans of a query and what of them is surely read.

    `stops` says that rows come before all is read, and that the reading ends with enough of them;
    `counted` that the query is an aggregate without groups, or ends in a LIMIT.
    """

    scans: tuple[Scan, ...]
    floor: Floor
    counted: bool = False

    @property
    def stops(self) -> bool:
        """Whether a LIMIT, or the reader, may end the only reading there is."""
        floor = self.floor
        while floor.rule == "sum" and len(floor.parts) == 1:
            floor = floor.parts[0]
        return floor.rule == "stop" and not any(part.rule == "whole" for part in _within(floor))


def _within(floor: Floor) -> Iterator[Floor]:
    for part in floor.parts:
        yield part
        yield from _within(part)


class UnknownPlan(Exception):
    """DuckDB would not serialize the plan; `scans` names the table of each scan, as far as known.

    Not for users: the planner falls back to whole tables.
    """

    def __init__(self, scans: Sequence[str] = ()) -> None:
        super().__init__("no plan")
        self.scans = scans


def read(serialized: str, *, stops: bool) -> Tree:
    """The scans of a serialized plan; `stops` says that the reader may leave before the last row.

    Raises `UnknownPlan`.
    """
    parsed: Node = json.loads(serialized)
    if parsed.get("error") or len(parsed.get("plans", ())) != 1:
        raise UnknownPlan(parsed.get("scans", ()))
    walk = _Walk()
    floor = walk.visit(parsed["plans"][0], _Above(limited=stops))
    floor = Floor("stop", (floor,)) if stops else floor
    return Tree(tuple(walk.scans), floor, _is_counted(parsed["plans"][0]))


def _is_counted(node: Node) -> bool:
    """Whether what the rows come from says how many there are at the most."""
    while node.get("type") in ("LOGICAL_PROJECTION", "LOGICAL_ORDER_BY", "LOGICAL_FILTER"):
        node = node["children"][0]
    whole = node.get("type") == "LOGICAL_AGGREGATE_AND_GROUP_BY" and not node.get("groups")
    return whole or node.get("type") in ("LOGICAL_LIMIT", "LOGICAL_TOP_N")


@dataclass(frozen=True, slots=True)
class _Above:
    """What stands above an operator; see `Scan`."""

    repeated: bool = False
    late: bool = False
    dynamic: bool = False
    limited: bool = False
    rows: int | None = None
    conditions: tuple[Node, ...] = ()  # of a filter directly above


class _Walk:
    """One pass over a plan."""

    def __init__(self) -> None:
        self.scans: list[Scan] = []

    def visit(self, node: Node, above: _Above) -> Floor:
        kind = str(node.get("type"))
        if kind == "LOGICAL_GET" and node.get("name") == SCAN:
            return self.scan(node, above)
        children: Sequence[Node] = node.get("children", ())
        joins = kind.endswith("_JOIN") or kind in JOINING
        late = (above.late and kind in STREAMING) or _is_late(node)
        below = replace(
            above,
            late=late,
            dynamic=above.dynamic or joins or kind in STOPPING,
            limited=kind == "LOGICAL_LIMIT" or (above.limited and (joins or kind in STREAMING)),
            rows=_rows(node, above),
            conditions=tuple(node.get("expressions", ())) if kind == "LOGICAL_FILTER" else (),
        )
        if kind == "LOGICAL_RECURSIVE_CTE":
            start = self.visit(children[0], below)
            for child in children[1:]:
                self.visit(child, replace(below, repeated=True))
            return start
        floors = [self.visit(child, below) for child in children]
        if joins:
            return _of_join(str(node.get("join_type", "")), kind, floors)
        return NOTHING if _chooses(node) else _of(kind, floors)

    def scan(self, node: Node, above: _Above) -> Floor:
        data = node["function_data"]
        filters = {
            int(entry["key"]): entry["value"]
            for entry in node.get("table_filters", {}).get("filters", ())
        }
        sampled = bool(node.get("extra_info", {}).get("sample_options"))
        indexes = node.get("column_indexes", ())
        columns = tuple(_columns(indexes))
        given = node.get("projection_ids") or range(len(indexes))
        outputs = tuple(_whole(indexes[place]) for place in given)
        table = f"{data['schema']}.{data['table']}"
        rows = None if filters or sampled or above.repeated else above.rows
        flags = (above.repeated, above.late, above.dynamic, above.limited, rows)
        found = Scan(table, columns, filters, *flags, above=above.conditions, outputs=outputs)
        self.scans.append(found)
        return NOTHING if sampled else Floor("scan", scan=len(self.scans) - 1)


def _is_late(node: Node) -> bool:
    """Whether DuckDB may choose rows by some columns first and read the others for those only.

    LateMaterialization: not for a small LIMIT without OFFSET (late_materialization_max_rows).
    """
    if node.get("type") == "LOGICAL_LIMIT":
        limit, offset = node.get("limit_val", {}), node.get("offset_val", {})
        few = limit.get("constant_integer", FEW_ROWS + 1) <= FEW_ROWS
        return not (few and offset.get("type") == "UNSET")
    return node.get("type") in STOPPING or _chooses(node)


def _rows(node: Node, above: _Above) -> int | None:
    """How many rows of what is below an operator are enough, None where that is not known."""
    if node.get("type") == "LOGICAL_PROJECTION":
        return above.rows
    if node.get("type") != "LOGICAL_LIMIT":
        return None
    limit, offset = node.get("limit_val", {}), node.get("offset_val", {})
    if limit.get("type") != "CONSTANT_VALUE":
        return None
    if offset.get("type", "UNSET") not in ("UNSET", "CONSTANT_VALUE"):
        return None
    return int(limit.get("constant_integer", 0)) + int(offset.get("constant_integer", 0))


def _chooses(node: Node) -> bool:
    """Whether DuckDB may do a filter over a window as a top-N of each partition."""
    below = node.get("children", ())
    filters = node.get("type") == "LOGICAL_FILTER"
    return filters and any(child.get("type") == "LOGICAL_WINDOW" for child in below)


def _columns(indexes: Iterable[Node]) -> Iterable[Column]:
    for entry in indexes:
        if entry["index"] < NO_COLUMN:
            yield Column(entry["index"], tuple(_fields(entry.get("child_indexes", ()))))


def _whole(entry: Node) -> int:
    """The number of a column that is given whole, -1 of one that is given in part."""
    return -1 if entry.get("child_indexes") else int(entry["index"])


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
        replace(
            scan,
            filters={number: {"filter_type": "UNKNOWN"} for number in scan.filters},
            above=(),
        )
        for scan in tree.scans
    )
    return Tree(scans, NOTHING, tree.counted)
