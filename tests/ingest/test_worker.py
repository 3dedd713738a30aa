"""The worker on a queue: bad objects, dead letters, redrive, being stopped, what it tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed

from lakeq.ingest import dead
from lakeq.ingest.archive import silences
from lakeq.ingest.messages import Event
from lakeq.ingest.store import Store
from tests.support.data import ROOT
from tests.support.ingest import MAX_RECEIVES, Chain, expected, message

pytest.importorskip("prometheus_client")


def test_s08_a_bad_object_among_ninety_nine_good_ones(chain: Chain) -> None:
    for number in range(99):
        chain.put(f"a/{number}")
    chain.put("bad", data=b"bad 1 0\n!fail\n")
    counts = chain.work(jobs=10)
    assert counts["committed"] == 99
    assert counts["again"] == MAX_RECEIVES - 1  # only the bad one came again
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(99)})
    [(reason, body)] = chain.dead()
    assert reason == f"a line says !fail (s3://{chain.bucket}/bad, line 2)"
    assert "bad" in body
    assert chain.depth() == 0
    assert chain.leftovers() == set()


def test_s09_a_poison_message_is_dead_at_its_first_receive(chain: Chain) -> None:
    unknown = Event("created", chain.bucket, "a", topic=f"{chain.topic}-not")
    bodies = ["not JSON", "[" * (1 << 18), '{"Records": 7}', '{"what": "ever"}', message(unknown)]
    for body in bodies:
        chain.queue().send(body)
    counts = chain.work()
    assert counts["dead letters"] == len(bodies)
    assert counts["again"] == 0
    assert all(reason for reason, _ in chain.dead())
    assert chain.requests == {}


def test_s11_fifty_mended_objects_are_put_back(chain: Chain) -> None:
    for number in range(50):
        chain.put(f"a/{number}", data=b"!fail\n")
    chain.work(jobs=10)
    assert chain.depth(chain.dead_url) == 50
    letters = list(dead.letters(chain.queue(chain.dead_url)))
    assert sum(len(letter.objects) for letter in letters) == 50
    bodies = [letter.message.body for letter in letters]
    for number in range(50):  # mended without telling: only the dead letters know of them
        chain.aws.s3.client.put_bucket_notification_configuration(
            Bucket=chain.bucket, NotificationConfiguration={}
        )
        chain.put(f"a/{number}")
    waits: list[float] = []
    count = dead.retry(
        chain.queue(chain.dead_url), chain.queue(), per_second=20, sleep=waits.append
    )
    assert count == len(bodies) == 50
    assert sum(waits) == pytest.approx(50 / 20)  # the rate
    counts = chain.work(jobs=10)
    assert counts["committed"] == 50
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(50)})
    assert chain.depth() == chain.depth(chain.dead_url) == 0


def test_two_records_of_one_message_of_which_one_is_bad(chain: Chain) -> None:
    """The good one is committed and not read again; the message ends among the dead letters."""
    good, bad = chain.put("good"), chain.put("bad", data=b"!fail\n")
    chain.aws.bodies(chain.url)
    both = json.loads(message(good))
    records = [json.loads(json.loads(message(e))["Message"])["Records"][0] for e in (good, bad)]
    both["Message"] = json.dumps({"Records": records})
    chain.queue().send(json.dumps(both))
    chain.work()
    assert chain.rows() == expected({"good": (1, 3)})
    assert sum(n for (op, url), n in chain.requests.items()
               if op == "GetObject" and url.endswith("/good")) == 1  # fmt: skip
    assert len(chain.dead()) == 1


def test_s31_a_worker_that_is_told_to_stop(chain: Chain) -> None:
    """What is at work ends, what waits is given back, and nothing more is received."""
    for number in range(30):
        chain.put(f"a/{number}")
    ingester, begun, go = chain.ingester(), threading.Event(), threading.Event()
    worker = chain.worker(ingester, jobs=2, drain=False, wait_s=1)
    bring = worker._bring

    def slow(events: object, *more: object) -> object:
        begun.set()
        go.wait(10)
        return bring(events, *more)  # type: ignore[arg-type]  # a stand-in

    worker._bring = slow  # type: ignore[assignment]  # a stand-in
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert begun.wait(10)
    worker.stop()
    go.set()
    thread.join(30)
    assert not thread.is_alive()
    assert worker.tally.counts["committed"] <= 2
    depth = chain.queue().depth()
    assert depth["in_flight"] == 0  # all that was not done is there for another
    assert chain.work(jobs=8)["committed"] + worker.tally.counts["committed"] == 30
    assert chain.depth(chain.dead_url) == 0


def test_s31_work_that_does_not_end_in_time_is_given_back(chain: Chain) -> None:
    chain.put("a")
    chain.aws.client("sqs").purge_queue(QueueUrl=chain.url)
    chain.put("b")
    go = threading.Event()
    worker = chain.worker(jobs=1, drain=False, wait_s=0, grace_s=0.2)
    begun = threading.Event()
    bring = worker._bring

    def stuck(events: object, deadline: float = 0, check: object = None) -> object:
        begun.set()
        go.wait(20)
        return bring(events, check=check)  # type: ignore[arg-type]  # a stand-in

    worker._bring = stuck  # type: ignore[assignment]  # a stand-in
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert begun.wait(10)
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert chain.queue().depth() == {"waiting": 1, "in_flight": 0, "delayed": 0}
    go.set()  # it wakes after all: its lease is over, so it commits nothing
    while any(t.name.startswith("ingest-") for t in threading.enumerate()):
        time.sleep(0.01)
    assert chain.rows() == []
    assert chain.work()["committed"] == 1


WATCH = """
import sys
from lakeq import catalog, formats
from tests.lake_formats import FOLDER, marks
formats.__path__.append(FOLDER)
bucket, topic = sys.argv.pop(1), sys.argv.pop(1)
found = marks.dataset(bucket, (topic,))
catalog.Catalog.dataset = lambda self, name, where="": found
from lakeq.cli import run
sys.exit(run(sys.argv[1:]))
"""


def command(chain: Chain, *words: str, **more: str) -> subprocess.Popen[str]:
    """`lakeq` in a process of its own, which knows the dataset marks of the chain."""
    given = [chain.bucket, chain.topic, *words, "--lake", str(chain.settings.lake)]
    reach = ["--endpoint-url", chain.aws.s3.endpoint_url, "--region", "us-east-1"]
    return subprocess.Popen(
        [sys.executable, "-c", WATCH, *given, *reach],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_s31_the_command_ends_at_sigterm(chain: Chain) -> None:
    chain.put("a")
    process = command(chain, "ingest", "watch", "marks", "--queue-url", chain.url,
                      "--metrics-port", "0")  # fmt: skip
    assert process.stderr is not None
    assert process.stdout is not None
    lines = iter(process.stderr.readline, "")
    address = next(lines).split()[-1]
    told = next(json.loads(line) for line in lines if '"done"' in line and "/a" in line)
    assert told["outcomes"] == ["committed"]
    with urlopen(address, timeout=10) as page:
        families = {found.name: found for found in parsed(page.read().decode())}
    told_of = {
        (sample.name, sample.labels.get("status", "")): sample.value
        for found in families.values()
        for sample in found.samples
        if sample.labels["dataset"] == "marks" and "le" not in sample.labels
    }
    assert told_of["lakeq_ingest_events_total", "committed"] == 1
    assert told_of["lakeq_ingest_lag_seconds_count", ""] == 1
    assert 0 <= told_of["lakeq_ingest_lag_seconds_sum", ""] < 600
    assert {found.type for found in families.values()} == {"counter", "histogram", "gauge"}
    assert all(found.documentation for found in families.values())
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    chain.put("late")  # within the long poll that was open
    out, _ = process.communicate(timeout=300)
    assert time.monotonic() - began < 30
    assert process.returncode == 0
    assert json.loads(out)["committed"] == 1
    assert chain.rows() == expected({"a": (1, 3)})
    assert chain.queue().depth() == {"waiting": 1, "in_flight": 0, "delayed": 0}


@pytest.mark.slow
def test_s31_a_process_at_work_ends_or_gives_back_what_it_has(chain: Chain) -> None:
    """All that was not done is there for another at once, and what was done is done once."""
    count = 40
    for number in range(count):
        chain.put(f"a/{number}")
    process = command(chain, "ingest", "watch", "marks", "--queue-url", chain.url, "--jobs", "10")
    assert process.stderr is not None
    assert process.stdout is not None
    next(line for line in iter(process.stderr.readline, "") if '"done"' in line)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=300)
    assert time.monotonic() - began < 30
    assert process.returncode == 0
    done = json.loads(out)["committed"]
    depth = chain.queue().depth()
    assert depth["in_flight"] == 0
    assert depth["waiting"] >= count - done > 0
    assert chain.work(jobs=8)["committed"] == count - done
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(count)})
    assert chain.depth() == chain.depth(chain.dead_url) == 0


@pytest.mark.slow
def test_the_commands_on_dead_letters_and_status(chain: Chain) -> None:
    for name in ("x", "y"):
        chain.put(name, data=b"!fail\n")
    chain.put("good")
    watch = command(chain, "ingest", "watch", "marks", "--queue-url", chain.url, "--drain",
                    "--retry-delay", "0")  # fmt: skip
    out, errors = watch.communicate(timeout=300)
    assert watch.returncode == 0, errors
    assert json.loads(out)["dead letters"] == 2
    out, _ = command(chain, "ingest", "dlq", "ls", "--queue-url", chain.url).communicate(
        timeout=300
    )
    letters = [json.loads(line) for line in out.splitlines()]
    assert {letter["objects"][0][-1] for letter in letters} == {"x", "y"}
    assert all("!fail" in letter["reason"] for letter in letters)
    shown = command(
        chain, "ingest", "dlq", "show", letters[0]["id"][:13], "--dlq-url", chain.dead_url
    )
    out, errors = shown.communicate(timeout=300)
    assert "!fail" in errors
    assert json.loads(out)["TopicArn"] == chain.topic
    again = command(chain, "ingest", "dlq", "retry", letters[0]["id"], "--queue-url", chain.url)
    _, errors = again.communicate(timeout=300)
    assert errors == "1 put back\n"
    assert chain.depth() == 1
    status = command(chain, "ingest", "status", "--queue-url", chain.url)
    out, errors = status.communicate(timeout=300)
    told = json.loads(out)
    assert told["datasets"]["marks"]["counts"]["committed"] == 1
    assert told["queue"]["waiting"] == 1
    assert told["dead_letters"]["waiting"] == 1
    assert told["topics"][0]["topic"] == chain.topic
    ledger, _ = command(chain, "history", "--format", "json").communicate(timeout=300)
    assert "by notification" in ledger


@pytest.mark.slow
def test_a_queue_that_is_not_there(chain: Chain) -> None:
    process = command(chain, "ingest", "watch", "marks", "--queue-url", f"{chain.url}-not")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 5
    assert "no such queue" in errors


def test_credentials_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lakeq.cli import run

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    arguments = ["ingest", "watch", "nexrad", "--lake", str(tmp_path / "lake"), "--queue-url"]
    url = "https://sqs.us-east-1.amazonaws.com/111122223333/nexrad"
    for more in ([], ["--profile", "nobody"]):
        assert run([*arguments, url, *more]) == 4
        told = capsys.readouterr()
        assert told.out == ""
        assert "no usable AWS credentials" in told.err
        assert "--profile" in told.err
        assert "AWS_ACCESS_KEY_ID" in told.err
        assert "waiting" not in told.err


def test_s29_clocks_that_differ_give_no_lag_below_zero(chain: Chain) -> None:
    from dataclasses import replace
    from datetime import UTC, datetime, timedelta

    for number, minutes in enumerate((-10, 10)):
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        chain.aws.bodies(chain.url)
        event = replace(chain.put(f"a/{number}"), event_time=at)
        chain.aws.bodies(chain.url)
        chain.send(event)
        assert chain.work()["committed"] == 1
    told = Store(chain.settings.lake).activity(60)["marks"]
    assert 0 <= told["lag s"] <= 700
    assert told["lags"] == 2


def test_a_topic_that_falls_silent(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    store = Store(tmp_path)
    for number in range(20):
        store.hear("marks", ["arn:a"], 1000.0 + 60 * number)
    last = 1000.0 + 60 * 19
    soon, late = (datetime.fromtimestamp(last + s, UTC) for s in (170, 190))
    assert silences(store.heard("marks"), soon) == []
    [silence] = silences(store.heard("marks"), late)
    assert (silence.topic, silence.usual_gap_s, silence.silent_s) == ("arn:a", 60.0, 190.0)
