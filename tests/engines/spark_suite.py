"""What every Spark must do: rows, names, types and order as DuckDB gives them."""

from __future__ import annotations

from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.errors import NotFound, UsageError
from tests.attacks.ordinary import QUERIES as ORDINARY
from tests.engines.portable import QUERIES, examples
from tests.engines.tables import PARAMETERS, REAL
from tests.support.agree import agree, ordered

# What DuckDB alone can do, of the ordinary queries.
_ALONE = """
histogram mode list_by_group asof_join positional_join lateral recursive_cte pivot
pivot_in_from unpivot unnest_from list_reduce list_comprehension map json concat_format
date_functions time_zones columns sample generate_series collate describe summarize
"""
ALONE = frozenset(_ALONE.split())


class AgreesWithDuckDB:
    """Tests over the fixture `spark`, a lake whose queries run on the Spark in question."""

    @pytest.mark.parametrize("sql", examples(), ids=lambda sql: sql[:24])
    def test_every_portable_function_gives_what_duckdb_gives(self, spark: Lake, sql: str) -> None:
        agree(spark, "spark", sql, ordered=ordered(sql))

    @pytest.mark.parametrize("sql", QUERIES, ids=[f"{n}-{q[:30]}" for n, q in enumerate(QUERIES)])
    def test_portable_queries_agree_row_by_row(self, spark: Lake, sql: str) -> None:
        agree(spark, "spark", sql, ordered=ordered(sql))

    @pytest.mark.parametrize(
        "query", [q for q in ORDINARY if q.name not in ALONE], ids=lambda q: q.name
    )
    def test_ordinary_queries_agree(self, spark: Lake, query: Any) -> None:
        if "info_ac" in query.sql and not REAL:
            pytest.skip("made cohorts have no INFO/AC")
        agree(spark, "spark", query.sql, query.parameters, ordered=ordered(query.sql))

    @pytest.mark.parametrize("name", [query.name for query in lakeq.connect().queries()])
    def test_every_named_query_agrees(self, spark: Lake, name: str) -> None:
        try:
            spark.sql(f"@{name}", PARAMETERS.get(name, {})).close()
        except (NotFound, UsageError) as error:  # of tables that this lake has not
            pytest.skip(error.what)
        agree(spark, "spark", f"@{name}", PARAMETERS.get(name, {}), ordered=True)
