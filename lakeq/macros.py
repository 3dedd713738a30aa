"""The catalog's macros in a query: each call is replaced by the expression that it stands for.

It is done on the tree of DuckDB's own parser, so every engine sees plain SQL.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lakeq.errors import QueryRefused
from lakeq.occurrences import nodes

if TYPE_CHECKING:
    from lakeq.catalog import Macro

Node = dict[str, Any]


def expand(
    sql: str,
    macros: Mapping[str, Macro],
    serialize: Callable[[str], str],
    deserialize: Callable[[str], str],
) -> str:
    """`sql` with calls of `macros`, by name, written out.

    `serialize` and `deserialize` are DuckDB's for whole trees. Raises `QueryRefused` for a call
    with too few or too many arguments.
    """
    tree: Node = json.loads(serialize(sql))
    bodies = {name: _expression(macro.sql, serialize) for name, macro in macros.items()}
    for node in list(nodes(tree)):
        for item in node.get("select_list") or ():
            if not item.get("alias") and any(_is_call(each, macros) for each in nodes(item)):
                item["alias"] = _text(item, serialize, deserialize)
    found = [node for node in nodes(tree) if _is_call(node, macros)]
    for node in reversed(found):  # inner calls first
        name = node["function_name"].lower()
        alias = node["alias"]
        body = _filled(bodies[name], macros[name], node["children"])
        node.clear()
        node.update(body, alias=alias)
    return deserialize(json.dumps(tree))


def _is_call(node: Node, macros: Mapping[str, Macro]) -> bool:
    return node.get("class") == "FUNCTION" and node["function_name"].lower() in macros


def _text(
    expression: Node, serialize: Callable[[str], str], deserialize: Callable[[str], str]
) -> str:
    """An expression as the query has it, which names its column."""
    tree = json.loads(serialize("SELECT 1"))
    tree["statements"][0]["node"]["select_list"] = [expression]
    return deserialize(json.dumps(tree)).removeprefix("SELECT ")


def _expression(sql: str, serialize: Callable[[str], str]) -> Node:
    tree = json.loads(serialize(f"SELECT {sql}"))
    expression: Node = tree["statements"][0]["node"]["select_list"][0]
    return expression


def _filled(body: Node, macro: Macro, arguments: Sequence[Node]) -> Node:
    if len(arguments) != len(macro.parameters):
        words = ", ".join(macro.parameters)
        what = f"{macro.name}({words}) was called with {len(arguments)} arguments"
        raise QueryRefused(what, "the query", f"write {macro.name}({words})")
    values = dict(zip(macro.parameters, arguments, strict=True))
    filled = copy.deepcopy(body)
    for node in list(nodes(filled)):
        if node.get("class") == "COLUMN_REF" and len(node["column_names"]) == 1:
            value = values.get(node["column_names"][0])
            if value is not None:
                node.clear()
                node.update(copy.deepcopy(value), alias="")
    return filled
