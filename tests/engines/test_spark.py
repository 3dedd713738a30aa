"""Spark beside DuckDB: the same rows, names and types, over real tables where they are there."""

from __future__ import annotations

import os
import signal
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lakeq
from lakeq import config
from lakeq.api import Lake
from lakeq.engines import _sail
from lakeq.errors import (
    AccessDenied,
    LakeqError,
    LimitPassed,
    QueryFailed,
    QueryRefused,
    StorageUnavailable,
    UsageError,
)
from tests.attacks.ordinary import QUERIES as ORDINARY
from tests.engines.portable import REFUSED, ROWS
from tests.engines.spark_suite import ALONE, AgreesWithDuckDB
from tests.support.agree import agree
from tests.support.s3 import S3, signed

if TYPE_CHECKING:
    from examples.make_cohort import MadeCohort


class TestSail(AgreesWithDuckDB):
    """The shared suite on a Sail of lakeq's own."""

    @pytest.fixture
    def spark(self, tables: Lake) -> Lake:
        return tables


@pytest.mark.parametrize("name", sorted(ALONE - {"pivot", "unpivot", "describe", "summarize"}))
def test_what_is_not_portable_is_refused_by_name(tables: Lake, name: str) -> None:
    query = next(q for q in ORDINARY if q.name == name)
    with pytest.raises(QueryRefused, match="is not portable to Spark"):
        tables.sql(query.sql, query.parameters, engine="spark")


@pytest.mark.parametrize(("sql", "word"), REFUSED, ids=[word for _, word in REFUSED])
def test_the_refusal_names_what_and_the_nearest_portable_form(
    tables: Lake, sql: str, word: str
) -> None:
    with pytest.raises(QueryRefused, match=word) as caught:
        tables.sql(sql, engine="spark")
    assert caught.value.hint


def test_the_report_counts_what_sail_read_within_the_plan(tables: Lake) -> None:
    result = tables.sql(
        "select contig, max(pos) from thousand_genomes.variants group by 1", engine="spark"
    )
    report = result.report
    assert (report.engine, report.bytes_told_by) == ("spark", "counted")
    footers = 4 * 16_384 * report.files_total  # Sail asks for a file's end once more at each step
    assert report.plan.low_bytes <= report.bytes_scanned <= report.plan.high_bytes + footers
    assert report.files_read == report.files_total
    assert "on Spark" in str(report)


def test_max_rows_stops_the_rows(tables: Lake) -> None:
    result = tables.sql(f"select i from {ROWS} order by i", engine="spark", max_rows=2)
    assert result.rows() == [(1,), (2,)]
    assert result.report.truncated


def test_columns_are_matched_by_field_id(tmp_path: Path) -> None:
    """A renamed column, an added one, and one that took another's old name."""
    from lakeq.engines import Reference, ResultColumn, get
    from tests.support.tables import snapshot

    def write(name: str, **columns: tuple[int, pa.Array]) -> Path:
        fields = [
            pa.field(n, a.type, metadata={"PARQUET:field_id": str(i)})
            for n, (i, a) in columns.items()
        ]
        path = tmp_path / f"{name}.parquet"
        table = pa.Table.from_arrays([a for _, a in columns.values()], schema=pa.schema(fields))
        pq.write_table(table, path)
        return path

    old = write("contig=1", a=(1, pa.array([1, 2])), b=(2, pa.array(["x", "y"])))
    new = write("contig=2", b=(1, pa.array([3])), a=(2, pa.array(["z"])), c=(3, pa.array([0.5])))
    columns = {"b": pa.int64(), "a": pa.string(), "c": pa.float64()}  # ids 1, 2 and 3
    table = snapshot("d.t", [old, new], columns)
    engine = get("spark", config.load({"lake": tmp_path}))
    named = (ResultColumn("b", "BIGINT"), ResultColumn("a", "VARCHAR"), ResultColumn("c", "DOUBLE"))
    sql = "select * from d.t order by b"
    running = engine.run(sql, {}, {"d.t": table}, reference=Reference(named, {}, "", 0, 0, 0))
    assert running.fetch(9) == [(1, "x", None), (2, "y", None), (3, "z", 0.5)]
    running.close()


def test_a_query_over_s3_agrees(
    tables: Lake, s3: S3, tmp_path: Path, aws_credentials: None, made_cohort: MadeCohort
) -> None:
    lake = lakeq.connect(tmp_path / "lake", **signed(s3, warehouse=True))
    lake.ingest("thousand_genomes", [made_cohort.vcf], panel=made_cohort.panel)
    lake.ingest("clinvar.grch37", [made_cohort.clinvar])
    assert agree(lake, "spark", "@allele_frequency_clinvar", ordered=True) > 0
    report = lake.sql("@allele_frequency_clinvar", engine="spark").report
    assert report.bytes_told_by == "plan"
    assert report.bytes_scanned == report.plan.high_bytes
    assert any("does not tell" in note for note in report.notes)


def test_local_cluster_mode_agrees(tables: Lake) -> None:
    clustered = lakeq.connect(tables.settings.lake, spark_remote="local-cluster")
    sql = "select contig, count(*), sum(ac) from thousand_genomes.variants group by 1 order by 1"
    assert agree(clustered, "spark", sql, ordered=True) > 0


LONG = (
    "select count(*), sum(a.pos * b.pos) from {v} a, {v} b, {v} c where a.pos + b.pos + c.pos < 0"
)


def test_a_server_killed_in_the_middle_is_one_clear_error_and_the_next_query_runs(
    tables: Lake,
) -> None:
    sql = LONG.format(v="thousand_genomes.variants")
    server = _sail.server(tables.settings)
    result = tables.sql(sql, engine="spark", max_usd="none")
    timer = threading.Timer(0.5, server.process.kill)
    timer.start()
    with pytest.raises(StorageUnavailable, match="does not answer"):
        result.rows()
    timer.join()
    assert tables.sql("select 1", engine="spark").rows() == [(1,)]
    assert tables.history()[1].outcome != "ok"


@pytest.mark.parametrize("mode", ["local", "local-cluster"])
def test_a_server_killed_over_s3_is_one_clear_error_and_the_next_query_runs(
    mode: str, s3: S3, tmp_path: Path, aws_credentials: None, made_cohort: MadeCohort
) -> None:
    lake = lakeq.connect(tmp_path / "lake", **signed(s3, warehouse=True), spark_remote=mode)
    lake.ingest("thousand_genomes.variants", [made_cohort.vcf], panel=made_cohort.panel)
    short = "select count(*) from thousand_genomes.variants"
    assert agree(lake, "spark", short, ordered=True) == 1
    server = _sail.server(lake.settings)
    four = ", ".join(f"thousand_genomes.variants {name}" for name in "abcd")
    endless = f"select count(*) from {four} where a.pos + b.pos + c.pos + d.pos < 0"
    result = lake.sql(endless, engine="spark", max_usd="none")
    timer = threading.Timer(0.5, server.process.kill)
    timer.start()
    with pytest.raises(StorageUnavailable, match="does not answer"):
        result.rows()
    timer.join()
    assert agree(lake, "spark", short, ordered=True) == 1


def test_a_query_is_stopped_after_its_seconds(tables: Lake) -> None:
    sql = LONG.format(v="thousand_genomes.variants")
    with pytest.raises(LimitPassed, match="max_seconds"):
        tables.sql(sql, engine="spark", max_seconds=0.5, max_usd="none").rows()
    assert tables.sql("select 1", engine="spark").rows() == [(1,)]


def test_an_interrupt_stops_the_query(tables: Lake) -> None:
    sql = LONG.format(v="thousand_genomes.variants")
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    result = tables.sql(sql, engine="spark", max_usd="none")
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        result.rows()
    timer.join()
    assert tables.sql("select 1", engine="spark").rows() == [(1,)]


def test_a_cluster_that_is_not_there_is_one_clear_error(tables: Lake) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        remote = f"sc://127.0.0.1:{taken.getsockname()[1]}"
        away = lakeq.connect(tables.settings.lake, spark_remote=remote)
        with pytest.raises(StorageUnavailable, match="does not answer") as caught:
            away.sql("select 1", engine="spark").rows()
    assert caught.value.where == remote


def test_a_server_that_says_nothing_is_given_up(
    tables: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeq.engines.spark.CONNECT_S", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        remote = f"sc://127.0.0.1:{silent.getsockname()[1]}"
        away = lakeq.connect(tables.settings.lake, spark_remote=remote)
        with pytest.raises(StorageUnavailable, match="does not answer within 1 s"):
            away.sql("select 1", engine="spark").rows()


def test_a_line_of_javas_stack_is_no_refusal() -> None:
    from lakeq.engines._spark_errors import named

    told = "[INVALID_LIMIT] no\n\nJVM stacktrace:\n\tat TreeNode.scala:403"
    assert isinstance(named(Exception(told), "there"), QueryFailed)
    assert isinstance(named(Exception("403 Forbidden"), "there"), AccessDenied)


def test_an_address_of_another_kind_is_refused(tables: Lake) -> None:
    away = lakeq.connect(tables.settings.lake, spark_remote="spark://host:7077")
    with pytest.raises(UsageError, match="sc://"):
        away.sql("select 1", engine="spark")


def test_an_engines_own_error_is_told(tables: Lake) -> None:
    sql = f"select cast(s as int) from {ROWS}"
    for engine in ("duckdb", "spark"):
        with pytest.raises(QueryFailed):
            tables.sql(sql, engine=engine).rows()


def test_the_budget_stands_before_every_engine(tables: Lake) -> None:
    with pytest.raises(LakeqError, match="refused before anything was read"):
        tables.sql("select * from thousand_genomes.variants", engine="spark", max_bytes=10)


def test_engines_stand_side_by_side(tables: Lake) -> None:
    sql = "select contig, count(*) as n from thousand_genomes.variants group by 1"
    found = tables.compare(sql, engines=["duckdb", "spark"])
    assert found.difference == ""
    assert list(found.reports) == ["duckdb", "spark"]
    assert str(found).endswith("the rows agree")


def test_rows_that_differ_are_told() -> None:
    from lakeq.compare import _difference

    rows = [(1, 0.1 + 0.2), (2, None)]
    assert _difference("a", rows, "b", [(1, 0.3), (2, None)], ordered=True) == ""
    assert _difference("a", rows, "b", [(2, None), (1, 0.3)], ordered=False) == ""
    assert "row 1 differs" in _difference("a", rows, "b", [(2, None), (1, 0.3)], ordered=True)
    assert "2 on a, 1 on b" in _difference("a", rows, "b", rows[:1], ordered=True)
