"""Athena, against one that runs the statement: rows, types, the bill, and every way to fail."""

from __future__ import annotations

import json
import os
import signal
from decimal import Decimal
from pathlib import Path

import pytest

import lakeq
from lakeq import cost
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.dialect import names
from lakeq.engines import athena
from lakeq.errors import (
    AccessDenied,
    LakeqError,
    LimitPassed,
    NotFound,
    QueryFailed,
    QueryRefused,
    StorageUnavailable,
)
from tests.engines.portable import QUERIES, REFUSED, ROWS, examples
from tests.engines.tables import PARAMETERS
from tests.support.agree import agree, ordered
from tests.support.athena import FakeAthena, error

COUNT = "select contig, count(*) from thousand_genomes.variants group by 1 order by 1"


@pytest.fixture
def fake(tables: Lake, monkeypatch: pytest.MonkeyPatch) -> FakeAthena:
    made = FakeAthena(tables)
    monkeypatch.setattr(athena, "new_client", lambda service, settings: made)
    monkeypatch.setattr(athena, "FIRST_WAIT_S", 0.001)
    return made


@pytest.fixture
def lab(tables: Lake) -> Lake:
    """The same lake, asked in a workgroup of its own."""
    return lakeq.connect(
        tables.settings.lake,
        engine="athena",
        athena_workgroup="lab",
        athena_output="s3://results/x",
    )


@pytest.mark.parametrize("sql", [*examples(), *QUERIES], ids=lambda sql: sql[:24])
def test_portable_queries_agree(fake: FakeAthena, tables: Lake, sql: str) -> None:
    agree(tables, "athena", sql, ordered=ordered(sql))


@pytest.mark.parametrize("name", ["allele_frequency_clinvar", "sample_clinvar", *PARAMETERS])
def test_named_queries_agree(fake: FakeAthena, tables: Lake, name: str) -> None:
    agree(tables, "athena", f"@{name}", PARAMETERS.get(name, {}), ordered=True)


@pytest.mark.parametrize(("sql", "word"), REFUSED, ids=[word for _, word in REFUSED])
def test_what_is_not_portable_is_refused_before_anything_is_sent(
    fake: FakeAthena, tables: Lake, sql: str, word: str
) -> None:
    with pytest.raises(QueryRefused, match=word):
        tables.sql(sql, engine="athena")
    assert fake.calls == []


def test_tables_are_read_at_the_planned_snapshot_and_texts_are_bound(
    fake: FakeAthena, lab: Lake
) -> None:
    sql = "select count(*) from thousand_genomes.samples where sample = $who or sample = $who"
    lab.sql(sql, {"who": "it's"}).rows()
    _, sent = next(call for call in fake.calls if call[0] == "start_query_execution")
    assert "FOR VERSION AS OF" in sent["QueryString"]
    assert "it" not in sent["QueryString"]
    assert sent["ExecutionParameters"] == ["'it''s'", "'it''s'"]
    assert (sent["WorkGroup"], sent["ResultConfiguration"]) == (
        "lab",
        {"OutputLocation": "s3://results/x"},
    )


def test_the_report_has_athenas_bytes_times_and_dollars(fake: FakeAthena, lab: Lake) -> None:
    report = lab.sql(COUNT).report
    assert (report.engine, report.bytes_scanned, report.bytes_told_by) == (
        "athena",
        1_234_567,
        "athena",
    )
    assert report.cost_usd == cost.athena_cost_usd(1_234_567) == Decimal("0.00005")
    assert report.timings == {"execution": 1.2, "total": 1.5}
    assert "asked by Athena" in str(report)


def test_a_submission_whose_answer_is_lost_runs_once(fake: FakeAthena, lab: Lake) -> None:
    fake.throttle = 3
    assert lab.sql(COUNT).rows()
    starts = [call for name, call in fake.calls if name == "start_query_execution"]
    assert len(starts) == 4
    assert len({call["ClientRequestToken"] for call in starts}) == len(fake.executions) == 1


def test_throttling_that_does_not_end_is_one_clear_error(fake: FakeAthena, lab: Lake) -> None:
    fake.throttle = 99
    with pytest.raises(StorageUnavailable, match="throttled"):
        lab.sql(COUNT)


def test_the_workgroups_cut_off_follows_the_plan(fake: FakeAthena, lab: Lake) -> None:
    lab.sql(COUNT).rows()
    assert fake.workgroups["lab"] == 10_000_000
    fake.scans = 10_000_001
    with pytest.raises(LimitPassed, match=r"(?i)bytes"):
        lab.sql(COUNT).rows()


def test_without_the_right_to_set_the_cut_off_lakeq_watches_alone(
    fake: FakeAthena, lab: Lake
) -> None:
    fake.errors["update_work_group"] = error("AccessDeniedException", "no", "UpdateWorkGroup")
    report = lab.sql(COUNT).report
    assert any("athena:UpdateWorkGroup" in note for note in report.notes)
    fake.scans, fake.slow = 99_000_000, 5
    with pytest.raises(LimitPassed, match="it has read 99,000,000 bytes"):
        lab.sql(COUNT).rows()
    assert fake.calls[-2][0] == "stop_query_execution"


def test_a_result_that_is_given_again_costs_nothing(fake: FakeAthena, tables: Lake) -> None:
    again = lakeq.connect(tables.settings.lake, engine="athena", athena_reuse_minutes=60)
    assert again.sql(COUNT).report.cost_usd > 0
    report = again.sql(COUNT).report
    assert (report.cost_usd, report.bytes_scanned) == (0, 0)


def test_pages_of_a_thousand_rows_are_all_read_in_order(fake: FakeAthena, lab: Lake) -> None:
    rows = lab.sql("select i, [i, i + 1] as l from range(2500) t (i) order by i desc").rows()
    assert rows == [(i, [i, i + 1]) for i in range(2499, -1, -1)]


def test_interrupted_it_is_cancelled_and_billed(fake: FakeAthena, lab: Lake) -> None:
    fake.slow = 99
    fake.on_poll = lambda: os.kill(os.getpid(), signal.SIGINT) if len(fake.calls) == 5 else None
    result = lab.sql(COUNT)
    with pytest.raises(KeyboardInterrupt):
        result.rows()
    assert "stop_query_execution" in [name for name, _ in fake.calls]
    assert result.report.cost_usd == Decimal("0.00005")
    assert any("cancelled is billed" in note for note in result.report.notes)


def test_a_failed_query_costs_nothing_and_tells_athenas_words(fake: FakeAthena, lab: Lake) -> None:
    fake.fail = "HIVE_BAD_DATA: something in the file"
    result = lab.sql(COUNT)
    with pytest.raises(QueryFailed, match="HIVE_BAD_DATA"):
        result.rows()
    assert result.report.cost_usd == 0


@pytest.mark.parametrize(
    ("raised", "kind", "words"),
    [
        (error("ExpiredTokenException", "The security token is expired"), AccessDenied, "expired"),
        (error("UnrecognizedClientException", "invalid"), AccessDenied, "credentials"),
        (
            error("AccessDeniedException", "not authorized: athena:Start"),
            AccessDenied,
            "athena:Start",
        ),
        (
            error("InvalidRequestException", "Unable to verify output bucket x"),
            QueryFailed,
            "bucket x",
        ),
    ],
)
def test_what_aws_refuses_is_one_clear_error(
    fake: FakeAthena, lab: Lake, raised: Exception, kind: type[LakeqError], words: str
) -> None:
    fake.errors["start_query_execution"] = raised
    with pytest.raises(kind, match=words) as caught:
        lab.sql(COUNT)
    assert "lab" in caught.value.where
    assert caught.value.hint


def test_a_workgroup_that_is_not_there_is_named(fake: FakeAthena, tables: Lake) -> None:
    away = lakeq.connect(tables.settings.lake, engine="athena", athena_workgroup="nope")
    with pytest.raises(NotFound, match="nope"):
        away.sql(COUNT)


def test_all_types_come_back_as_duckdb_has_them(fake: FakeAthena, tables: Lake) -> None:
    sql = f"""select i, x, s, l, t, d, r, i > 2 as b, x::float as f, 1.50 as n, null as z,
        t::timestamp as p, [d] as ld, [t] as lt, [1.5 * i] as ln from {ROWS} order by i"""
    assert agree(tables, "athena", sql, ordered=True) == 5


def test_the_ledger_has_the_engine_its_bill_and_reruns_there(
    fake: FakeAthena, tables: Lake, tmp_path: Path
) -> None:
    given = {"ledger": str(tmp_path / "ledger.db")}
    lab = lakeq.connect(tables.settings.lake, engine="athena", athena_workgroup="lab", **given)
    bill = lab.sql(COUNT)
    bill.rows()
    here = lakeq.connect(tables.settings.lake, **given)
    here.sql(COUNT).rows()
    assert [entry.engine for entry in here.history()] == ["duckdb", "athena"]
    (first,) = [entry.id for entry in here.history() if entry.engine == "athena"]
    sent = len(fake.executions)
    assert here.rerun(first).same
    assert len(fake.executions) == sent + 1
    assert here.history()[0].engine == "athena"
    assert {s.key: s.queries for s in here.cost_report("engine")} == {"athena": 2, "duckdb": 1}
    fake.fail = "GENERIC_INTERNAL_ERROR: node lost"
    with pytest.raises(QueryFailed):
        lab.sql(COUNT).rows()
    failed = here.history()[0]
    assert (failed.outcome, failed.usd) == ("failed", Decimal(0))
    assert failed.bytes == fake.scans
    assert here.history()[1].usd == bill.report.cost_usd


@pytest.fixture
def large(tables: Lake) -> Lake:
    """The same lake, where every result is taken for a large one."""
    return lakeq.connect(
        tables.settings.lake,
        athena_workgroup="lab",
        athena_output="s3://results/x",
        athena_unload_bytes="0",
    )


@pytest.mark.parametrize(
    "sql",
    [
        "select pos, ref, alt, af from thousand_genomes.variants order by pos desc, ref, alt",
        "select pos, af, rs as name from thousand_genomes.variants order by 2 nulls first, 1",
        "select distinct contig, pos % 7 as k from thousand_genomes.variants order by k, contig",
        "select pos from thousand_genomes.variants union all select 1 order by pos",
    ],
)
def test_large_results_come_by_unload_in_order(fake: FakeAthena, large: Lake, sql: str) -> None:
    assert agree(large, "athena", sql, ordered=True)
    (text,) = [made.text for made in fake.executions.values()]
    assert text.startswith("UNLOAD (")
    assert "get_query_results" not in [name for name, _ in fake.calls]
    assert list(fake.objects) == [key for key in fake.objects if key[1].endswith("manifest.csv")]


def test_unloaded_types_are_exact(fake: FakeAthena, large: Lake) -> None:
    sql = f"""select i, x, s, l, t, d, r, i > 2 as b, x::float as f, 1.50 as n, null as z,
        t::timestamp as p, [d] as ld, [t] as lt, [1.5 * i] as ln, i::hugeint as h
        from {ROWS}, (select count(*) as many from thousand_genomes.samples) order by i"""
    assert agree(large, "athena", sql, ordered=True) == 5
    assert next(iter(fake.executions.values())).text.startswith("UNLOAD (")


@pytest.mark.parametrize(
    "sql",
    [
        COUNT,
        "select pos from thousand_genomes.variants order by pos limit 5",
        "select pos from thousand_genomes.variants order by ref, alt, pos",
    ],
)
def test_few_rows_and_orders_by_no_column_of_the_result_come_in_pages(
    fake: FakeAthena, large: Lake, sql: str
) -> None:
    assert agree(large, "athena", sql, ordered=True)
    assert not next(iter(fake.executions.values())).text.startswith("UNLOAD")


def test_an_empty_result_is_unloaded_as_one(fake: FakeAthena, large: Lake) -> None:
    sql = "select pos from thousand_genomes.variants where pos < 0"
    assert large.sql(sql, engine="athena").rows() == []


def test_files_that_may_not_be_deleted_are_told(fake: FakeAthena, large: Lake) -> None:
    fake.errors["delete_object"] = error("AccessDenied", "no", "DeleteObject")
    result = large.sql("select pos from thousand_genomes.variants", engine="athena")
    assert result.rows()
    assert any("manifest" in note for note in result.report.notes)


def test_a_result_that_may_not_be_read_is_one_clear_error(fake: FakeAthena, large: Lake) -> None:
    fake.errors["get_object"] = error("AccessDenied", "no", "GetObject")
    with pytest.raises(AccessDenied, match="no"):
        large.sql("select pos from thousand_genomes.variants", engine="athena").rows()


LARGE = "select pos from thousand_genomes.variants"


def left(fake: FakeAthena) -> list[str]:
    """What lies in the place of an UNLOAD."""
    return [key for _, key in fake.objects if "/unload/" in key]


def test_a_query_that_somebody_else_cancels_is_one_clear_error_and_billed(
    fake: FakeAthena, lab: Lake
) -> None:
    def cancelled() -> None:
        for made in fake.executions.values():
            made.state, made.reason = "CANCELLED", "Query cancelled by user"

    fake.slow, fake.on_poll = 99, cancelled
    result = lab.sql(COUNT)
    with pytest.raises(QueryFailed, match="the query was cancelled: Query cancelled by user") as e:
        result.rows()
    assert "somebody else stopped it" in e.value.hint
    assert result.report.cost_usd == Decimal("0.00005")
    assert any("cancelled is billed" in note for note in result.report.notes)
    assert "stop_query_execution" not in [name for name, _ in fake.calls]


@pytest.mark.parametrize("how", ["interrupt", "seconds", "cancel", "failure", "cut-off", "bytes"])
def test_an_unload_that_is_stopped_leaves_no_file(fake: FakeAthena, large: Lake, how: str) -> None:
    limits: dict[str, object] = {}
    kind: type[BaseException] = LimitPassed
    fake.slow = 99
    if how == "interrupt":
        kind = KeyboardInterrupt
        fake.on_poll = lambda: os.kill(os.getpid(), signal.SIGINT) if len(fake.calls) == 5 else None
    elif how == "seconds":
        limits["max_seconds"] = 0.05
    elif how == "cancel":
        kind = QueryFailed
        fake.on_poll = lambda: [setattr(e, "state", "CANCELLED") for e in fake.executions.values()]
    elif how == "failure":
        kind, fake.slow, fake.halfway, fake.fail = QueryFailed, 1, True, "GENERIC_INTERNAL_ERROR"
    elif how == "cut-off":
        fake.slow, fake.halfway, fake.scans = 1, True, 99_000_000
    else:
        fake.errors["update_work_group"] = error("AccessDeniedException", "no", "UpdateWorkGroup")
        fake.scans = 99_000_000
    result = large.sql(LARGE, engine="athena", **limits)
    assert left(fake)
    with pytest.raises(kind):
        result.rows()
    assert left(fake) == []


def test_files_of_a_stopped_unload_that_may_not_be_deleted_are_told_with_their_price(
    fake: FakeAthena, large: Lake
) -> None:
    fake.halfway, fake.fail = True, "GENERIC_INTERNAL_ERROR"
    fake.errors["delete_object"] = error("AccessDenied", "no", "DeleteObject")
    result = large.sql(LARGE, engine="athena")
    with pytest.raises(QueryFailed):
        result.rows()
    (note,) = [note for note in result.report.notes if "UNLOAD" in note]
    assert note.startswith("1 file of the UNLOAD stays below s3://results/x/unload/")
    assert "1,000 bytes" in note
    assert "a month until they are deleted" in note
    fake.errors["list_objects_v2"] = error("AccessDenied", "no", "ListObjectsV2")
    result = large.sql(LARGE, engine="athena")
    with pytest.raises(QueryFailed):
        result.rows()
    assert any("if anything, stays below s3://results/x/unload/" in n for n in result.report.notes)


def test_a_result_that_nobody_reads_leaves_no_file(fake: FakeAthena, large: Lake) -> None:
    result = large.sql(LARGE, engine="athena")
    result.close()
    assert left(fake) == []
    result = large.sql(LARGE, engine="athena")
    assert next(iter(result.batches(10))).num_rows
    result.close()
    assert left(fake) == []


def test_a_query_that_may_not_be_stopped_says_so_and_is_still_interrupted(
    fake: FakeAthena, lab: Lake
) -> None:
    fake.slow = 99
    fake.errors["stop_query_execution"] = error("AccessDeniedException", "no", "StopQuery")
    fake.on_poll = lambda: os.kill(os.getpid(), signal.SIGINT) if len(fake.calls) == 5 else None
    result = lab.sql(COUNT)
    with pytest.raises(KeyboardInterrupt):
        result.rows()
    assert any("could not be stopped and goes on" in note for note in result.report.notes)


def test_interrupted_at_the_command_line_it_says_what_it_still_costs(
    fake: FakeAthena, tables: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.slow = 99
    fake.on_poll = lambda: os.kill(os.getpid(), signal.SIGINT) if len(fake.calls) == 5 else None
    lake = str(tables.settings.lake)
    assert run(["sql", COUNT, "--engine", "athena", "--lake", lake, "--format", "csv"]) == 130
    told = capsys.readouterr().err
    assert "$0.00005" in told
    assert "cancelled is billed" in told
    assert "interrupted" in told


def test_a_comparison_keeps_to_its_options(
    fake: FakeAthena, tables: Lake, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "select contig, pos from thousand_genomes.variants order by all"
    line = ["sql", sql, "--compare", "duckdb,athena", "--lake", str(tables.settings.lake)]
    assert run([*line, "--max-rows", "2", "--format", "json"]) == 0
    out = capsys.readouterr()
    found = json.loads(out.out)
    assert [(row["engine"], row["rows"]) for row in found] == [("duckdb", 2), ("athena", 2)]
    assert "the rows agree" in out.err
    across = (
        "select count(*) from thousand_genomes.variants v join thousand_genomes_30x.variants w"
        " on v.rs = w.rs"
    )
    line[1] = across
    assert run([*line, "--format", "csv"]) == 1
    assert "assembl" in capsys.readouterr().err
    assert run([*line, "-o", "x.csv"]) == 2
    assert "leave out -o" in capsys.readouterr().err


@pytest.mark.parametrize("engine", ["spark", "trino"])
def test_functions_are_those_that_engines_have(engine: str) -> None:
    """Spark's by its own client; those of Trino stand in its list, read by hand (names.py)."""
    import pyspark.sql.functions as client

    if engine == "spark":
        assert names.KNOWN["spark"] - {name.lower() for name in dir(client)} == {"if"}
    assert "any_value" not in names.KNOWN["trino"]
