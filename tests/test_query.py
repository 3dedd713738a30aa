"""From text to rows and report: parameters, results in every shape, what the report says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq import catalog, query
from lakeq._query_text import with_dollars
from lakeq.config import S3Settings, Settings
from lakeq.cost import size
from lakeq.errors import NotFound, QueryFailed, UnknownName, UsageError
from lakeq.query import Result
from lakeq.snapshot import TableSnapshot
from tests.support.counting_server import counting_server
from tests.support.tables import snapshot, write

Ask = Callable[..., Result]
COLUMNS = {"contig": pa.string(), "pos": pa.int64(), "rs": pa.int64(), "is_pathogenic": pa.bool_()}
TABLE = "clinvar.grch37"


class OneTable:
    """A lake that holds one table."""

    def __init__(self, table: TableSnapshot) -> None:
        self.table = table
        self.asked: list[object] = []

    def tables(self) -> Sequence[str]:
        return [self.table.name]

    def read(
        self, names: Sequence[str], at: int | str | datetime | None = None
    ) -> Mapping[str, TableSnapshot]:
        self.asked.append(at)
        return dict.fromkeys(names, self.table)

    def check_unchanged(self, tables: Iterable[TableSnapshot]) -> None:
        """Nobody touches them."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """3,000 rows in row groups of 1,000."""
    rows = range(3000)
    columns = {
        "contig": pa.array(["1"] * 3000),
        "pos": pa.array(list(rows)),
        "rs": pa.array([None if row % 3 else row + 2**53 for row in rows]),
        "is_pathogenic": pa.array([None if row % 5 else row % 2 == 0 for row in rows]),
    }
    (tmp_path / "bucket").mkdir()
    return write(tmp_path / "bucket" / "a.parquet", columns)


@pytest.fixture
def table(file: Path) -> TableSnapshot:
    return snapshot(TABLE, [file], COLUMNS)


@pytest.fixture
def ask(table: TableSnapshot) -> Ask:
    return asking(table)


def asking(table: TableSnapshot, **settings: object) -> Ask:
    given = Settings(lake=Path("unused"), **settings)  # type: ignore[arg-type]  # as the test says
    datasets = catalog.load().datasets
    lake = OneTable(table)
    return lambda sql, **kwargs: query.run(
        sql, datasets=datasets, lake=lake, settings=given, **kwargs
    )


def test_rows_come_as_tuples(ask: Ask) -> None:
    assert ask(f"select pos, rs from {TABLE} where pos < 2 order by 1").rows() == [
        (0, 2**53),
        (1, None),
    ]


def test_a_result_gives_its_rows_in_every_shape_and_again(ask: Ask) -> None:
    result = ask(f"select pos, rs, is_pathogenic from {TABLE} where pos < 4 order by 1")
    expected = [(0, 2**53, True), (1, None, None), (2, None, None), (3, 2**53 + 3, None)]
    assert result.rows() == expected
    assert list(zip(*result.arrow().to_pydict().values(), strict=True)) == expected
    assert result.pl().rows() == expected
    assert [tuple(row) for batch in result.batches() for row in _tuples(batch)] == expected
    assert pl.DataFrame(result).rows() == expected
    assert pa.table(result).num_rows == 4
    assert result.rows() == expected


def _tuples(batch: pa.RecordBatch) -> list[tuple[object, ...]]:
    return list(zip(*batch.to_pydict().values(), strict=True))


def test_a_frame_keeps_whole_numbers_whole_and_carries_the_report(ask: Ask, tmp_path: Path) -> None:
    result = ask(f"select rs, is_pathogenic from {TABLE} where pos < 4 order by pos")
    frame = result.df()
    assert [str(kind) for kind in frame.dtypes] == ["Int64", "boolean"]
    assert frame["rs"][3] == 2**53 + 3
    assert frame.attrs["lakeq"] == result.report.to_dict()
    told = json.loads(json.dumps(frame.attrs["lakeq"]), parse_float=Decimal)
    assert told["rows"] == 4
    assert told["cost_usd"] == result.report.cost_usd > 0
    assert told["plan"]["high_usd"] == result.plan.high_usd
    frame.to_parquet(tmp_path / "frame.parquet")  # as JSON in the file
    assert pd.read_parquet(tmp_path / "frame.parquet").attrs == frame.attrs


def test_batches_pass_rows_on_and_then_the_report_is_there(ask: Ask) -> None:
    result = ask(f"select pos from {TABLE}")
    assert sum(batch.num_rows for batch in result.batches(500)) == 3000
    assert result.report.rows == 3000
    with pytest.raises(UsageError, match="passed on"):
        result.arrow()


def test_streamed_rows_are_the_same_rows(ask: Ask) -> None:
    sql = f"select pos, rs from {TABLE} order by pos"
    streamed = [row for part in ask(sql).stream(700) for row in part]
    assert streamed == ask(sql).rows()


def test_the_arrow_stream_is_lazy(ask: Ask) -> None:
    result = ask(f"select pos from {TABLE}")
    reader = pa.RecordBatchReader.from_stream(result)
    assert reader.schema.names == ["pos"]
    assert reader.read_all().num_rows == 3000
    assert result.report.rows == 3000


@pytest.mark.parametrize(
    ("limit", "rows", "cut"), [(0, 0, True), (5, 5, True), (3000, 3000, False), (9999, 3000, False)]
)
def test_max_rows_stops_and_says_so(ask: Ask, limit: int, rows: int, cut: bool) -> None:
    sql = f"select pos from {TABLE}"
    streamed = ask(sql, max_rows=limit)
    assert sum(len(part) for part in streamed.stream(1000)) == rows
    gathered = ask(sql, max_rows=limit)
    assert gathered.arrow().num_rows == rows
    for result in (streamed, gathered):
        assert (result.report.rows, result.report.truncated) == (rows, cut)


def test_a_negative_max_rows_is_a_usage_error(ask: Ask) -> None:
    with pytest.raises(UsageError):
        ask("select 1", max_rows=-1)


def test_a_query_without_rows_has_columns(ask: Ask) -> None:
    result = ask(f"select pos, rs from {TABLE} where pos < 0")
    assert result.rows() == []
    assert result.arrow().schema.names == ["pos", "rs"]
    assert result.df().shape == (0, 2)


# Report


def test_the_report_counts_bytes_files_and_row_groups(ask: Ask, table: TableSnapshot) -> None:
    result = ask(f"select sum(pos) from {TABLE} where pos >= 2500")
    result.rows()
    report = result.report
    chunk = next(c for c in table.files[0].row_groups[2].chunks if c.column == "pos")
    # a footer is read with up to 16,384 bytes before its end: here with the whole file
    assert report.bytes_scanned == table.size_bytes + chunk.length
    assert report.bytes_total == table.size_bytes
    assert (report.files_read, report.files_total) == (1, 1)
    assert (report.row_groups_read, report.row_groups_total) == (1, 3)
    assert report.cost_usd == Decimal("0.00005")
    assert (report.s3_requests, report.s3_cost_usd, report.egress_usd) == (0, 0, 0)
    assert report.snapshots == {TABLE: 7}
    assert report.seconds > 0


def test_the_report_is_a_dictionary_of_json_types(ask: Ask) -> None:
    facts = ask(f"select count(*) from {TABLE}").report.to_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["cost_usd"] == 0.00005
    assert set(facts) >= {"rows", "seconds", "bytes_scanned", "bytes_total", "files_read",
                          "files_total", "row_groups_read", "row_groups_total", "cost_usd",
                          "s3_requests", "s3_cost_usd", "egress_usd", "snapshots"}  # fmt: skip


def test_the_report_reads_as_text(ask: Ask) -> None:
    text = str(ask(f"select pos from {TABLE}", max_rows=3).report)
    assert text.startswith("3 rows in ")
    assert "there are more" in text
    assert "1 of 1 files, " in text
    assert "$0.00005" in text
    assert "S3" not in text


@pytest.mark.parametrize(("anon", "billed"), [(True, False), (None, True)])
def test_s3_costs_what_the_server_served_unless_the_owner_pays(
    file: Path, anon: bool | None, billed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    table = snapshot(TABLE, [file], COLUMNS, "s3://bucket/")
    with counting_server(file.parent.parent) as server:
        s3 = S3Settings(endpoint_url=server.url, anon=anon)
        report = asking(table, s3=s3)(f"select sum(rs) from {TABLE}").report
    assert report.bytes_scanned == server.sent
    assert report.s3_requests == len(server.requests)
    requests, egress = Decimal("0.0004") / 1000, Decimal("0.09") / 10**9
    assert report.s3_cost_usd == (report.s3_requests * requests if billed else 0)
    assert report.egress_usd == (report.bytes_scanned * egress if billed else 0)
    assert "S3: " in str(report)


def test_html_writes_control_characters_out(ask: Ask) -> None:
    html = ask(
        "select chr(27) || ']52;c;x' as a, 'b' || chr(8238) || 'c' as \"d\x9be\""
    )._repr_html_()
    assert not {"\x1b", "\u202e", "\x9b"} & set(html)
    assert "\\x1b]52;c;x" in html


def test_a_notebook_shows_rows_and_cost_and_runs_nothing(ask: Ask) -> None:
    html = ask("select '<script>alert(1)</script>' as \"<b>x</b>\", null as n")._repr_html_()
    assert "<script>" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert "NULL" in html
    assert "$0.00005" in html


def test_a_long_result_is_cut_in_a_notebook(ask: Ask) -> None:
    html = ask(f"select pos from {TABLE}")._repr_html_()
    assert html.count("<tr>") == 21
    assert "first 20 rows" in html


def test_its_representation_reads_nothing(ask: Ask) -> None:
    result = ask(f"select pos, rs from {TABLE}")
    assert repr(result) == "<lakeq.Result (pos, rs): rows not read yet>"
    assert len(result.rows()) == 3000


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"),
     (999_960, "1.0 MB"), (15_300_000_000, "15.3 GB"), (10**16, "10.0 PB")],
)  # fmt: skip
def test_sizes_are_written_for_people(count: int, text: str) -> None:
    assert size(count) == text


# Tables and snapshots


def test_a_table_that_is_not_ingested_says_how_to(ask: Ask) -> None:
    with pytest.raises(NotFound) as caught:
        ask("select * from thousand_genomes.variants")
    assert "thousand_genomes.variants is not in the lake" in caught.value.what
    assert "lakeq ingest thousand_genomes" in caught.value.hint


def test_at_is_handed_to_the_lake(table: TableSnapshot) -> None:
    lake = OneTable(table)
    settings = Settings(lake=Path("unused"))
    datasets = catalog.load().datasets
    query.run(f"from {TABLE}", datasets=datasets, lake=lake, settings=settings, at="2026-01-01")
    assert lake.asked == ["2026-01-01"]


# Parameters


def test_parameters_are_bound_by_either_sign(ask: Ask) -> None:
    sql = f"select count(*) from {TABLE} where pos < $n and contig = :c"
    assert ask(sql, parameters={"n": 7, "c": "1"}).rows() == [(7,)]
    assert ask(sql, parameters={"n": 7, "c": "1' or '1'='1"}).rows() == [(0,)]


def test_a_list_is_one_parameter(ask: Ask) -> None:
    sql = f"select pos from {TABLE} where pos in (select unnest(:p)) order by 1"
    assert ask(sql, parameters={"p": [5, 3, 99999]}).rows() == [(3,), (5,)]


def test_an_unused_parameter_answers_with_the_nearest(ask: Ask) -> None:
    with pytest.raises(UnknownName, match="did you mean sample"):
        ask("select $sample", parameters={"sampel": "x", "sample": "y"})


def test_a_missing_parameter_is_named(ask: Ask) -> None:
    with pytest.raises(UsageError, match="no value for the parameter sample"):
        ask("select $sample")


@pytest.mark.parametrize("sql", ["select ?", "select $1"])
def test_parameters_without_names_are_refused(ask: Ask, sql: str) -> None:
    with pytest.raises(UsageError, match="must have names"):
        ask(sql)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("select :a", "select $a"),
        ("select x=:a, y>=:a or (:a)", "select x=$a, y>=$a or ($a)"),
        ("where p in (:a,:a)", "where p in ($a,$a)"),
        ("limit :a", "limit $a"),
        ("[:a, :a]", "[$a, $a]"),
        ("{'k': :a, 'l': 1 + :a}", "{'k': $a, 'l': 1 + $a}"),
        ("f(x => :a)", "f(x => $a)"),
        ("between :a and :a", "between $a and $a"),
        ("x::a", "x::a"),
        ("x :: a", "x :: a"),
        (":a::int", "$a::int"),
        ("x[1:a]", "x[1:a]"),
        ("x[:a]", "x[:a]"),
        ("x[(:a):2]", "x[($a):2]"),
        ("f(x)[1 :a]", "f(x)[1 :a]"),
        ("{'k':a}", "{'k':a}"),
        ("{k :a}", "{k :a}"),
        ("lambda x:a", "lambda x:a"),
        ("':a'", "':a'"),
        ("'it''s :a'", "'it''s :a'"),
        ("e'\\' :a'", "e'\\' :a'"),
        ('":a"', '":a"'),
        ("$$ :a $$", "$$ :a $$"),
        ("$t$ :a $$ $t$ :a", "$t$ :a $$ $t$ $a"),
        ("-- :a\n:a", "-- :a\n$a"),
        ("/* :a */ :a", "/* :a */ $a"),
        (":b", ":b"),
        (":ab", ":ab"),
        ("'00:00:a'", "'00:00:a'"),
        ("time '10:20' + :a", "time '10:20' + $a"),
    ],
)
def test_a_colon_is_a_parameter_only_where_a_value_begins(sql: str, expected: str) -> None:
    assert with_dollars(sql, {"a": 1}) == expected


@given(st.text("abc:'\"$-/*[](){} \n\\e1,"))
def test_without_parameters_text_stays_as_it_is(sql: str) -> None:
    assert with_dollars(sql, {}) == sql


# Failure


def test_an_engines_error_is_told_and_nothing_stays_open(ask: Ask) -> None:
    with pytest.raises(QueryFailed, match="nope"):
        ask(f"select nope from {TABLE}")


def test_an_error_while_rows_come_is_raised_where_they_are_read(ask: Ask) -> None:
    result = ask("select cast(if(range = 9000000, 'x', '1') as integer) from range(10000000)")
    with pytest.raises(QueryFailed, match="Could not convert"):
        list(result.stream())


FAILS_LATE = "select cast(if(range = 900000, 'x', '1') as integer) from range(1000000)"


@pytest.mark.parametrize("read", ["stream", "rows", "arrow", "df", "batches"])
def test_an_error_while_rows_come_is_lakeqs_however_they_are_read(ask: Ask, read: str) -> None:
    result = ask(FAILS_LATE)
    with pytest.raises(QueryFailed) as caught:
        list(getattr(result, read)())
    assert caught.value.what == "Could not convert string 'x' to INT32"
    assert caught.value.where == "the query, line 1"


class _Interrupted:
    """A cursor whose rows end as DuckDB's do when another thread failed first, `times` times."""

    def __init__(self, cursor: Any, times: int) -> None:
        self._cursor, self._times = cursor, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def _maybe(self) -> None:
        self._times -= 1
        if self._times >= 0:
            raise duckdb.InterruptException("INTERRUPT Error: Interrupted!")

    def fetchmany(self, count: int) -> Any:
        self._maybe()
        return self._cursor.fetchmany(count)

    def to_arrow_reader(self, count: int) -> Any:
        self._maybe()
        return self._cursor.to_arrow_reader(count)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_where_duckdb_only_says_interrupted_its_error_is_found(ask: Ask, times: int) -> None:
    result = ask(FAILS_LATE)
    running: Any = result._running
    running._cursor = _Interrupted(running._cursor, times)
    with pytest.raises(QueryFailed, match="^Could not convert"):
        list(result.stream())


def test_a_query_that_is_interrupted_for_no_reason_says_so(ask: Ask) -> None:
    result = ask("select range from range(10)")
    running: Any = result._running
    running._cursor = _Interrupted(running._cursor, 1)
    with pytest.raises(QueryFailed, match="does not say why; set threads = 1"):
        list(result.stream())


def test_a_closed_result_has_a_report(ask: Ask) -> None:
    result = ask(f"select pos from {TABLE}")
    result.close()
    assert result.report.rows == 0
