"""The ledger: what a run leaves in it, what it never holds, and what happens when it cannot be."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lakeq
from examples.make_cohort import MadeCohort
from lakeq import config, ledger
from lakeq.api import Lake
from lakeq.errors import BudgetRefused, LakeqError
from lakeq.ledger import Ledger, Line
from tests.support.counting_server import counting_server
from tests.support.ledgers import ask, check, exact_sum, lines, served_from, spent

COUNT = "select count(*), max(pos) from thousand_genomes.variants where af > $least"
AMOUNTS = st.decimals("0", "1e15", places=20)


@pytest.fixture
def own(cohort_lake: Lake, tmp_path: Path) -> Lake:
    """The lake of the made cohort with a ledger of this test's own."""
    return lakeq.connect(
        cohort_lake.settings.lake,
        ledger=tmp_path / "own.db",
        user="ada",
        project="cohort",
        tags={"grant": "R01"},
    )


@pytest.fixture
def path(own: Lake) -> Path:
    assert own.settings.ledger is not None
    return own.settings.ledger


def test_a_query_leaves_one_line_that_equals_its_report(own: Lake, path: Path) -> None:
    result = own.sql(COUNT, {"least": 0.01})
    result.rows()
    (line,) = lines(path)
    report = result.report
    assert (line["kind"], line["outcome"]) == ("query", "ok")
    assert (line["bytes"], line["count"]) == (report.bytes_scanned, report.rows)
    assert Decimal(line["usd"]) == report.cost_usd
    assert line["prices"] == "2026-11-22/us-east-1"
    assert (line["user"], line["project"], line["tags"]) == ("ada", "cohort", '{"grant":"R01"}')
    assert (line["sql"], line["parameters"]) == (COUNT, '{"least":0.01}')
    table = json.loads(line["tables"])["thousand_genomes.variants"]
    assert table["snapshot"] == report.snapshots["thousand_genomes.variants"]
    assert (table["bytes"], table["size"]) == (report.bytes_scanned, report.bytes_total)
    assert line["version"] == config.VERSION


def test_the_sum_of_the_lines_equals_what_the_engine_counted(own: Lake, path: Path) -> None:
    queries = [
        "select sum(ac) from thousand_genomes.variants",
        "select * from thousand_genomes.samples",
        "select count(*) from thousand_genomes.variants join clinvar.grch37 using (pos, ref, alt)",
        "select pos from thousand_genomes.variants limit 3",
    ]
    reports = []
    for query in queries:
        result = own.sql(query)
        list(result.batches() if "limit" in query else result.stream())
        reports.append(result.report)
    found = lines(path)
    assert sum(line["bytes"] for line in found) == sum(r.bytes_scanned for r in reports)
    assert spent(path) == sum(r.cost_usd for r in reports)
    by_table = [t["bytes"] for line in found for t in json.loads(line["tables"]).values()]
    assert sum(by_table) == sum(r.bytes_scanned for r in reports)


def test_requests_and_egress_are_lines_and_equal_what_a_server_counted(
    lake_dir: Path, made_cohort: MadeCohort, tmp_path: Path, aws_credentials: None
) -> None:
    """The warehouse's files are served from disk by a server that counts what it sends."""
    lake = lakeq.connect(lake_dir, ledger=tmp_path / "own.db")
    lake.ingest("thousand_genomes", [made_cohort.vcf])
    with counting_server(lake_dir.parent) as server:
        remote = served_from(lake_dir, server.url, tmp_path / "own.db")
        result = remote.sql("select sum(ac) from thousand_genomes.variants")
        result.rows()
        sent, requests = server.sent, len(server.requests)
    found = {line["kind"]: line for line in lines(tmp_path / "own.db") if line["sql"] or
             line["kind"] in ("request", "egress")}  # fmt: skip
    assert found["query"]["bytes"] == found["egress"]["bytes"] == sent
    assert found["request"]["count"] == requests
    report = result.report
    total = report.cost_usd + report.s3_cost_usd + report.egress_usd
    assert sum(Decimal(line["usd"]) for line in found.values()) == total
    assert found["request"]["run"] == found["egress"]["run"] == found["query"]["run"]


@pytest.mark.parametrize(
    ("query", "outcome", "error"),
    [
        ("select nope from thousand_genomes.variants", "failed", "QueryFailed"),
        ("copy thousand_genomes.variants to 'x'", "refused", "QueryRefused"),
        ("select * from clinvar.grch73", "failed", "UnknownName"),
    ],
)
def test_what_fails_or_is_refused_leaves_a_line_too(
    query: str, outcome: str, error: str, own: Lake, path: Path
) -> None:
    with pytest.raises(LakeqError):
        own.sql(query).rows()
    (line,) = lines(path)
    assert (line["outcome"], line["bytes"], line["usd"]) == (outcome, 0, "0")
    assert line["error"].startswith(error)


def test_a_query_that_fails_while_it_reads_pays_for_what_it_read(own: Lake, path: Path) -> None:
    text = "select sum(cast(ref as integer)) from thousand_genomes.variants"
    with pytest.raises(LakeqError):
        own.sql(text).rows()
    (line,) = lines(path)
    assert line["outcome"] == "failed"
    assert line["bytes"] > 0
    assert Decimal(line["usd"]) > 0
    assert "'…'" in line["error"]


@pytest.mark.parametrize("how", ["close", "drop", "break"])
def test_a_result_that_is_given_up_is_settled_as_cancelled(how: str, own: Lake, path: Path) -> None:
    result = own.sql("select pos from thousand_genomes.variants, range(100)")
    if how == "close":
        result.close()
    if how == "break":
        next(result.stream(5))
    del result
    (line,) = lines(path)
    assert line["outcome"] == "cancelled"
    assert ask(path, "SELECT * FROM reservations") == []


def test_no_line_is_ever_changed_or_deleted(own: Lake, path: Path) -> None:
    own.sql("select 1").rows()
    for statement in ("UPDATE lines SET usd = '0'", "DELETE FROM lines"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            ask(path, statement)


def test_settling_twice_writes_once(own: Lake, path: Path) -> None:
    run = Ledger(own.settings).begin("query", sql="select 1")
    run.reserve(Decimal(1))
    for _ in range(2):
        run.settle([Line("query", 5, 1, Decimal("0.5"))])
    assert spent(path) == Decimal("0.5")


SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
LEAKS = [
    f"create secret s (type s3, key_id 'AKIAIOSFODNN7EXAMPLE', secret '{SECRET}')",
    f"create secret s (type s3, key_id AKIAIOSFODNN7EXAMPLE, secret {SECRET})",
    f"select * from read_parquet('s3://b/k?s3_secret_access_key={SECRET}')",
    f"select $x${SECRET}$x$ from read_csv('a')",
    f"select * from \"s3://b/k?s3_secret_access_key={SECRET}\"",
    f"set s3_secret_access_key = {SECRET}",
    f"select 1; create secret s (secret {SECRET})",
    f"select 1 from nowhere -- {SECRET}",
    f"selec '{SECRET}'",
]  # fmt: skip


@pytest.mark.parametrize("query", LEAKS)
def test_refused_sql_leaves_no_secret(query: str, own: Lake, path: Path) -> None:
    with pytest.raises(LakeqError):
        own.sql(query).rows()
    whole = json.dumps(lines(path))
    assert SECRET not in whole
    assert "AKIAIOSFODNN7EXAMPLE" not in whole


def test_keys_of_the_environment_are_hidden_in_what_ran(
    own: Lake, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    own.sql(f"select '{SECRET}' = $p as same", {"p": SECRET}).rows()
    (line,) = lines(path)
    assert SECRET not in json.dumps(line)
    assert line["sql"] == "select '***' = $p as same"


def test_the_ledger_lies_beside_the_lake_or_in_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = tmp_path / "lake"
    state = config.state_dir() / "ledgers"
    assert ledger.place(config.load({"lake": lake})).parent == state
    lake.mkdir()
    assert ledger.place(config.load({"lake": lake})) == lake / "ledger.db"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert ledger.place(config.load({"lake": lake})).parent == state
    assert ledger.place(config.load({"lake": lake, "ledger": "x"})).name == "x"


def test_a_ledger_that_cannot_be_written_stops_no_query_and_is_told_of_once(
    cohort_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    bad = lakeq.connect(cohort_lake.settings.lake, ledger=tmp_path / "file" / "ledger.db")
    for _ in range(2):
        assert bad.sql("select 1").rows() == [(1,)]
    assert capsys.readouterr().err.count("the ledger cannot be written") == 1


def test_a_file_that_is_no_ledger_is_left_alone(
    cohort_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.db"
    other.write_text("not a database, and somebody's")
    bad = lakeq.connect(cohort_lake.settings.lake, ledger=other)
    assert bad.sql("select 1").rows() == [(1,)]
    assert other.read_text() == "not a database, and somebody's"


def test_a_budget_that_cannot_be_checked_refuses(cohort_lake: Lake, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    bad = lakeq.connect(
        cohort_lake.settings.lake,
        ledger=tmp_path / "file" / "ledger.db",
        budget=[{"usd": 5, "per": "day"}],
    )
    with pytest.raises(BudgetRefused, match="cannot be checked"):
        bad.sql("select 1")


@settings(max_examples=15)
@given(st.lists(st.tuples(AMOUNTS, st.sampled_from("ab"), st.sampled_from("xy")), max_size=12))
def test_the_totals_are_exactly_the_sum_of_the_lines(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[Decimal, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("law")
    for usd, user, project in runs:
        mine = config.load({"lake": folder, "user": user, "project": project})
        run = Ledger(mine).begin("query")
        run.settle([Line("query", 1, 1, usd), Line("egress", 1, None, usd)])
    if runs:
        check(folder / "ledger.db")
        assert spent(folder / "ledger.db") == exact_sum(usd for usd, _, _ in runs * 2)


def test_the_version_in_the_ledger_is_the_packages() -> None:
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert tomllib.loads(project.read_text())["project"]["version"] == config.VERSION


def test_the_command_writes_the_ledger_as_the_library_does(cohort_lake: Lake, path: Path) -> None:
    env = {**os.environ, "LAKEQ_LEDGER": str(path), "LAKEQ_PROJECT": "shell"}
    line = [sys.executable, "-m", "lakeq.cli", "sql", "--lake", str(cohort_lake.settings.lake)]
    subprocess.run([*line, "select 1 as one"], env=env, check=True, capture_output=True)
    (found,) = lines(path)
    assert (found["project"], found["sql"]) == ("shell", "select 1 as one")


def test_a_ledger_from_before_engines_is_read_and_gets_them_with_its_next_line(
    own: Lake, path: Path
) -> None:
    own.sql(COUNT, {"least": 0.01}).rows()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("ALTER TABLE lines DROP COLUMN engine; PRAGMA user_version = 1")
    assert [entry.engine for entry in own.history()] == [None]  # read, and left as it is
    assert ask(path, "PRAGMA user_version") == [{"user_version": 1}]
    again = own.rerun()
    assert again.same
    assert "the ledger has no engine for it, so it ran on duckdb" in again.verdict
    assert ask(path, "PRAGMA user_version") == [{"user_version": 2}]
    assert [line["engine"] for line in lines(path) if line["kind"] == "query"] == [None, "duckdb"]
    shares = {share.key: share.queries for share in own.cost_report("engine")}
    assert shares == {"(not recorded)": 1, "duckdb": 1}
    check(path)


def test_the_ingest_that_makes_a_lake_is_in_its_ledger(
    tmp_path: Path, made_cohort: MadeCohort
) -> None:
    lake = lakeq.connect(tmp_path / "new")
    lake.ingest("clinvar.grch37", [str(made_cohort.clinvar)])
    assert [entry.kind for entry in lakeq.connect(tmp_path / "new").history()] == ["ingest"]
    before = ledger.place(config.load({"lake": tmp_path / "never"})).parent.glob("new-*.db")
    for path in before:  # what it had reserved before there was a lake
        assert ask(path, "SELECT * FROM reservations") == []
        assert lines(path) == []
    check(tmp_path / "new" / "ledger.db")
