"""Several statements: split as SQL is written, fenced one by one, refused and billed together."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from lakeq import cost
from lakeq._query_text import statements
from lakeq.api import Lake
from lakeq.cli import run
from lakeq.errors import BudgetRefused, QueryRefused, UnknownName
from lakeq.script import Bill
from tests.support.ledgers import ONE_DOLLAR, lines

THREE = """
-- first; the counts
select count(*) from clinvar.grch37 where contig = :contig;
select 'a;b' as "c;d", $$e;f$$ as g /* h; */;
select sum(pos) from clinvar.grch37;
"""


def test_semicolons_in_strings_names_and_comments_part_nothing() -> None:
    assert [s.splitlines()[-1] for s in statements(THREE)] == [
        "select count(*) from clinvar.grch37 where contig = :contig",
        "select 'a;b' as \"c;d\", $$e;f$$ as g /* h; */",
        "select sum(pos) from clinvar.grch37",
    ]
    assert statements(" ; -- nothing\n;") == []
    assert statements("select 1") == statements("select 1;") == ["select 1"]


class Told:
    """A report of so many bytes."""

    s3_cost_usd = egress_usd = Decimal(0)
    seconds = 1.0

    def __init__(self, scanned: int) -> None:
        self.bytes_scanned = scanned
        self.cost_usd = cost.athena_cost_usd(scanned)


@pytest.mark.parametrize(
    ("scanned", "usd"),
    [
        ([3_950, 790], "0.0001"),  # 3.95 kB and 0.79 kB: 10 MB is billed for each
        ([0, 3_950, 790], "0.00015"),  # a statement that reads nothing is billed so, too
        ([10_000_000, 10_000_001], "0.000105"),  # each up to the next MB
        ([100 * 10**9, 60 * 10**6], "0.5003"),  # the published $0.50 and $0.0003
        ([1] * 1000, "0.05"),
    ],
)
def test_a_bill_is_the_sum_of_its_statements_to_the_last_digit(
    scanned: list[int], usd: str
) -> None:
    bill = Bill.of([Told(each) for each in scanned])  # type: ignore[misc]  # what of them is read
    assert bill.bytes_scanned == sum(scanned)
    assert bill.cost_usd == bill.total_usd == Decimal(usd)
    assert bill.statements == len(scanned)


def test_statements_run_in_turn_and_their_bill_is_that_of_their_reports(cohort_lake: Lake) -> None:
    script = cohort_lake.script(THREE, {"contig": "22"})
    plans = script.plans()
    rows, reports = [], []
    for result in script:
        rows.append(result.rows())
        reports.append(result.report)
    assert rows[1] == [("a;b", "e;f")]
    assert script.bill.bytes_scanned == sum(plan.high_bytes for plan in plans)
    assert script.bill.cost_usd == sum((r.cost_usd for r in reports), Decimal(0))
    assert script.bill.cost_usd == Decimal("0.00015")
    recorded = lines(cohort_lake.ledger.path)
    queries = [line for line in recorded if line["kind"] == "query"][-3:]
    assert sum(Decimal(str(line["usd"])) for line in queries) == script.bill.cost_usd


def test_a_script_is_refused_as_a_whole_before_anything_is_read(cohort_lake: Lake) -> None:
    one = cohort_lake.plan("select sum(pos) from clinvar.grch37").high_bytes
    twice = "select sum(pos) from clinvar.grch37; select max(pos) from clinvar.grch37"
    known = len(lines(cohort_lake.ledger.path)) if cohort_lake.ledger.path.exists() else 0
    with pytest.raises(BudgetRefused, match="its 2 statements may read") as told:
        list(cohort_lake.script(twice, max_bytes=2 * one - 1))
    assert "before anything was read" in told.value.what
    with pytest.raises(BudgetRefused, match="its 2 statements may cost"):
        list(cohort_lake.script(twice, max_usd="0.00005"))
    assert len(lines(cohort_lake.ledger.path) if cohort_lake.ledger.path.exists() else []) == known
    script = cohort_lake.script(twice, max_bytes=2 * one)
    assert len([result.rows() for result in script]) == 2
    assert script.bill.bytes_scanned == 2 * one


def test_a_budget_refuses_the_whole_script(cohort_lake: Lake) -> None:
    from lakeq import config

    given = {"lake": cohort_lake.settings.lake, "prices": ONE_DOLLAR, "max_usd": 100}
    poor = Lake(config.load({**given, "budget": [{"usd": 2, "tags": {"job": "x"}}],
                             "tags": {"job": "x"}}))  # fmt: skip
    ask = "select sum(pos) from clinvar.grch37"
    assert len([r.rows() for r in poor.script(f"{ask}; {ask}")]) == 2
    with pytest.raises(BudgetRefused):
        list(poor.script(f"{ask}; {ask}"))
    shares = {share.key: share.usd for share in poor.cost_report("tag")}
    assert shares["job=x"] == 2


@pytest.mark.parametrize(
    "attack",
    [
        "copy (select 1) to 'x.csv'",
        "attach 'x.db'",
        "set threads = 1",
        "from read_text('/etc/passwd')",
    ],
)
def test_every_statement_is_fenced_before_the_first_runs(cohort_lake: Lake, attack: str) -> None:
    with pytest.raises(QueryRefused):
        next(iter(cohort_lake.script(f"select 1; {attack}")))


def test_a_parameter_that_no_statement_names_is_an_error(cohort_lake: Lake) -> None:
    with pytest.raises(UnknownName, match="contg"):
        cohort_lake.script(THREE, {"contg": "22"})


def test_the_command_prints_the_rows_of_each_and_one_bill(
    cohort_lake: Lake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "script.sql"
    file.write_text(THREE)
    given = ["sql", "-f", str(file), "-p", 'contig="22"', "--lake", str(cohort_lake.settings.lake)]
    assert run(given) == 0
    out, err = capsys.readouterr()
    assert [part.splitlines()[0] for part in out.split("\n\n")] == [
        "count_star()", '"c;d",g' if '"c;d"' in out else "c;d,g", "sum(pos)",
    ]  # fmt: skip
    assert err.splitlines()[-1].startswith("3 statements: ")
    assert "$0.00015 on Athena" in err
    assert run([*given, "--dry-run"]) == 0
    assert "3 statements: up to $0.00015 on Athena" in capsys.readouterr().out
    assert run([*given, "--report", "json"]) == 0
    assert json.loads(capsys.readouterr().err.splitlines()[-1])["statements"] == 3
    assert run([*given, "-o", str(tmp_path / "x.csv")]) == 2
    assert run([*given, "--max-bytes", "10"]) == 3
