"""Each mention of a virtual table in a query gets a name of its own, to be read for itself.

A query that names `landsat.pixels` twice, of two dates say, wants other tiles each time. The text
is taken apart and put together by DuckDB's own parser (`json_serialize_sql` and
`json_deserialize_sql`): `landsat.pixels p` becomes `landsat."pixels#1" p`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lakeq.catalog import Table

Node = dict[str, Any]
MARK = "#"  # no name of a catalog holds it


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One mention of a virtual table; `name` is dataset.table#number."""

    name: str
    table: Table


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A query whose virtual tables are told apart."""

    sql: str
    tree: Node
    occurrences: tuple[Occurrence, ...]


def rewrite(
    serialized: str, tables: Mapping[str, Table], deserialize: Callable[[str], str]
) -> Rewritten:
    """Name the mentions of `tables`, all virtual, by qualified name.

    `serialized` is the whole tree of the query, with what is null or empty.
    """
    tree: Node = json.loads(serialized)
    found: list[Occurrence] = []
    for node in list(nodes(tree)):
        if node.get("type") == "BASE_TABLE":
            name = f"{node['schema_name']}.{node['table_name']}".lower()
            if name in tables:
                number = len(found) + 1
                node["alias"] = node["alias"] or node["table_name"]
                node["table_name"] = f"{tables[name].name}{MARK}{number}"
                found.append(Occurrence(f"{name}{MARK}{number}", tables[name]))
        elif node.get("class") == "COLUMN_REF":
            names = node["column_names"]
            if len(names) > 2 and ".".join(names[:2]).lower() in tables:
                del names[0]
    return Rewritten(deserialize(json.dumps(tree)), tree, tuple(found))


def nodes(tree: object) -> Iterator[Node]:
    """Every mapping in a tree, itself first."""
    stack = [tree]  # a query may have thousands of values: generators within generators take long
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            yield each
            stack += [v for v in reversed(each.values()) if isinstance(v, dict | list)]
        elif isinstance(each, list):
            stack += [v for v in reversed(each) if isinstance(v, dict | list)]
