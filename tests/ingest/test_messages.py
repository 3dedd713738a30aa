"""Every shape of message to the one normal form; what cannot be meant is refused with a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from lakeq.ingest.messages import Event, Refusal, parse
from tests.support.data import real_file


def s3_event(key: str = "a/b", **changes: Any) -> dict[str, Any]:
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-10-09T04:36:44.969Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": "a-bucket"},
            "object": {"key": key, "size": 3, "eTag": "ab", "sequencer": "0055AED6DCD90281E5"},
        },
    }
    return {"Records": [record | changes]}


def envelope(message: object, **changes: Any) -> dict[str, Any]:
    said = message if isinstance(message, str) else json.dumps(message)
    told = {"Type": "Notification", "MessageId": "m-1", "TopicArn": "arn:aws:sns:us-east-1:1:t"}
    return told | {"Message": said, "Timestamp": "2026-10-09T04:36:45Z"} | changes


def one(message: Any) -> Event:
    (event,) = parse(message)
    assert isinstance(event, Event), event
    return event


def refused(message: Any) -> str:
    (refusal,) = parse(message)
    assert isinstance(refusal, Refusal), refusal
    return refusal.reason


def test_envelope_of_2017_is_parsed_twice() -> None:
    body = real_file("landsat/sns/NewSceneHTML_sqs_body_2017.json").read_text()
    assert one(body) == Event(
        kind="created",
        bucket="landsat-pds",
        key="c1/L8/115/062/LC08_L1TP_115062_20171107_20171107_01_RT/index.html",
        etag="0f06667fca1f707894bf579bd667e221",
        size=5391,
        sequencer="005A023C441A8F8403",
        event_time=datetime(2017, 11, 7, 23, 5, 40, 162000, UTC),
        topic="arn:aws:sns:us-west-2:274514004127:NewSceneHTML",
        shape="sns",
        message_id="27f57c3d-9d2e-5fa3-8f83-2e41a3aa5634",
        name="ObjectCreated:Put",
    )


def test_raw_delivery_is_the_event_itself() -> None:
    body = real_file("landsat/sns/NewSceneHTML_s3_event_2020.json").read_bytes()
    event = one(body)
    assert event.version_id == "fgLoRSVC9ID1nU2q_s.aNKY2dsfYjmeV"
    assert (event.topic, event.message_id, event.shape) == ("", "", "s3")


def test_test_event_is_told_apart() -> None:
    told = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "a-bucket"}
    assert [(e.kind, e.shape, e.bucket) for e in (one(told), one(envelope(told)))] == [
        ("other", "test", "a-bucket")
    ] * 2


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("a+b%2Fc%2B%25%C3%A9", "a b/c+%é"),
        ("a/b", "a/b"),
        ("%5B1%5D*%3FversionId%3D", "[1]*?versionId="),
    ],
)
def test_keys_of_s3_events_are_decoded_as_forms_are(sent: str, key: str) -> None:
    assert one(s3_event(sent)).key == key


def test_all_records_are_taken_and_each_refused_alone() -> None:
    records = s3_event()["Records"] * 2 + s3_event(eventVersion="3.0")["Records"] + [7]
    first, second, third, fourth = parse({"Records": records})
    assert isinstance(first, Event)
    assert isinstance(second, Event)
    assert third == Refusal("Records[2]: eventVersion '3.0': only 2.x is known")
    assert fourth == Refusal("Records[3]: not an object: 7")
    assert parse({"Records": []}) == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("", "not JSON"),
        ("nonsense", "not JSON"),
        ("[" * (1 << 20), "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        (b"\xff", "not UTF-8 at byte 0"),
        ("[]", "not an object of JSON"),
        ("9" * 10_000, "a number too long"),
        ('{"Records": [NaN]}', "NaN"),
        ("x" * ((1 << 20) + 1), "1,048,577 bytes"),
        ({}, "unknown shape"),
        (s3_event("%FF"), "does not decode to UTF-8"),
        (s3_event("\ud800"), "UTF-8"),
        (s3_event(""), "a key of 0 bytes"),
        (s3_event("x" * 1025), "a key of 1,025 bytes"),
        (s3_event(s3=None), "s3 is not an object"),
        (s3_event(eventVersion="3.0"), "eventVersion '3.0'"),
        (envelope("nonsense"), "not JSON"),
        (envelope({}, Type="Gossip"), "unknown Type"),
    ],
    ids=range(18),
)
def test_what_cannot_be_meant_is_refused_with_a_reason(message: Any, reason: str) -> None:
    assert reason in refused(message)
