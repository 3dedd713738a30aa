"""Each object once, in its newest version: duplicates, stale events, overwrites, deletions."""

from __future__ import annotations

import random
import threading
from dataclasses import replace

import pytest

from lakeq.ingest.messages import Event
from lakeq.storage import Storage, local_source
from tests.support.ingest import Chain, expected, statuses


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.soak)])
def test_s01_duplicates_in_any_order_are_read_once(chain: Chain, count: int) -> None:
    """Each object has 5 messages, shuffled, for two workers."""
    for number in range(count):
        chain.put(f"a/{number}")
    bodies = [body for body in chain.aws.bodies(chain.url) if "s3:TestEvent" not in body]
    assert len(bodies) == count
    shuffled = bodies * 5
    random.Random(1).shuffle(shuffled)
    for body in shuffled:
        chain.queue().send(body)
    counts = chain.work(workers=2, jobs=12)
    assert chain.rows() == expected({f"a/{number}": (1, 3) for number in range(count)})
    assert counts["committed"] == count
    # A message whose lease ends while the machine is busy is delivered once more.
    assert 4 * count <= counts["duplicate"] <= 4.1 * count
    assert count <= chain.gets() <= count * 1.02
    assert chain.heads() <= 5 * count
    assert chain.depth() == chain.depth(chain.dead_url) == 0


def test_s02_two_equal_events_in_one_batch_and_in_two_at_once(chain: Chain) -> None:
    event = chain.put("a")
    ingester = chain.ingester()
    assert sorted(statuses(ingester([event, event]))) == ["committed", "duplicate"]
    assert len(chain.lake.snapshots("marks.rows")) == 1
    other, found = chain.put("b"), []
    both = threading.Barrier(2)

    def bring() -> None:
        own = chain.ingester()  # another worker altogether
        both.wait()
        found.extend(statuses(own([other])))

    threads = [threading.Thread(target=bring) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["committed", "duplicate"]
    assert len(chain.lake.snapshots("marks.rows")) == 2
    assert chain.rows() == expected({"a": (1, 3), "b": (1, 3)})


def test_s02_one_of_two_that_both_converted_takes_place(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the courtesy of waiting both read the object; the commit lets one of them in."""
    from lakeq.ingest.store import Store

    monkeypatch.setattr(Store, "begin", lambda *_: True)
    event, found = chain.put("a"), []
    both = threading.Barrier(2)

    def bring() -> None:
        own = chain.ingester()
        commit = own._commit_together
        own._commit_together = lambda ready: (both.wait(), commit(ready))  # type: ignore[method-assign,assignment]  # a stand-in
        found.extend(statuses(own([event])))

    threads = [threading.Thread(target=bring) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["committed", "duplicate"]
    assert chain.gets() == 2
    assert chain.rows() == expected({"a": (1, 3)})
    assert chain.leftovers() == set()


def test_s16_an_overwritten_object_whose_events_come_the_other_way_round(chain: Chain) -> None:
    first = replace(chain.put("a", 1), sequencer="0055AED6DCD90281E5")
    second = replace(chain.put("a", 2), sequencer="0055AED6DCD90281E6")
    ingester = chain.ingester()
    assert statuses(ingester([second])) == ["committed"]
    gets = chain.gets()
    assert statuses(ingester([first])) == ["stale"]
    assert chain.gets() == gets
    assert chain.rows() == expected({"a": (2, 3)})


def test_s16_without_sequencers_what_S3_has_now_decides(chain: Chain) -> None:
    first, second = chain.put("a", 1), chain.put("a", 2)
    ingester = chain.ingester()
    assert statuses(ingester([second])) == ["committed"]
    assert statuses(ingester([first])) == ["duplicate"]
    assert chain.gets() == 1
    assert chain.rows() == expected({"a": (2, 3)})


def test_s18_an_object_that_was_deleted_before_it_was_read(chain: Chain) -> None:
    created = chain.put("a")
    removed = chain.delete("a")
    ingester = chain.ingester()
    assert statuses(ingester([created])) == ["gone"]
    assert statuses(ingester([removed])) == ["removed"]
    assert chain.rows() == []
    counts = chain.work()  # the same two messages, as S3 and SNS sent them
    assert counts["failed"] == counts["poison"] == 0
    assert chain.depth() == chain.depth(chain.dead_url) == 0


@pytest.mark.parametrize(("deleted", "left"), [("remove", 0), ("keep", 3)])
def test_s19_a_deleted_object_and_its_rows(chain: Chain, deleted: str, left: int) -> None:
    chain.put("a")
    ingester = chain.ingester(deleted=deleted)
    chain.work(ingester=ingester)
    removed = chain.delete("a")
    for _ in range(3):
        chain.send(removed)
    chain.work(ingester=ingester)
    assert len(chain.rows()) == left
    assert len(chain.lake.snapshots("marks.rows")) == (2 if deleted == "remove" else 1)
    assert chain.depth() == chain.depth(chain.dead_url) == 0


def test_s19_a_deletion_that_is_not_true_removes_nothing(chain: Chain) -> None:
    created = chain.put("a")
    ingester = chain.ingester()
    ingester([created])
    forged = Event("removed", chain.bucket, "a", sequencer="FF", topic=chain.topic)
    assert statuses(ingester([forged])) == ["duplicate"]
    assert chain.rows() == expected({"a": (1, 3)})


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
def test_s20_three_versions_of_one_key(chain: Chain, order: tuple[int, ...]) -> None:
    """moto's events name no version and no sequencer; those here do, as AWS's."""
    chain.version()
    events = [replace(chain.put("a", n + 1), sequencer=f"0A{n}") for n in range(3)]
    assert all(event.version_id for event in events)
    ingester = chain.ingester()
    seen = []
    for number in order:
        outcome = ingester([events[number]])[0]
        newest = max([*seen, number])
        assert outcome.status == ("committed" if newest == number else "stale")
        seen.append(newest)
        assert chain.rows() == expected({"a": (newest + 1, 3)})
    held = [
        chain.lake.read_table("marks.rows", info.snapshot_id)["version"].to_pylist()[0]
        for info in chain.lake.snapshots("marks.rows")
    ]
    assert held == [n + 1 for n in sorted(set(seen))]  # each that was newest is there to go back to


KEYS = [
    "a b",
    "a+b",
    "100%",
    "%2B",
    "caf\u00e9",
    "cafe\u0301",
    "x//y",
    "k" * 1024,
    "s[1]",
    "s*",
    "s?versionId=1",
]


def test_s21_keys_of_every_kind(chain: Chain) -> None:
    """Told by S3 and SNS themselves; each becomes rows under its own name."""
    for number, key in enumerate(KEYS):
        chain.put(key, data=f"{number} 1 0\n".encode())
    counts = chain.work()
    assert counts["committed"] == len(KEYS)
    assert len(chain.rows()) == len(KEYS)
    assert chain.sources() == sorted(f"s3://{chain.bucket}/{key}" for key in KEYS)
    assert chain.leftovers() == set()
    assert chain.work()["committed"] == 0


def test_s21_a_key_with_a_newline(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto stores no such key, so the bytes are a file's here, under the key's own URI."""
    path = chain.folder / "object"
    path.write_bytes(b"n 1 0\n")
    uri = f"s3://{chain.bucket}/new\nline"
    found = replace(local_source(path), uri=uri)
    monkeypatch.setattr(Storage, "version", lambda *_: found)
    chain.send(Event("created", chain.bucket, "new\nline", size=6, topic=chain.topic))
    assert chain.work()["committed"] == 1
    assert chain.sources() == [uri]
