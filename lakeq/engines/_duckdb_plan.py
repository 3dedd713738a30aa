"""DuckDB's plan of a query as JSON: of empty tables, with what looks at data switched off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lakeq.engines._duckdb_sql import literal
from lakeq.occurrences import nodes

if TYPE_CHECKING:
    import duckdb

# Off for the plan: what looks at the data of tables, of which those of the plan have none. Filters
# and columns come out as in the real run. What leaves a tree that cannot be serialized is switched
# off where it does so: DuckDB then says that column bindings are inequal.
PLAN_WITHOUT = (
    "compressed_materialization,empty_result_pullup,join_order,late_materialization,"
    "statistics_propagation,top_n_window_elimination"
)
RETRIES = ("", ",build_side_probe_side", ",column_lifetime")
APART = ",cte_inlining"


def serialized_plan(session: duckdb.DuckDBPyConnection, sql: str) -> str:
    """DuckDB's `json_serialize_plan` of `sql`, or JSON with "error" and the table of each scan."""
    for without in RETRIES:
        if (found := _serialized(session, sql, without)) is not None:
            return found
    session.execute(f"SET disabled_optimizers = {literal(PLAN_WITHOUT)}")
    scans = _scans(session, sql)
    # A CTE that stays apart is read once, one that is written out wherever it is named: a plan of
    # the first kind is taken only where the query itself has the same scans.
    found = _serialized(session, sql, APART)
    if found is not None and sorted(_scans_of(json.loads(found))) == sorted(scans):
        return found
    return json.dumps({"error": True, "scans": scans})


def _serialized(session: duckdb.DuckDBPyConnection, sql: str, without: str) -> str | None:
    call = f"SELECT json_serialize_plan({literal(sql)}, optimize := true, skip_null := true)"
    session.execute(f"SET disabled_optimizers = {literal(PLAN_WITHOUT + without)}")
    row = session.execute(call).fetchone()
    return None if row is None or str(row[0]).startswith('{"error":true') else str(row[0])


def _scans(session: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The table of each scan that EXPLAIN tells of."""
    told = session.execute(f"EXPLAIN (FORMAT json) {sql}").fetchall()
    plans = [json.loads(str(text)) for _, text in told]
    found = [_table(node["extra_info"]) for node in nodes(plans) if "extra_info" in node]
    return [name for name in found if name]


def _table(told: object) -> str:
    name = told.get("Table") if isinstance(told, Mapping) else None
    return str(name).partition(".")[2].replace('"', "") if name else ""


def _scans_of(plan: Any) -> list[str]:
    """The same of a serialized plan."""
    gets = [n["function_data"] for n in nodes(plan) if n.get("name") == "seq_scan"]
    return [f"{data['schema']}.{data['table']}" for data in gets]
