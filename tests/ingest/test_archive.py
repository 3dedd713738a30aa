"""Backfill and reconciliation: an archive's listing against the lake, beside live events."""

from __future__ import annotations

import logging
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lakeq import formats
from lakeq.convert import ingest
from lakeq.convert.select import Selection
from lakeq.formats import ReadOptions
from lakeq.ingest import archive as archives
from lakeq.ingest.allow import AllowList
from lakeq.ingest.archive import CHANGED, GONE, MISSING, OUTPUT, Archive
from lakeq.ingest.core import Ingester
from lakeq.keys import Wanted
from tests.lake_formats import FOLDER
from tests.support.aws import Aws, notify
from tests.support.ingest import Chain, expected


def key(number: int) -> str:
    """A key as the archive of marks has them."""
    return f"KTLX/20260328-{number // 3600:02d}{number // 60 % 60:02d}{number % 60:02d}"


def archive(chain: Chain, ingester: Ingester | None = None, jobs: int = 4) -> Archive:
    selection = Selection(Wanted.of({"site": ["KTLX"]}, "2026-03-28", "2026-03-28"))
    return Archive(ingester or chain.ingester(), selection, AllowList((chain.dataset,)), jobs)


class Killed(BaseException):
    """What a test ends a backfill with."""


def told_live(chain: Chain, count: int, listed: threading.Event) -> None:
    """Put the same bytes again, shuffled, as many as the queue holds few of.

    S3 tells of each such put, and moto's queue takes time by the square of what it holds.
    """
    numbers = list(range(count))
    random.Random(26).shuffle(numbers)
    for done, number in enumerate(numbers):
        while done % 20 == 0 and chain.depth() > 40:
            time.sleep(0.1)
        chain.put(key(number))
    listed.set()


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.soak)])
def test_s26_a_backfill_beside_live_events(
    aws_process: Aws,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    aws_credentials: None,
    caplog: pytest.LogCaptureFixture,
    count: int,
) -> None:
    """Interrupted at every page, while a worker hears of the same keys."""
    if count > 1000:  # the words of 80,000 requests at level DEBUG take as long as all the rest
        for name in ("botocore", "urllib3"):
            caplog.set_level(logging.INFO, name)
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, FOLDER])
    monkeypatch.setattr(archives, "PAGE", max(20, count // 10))
    chain = Chain.made(aws_process, tmp_path, told=False)
    for number in range(count):
        chain.put(key(number))
    notify(chain.aws, chain.bucket, chain.topic)
    storage = chain.storage()
    live, back = chain.ingester(storage), chain.ingester(storage)
    all_told = threading.Event()
    teller = threading.Thread(target=told_live, args=(chain, count, all_told))
    worker = chain.worker(live, jobs=10, drain=False)
    working = threading.Thread(target=worker.run)
    teller.start()
    working.start()
    pages = 0

    def killed(*_: object) -> None:
        nonlocal pages
        pages += 1
        if pages % 2:
            raise Killed

    while True:
        try:
            report = archive(chain, back).backfill(killed)
        except Killed:
            continue
        break
    assert all_told.wait(1800)
    while chain.depth():
        time.sleep(0.1)
    worker.stop()
    working.join()
    teller.join()
    assert pages >= 3
    assert report.resumed_after
    assert chain.rows() == expected({key(n): (1, 3) for n in range(count)})
    assert count <= chain.gets() <= count * 1.01
    assert worker.tally.counts["committed"] > 0
    assert worker.tally.counts["committed"] + worker.tally.counts["duplicate"] >= count
    assert chain.depth(chain.dead_url) == 0
    again = archive(chain).backfill()
    assert again.counts == {"duplicate": count}
    assert chain.gets() <= count * 1.01


def test_a_backfill_tells_of_bad_objects_and_goes_on(chain: Chain) -> None:
    for number in range(5):
        chain.put(key(number))
    chain.put(key(7), data=b"!fail\n")
    report = archive(chain).backfill()
    assert report.counts == {"committed": 5, "poison": 1}
    assert list(report.failed) == [f"s3://{chain.bucket}/{key(7)}"]


def test_s27_what_notifications_missed_is_found_and_mended(chain: Chain) -> None:
    """Lost events, deleted outputs, an overwrite and a deletion nobody told of, a silent topic."""
    count, dice = 200, random.Random(27)
    events = [chain.put(key(number)) for number in range(count)]
    lost = set(dice.sample(range(count), 2))
    ingester = chain.ingester()
    told = [event for number, event in enumerate(events) if number not in lost]
    for start in range(0, len(told), 50):
        ingester(told[start : start + 50])
    start = datetime.now(UTC).timestamp()
    for number in range(20):
        ingester.store.hear("marks", [chain.topic], start + 60 * number)
    now = datetime.fromtimestamp(start + 60 * 19, UTC)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert archive(chain).reconcile(repair=False, now=soon).findings == {}  # all are too young

    outputs = chain.lake.snapshot("marks.rows").files
    gone_files = dice.sample(range(len(outputs)), 1)
    deleted = {uri for n in gone_files for uri, _ in outputs[n].contents}
    for number in gone_files:
        Path(outputs[number].path).unlink()
    others = [n for n in range(count) if n not in lost
              and f"s3://{chain.bucket}/{key(n)}" not in deleted]  # fmt: skip
    changed, removed = others[0], others[1]
    chain.put(key(changed), 2)
    chain.delete(key(removed))

    later = now + timedelta(days=3)
    found = archive(chain).reconcile(now=later)
    assert found.findings == (
        {f"s3://{chain.bucket}/{key(n)}": MISSING for n in lost}
        | dict.fromkeys(deleted, OUTPUT)
        | {f"s3://{chain.bucket}/{key(changed)}": CHANGED}
        | {f"s3://{chain.bucket}/{key(removed)}": GONE}
    )
    assert found.open == {}
    [silence] = found.silences
    assert (silence.topic, silence.usual_gap_s) == (chain.topic, 60.0)
    rows = {key(n): (2 if n == changed else 1, 3) for n in range(count) if n != removed}
    assert chain.rows() == expected(rows)
    again = archive(chain).reconcile(now=later)
    assert again.findings == {}


def test_lost_rows_come_back_with_the_options_of_their_ingest(chain: Chain) -> None:
    """A region of one object was ingested by hand, all of another by notification."""
    chain.ingester()([chain.put(key(1))])
    chain.put(key(2))
    part = ReadOptions(regions=("any:0-1",))
    uri = f"s3://{chain.bucket}/{key(2)}"
    ingest(chain.lake, chain.storage(), chain.dataset, [uri], options=part)
    before = chain.rows()
    assert len(before) == 3 + 2
    for file in chain.lake.snapshot("marks.rows").files:
        Path(file.path).unlink()
    found = archive(chain).reconcile(now=datetime.now(UTC) + timedelta(days=3))
    assert set(found.findings.values()) == {OUTPUT}
    assert found.open == {}
    assert chain.rows() == before


def test_s25_two_versions_of_lakeq_on_one_queue(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newer one's catalog has one column more; both write, both read, and both are named."""
    from lakeq.lake import commit, pointers
    from tests.lake_formats import marks

    for number in range(4):
        event = chain.put(key(number))
        newer = number % 2
        with monkeypatch.context() as patched:
            version = "9.0" if newer else "0.1.0"
            patched.setattr(pointers, "VERSION", version)
            patched.setattr(commit, "VERSION", version)
            if newer:
                chain.dataset = marks.dataset(chain.bucket, (chain.topic,), ("remark",))
            else:
                chain.dataset = marks.dataset(chain.bucket, (chain.topic,))
            assert chain.ingester()([event])[0].status == "committed"
        assert chain.rows() == expected({key(n): (1, 3) for n in range(number + 1)})
    made = {v.uri[-1]: v.lakeq for v in chain.lake.all_versions("marks")}
    assert made == {"0": "0.1.0", "1": "9.0", "2": "0.1.0", "3": "9.0"}
    assert "remark" in chain.lake.read_table("marks.rows").column_names
