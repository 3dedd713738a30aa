"""Which of two versions is newer: sequencers as the rule says, and what follows from them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from lakeq.ingest.messages import Event
from lakeq.ingest.order import Held, compare_sequencers, newest, relation

PUT = Event("created", "b-b", "k", etag="A", sequencer="0055AED6DCD90281E5")


def test_s17_sequencers_of_unequal_length_compare_as_padded_numbers() -> None:
    chance = random.Random(17)
    pairs = 0
    while pairs < 10_000:
        one = f"{chance.getrandbits(chance.choice([32, 64, 72])):0{chance.randint(8, 20)}X}"
        other = one[: chance.randint(1, len(one))] + f"{chance.getrandbits(16):X}"
        if chance.random() < 0.2:
            other = one + "0" * chance.randint(0, 6)
        if chance.random() < 0.3:
            other = other.lower()
        width = max(len(one), len(other))
        first, second = (int(text.ljust(width, "0"), 16) for text in (one, other))
        assert compare_sequencers(one, other) == (first > second) - (first < second)
        assert compare_sequencers(other, one) == -compare_sequencers(one, other)
        pairs += 1


def test_s17_short_and_long() -> None:
    assert compare_sequencers("0055", "0055AED6DCD90281E5") == -1
    assert compare_sequencers("55A", "0055AED6DCD90281E5") == 1
    assert compare_sequencers("0055", "005500") == 0


@pytest.mark.parametrize(
    ("event", "held", "expected"),
    [
        (PUT, Held("A", sequencer=PUT.sequencer), "same"),
        (PUT, Held("B", sequencer="0055AED6DCD90281E4"), "newer"),
        (PUT, Held("A", sequencer="0055AED6DCD90281E4"), "restated"),
        (PUT, Held("B", sequencer="0055AED6DCD90281E6"), "older"),
        (PUT, Held("A", sequencer="0055AED6DCD90281E6"), "older"),
        (PUT, Held("A"), "same"),
        (PUT, Held("B"), "unknown"),
        (PUT, Held(), "unknown"),
        (replace(PUT, version_id="v"), Held("B", "v"), "same"),
        (replace(PUT, etag=""), Held("A", sequencer="00"), "newer"),
        (replace(PUT, kind="removed", etag=""), Held("A", sequencer="00"), "newer"),
        (replace(PUT, kind="removed", etag=""), Held("A", sequencer="FF"), "older"),
        (replace(PUT, kind="removed", etag=""), Held("A"), "unknown"),
        (replace(PUT, kind="removed", etag=""), Held(removed=True), "same"),
        (PUT, Held(sequencer="FF", removed=True), "older"),
        (PUT, Held(sequencer="00", removed=True), "newer"),
        (PUT, Held(removed=True), "unknown"),
    ],
)
def test_what_an_event_is_to_the_version_in_the_lake(
    event: Event, held: Held, expected: str
) -> None:
    assert relation(event, held) == expected


def test_s20_of_three_versions_in_any_order_the_newest_stays() -> None:
    versions = [
        replace(PUT, version_id=f"v{n}", etag=f"{n}", sequencer=f"00{n}") for n in (1, 2, 3)
    ]
    chance = random.Random(20)
    for _ in range(50):
        chance.shuffle(versions)
        assert [event.version_id for event in newest(versions)] == ["v3"]


def test_s16_a_stale_event_after_a_newer_one_is_older() -> None:
    v1, v2 = (replace(PUT, etag=str(n), sequencer=f"00{n}") for n in (1, 2))
    assert relation(v1, Held(v2.etag, sequencer=v2.sequencer)) == "older"
    assert newest([v2, v1]) == newest([v1, v2]) == [v2]


def test_s29_times_of_events_order_nothing() -> None:
    from datetime import UTC, datetime, timedelta

    now = datetime(2026, 1, 1, tzinfo=UTC)
    v1 = replace(PUT, etag="1", sequencer="001", event_time=now + timedelta(minutes=10))
    v2 = replace(PUT, etag="2", sequencer="002", event_time=now - timedelta(minutes=10))
    assert newest([v1, v2]) == newest([v2, v1]) == [v2]


def test_two_versions_without_a_sequencer_leave_the_choice_to_s3() -> None:
    one, other = (replace(PUT, sequencer="", etag=etag) for etag in "AB")
    (left,) = newest([one, other])
    assert (left.etag, left.version_id, left.size) == ("", "", None)
    (left,) = newest([replace(one, kind="removed", etag=""), other])
    assert (left.kind, left.etag) == ("created", "")


def test_the_same_event_twice_is_one_and_objects_keep_their_order() -> None:
    other = replace(PUT, key="j")
    assert newest([PUT, other, PUT, replace(PUT, sequencer="")]) == [PUT, other]
