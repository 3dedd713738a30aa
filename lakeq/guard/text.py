"""The text of a query before and beside its parse: EXPLAIN taken off, statements told apart.

What is found here only steers messages, and what is left after EXPLAIN is parsed by itself, so a
mistake of these patterns refuses a query and never lets one pass.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SPACE = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*.*?\*/)"
_EXPLAIN = re.compile(rf"{_SPACE}*EXPLAIN\b", re.IGNORECASE | re.DOTALL)
_OPTIONS = re.compile(
    rf"{_SPACE}*(?P<what>ANALYZE|ANALYSE|\({_SPACE}*(?:ANALYZE|ANALYSE|FORMAT|VERBOSE)\b)",
    re.IGNORECASE | re.DOTALL,
)
_TOKEN = re.compile(
    rf"(?P<space>{_SPACE}+)|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"
    r"|(?P<word>\w+)|(?P<end>;)|.",
    re.DOTALL,
)


class Statement(NamedTuple):
    """Where a statement of a text begins (in characters), and its first word in capitals."""

    position: int
    word: str


class Explained(NamedTuple):
    """A text without its EXPLAIN; line breaks before it stay, so that lines keep their numbers.

    `options` are the options that follow EXPLAIN, if any, as they were written.
    """

    sql: str
    options: str


def without_explain(sql: str) -> Explained | None:
    """What `sql` wants explained; None when it does not begin with EXPLAIN."""
    found = _EXPLAIN.match(sql)
    if found is None:
        return None
    options = _OPTIONS.match(sql, found.end())
    breaks = "\n" * found[0].count("\n")
    return Explained(breaks + sql[found.end() :], options["what"] if options else "")


def statements(sql: str) -> list[Statement]:
    """The statements of `sql`, as far as their first words show."""
    found: list[Statement] = []
    begins = True
    for token in _TOKEN.finditer(sql):
        if token["end"]:
            begins = True
        elif begins and not token["space"]:
            found.append(Statement(token.start(), token[0].upper()))
            begins = False
    return found


def line(sql: str, position: int | None) -> str:
    """Where byte `position` of the query stands, for messages."""
    encoded = sql.encode()
    if position is None or position > len(encoded):  # DuckDB's word for nowhere is 2**64 - 1
        return "the query"
    return f"the query, line {encoded[:position].count(10) + 1}"
