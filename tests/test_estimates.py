"""C1: 40 queries on two engines; estimates of 10 MB and more are within 5 %, and never low.

DuckDB is held to what a server sent. No Athena can be asked here: it is held to an account of
Trino's reader (tests/support/trino.py) that knows nothing of lakeq's planner.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakeq import query
from lakeq.config import S3Settings, Settings
from lakeq.planner.reads import athena_file
from tests.support import trino
from tests.support.s3 import REGION
from tests.support.wide import AFTER_THE_SCAN, FILES, QUERIES, Wide, wide_tables
from tests.test_planner import plan_in_bulk

MIB = 1 << 20


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wide]:
    with wide_tables(tmp_path_factory.mktemp("wide")) as made:
        yield made


def asked(wide: Wide, sql: str) -> tuple[query.Report, int]:
    """The report of a query, and the bytes that the server sent for it."""
    s3 = S3Settings(anon=True, endpoint_url=wide.server.url, region=REGION)
    settings = Settings(lake=Path("unused"), s3=s3)
    wide.server.requests.clear()
    result = query.run(sql, datasets=wide.shapes.datasets, lake=wide.shapes, settings=settings)
    for _ in result.batches():
        pass
    return result.report, wide.server.sent


def close_enough(estimate: int, read: int) -> bool:
    """Within 5 %, and never more than 5 % low."""
    return 0.95 * read <= estimate <= 1.05 * read


def test_there_are_forty_queries_and_most_read_ten_megabytes(wide: Wide) -> None:
    assert len(QUERIES) == 40
    large = [sql for sql in QUERIES if plan_in_bulk(wide.shapes, sql).high_bytes >= 10**7]
    assert len(large) >= 32


@pytest.mark.parametrize("sql", QUERIES)
def test_estimates_for_duckdb_are_within_five_percent_of_what_was_sent(
    wide: Wide, sql: str
) -> None:
    report, sent = asked(wide, sql)
    plan = report.plan
    assert plan.low_bytes <= sent <= plan.high_bytes
    if sent >= 10**7:
        assert close_enough(plan.high_bytes, sent)


@pytest.mark.parametrize("sql", [*QUERIES, *AFTER_THE_SCAN])
def test_estimates_for_athena_are_within_five_percent_of_trinos_rules(wide: Wide, sql: str) -> None:
    plan = plan_in_bulk(wide.shapes, sql)
    wants = {**QUERIES, **AFTER_THE_SCAN}[sql]
    read = sum(trino.bytes_read(wide.paths(each.table), each.leaves, each.where) for each in wants)
    assert plan.athena_bytes >= read
    assert close_enough(plan.athena_bytes, read)


@pytest.mark.parametrize("sql", AFTER_THE_SCAN)
def test_duckdb_is_given_only_files_that_a_condition_after_its_scan_may_pass(
    wide: Wide, sql: str
) -> None:
    report, sent = asked(wide, sql)
    assert report.plan.low_bytes <= sent <= report.plan.high_bytes
    everything = "pos + depth" in sql
    assert (report.files_read == len(FILES)) == everything


@pytest.mark.parametrize("sql", [*list(QUERIES)[::4], *AFTER_THE_SCAN])
def test_few_files_are_estimated_for_athena_as_many_are(wide: Wide, sql: str) -> None:
    shapes, settings = wide.shapes, Settings(lake=Path("unused"))
    ready = query.prepare(sql, datasets=shapes.datasets, lake=shapes, settings=settings)
    ready.planner.close()
    assert ready.plan.athena_bytes == plan_in_bulk(shapes, sql).athena_bytes


# By hand, of a file of 100 MiB: its last 48 KiB are read, then chunks (offset, length) in MiB.
BY_HAND = [
    ([], 0),
    ([(0, 1)], 1),
    ([(0, 1), (2, 1)], 3),  # 1 MiB apart: with what lies between
    ([(0, 1), (2.5, 1)], 2),  # further apart: two requests
    ([(0, 4), (4, 4)], 8),
    ([(0, 4), (5, 4)], 8),  # near, but 9 MiB together: two requests
    ([(0, 1), (1.5, 9), (11, 1)], 11),  # one of more than 8 MiB is read by itself
    ([(20, 1), (0, 1), (1, 1)], 3),  # in any order
    ([(0, 3), (3.5, 3), (7, 3)], 6.5 + 3),  # the third would make 10 MiB
]


@pytest.mark.parametrize(("chunks", "expected"), BY_HAND)
def test_ranges_are_merged_as_trino_merges_them(
    chunks: list[tuple[float, float]], expected: float
) -> None:
    wanted = [(int(at * MIB), int(size * MIB)) for at, size in chunks]
    assert athena_file(100 * MIB, 5000, wanted) == 48 * 1024 + expected * MIB


@pytest.mark.parametrize(
    ("size", "footer", "expected"),
    [
        (3 * MIB, 5000, 3 * MIB),  # small: whole
        (3 * MIB + 1, 5000, 48 * 1024),
        (100 * MIB, 48 * 1024, 48 * 1024),
        (100 * MIB, 48 * 1024 + 1, 2 * 48 * 1024 + 1),  # a longer footer is read once more
    ],
)
def test_a_file_is_opened_as_trino_opens_it(size: int, footer: int, expected: int) -> None:
    assert athena_file(size, footer, []) == expected
