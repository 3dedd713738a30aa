"""Budgets of notifications: set aside before an object is read, settled with what was read."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from lakeq.config import Settings
from lakeq.convert.select import Selection
from lakeq.errors import BudgetRefused
from lakeq.ingest.allow import AllowList
from lakeq.ingest.archive import Archive
from lakeq.ingest.aws_lambda import Function
from lakeq.ingest.books import Books
from lakeq.ingest.core import Ingester
from lakeq.ingest.queue import Queue
from lakeq.ingest.tally import Tally
from lakeq.ingest.worker import Worker
from lakeq.keys import Wanted
from lakeq.ledger import Ledger, Line
from tests.lake_formats import marks
from tests.support.ingest import PACE, Chain, expected, message, statuses
from tests.support.ledgers import check, lines

DOLLAR_A_BYTE = {"egress_usd_per_gb": str(10**9), "get_usd_per_1000": "0", "put_usd_per_1000": "0"}
BYTES = len(marks.body("a/0"))


@dataclass
class Paying:
    """A chain whose objects cost a dollar a byte, and what it has to spend in a day."""

    chain: Chain
    usd: int
    prices: Mapping[str, str] | None = None
    clock: float = 0.0

    def __post_init__(self) -> None:
        self.chain.lake.create()
        self.storage = self.chain.storage()
        self.books = Books(
            self.ledger, self.chain.lake, self.storage, self.chain.dataset, lambda: self.clock
        )

    @property
    def settings(self) -> Settings:
        from lakeq.budget import of

        budget = of({"usd": self.usd, "per": "day", "name": "radar"}, "lakeq.toml")
        prices = self.prices or DOLLAR_A_BYTE
        return replace(self.chain.settings, budget=(budget,), prices=prices)

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.settings)

    def ingester(self) -> Ingester:
        return Ingester(self.chain.lake, self.storage, self.chain.dataset, account=self.books)

    def worker(self, **pace: Any) -> Worker:
        own = self.ingester()
        tally = Tally(own.store, "marks")
        chosen = replace(PACE, **pace)
        allowed = AllowList((self.chain.dataset,))
        queue = self.chain.queue()
        return Worker(queue, allowed, own, tally, chosen, lacking=self.books.lacking)

    def lines(self) -> list[dict[str, object]]:
        self.books.close()
        check(self.ledger.path)
        return lines(self.ledger.path)

    def usd_spent(self) -> Decimal:
        return sum((Decimal(str(line["usd"])) for line in self.lines()), Decimal(0))


def test_what_a_day_cannot_hold_stays_in_the_queue_and_is_no_dead_letter(chain: Chain) -> None:
    for number in range(3):
        chain.put(f"a/{number}")
    poor = Paying(chain, 2 * BYTES)
    with pytest.raises(BudgetRefused, match=r"of the budget radar for 20.*are spent"):
        poor.worker(jobs=1).run()
    assert poor.usd_spent() == 2 * BYTES
    assert (len(chain.sources()), chain.gets(), chain.depth()) == (2, 2, 1)
    for _ in range(5):  # more often than the queue gives a message
        with pytest.raises(BudgetRefused) as told:
            Paying(chain, 2 * BYTES).worker(jobs=1).run()
    assert told.value.exit_code == 3
    assert "in the queue as before" in told.value.hint
    assert (chain.dead(), chain.depth(), chain.gets()) == ([], 1, 2)
    Paying(chain, 3 * BYTES).worker().run()
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(3)})
    assert chain.depth() == 0


def test_a_worker_waits_for_a_budget_and_goes_on_when_it_has_room(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakeq.ingest.worker._BUDGET_S", 0.05)
    poor = Paying(chain, BYTES)
    other = poor.ledger.begin("ingest", "somebody else's")
    other.reserve(Decimal(BYTES))
    chain.put("a/0")
    worker = poor.worker(drain=False)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not worker.tally.counts["over budget"] and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.3)
    assert worker.tally.counts["over budget"] == 1  # it was received once, and not again
    assert (chain.gets(), chain.depth()) == (0, 1)
    other.settle([Line("ingest")])
    while chain.depth() and time.monotonic() < until:
        time.sleep(0.05)
    worker.stop()
    thread.join()
    assert chain.rows() == expected({"a/0": (1, 3)})
    assert chain.dead() == []


def test_an_object_that_no_budget_can_ever_hold_is_a_dead_letter_with_the_reason(
    chain: Chain,
) -> None:
    chain.put("large", rows=9)
    chain.put("a/0")
    poor = Paying(chain, BYTES)
    poor.worker(jobs=1).run()
    assert chain.rows() == expected({"a/0": (1, 3)})
    [(reason, _)] = chain.dead()
    assert "this would cost up to" in reason


def test_of_events_that_come_together_those_that_fit_come_in(chain: Chain) -> None:
    events = [chain.put("a/0"), chain.put("large", rows=99)]
    outcomes = Paying(chain, 2 * BYTES).ingester()(events)
    assert statuses(outcomes) == ["committed", "poison"]


def test_an_entry_ends_when_its_objects_do_and_bad_ones_count_as_fetched(chain: Chain) -> None:
    rich = Paying(chain, 1000)
    bring = rich.ingester()
    bring([chain.put("a/0"), chain.put("bad", data=b"!fail\n")])
    rich.clock += 61
    bring([chain.put("a/1")])
    egress = [(line["bytes"], line["usd"]) for line in rich.lines() if line["kind"] == "egress"]
    bad = len("!fail\n")
    assert egress == [(BYTES + bad, str(BYTES + bad)), (BYTES, str(BYTES))]


def test_requests_of_entries_that_overlap_are_counted_once(chain: Chain) -> None:
    books = (paying := Paying(chain, 1000)).books
    tables = tuple(chain.dataset.tables.values())
    first = [paying.storage.source(f"s3://{chain.bucket}/{chain.put('a/0').key}", tables)]
    entry = books.begin(first)
    paying.clock += 61
    second = [paying.storage.source(f"s3://{chain.bucket}/{chain.put('a/1').key}", tables)]
    later = books.begin(second)
    assert later is not entry
    first[0].reader.read_range(0, 4)
    second[0].reader.read_range(0, 4)
    books.ended(entry, first)
    books.ended(later, second)
    counted = [line["count"] for line in paying.lines() if line["kind"] == "request"]
    assert sum(map(int, map(str, counted))) == sum(chain.requests.values())


def test_a_backfill_that_a_budget_ends_goes_on_where_it_was(chain: Chain) -> None:
    for number in range(3):
        chain.put(f"KTLX/20261009-00000{number}")
    size = len(marks.body("KTLX/20261009-000000"))

    def archive(usd: int) -> Archive:
        paying = Paying(chain, usd)
        allowed = AllowList((chain.dataset,))
        selection = Selection(Wanted.of({"site": ("KTLX",)}, "2026-10-09", "2026-10-09"))
        return Archive(paying.ingester(), selection, allowed, books=paying.books)

    with pytest.raises(BudgetRefused, match="of the budget radar") as told:
        archive(2 * size + 1).backfill()
    assert "it goes on" in told.value.hint
    assert (len(chain.sources()), chain.gets()) == (2, 2)
    report = archive(3 * size).backfill()
    assert report.counts == {"duplicate": 2, "committed": 1}


def test_what_lambda_cannot_afford_is_hidden_and_put_in_anew(chain: Chain, tmp_path: Path) -> None:
    event = chain.put("a/0")
    chain.aws.bodies(chain.url)
    chain.send(event)
    poor = Paying(chain, BYTES)
    held = poor.ledger.begin("ingest", "somebody else's")
    held.reserve(Decimal(1))
    function = Function(
        AllowList((chain.dataset,)),
        poor.ingester(),
        max_receives=2,
        queues=lambda arn: chain.queue(),
        close=poor.books.close,
    )
    answers = [_called(function, chain.queue(), chain.aws.queue_arn(chain.url)) for _ in range(2)]
    assert answers == [["0"], []]  # the second time it is put in anew
    assert chain.gets() == 0
    [again] = chain.queue().receive(10, 1, wait_s=0)
    assert (again.receives, again.body) == (1, message(event))
    held.settle([Line("ingest")])
    chain.queue().hide(again, 0)
    assert _called(function, chain.queue(), chain.aws.queue_arn(chain.url)) == []
    assert chain.rows() == expected({"a/0": (1, 3)})


@dataclass
class _Context:
    memory_limit_in_mb: int = 2048

    def get_remaining_time_in_millis(self) -> int:
        return 300_000


def _called(function: Function, queue: Queue, arn: str) -> Sequence[str]:
    """What of one message of the queue is to come again; SQS takes it away else."""
    from lakeq.ingest.aws_lambda import AllFailed

    [got] = queue.receive(1, 30, wait_s=0)
    record = {
        "messageId": "0",
        "receiptHandle": got.receipt,
        "body": got.body,
        "attributes": {"ApproximateReceiveCount": str(got.receives)},
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
    }
    try:
        failed = function({"Records": [record]}, _Context())["batchItemFailures"]
    except AllFailed:
        queue.hide(got, 0)  # SQS hides it for hours; the test does not wait
        return ["0"]
    assert failed == []
    queue.delete(got)
    return []


def test_a_ledger_on_a_network_disk_has_no_log_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WAL needs memory that all share; the lake of a Lambda function lies on EFS."""
    import sqlite3

    from lakeq.ledger import store

    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\n127.0.0.1:/ {tmp_path}/efs nfs4 rw 0 0\n")
    monkeypatch.setattr(store, "_MOUNTS", mounts)
    modes = {}
    for name in ("efs", "disk"):
        (tmp_path / name).mkdir()
        ledger = Ledger(Settings(lake=tmp_path / name))
        ledger.begin("query").settle([Line("ingest")])
        run = ledger.begin("ingest")
        run.reserve(Decimal(1))
        with sqlite3.connect(ledger.path) as connection:
            modes[name] = connection.execute("PRAGMA journal_mode").fetchone()[0]
            assert connection.execute("SELECT count(*) FROM reservations").fetchone() == (1,)
    assert modes == {"efs": "delete", "disk": "wal"}
