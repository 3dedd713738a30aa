"""The portable queries on Spark's own JVM: what Sail answers is what Spark answers.

Run by make soak; skipped where there is no Java or no whole Spark (tests/support/jvm_spark.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import lakeq
from lakeq.api import Lake
from lakeq.errors import NotFound, UsageError
from tests.attacks.ordinary import QUERIES as ORDINARY
from tests.engines.portable import QUERIES, examples
from tests.engines.tables import PARAMETERS, REAL
from tests.engines.test_spark import ALONE
from tests.support.agree import agree, ordered
from tests.support.jvm_spark import jvm_server, why_not

pytestmark = [pytest.mark.soak, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="session")
def jvm(tables: Lake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with jvm_server(tmp_path_factory.mktemp("spark")) as remote:
        yield lakeq.connect(tables.settings.lake, spark_remote=remote)


@pytest.mark.parametrize("sql", examples(), ids=lambda sql: sql[:24])
def test_every_portable_function_gives_what_duckdb_gives(jvm: Lake, sql: str) -> None:
    agree(jvm, "spark", sql, ordered=ordered(sql))


@pytest.mark.parametrize("sql", QUERIES, ids=[f"{n}-{q[:30]}" for n, q in enumerate(QUERIES)])
def test_portable_queries_agree_row_by_row(jvm: Lake, sql: str) -> None:
    agree(jvm, "spark", sql, ordered=ordered(sql))


@pytest.mark.parametrize(
    "query", [q for q in ORDINARY if q.name not in ALONE], ids=lambda q: q.name
)
def test_ordinary_queries_agree(jvm: Lake, query: Any) -> None:
    if "info_ac" in query.sql and not REAL:
        pytest.skip("made cohorts have no INFO/AC")
    agree(jvm, "spark", query.sql, query.parameters, ordered=ordered(query.sql))


@pytest.mark.parametrize("name", [query.name for query in lakeq.connect().queries()])
def test_every_named_query_agrees(jvm: Lake, name: str) -> None:
    try:
        jvm.sql(f"@{name}", PARAMETERS.get(name, {})).close()
    except (NotFound, UsageError) as error:  # of tables that this lake has not
        pytest.skip(error.what)
    agree(jvm, "spark", f"@{name}", PARAMETERS.get(name, {}), ordered=True)
