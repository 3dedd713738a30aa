"""Budgets in force: reserve, then settle; nobody together spends more than there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import lakeq
from lakeq import config, redact
from lakeq._query_account import Account
from lakeq.api import Lake
from lakeq.errors import BudgetRefused
from lakeq.ledger import Ledger, Line, Run
from lakeq.ledger import owner as ledger_owner
from tests.support.counting_server import counting_server
from tests.support.ledgers import ONE_DOLLAR, ask, check, lines, served_from, spent
from tests.support.s3 import CREDENTIALS

QUERY = "select sum(ac) from thousand_genomes.variants"


def ledger(folder: Path, **given: Any) -> Ledger:
    return Ledger(config.load({"lake": folder, **given}))


def test_of_20_processes_with_a_dollar_each_a_budget_of_5_lets_exactly_5_run(
    cohort_lake: Lake, tmp_path: Path
) -> None:
    prices = "".join(f'{name} = "{usd}"\n' for name, usd in ONE_DOLLAR.items())
    (tmp_path / "lakeq.toml").write_text(
        f'lake = "{cohort_lake.settings.lake}"\nledger = "own.db"\n'
        f'[[budget]]\nusd = 5\nper = "day"\n[prices]\n{prices}'
    )
    root = Path(__file__).parents[1]
    env = {**os.environ, "PYTHONPATH": str(root)}

    def one(_: int) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lakeq.cli", "sql", QUERY]
        return subprocess.run(
            line, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(one, range(20)))
    assert sorted(d.returncode for d in done) == [0] * 5 + [3] * 15
    refused = [d for d in done if d.returncode == 3]
    assert all(d.stdout == "" and "of $5.00 of the budget" in d.stderr for d in refused)
    found = lines(tmp_path / "own.db")
    assert [(n["bytes"], n["usd"]) for n in found if n["outcome"] == "refused"] == [(0, "0")] * 15
    assert spent(tmp_path / "own.db") == 5
    check(tmp_path / "own.db")


def test_a_refused_query_asks_the_storage_for_nothing(
    cohort_lake: Lake, tmp_path: Path, aws_credentials: None
) -> None:
    folder = cohort_lake.settings.lake
    with counting_server(folder.parent) as server:
        poor = served_from(
            folder, server.url, tmp_path / "own.db", budget=[{"usd": "0.00001", "per": "day"}]
        )
        with pytest.raises(BudgetRefused, match=r"(?s)up to \$0\.0") as raised:
            poor.sql(QUERY)
        assert server.requests == []
    assert raised.value.exit_code == 3
    (line,) = lines(tmp_path / "own.db")
    assert (line["outcome"], line["bytes"], line["usd"]) == ("refused", 0, "0")


def test_a_refusal_names_cheaper_queries(cohort_lake: Lake, tmp_path: Path) -> None:
    prices = {"athena_usd_per_tb": str(10**12), "athena_minimum_mb": "0"}
    budget = [{"usd": "0.5", "per": "day"}]
    poor = lakeq.connect(
        cohort_lake.settings.lake,
        ledger=tmp_path / "own.db",
        budget=budget,
        prices=prices,
        max_usd=10**9,
    )
    with pytest.raises(BudgetRefused) as raised:
        poor.sql("select * from thousand_genomes.variants")
    assert "lakeq budget" in raised.value.hint
    assert "reads less, " in raised.value.hint


@pytest.mark.parametrize(("budget", "held"), [([{"usd": 5}], "0.5"), ([], "0.00005")])
def test_a_query_that_nobody_can_bound_runs_with_what_was_set_aside_as_its_limit(
    cohort_lake: Lake, tmp_path: Path, budget: list[dict[str, int]], held: str
) -> None:
    query = (
        "with recursive n(i) as (select 0 union all select max(n.i) + 1 from n, "
        "thousand_genomes.variants v where n.i < 5 and v.pos > n.i having count(*) > 0) "
        "select max(i) from n"
    )
    path = tmp_path / "own.db"
    lake = lakeq.connect(cohort_lake.settings.lake, ledger=path, budget=budget, max_usd="0.5")
    plan = lake.plan(query)
    assert not plan.bounded
    account = Account(lake.settings, query, {}, {})
    assert account.reserve(plan, {}, lake.settings.limits).max_usd == Decimal("0.5")
    assert ask(path, "SELECT usd FROM reservations") == [{"usd": held}]
    assert lake.sql(query).rows() == [(5,)]


@pytest.mark.parametrize(
    ("given", "mine", "others"),
    [
        ({"user": "ada"}, {"user": "ada"}, {"user": "bob"}),
        ({"user": "*"}, {"user": "ada"}, {"user": "bob"}),
        ({"project": "p"}, {"project": "p"}, {"project": "q"}),
        ({"tags": {"grant": "*"}}, {"tags": {"grant": "1"}}, {"tags": {"grant": "2"}}),
    ],
)
def test_a_budget_counts_only_its_own_spenders(
    given: dict[str, Any], mine: dict[str, Any], others: dict[str, Any], tmp_path: Path
) -> None:
    budget = {"budget": [{"usd": 1, "per": "month", **given}]}
    spend(ledger(tmp_path, **others, **budget), "1")
    spend(ledger(tmp_path, **mine, **budget), "1")
    with pytest.raises(BudgetRefused):
        spend(ledger(tmp_path, **mine, **budget), "0.000001")


def test_yesterday_does_not_count_today_but_counts_this_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = ledger(tmp_path, budget=[{"usd": 1, "per": "day"}])
    monthly = ledger(tmp_path, budget=[{"usd": 1, "per": "month"}])
    run = daily.begin("query")
    run.started = datetime(2026, 11, 23, 23, 59, tzinfo=UTC)
    run._head["started"] = "2026-11-23T23:59:00.000000+00:00"
    run.settle([Line("query", 1, 1, Decimal(1))])
    now = datetime(2026, 11, 24, tzinfo=UTC)
    assert [s.usd for s in daily.spending(now)] == [0]
    assert [s.usd for s in monthly.spending(now)] == [1]


def spend(where: Ledger, usd: str) -> None:
    run = where.begin("query")
    run.reserve(Decimal(usd))
    run.settle([Line("query", 1, 1, Decimal(usd))])


def test_what_was_reserved_and_not_used_is_free_again(tmp_path: Path) -> None:
    where = ledger(tmp_path, budget=[{"usd": 1, "per": "day"}])
    run = where.begin("query")
    run.reserve(Decimal(1))
    with pytest.raises(BudgetRefused, match="reserved"):
        where.begin("query").reserve(Decimal("0.5"))
    run.settle([Line("query", 1, 1, Decimal("0.25"))])
    where.begin("query").reserve(Decimal("0.75"))


class Budgets(RuleBasedStateMachine):
    """Runs reserve and settle in any order; each costs at most what it reserved."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.limit = Decimal(5)
        self.ledger = ledger(Path(self.folder.name), budget=[{"usd": 5, "per": "day"}])
        self.open: list[tuple[Run, Decimal]] = []
        self.paid = Decimal(0)

    @rule(usd=st.decimals("0", "3", places=3))
    def reserve(self, usd: Decimal) -> None:
        held = sum((amount for _, amount in self.open), Decimal(0))
        run = self.ledger.begin("query")
        fits = self.paid + held + usd <= self.limit
        try:
            run.reserve(usd)
        except BudgetRefused:
            assert not fits
        else:
            assert fits
            self.open.append((run, usd))

    @rule(share=st.decimals("0", "1", places=2), which=st.integers(0, 100))
    def settle(self, share: Decimal, which: int) -> None:
        if self.open:
            run, held = self.open.pop(which % len(self.open))
            run.settle([Line("query", 1, 1, held * share)])
            self.paid += held * share

    @invariant()
    def never_more_than_there_is(self) -> None:
        held = sum((amount for _, amount in self.open), Decimal(0))
        (found,) = self.ledger.spending()
        assert (found.usd, found.reserved) == (self.paid, held)
        assert found.usd + found.reserved <= self.limit

    def teardown(self) -> None:
        self.folder.cleanup()


TestBudgets = Budgets.TestCase
TestBudgets.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)


# Processes that are gone


CHILD = """
import os, sys
from decimal import Decimal
from pathlib import Path
from lakeq import config
from lakeq.ledger import Ledger
run = Ledger(config.load({"lake": Path(sys.argv[1])})).begin("query", sql="select 1")
run.allow()
run.reserve(Decimal(3), planned=(1, 7))
os.kill(os.getpid(), 9)
"""


def test_a_killed_run_becomes_a_line_that_costs_what_it_had_reserved(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], cwd=root, check=False)
    where = ledger(tmp_path, budget=[{"usd": 5, "per": "day"}])
    with pytest.raises(BudgetRefused):
        where.begin("query").reserve(Decimal("2.5"))
    where.begin("query").reserve(Decimal(2))
    found = [line for line in lines(tmp_path / "ledger.db") if line["outcome"] == "interrupted"]
    assert [(n["usd"], n["bytes"], n["sql"], n["planned"]) for n in found] == [
        ("3", None, "select 1", "[1,7]")
    ]
    check(tmp_path / "ledger.db")


@pytest.mark.parametrize(
    ("change", "hours", "gone"),
    [
        ({}, 100, False),  # this process
        ({"started": "1"}, 0, True),  # its number, but not its start
        ({"boot": "before"}, 0, True),  # before this machine booted
        ({"pid": 2**22 + 1}, 0, True),  # a number that no process has
        ({"host": "elsewhere", "pid": 1}, 23, False),
        ({"host": "elsewhere", "pid": 1}, 25, True),
        ({"namespace": "pid:[1]", "pid": 1}, 23, False),
    ],
)
def test_a_reservation_is_taken_back_only_from_a_process_that_is_gone(
    change: dict[str, Any], hours: int, gone: bool
) -> None:
    from datetime import timedelta

    now = datetime.now(UTC)
    owner = ledger_owner.here()._replace(**change)
    assert ledger_owner.is_gone(owner, now - timedelta(hours=hours), now) is gone


# Alerts


def test_each_alert_is_told_once_in_its_period(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ledger(tmp_path, budget=[{"usd": 1, "per": "day", "name": "mine"}])
    told = []
    for _ in range(10):
        spend(where, "0.1")
        told.append(capsys.readouterr().err)
    assert [n + 1 for n, text in enumerate(told) if text] == [5, 8, 10]
    assert "$0.50 of $1.00 (50 %) of mine are spent" in told[4]
    assert [row["percent"] for row in ask(tmp_path / "ledger.db", "SELECT * FROM alerts")] == [
        50, 80, 100,
    ]  # fmt: skip


def test_eight_spenders_at_once_hear_each_alert_once_between_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ledger(tmp_path, budget=[{"usd": 8, "per": "day"}])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: spend(where, "0.1"), range(80)))
    err = capsys.readouterr().err
    assert [err.count(f"({percent} %)") for percent in (50, 80, 100)] == [1, 1, 1]
    check(tmp_path / "ledger.db")


def test_an_alert_goes_to_the_topic(
    tmp_path: Path, aws_credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    redact.remember(*CREDENTIALS.values())  # of the clients of this test
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", url)
        client = boto3.client("sns", endpoint_url=url, region_name="eu-west-1")
        queue = boto3.client("sqs", endpoint_url=url, region_name="eu-west-1")
        topic = client.create_topic(Name="alerts")["TopicArn"]
        inbox = queue.create_queue(QueueName="inbox")["QueueUrl"]
        arn = "arn:aws:sqs:eu-west-1:123456789012:inbox"
        client.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        budget = {"usd": 2, "per": "day", "alerts": [50], "sns_topic": topic}
        spend(ledger(tmp_path, budget=[budget]), "1")
        (message,) = queue.receive_message(QueueUrl=inbox)["Messages"]
    finally:
        server.stop()
    sent = json.loads(json.loads(message["Body"])["Message"])
    assert (sent["percent"], sent["spent_usd"], sent["usd"]) == (50, "1", "2")


def test_a_topic_that_cannot_be_reached_is_told_and_stops_nothing(
    tmp_path: Path, aws_credentials: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("AWS_ENDPOINT_URL_SNS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    topic = "arn:aws:sns:eu-west-1:123456789012:alerts"
    spend(ledger(tmp_path, budget=[{"usd": 1, "per": "day", "sns_topic": topic}]), "0.5")
    assert "the alert was not sent" in capsys.readouterr().err
