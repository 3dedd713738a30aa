"""Who may cause work: what the catalog does not name spends nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lakeq.catalog import Access, Dataset, Table, Topic, load
from lakeq.ingest.allow import AllowList
from lakeq.ingest.messages import Event, parse
from lakeq.keys import Wanted
from tests.support.notes import envelope, s3_event

NEXRAD = load().dataset("nexrad")
ARCHIVE, CHUNKS = NEXRAD.notifications
VOLUME = "2026/10/09/KTLX/KTLX20261009_043037_V06"


def volume(key: str = VOLUME, topic: str = ARCHIVE, bucket: str = "unidata-nexrad-level2") -> Event:
    return Event("created", bucket, key, topic=topic)


def own(access: Access = "anonymous", **changes: Any) -> Dataset:
    table = Table(
        "own", "t", "", "vcf", (), objects=("s3://own-bucket/in/*.vcf.gz",), access=access
    )
    dataset = Dataset("own", "", "", "", "", "", {"t": table})
    return replace(dataset, **changes)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (volume(), ("take", "")),
        (volume(topic=""), ("take", "")),
        (volume(VOLUME + "_MDM"), ("skip", "skipped")),
        (volume("index.html"), ("skip", "other key")),
        (volume(f"x/{VOLUME}"), ("skip", "other key")),
        (volume(topic=ARCHIVE + "x"), ("refuse", "unknown topic")),
        (volume(bucket="another-bucket"), ("refuse", "unknown bucket")),
        (volume("KTLX/1/20261009-043037-048-I", CHUNKS, "unidata-nexrad-level2-chunks"),
         ("take", "")),
        (Event("other", "", "", topic=ARCHIVE, name="s3:TestEvent"), ("skip", "no object")),
        (Event("other", "", "", topic="arn:of:another"), ("refuse", "unknown topic")),
    ],
)  # fmt: skip
def test_what_the_catalog_names_is_taken(event: Event, expected: tuple[str, str]) -> None:
    verdict = AllowList([NEXRAD]).judge(event)
    assert (verdict.action, verdict.cause) == expected
    assert (verdict.dataset == "nexrad") == (expected[0] == "take" or expected[1] == "skipped")


def test_s22_of_mixed_buckets_only_those_of_the_catalog_are_taken() -> None:
    records = [
        s3_event(f"2026%2F10%2F09%2FKTLX%2F{n}", bucket)["Records"][0]
        for n, bucket in enumerate(["unidata-nexrad-level2", "evil-bucket"] * 50)
    ]
    for count in (0, 1, 100):
        found = parse(envelope({"Records": records[:count]}, TopicArn=ARCHIVE))
        verdicts = [AllowList([NEXRAD]).judge(event) for event in found if isinstance(event, Event)]
        taken = [verdict.action for verdict in verdicts].count("take")
        assert (len(found), taken) == (count, (count + 1) // 2)


def test_s23_a_bucket_whose_reader_pays_is_read_only_when_that_was_agreed_to() -> None:
    event = Event("created", "own-bucket", "in/a.vcf.gz")
    refused = AllowList([own("requester_pays")]).judge(event)
    assert (refused.action, refused.cause) == ("refuse", "requester pays")
    assert "lets its readers pay" in refused.reason
    agreed = AllowList([own("requester_pays")], requester_pays=True)
    assert agreed.judge(event).action == "take"
    assert AllowList([own()]).judge(event).action == "take"


def test_sites_that_were_not_chosen_are_left_out() -> None:
    allowed = AllowList([NEXRAD], only=[Wanted.of({"site": ["KTLX"]})])
    assert allowed.judge(volume()).action == "take"
    assert allowed.judge(volume(VOLUME.replace("KTLX", "KFWS"))).cause == "not selected"


@pytest.mark.parametrize(
    ("kind", "words"),
    [("SubscriptionConfirmation", "--token"), ("UnsubscribeConfirmation", "given up")],
)
def test_a_confirmation_in_a_queue_is_shown_to_a_person(kind: str, words: str) -> None:
    (event,) = parse(envelope("You have chosen", Type=kind, TopicArn=ARCHIVE, Token="t"))
    assert isinstance(event, Event)
    verdict = AllowList([NEXRAD]).judge(event)
    assert (verdict.action, verdict.cause) == ("refuse", "confirmation")
    assert words in verdict.reason
    (other,) = parse(envelope("You have chosen", Type=kind, TopicArn="arn:x", Token="t"))
    assert isinstance(other, Event)
    assert AllowList([NEXRAD]).judge(other).cause == "unknown topic"


def test_topics_of_ones_own_are_added() -> None:
    event = volume(topic="arn:aws:sns:us-east-1:123456789012:t")
    assert AllowList([NEXRAD]).judge(event).action == "refuse"
    assert AllowList([NEXRAD], topics=[event.topic]).judge(event).action == "take"


def test_scenes_of_a_topic_go_through_the_same_list() -> None:
    topic = Topic("arn:aws:sns:us-west-2:123456789012:scenes", ("{place}/{id}.vcf.gz",))
    allowed = AllowList([own(topics=(topic,))])
    for place, action in {"s3://own-bucket/in/": "take", "s3://evil-bucket/in": "refuse"}.items():
        message = envelope({"place": place, "id": "x"}, TopicArn=topic.arn)
        (event,) = parse(message, allowed.adapters)
        assert isinstance(event, Event)
        assert allowed.judge(event).action == action


def test_what_a_topic_says_outlives_the_cache_of_catalogs() -> None:
    fresh, kept = load().dataset("nexrad"), load().dataset("nexrad")
    assert kept.topics == fresh.topics
    assert kept.topics[1].attributes == {"SiteID": ("{site}",)}
