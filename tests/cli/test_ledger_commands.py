"""`lakeq history`, `cost report`, `budget`, `rerun`, `prices`: what they tell of a ledger."""

from __future__ import annotations

import csv
import io
import json
import shutil
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import lakeq
from examples.make_cohort import MadeCohort
from lakeq.api import Lake
from lakeq.cost import MB
from lakeq.ledger import Line, Scanned
from tests.cli.conftest import Command, Done
from tests.support.ledgers import ONE_DOLLAR, spent
from tests.support.ledgers import lines as lines_of

JOIN = (
    "select count(*) from thousand_genomes.variants join clinvar.grch37 "
    "using (contig, pos, ref, alt)"
)


@pytest.fixture
def own(cohort_lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The ledger of a lake on which ada and bob asked three things, one of them wrong."""
    path = tmp_path / "own.db"
    monkeypatch.setenv("LAKEQ_LEDGER", str(path))
    monkeypatch.setenv("LAKEQ_LAKE", str(cohort_lake.settings.lake))
    monkeypatch.chdir(tmp_path)
    ada = lakeq.connect(user="ada", project="cohort", tags={"grant": "R01"})
    ada.sql(JOIN).rows()
    list(ada.sql("select pos, ref from thousand_genomes.variants order by pos, ref").stream())
    with pytest.raises(lakeq.errors.QueryFailed):
        lakeq.connect(user="bob").sql("select nope from clinvar.grch37")
    return path


def rows(done: Done) -> list[dict[str, str]]:
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.text)))


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ([], ["3", "2", "1"]),
        (["--user", "ada"], ["2", "1"]),
        (["--project", "cohort", "--limit", "1"], ["2"]),
        (["--tag", "grant=R01"], ["2", "1"]),
        (["--tag", "grant=R02"], []),
        (["--failed"], ["3"]),
        (["--since", "1h"], ["3", "2", "1"]),
        (["--since", "2100-01-01"], []),
    ],
)
def test_history_lists_the_wanted_runs_newest_first(
    own: Path, command: Command, options: list[str], ids: list[str]
) -> None:
    found = rows(command("history", "--format", "csv", *options))
    assert [row["id"] for row in found] == ids


def test_history_of_a_lake_without_a_ledger_is_empty(command: Command, tmp_path: Path) -> None:
    assert rows(command("history", "--lake", str(tmp_path), "--format", "csv")) == []


def test_history_lines_and_files_keep_every_digit(
    own: Path, command: Command, tmp_path: Path
) -> None:
    assert command("history", "--lines", "--limit", "0", "-o", "all.parquet").code == 0
    table = pq.read_table(tmp_path / "all.parquet")
    assert sum(table["usd"].to_pylist()) == spent(own)
    assert table["sql"].to_pylist()[0] == JOIN


@pytest.mark.parametrize("by", ["table", "user", "project", "query", "day"])
def test_the_parts_of_a_cost_report_add_up_to_the_ledger(
    own: Path, command: Command, by: str
) -> None:
    found = rows(command("cost", "report", "--by", by, "--format", "csv"))
    total = sum(Decimal(row["usd"]) + Decimal(row["other_usd"]) for row in found)
    assert abs(total - spent(own)) <= Decimal("1e-12") * len(found)
    scanned = sum(entry.bytes or 0 for entry in lakeq.connect().history())
    assert sum(int(row["bytes"]) for row in found) == scanned


def test_a_cost_report_knows_what_pruning_and_parquet_saved(tmp_path: Path) -> None:
    """Of 2 GB raw a table has 300 MB, of which 20 MB were read; $5 per TB, each a round sum."""
    lake = lakeq.connect(tmp_path)
    run = lake.ledger.begin("query", sql="select 1")
    scanned = {"d.t": Scanned(7, 20 * MB, 300 * MB)}
    lines = [Line("query", 20 * MB, 1, Decimal("0.0001"))]
    run.settle(lines, tables=scanned, raw_sizes={("d.t", 7): 2000 * MB})
    (share,) = lake.cost_report("table")
    assert (share.key, share.usd) == ("d.t", Decimal("0.0001"))
    assert share.usd_per_tb == 5
    assert share.pruning_usd == Decimal("0.0014")
    assert share.parquet_usd == Decimal("0.0085")


def test_work_is_in_the_ledger_too(lake_dir: Path, made_cohort: MadeCohort) -> None:
    lake = lakeq.connect(lake_dir, project="p")
    done = lake.ingest("thousand_genomes", [made_cohort.vcf])
    lake.maintain("thousand_genomes")
    lake.sql("select sum(pos) from thousand_genomes.variants").rows()
    ingest, convert, maintain, _ = lines_of(lake_dir / "ledger.db")
    assert (ingest["kind"], ingest["bytes"]) == ("ingest", made_cohort.vcf.stat().st_size)
    assert (convert["kind"], convert["bytes"]) == ("convert", done.bytes_written)
    assert (maintain["kind"], maintain["project"]) == ("maintain", "p")
    (share,) = [s for s in lake.cost_report("table") if s.queries]
    assert share.parquet_usd is not None  # the size of the raw object went along with the upkeep
    with pytest.raises(lakeq.errors.NotFound):
        lake.ingest("thousand_genomes", ["missing.vcf"])
    failed = lines_of(lake_dir / "ledger.db")[-1]
    assert (failed["outcome"], failed["bytes"]) == ("failed", None)


def test_an_ingest_says_for_whom(command: Command, made_cohort: MadeCohort, lake_dir: Path) -> None:
    given = ("--lake", str(lake_dir), "--project", "p", "--tag", "a=1", "--report", "none")
    assert command("ingest", "clinvar.grch37", str(made_cohort.clinvar), *given).code == 0
    assert {(n["kind"], n["project"], n["tags"]) for n in lines_of(lake_dir / "ledger.db")} == {
        ("ingest", "p", '{"a":"1"}'),
        ("convert", "p", '{"a":"1"}'),
    }


def test_budget_shows_what_is_left(own: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "lakeq.toml").write_text('[[budget]]\nusd = 1\nper = "day"\nuser = "*"\n')
    (found,) = rows(command("budget", "--user", "ada", "--format", "csv"))
    assert (found["share"], found["usd"], found["spent"]) == ("user=ada", "1", "0.0001")
    assert (found["left"], found["origin"]) == ("0.9999", str(tmp_path / "lakeq.toml"))


def test_prices_show_the_book_and_what_overrides_it(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lakeq.toml").write_text("[prices]\negress_usd_per_gb = 0.02\n")
    found = {row["price"]: row for row in rows(command("prices", "--format", "csv"))}
    assert found["egress_usd_per_gb"]["value"] == "0.02"
    assert found["egress_usd_per_gb"]["source"] == "the settings"
    assert found["athena_usd_per_tb"]["value"] == "5.00"
    assert found["athena_usd_per_tb"]["date"] == "2026-11-22"


def test_an_alert_changes_the_exit_code_only_when_asked(
    cohort_lake: Lake, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prices = "".join(f'{name} = "{usd}"\n' for name, usd in ONE_DOLLAR.items())
    (tmp_path / "lakeq.toml").write_text(
        f'lake = "{cohort_lake.settings.lake}"\nledger = "own.db"\n'
        f'[[budget]]\nusd = 4\nper = "day"\n[prices]\n{prices}'
    )
    done = [command("sql", JOIN, *more) for more in ([], ["--fail-on-alert"], ["--fail-on-alert"])]
    assert [d.code for d in done] == [0, 8, 0]
    assert "budget alert: $2.00 of $4.00 (50 %)" in done[1].err
    assert done[1].text == done[0].text


# Again


def test_rerun_says_that_the_result_is_the_same(own: Path, command: Command) -> None:
    assert command("rerun", "1").text == "run 1: the same 1 row\n"
    ordered = command("rerun", "2")
    assert ordered.code == 0
    assert ordered.text.endswith("rows in the same order\n")
    assert command("rerun", "last").code == 0


def test_rerun_reads_the_snapshots_of_then(
    cohort_lake: Lake, made_cohort: MadeCohort, tmp_path: Path
) -> None:
    shutil.copytree(cohort_lake.settings.lake, tmp_path / "lake")
    lake = lakeq.connect(cohort_lake.settings.lake, ledger=tmp_path / "own.db")
    lake.sql(JOIN).rows()
    first = lake.history()[0]
    assert lake.rerun(first.id).same is True
    text = "select count(*) from clinvar.grch37 where gene = $gene"
    lake.sql(text, {"gene": "CHEK2"}).rows()
    assert lake.rerun().same is True


@pytest.mark.parametrize(
    ("query", "same", "words"),
    [
        ("select random() as r", False, "the result differs"),
        ("select range from range(20000)", None, "cannot tell"),
        ("select 1 as x where random() < 2", True, "the same 1 row"),
    ],
)
def test_rerun_tells_a_result_that_differs_or_cannot_be_compared(
    own: Path, query: str, same: bool | None, words: str
) -> None:
    lake = lakeq.connect()
    list(lake.sql(query).stream())
    done = lake.rerun()
    assert done.same is same
    assert words in done.verdict


@pytest.mark.parametrize(("number", "code"), [("99", 5), ("x", 2), ("3", 1)])
def test_rerun_of_what_is_no_run_is_told(
    own: Path, command: Command, number: str, code: int
) -> None:
    assert command("rerun", number).code == code


def test_parameters_of_every_kind_come_back(own: Path) -> None:
    from datetime import UTC, date, datetime

    from lakeq.ledger.text import decoded, encoded

    values = {
        "n": None, "i": 2**70, "f": 0.1, "t": "ü'", "l": [1, 2], "d": Decimal("0.10"),
        "day": date(2026, 1, 2), "at": datetime(2026, 1, 2, 3, tzinfo=UTC), "b": b"\x00\xff",
    }  # fmt: skip
    assert decoded(encoded(values)) == values


def test_the_library_passes_project_and_tags(own: Path, command: Command) -> None:
    done = command(
        "sql", "select 1", "--project", "p", "--user", "u", "--tag", "a=1", "--tag", "b=2"
    )
    assert done.code == 0
    newest = json.loads(command("history", "--limit", "1", "--lines", "--format", "json").text)[0]
    assert (newest["project"], newest["user"], newest["tags"]) == ("p", "u", '{"a":"1","b":"2"}')
    assert command("sql", "select 1", "--tag", "nothing").code == 2
