"""Every shape of message to the one normal form; what cannot be meant is refused with a reason."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakeq.ingest.adapters import Adapter
from lakeq.ingest.messages import Event, Refusal, parse
from tests.support.data import name, real_file, real_files
from tests.support.notes import envelope, eventbridge, lambda_sns, lambda_sqs, s3_event

WORDS = st.sampled_from(
    [
        "Records",
        "Message",
        "Type",
        "TopicArn",
        "s3",
        "detail-type",
        "detail",
        "S3Bucket",
        "eventSource",
    ]
)
LANDSAT = Adapter(["{s3_location}/{landsat_product_id}_MTL.json"])
SCENES = {
    "": LANDSAT,
    "arn:aws:sns:us-west-2:673253540267:public-c2-notify": LANDSAT,
}


def one(message: Any) -> Event:
    (event,) = parse(message, SCENES)
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
    events = [one(told), one(envelope(told))]
    assert [(e.kind, e.shape, e.name) for e in events] == [("other", "test", "s3:TestEvent")] * 2


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
        (envelope(7), "not an object of JSON: 7"),
        (envelope({}) | {"Message": 7}, "neither text nor an object"),
        (eventbridge(source="aws.ec2"), "not of S3: source 'aws.ec2'"),
        ({"S3Bucket": "a-bucket", "Key": 7}, "Key is not text: 7"),
        ({"S3Bucket": "../..", "Key": "a"}, "no name of a bucket"),
        ({"type": "Feature", "assets": {}}, "a STAC item, and no catalog"),
        ({"Records": "all"}, "Records is not a list"),
        ({"Records": [{}] * 1001}, "1,001 Records"),
        ({"Records": [{"eventSource": "aws:dynamodb"}]}, "not of S3, SNS or SQS"),
        (
            lambda_sqs(
                json.dumps(lambda_sqs(json.dumps(lambda_sqs(lambda_sqs(lambda_sqs("{}"))))))
            ),
            "an envelope in an envelope",
        ),
    ],
    ids=range(28),
)
def test_what_cannot_be_meant_is_refused_with_a_reason(message: Any, reason: str) -> None:
    assert reason in refused(message)


# Each real message


@pytest.mark.parametrize("path", real_files("*/sns/*.json"), ids=name)
def test_every_real_message_is_understood(path: Path) -> None:
    event = one(path.read_bytes())
    said = json.loads(path.read_text())
    text = json.dumps(said)
    assert event.kind == "created"
    assert event.bucket in text
    assert event.key.rpartition("/")[2].removesuffix("_MTL.json") in text
    assert event.topic in text


def test_event_of_lambda_from_sns() -> None:
    body = real_file("nexrad/sns/lambda_event_archive_KBUF_20200310.json").read_text()
    event = one(json.loads(body))
    assert event.uri == "s3://noaa-nexrad-level2/2020/03/10/KBUF/KBUF20200310_021645_V06"
    assert event.topic == "arn:aws:sns:us-east-1:811054952067:NewNEXRADLevel2Archive"
    assert event.message_id == "a13ce577-3c14-505c-9f47-b397c7ea8a97"
    assert (event.size, event.sequencer) == (9055527, "005E66F9BC6F8DFE3E")


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("sqs_body_chunk_KTLX_20261009.json", "KTLX/399/20261009-043037-048-I"),
        ("documentation_example_chunk_KDFX_20190510.json", "KDFX/602/20190510-143508-028-I"),
    ],
)
def test_chunks_come_as_text_or_as_object(file: str, key: str) -> None:
    event = one(real_file(f"nexrad/sns/{file}").read_text())
    assert event.uri == f"s3://unidata-nexrad-level2-chunks/{key}"
    assert (event.shape, event.size, event.etag, event.sequencer) == ("chunk", None, "", "")
    sent = json.loads(real_file(f"nexrad/sns/{file}").read_text())["Timestamp"]
    assert event.event_time == datetime.fromisoformat(sent)


def test_a_scene_is_named_by_its_topics_template() -> None:
    event = one(real_file("landsat/sns/public-c2-notify_lambda_event_2021.json").read_text())
    folder = (
        "collection02/level-2/standard/etm/2021/115/067/LE07_L2SP_115067_20210721_20210916_02_T2"
    )
    assert (
        event.uri == f"s3://usgs-landsat/{folder}/LE07_L2SP_115067_20210721_20210916_02_T2_MTL.json"
    )
    assert (event.shape, event.kind) == ("scene", "created")


def test_a_slash_at_the_end_of_a_location_makes_no_difference() -> None:
    told = {"landsat_product_id": "P", "s3_location": "s3://usgs-landsat/c/P"}
    slashed = told | {"s3_location": "s3://usgs-landsat/c/P/"}
    assert one(told).key == one(slashed).key == "c/P/P_MTL.json"


# The other shapes


def test_lambda_from_sqs_holds_whatever_the_bodies_hold() -> None:
    event = one(lambda_sqs(json.dumps(envelope(s3_event("a%2Fb")))))
    assert (event.key, event.message_id, event.shape) == ("a/b", "m-1", "sns")
    assert one(lambda_sns(s3_event("a%2Fb"))) == event


def test_keys_of_eventbridge_are_never_decoded() -> None:
    event = one(eventbridge("a+b%2Fc é"))
    assert event == Event(
        kind="created",
        bucket="a-bucket",
        key="a+b%2Fc é",
        version_id="v1",
        etag="ab",
        size=3,
        sequencer="0055AED6DCD90281E5",
        event_time=datetime(2026, 10, 9, 4, 36, 44, tzinfo=UTC),
        shape="eventbridge",
        message_id="e-1",
        name="Object Created",
    )


def test_eventbridge_tells_how_an_object_went() -> None:
    told = eventbridge("a", "Object Deleted", **{"deletion-type": "Delete Marker Created"})
    assert (one(told).kind, one(told).name) == ("removed", "Object Deleted: Delete Marker Created")
    assert one(envelope(told)).topic == "arn:aws:sns:us-east-1:123456789012:t"


def test_confirmations_are_told_apart() -> None:
    told = envelope("You have chosen to subscribe", Type="SubscriptionConfirmation", Token="x")
    assert (one(told).kind, one(told).shape) == ("other", "confirmation")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ObjectCreated:Put", "created"),
        ("ObjectCreated:Copy", "created"),
        ("ObjectCreated:CompleteMultipartUpload", "created"),
        ("s3:ObjectCreated:Post", "created"),
        ("ObjectRemoved:Delete", "removed"),
        ("ObjectRemoved:DeleteMarkerCreated", "removed"),
        ("LifecycleExpiration:Delete", "removed"),
        ("LifecycleExpiration:DeleteMarkerCreated", "removed"),
        ("ObjectRestore:Completed", "other"),
        ("ObjectTagging:Put", "other"),
        ("LifecycleTransition", "other"),
    ],
)
@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.3", "2.4", "2.5", "2.6"])
def test_every_kind_of_event_of_version_2(name: str, kind: str, version: str) -> None:
    assert one(s3_event(eventName=name, eventVersion=version)).kind == kind


@given(st.text(min_size=1, max_size=300).filter(lambda key: 0 < len(key.encode()) <= 1024))
def test_any_key_comes_back_from_its_encoding(key: str) -> None:
    assert one(s3_event(quote_plus(key))).key == key
    assert one(s3_event(quote_plus(key, safe="/"))).key == key
    assert one(eventbridge(key)).key == key


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=20),
                    lambda inner: st.lists(inner) | st.dictionaries(WORDS, inner)))  # fmt: skip
def test_nothing_in_json_raises(told: Any) -> None:
    for message in (json.dumps(told), {"Records": told}, {"Records": [told]}, envelope(told)):
        assert all(isinstance(found, Event | Refusal) for found in parse(message, SCENES))


def test_a_list_in_a_message_gives_an_object_for_each_item() -> None:
    adapter = Adapter(["s3://b/{tiles.path}/{tiles.part}-{name}.xml", "s3://b/{name}"])
    told = {"name": "N", "tiles": [{"path": "t/1", "part": 1}, {"path": "t/2", "part": 2}]}
    assert adapter(told) == ["s3://b/t/1/1-N.xml", "s3://b/t/2/2-N.xml", "s3://b/N"]


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({}, "has no field 'a'"),
        ({"a": {}}, "has no field 'a.b'"),
        ({"a": {"b": None}}, "neither text"),
        ({"a": {"b": "https://x/y"}}, "not s3://"),
        ({"a": [{"b": f"s3://x/{n}"} for n in range(1001)]}, "more than 1,000"),
    ],
)
def test_what_a_template_cannot_take_is_refused(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Adapter(["{a.b}"])(told)


def test_a_field_cannot_bring_a_field_in() -> None:
    assert Adapter(["s3://b/{a}{c}"])({"a": "{c}", "c": "x"}) == ["s3://b/{c}x"]
