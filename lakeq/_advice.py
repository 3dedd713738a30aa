"""Where a query wastes bytes, and cheaper ways to ask, each of them planned before it is told."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from lakeq import cost, named
from lakeq.catalog import Dataset, Table
from lakeq.planner import Cheaper

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lakeq.planner import Plan, TablePlan
    from lakeq.snapshot import TableSnapshot

REWRITES = 3
COSTLY_SHARE = 0.2  # of a plan's bytes; a column below is not worth a line
WORTH_BYTES = 1_000_000  # a plan below needs no advice: Athena asks for 10 MB at least
FILES_SEEN = 1000  # of a table, to look for a small partition
SORT_KINDS = frozenset({"BIGINT", "INTEGER"})


def advice(plan: Plan, used: Sequence[Table], datasets: Mapping[str, Dataset]) -> list[str]:
    """What costs most, what would prune, and the slices that exist, in words."""
    if plan.high_bytes < WORTH_BYTES:
        return []
    found = [line for table in plan.tables for line in _columns(table, plan)]
    for table in used:
        found += _pruning(table, plan)
    return [*found, *_slices(used, datasets)]


def _columns(table: TablePlan, plan: Plan) -> Iterator[str]:
    """The columns that cost most."""
    for name, size in table.columns[:REWRITES]:
        share = size / plan.high_bytes
        if share >= COSTLY_SHARE:
            column = f"the column {name} of {table.name}"
            yield f"{share:.0%} of it ({cost.size(size)}) is {column}"


def _pruning(table: Table, plan: Plan) -> Iterator[str]:
    planned = next((each for each in plan.tables if each.name == table.qualified), None)
    if planned is None or not planned.files:
        return
    whole = planned.files == planned.files_total and planned.files_total > 1
    if table.partition_by and whole:
        columns = " and ".join(table.partition_by)
        yield f"{table.qualified} is partitioned by {columns}: a condition on it prunes files"
    all_groups = planned.row_groups == planned.row_groups_total and planned.row_groups_total > 1
    sorts = [name for name in table.sort_by if name not in table.partition_by]
    if sorts and all_groups:
        yield f"{table.qualified} is sorted by {sorts[0]}: a range of it prunes row groups"


def _slices(used: Sequence[Table], datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Tables that were made of the ones that are read, by a query of the catalog."""
    names = {table.qualified for table in used}
    for dataset in {table.dataset for table in used}:
        for table in datasets[dataset].tables.values():
            text = named.query(table.query).sql if table.query.startswith("@") else table.query
            made_of = {name for name in names if re.search(rf"\b{re.escape(name)}\b", text)}
            if table.qualified not in names and made_of:
                sources = " and ".join(sorted(made_of))
                yield f"{table.qualified} is a slice of {sources}: {table.doc}"


def rewrites(
    sql: str,
    plan: Plan,
    used: Sequence[Table],
    tables: Mapping[str, TableSnapshot],
    planned: Callable[[str], Plan | None],
    *,
    counted: bool = False,
) -> list[Cheaper]:
    """Cheaper queries, the cheapest last; `planned` gives the plan of a text, None if it fails.

    They ask for less: each says what it leaves out. A query whose rows are `counted` by its text is
    not asked how many there are.
    """
    found: list[Cheaper] = []
    candidates = list(_candidates(sql, plan, used, tables))
    for what, text in candidates[:-1] if counted else candidates:
        if any(text == each.sql for each in found):
            continue
        other = planned(text)
        if other is not None and 0 < other.high_bytes < plan.high_bytes:
            found.append(Cheaper(what, text, other.high_bytes, other.athena_usd))
    found.sort(key=lambda each: -each.high_bytes)
    return found[-REWRITES:]


def _candidates(
    sql: str, plan: Plan, used: Sequence[Table], tables: Mapping[str, TableSnapshot]
) -> Iterator[tuple[str, str]]:
    text = sql.strip().rstrip(";")
    for table in sorted(used, key=lambda each: -_bytes(plan, each)):
        yield from _narrower(text, plan, table, tables[table.qualified])
    yield "how many rows it would give", _joined("SELECT count(*) FROM", f"({text})")


def _bytes(plan: Plan, table: Table) -> int:
    return sum(each.high_bytes for each in plan.tables if each.name == table.qualified)


def _narrower(
    sql: str, plan: Plan, table: Table, snapshot: TableSnapshot
) -> Iterator[tuple[str, str]]:
    """`sql` with less of one table in its place."""
    name = table.qualified
    for column, value in _partitions(snapshot):
        if value is not None:
            condition = f"{column} = '{value.replace(chr(39), chr(39) * 2)}'"
            less = _joined("SELECT * FROM", name, "WHERE", condition)
            yield f"only {condition}", _in_place(sql, table, less)
    costly = [column for each in plan.tables if each.name == name for column, _ in each.columns]
    for column in costly[:2]:
        less = _joined("SELECT * EXCLUDE", f"({column})", "FROM", name)
        yield f"without the column {column}", _in_place(sql, table, less)
    for column, most in _cuts(table, snapshot):
        condition = f"{column} < {most}"
        less = _joined("SELECT * FROM", name, "WHERE", condition)
        yield f"only {condition}", _in_place(sql, table, less)


def _partitions(snapshot: TableSnapshot) -> list[tuple[str, str | None]]:
    """The partition values of the first file and of the two smallest ones, each once."""
    files = list(snapshot.files[:FILES_SEEN])
    smallest = sorted(files, key=lambda file: file.size_bytes)[:2]
    return list(
        dict.fromkeys(value for file in (*files[:1], *smallest) for value in file.partition)
    )


def _cuts(table: Table, snapshot: TableSnapshot) -> list[tuple[str, int]]:
    """A column that the rows are sorted by, with values half and a quarter into its row groups."""
    kinds = {column.name: column.duckdb_type for column in snapshot.columns}
    names = [name for name in table.sort_by if kinds.get(name) in SORT_KINDS]
    if not names or not snapshot.files:
        return []
    footer = max((snapshot.files[0], snapshot.files[-1]), key=lambda f: f.rows).footer
    place = next((n for n, leaf in enumerate(footer.leaves) if leaf.path == names[0]), None)
    if place is None or not footer.bounds:
        return []
    width = len(footer.leaves)
    lows = [footer.bounds[group * width + place] for group in range(len(footer.rows))]
    values = sorted(each.low for each in lows if each and isinstance(each.low, int))
    if len(set(values)) < 2:
        return []
    places = (len(values) // 2, max(1, len(values) // 4))
    return list(dict.fromkeys((names[0], values[at]) for at in places))


def _in_place(sql: str, table: Table, less: str) -> str:
    """`sql` reading `less` where it reads the table; an alias of its own stays."""
    pattern = rf"(?i)\b(from|join)\s+{re.escape(table.dataset)}\.{re.escape(table.name)}\b"
    alias = r"(?!\s+(?:as\s+)?(?!where|join|on|using|group|order|limit|union|left|inner)\w)"
    named = re.sub(pattern + alias, rf"\1 ({_escaped(less)}) AS {table.name}", sql)
    return re.sub(pattern, rf"\1 ({_escaped(less)})", named) if named == sql else named


def _joined(*parts: str) -> str:
    return " ".join(parts)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\")
