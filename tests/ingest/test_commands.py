"""The commands of the ingest as a user runs them, on the chain of moto, with what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lakeq.catalog import Catalog
from lakeq.cli import run
from tests.support.ingest import Chain, expected

Command = Callable[..., tuple[int, str, str]]
DAY = ("--from", "2026-03-28", "--to", "2026-03-28")


@pytest.fixture
def lakeq(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Runs `lakeq ingest ...` on the chain's lake; returns exit code, output and messages."""
    monkeypatch.setattr(Catalog, "dataset", lambda *_: chain.dataset)

    def command(*words: str) -> tuple[int, str, str]:
        reach = ["--endpoint-url", chain.aws.s3.endpoint_url, "--region", "us-east-1"]
        capsys.readouterr()
        code = run(["ingest", *words, "--lake", str(chain.settings.lake), *reach])
        told = capsys.readouterr()
        return code, told.out, told.err

    return command


def key(number: int, site: str = "KTLX") -> str:
    """A key as the archive of marks has them."""
    return f"{site}/20260328-0000{number:02d}"


def test_backfill_brings_in_what_is_listed_and_says_so(chain: Chain, lakeq: Command) -> None:
    for number in range(3):
        chain.put(key(number))
    chain.put(key(0, "KFWS"))
    chosen = ("backfill", "marks", "--site", "KTLX", *DAY)
    assert lakeq(*chosen) == (0, '{"committed": 3}\n', "")
    assert lakeq(*chosen) == (0, '{"duplicate": 3}\n', "")
    assert chain.rows() == expected({key(n): (1, 3) for n in range(3)})


def test_backfill_names_bad_objects_and_brings_in_the_others(chain: Chain, lakeq: Command) -> None:
    chain.put(key(0))
    chain.put(key(1), data=b"!fail\n")
    code, out, err = lakeq("backfill", "marks", "--site", "KTLX", *DAY)
    assert (code, out) == (7, '{"committed": 1, "poison": 1}\n')
    uri = f"s3://{chain.bucket}/{key(1)}"
    assert f"{uri}: a line says !fail ({uri}, line 1)" in err
    assert "1 object was not brought in" in err


def test_backfill_where_nothing_is_listed(lakeq: Command) -> None:
    code, out, err = lakeq("backfill", "marks", "--site", "KXXX", *DAY)
    assert (code, out) == (0, "{}\n")
    assert "the archive lists nothing" in err


def test_reconcile_finds_and_mends(chain: Chain, lakeq: Command) -> None:
    for number in range(3):
        chain.put(key(number))
    lakeq("backfill", "marks", "--site", "KTLX", *DAY)
    chain.put(key(3))
    chain.put(key(1), 2)
    chain.delete(key(0))
    chosen = ("reconcile", "marks", "--site", "KTLX", *DAY, "--settle", "0")
    for dry in (True, False):
        code, out, err = lakeq(*chosen, *(["--dry-run"] if dry else []))
        found = [json.loads(line) for line in out.splitlines()]
        assert code == 0
        assert {one["object"][-1]: (one["finding"], one["outcome"]) for one in found} == {
            "0": ("gone", None if dry else "removed"),
            "1": ("changed", None if dry else "committed"),
            "3": ("missing", None if dry else "committed"),
        }
        assert err == "listed 3 objects, 3 not as in the lake\n"
    assert lakeq(*chosen) == (0, "", "listed 3 objects, 0 not as in the lake\n")
    assert chain.rows() == expected({key(1): (2, 3), key(2): (1, 3), key(3): (1, 3)})


def test_reconcile_tells_of_a_lost_file_and_of_a_silent_topic(chain: Chain, lakeq: Command) -> None:
    chain.put(key(0))
    lakeq("backfill", "marks", "--site", "KTLX", *DAY)
    store = chain.ingester().store
    for number in range(5):
        store.hear("marks", [chain.topic], 1_700_000_000.0 + 60 * number)
    Path(chain.lake.snapshot("marks.rows").files[0].path).unlink()
    code, out, err = lakeq("reconcile", "marks", "--site", "KTLX", *DAY)
    assert code == 0
    assert json.loads(out) == {
        "object": f"s3://{chain.bucket}/{key(0)}",
        "finding": "output deleted",
        "outcome": "committed",
    }
    assert f"note: {chain.topic} told nothing for" in err
    assert "usually it does every 60 s" in err
    assert chain.rows() == expected({key(0): (1, 3)})


def test_watch_brings_in_only_the_places_that_were_chosen(chain: Chain, lakeq: Command) -> None:
    chain.put(key(0))
    chain.put(key(0, "KFWS"))
    code, out, _ = lakeq("watch", "marks", "--site", "KTLX", "--queue-url", chain.url, "--drain")
    assert code == 0
    assert json.loads(out)["committed"] == 1
    assert chain.rows() == expected({key(0): (1, 3)})


def test_watch_gives_up_old_snapshots(
    chain: Chain, lakeq: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After every second commit here, whatever their age; the newest is left."""
    from lakeq.ingest import upkeep

    monkeypatch.setattr(upkeep.Upkeep.__init__, "__defaults__", (2,))
    for number in range(4):
        chain.put(key(number))
    code, _, err = lakeq("watch", "marks", "--queue-url", chain.url, "--drain", "--jobs", "1",
                         "--expire-older-than", "0m")  # fmt: skip
    assert code == 0, err
    assert len(chain.lake.snapshots("marks.rows")) < 4
    assert chain.rows() == expected({key(n): (1, 3) for n in range(4)})
    code, _, err = lakeq("watch", "marks", "--queue-url", chain.url, "--expire-older-than", "x")
    assert code == 2
    assert "not an age: 'x'" in err


def test_dead_letters_are_listed_shown_and_put_back(chain: Chain, lakeq: Command) -> None:
    chain.put(key(0), data=b"!fail\n")
    queue = ("--queue-url", chain.url)
    code, out, _ = lakeq("watch", "marks", *queue, "--drain", "--max-receives", "1")
    assert (code, json.loads(out)["dead letters"]) == (0, 1)
    code, out, err = lakeq("dlq", "ls", *queue)
    letter = json.loads(out)
    uri = f"s3://{chain.bucket}/{key(0)}"
    assert (code, err, letter["objects"]) == (0, "", [uri])
    assert letter["reason"] == f"a line says !fail ({uri}, line 1)"
    code, out, err = lakeq("dlq", "show", letter["id"][:8], "--dlq-url", chain.dead_url)
    assert (code, err) == (0, f"{letter['reason']}\n")
    assert json.loads(out)["TopicArn"] == chain.topic
    code, _, err = lakeq("dlq", "show", "nobody", *queue)
    assert code == 5
    assert "lakeq ingest dlq ls" in err
    chain.put(key(0))
    chain.aws.bodies(chain.url)
    code, _, err = lakeq("dlq", "retry", *queue)
    assert (code, err) == (0, "1 put back\n")
    code, out, _ = lakeq("watch", "marks", *queue, "--drain")
    assert json.loads(out)["committed"] == 1
    assert lakeq("dlq", "ls", *queue)[:2] == (0, "")
    told = json.loads(lakeq("status", *queue)[1])
    assert told["datasets"]["marks"]["counts"]["committed"] == 1
    assert told["queue"] == {"waiting": 0, "in_flight": 0, "delayed": 0}
    assert told["silent"] == []


def test_a_queue_without_dead_letters(chain: Chain, lakeq: Command) -> None:
    code, _, err = lakeq("dlq", "ls", "--queue-url", chain.dead_url)
    assert code == 5
    assert "the queue has no dead letters" in err
