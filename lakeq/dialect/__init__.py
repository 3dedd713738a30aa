"""DuckDB's SQL, which is lakeq's, in the words of another engine: the same question, or a refusal.

The text is parsed with every function kept by its name, so that no one else's idea of a function
gets in; columns and types come from the snapshots; what differs is rewritten by the rules of this
package; and what is left is held against the lists of what is known to mean the same. Nothing
passes because nobody thought of it: a function, an operator or a clause that is in no list is
refused by name, with the nearest portable form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakeq.errors import LakeqError, QueryRefused

if TYPE_CHECKING:
    from lakeq.snapshot import TableSnapshot

SPARK = "spark"
TRINO = "trino"
ENGINES = {SPARK: "Spark", TRINO: "Athena"}


@dataclass(frozen=True, slots=True)
class Translated:
    """A query in another engine's SQL.

    `ordered` says that its rows have an order; `parameters` are the texts of `?` in it, in order.
    """

    sql: str
    ordered: bool
    parameters: tuple[str, ...] = ()


def view_name(table: str) -> str:
    """What the table `dataset.table` is called where a name has one part only."""
    return table.replace(".", "__")


def translate(
    sql: str,
    target: str,
    tables: Mapping[str, TableSnapshot],
    literals: Mapping[str, str],
    *,
    table_name: Callable[[str], str] = view_name,
    bind: bool = False,
    as_json: Sequence[bool] = (),
) -> Translated:
    """`sql`, which DuckDB takes, in the words of `target`.

    `literals` are the values of its parameters as DuckDB's SQL; with `bind` texts stay parameters,
    `?`. `as_json` says which columns are wanted as JSON. `table_name` writes the name of a table.
    Raises `QueryRefused` for what `target` has not, with the nearest portable form.
    """
    try:
        from lakeq.dialect import rewrite
    except ImportError as error:
        from lakeq.errors import UsageError

        hint = f"pip install 'lakeq[{'spark' if target == SPARK else 'athena'}]'"
        raise UsageError("sqlglot is not installed", f"engine {ENGINES[target]}", hint) from error
    try:
        asked = rewrite.Asked(target, table_name, bind, tuple(as_json))
        return rewrite.rewritten(sql, tables, literals, asked)
    except LakeqError:
        raise
    except RecursionError as error:
        raise QueryRefused("the query is nested too deeply", "the query") from error


def refusal(what: str, target: str, hint: str = "") -> QueryRefused:
    """The error for something that `target` has not, or not with the same meaning."""
    rest = "docs/reference/portable-sql.md lists what is portable; --engine duckdb takes all of it"
    return QueryRefused(f"{what} is not portable to {ENGINES[target]}", "the query", hint or rest)
