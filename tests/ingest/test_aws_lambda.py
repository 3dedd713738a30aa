"""The function that Lambda calls: which messages come again, which are dead, what bounds hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from lakeq.catalog import load
from lakeq.config import S3Settings
from lakeq.errors import StorageUnavailable, UsageError
from lakeq.ingest.allow import AllowList
from lakeq.ingest.aws_lambda import AllFailed, Function
from lakeq.ingest.messages import Event
from lakeq.ingest.outcome import Outcome
from lakeq.ingest.queue import Queue
from tests.support.aws import Aws
from tests.support.data import real_file
from tests.support.notes import envelope, eventbridge, lambda_sns, lambda_sqs, s3_event

NEXRAD = load().dataset("nexrad")
ARCHIVE = NEXRAD.notifications[0]


@dataclass
class Context:
    memory_limit_in_mb: int = 2048
    seconds: float = 300

    def get_remaining_time_in_millis(self) -> int:
        return int(self.seconds * 1000)


@dataclass
class Core:
    """Stands for the way into the lake; what it is asked for is remembered, in order."""

    outcome: Callable[[Event], Outcome] = lambda event: Outcome("committed")
    asked: list[list[str]] = field(default_factory=list)

    def __call__(self, events: Sequence[Event], deadline: float) -> Sequence[Outcome]:
        self.asked.append([event.key for event in events])
        return [self.outcome(event) for event in events]

    @property
    def keys(self) -> list[str]:
        return [key for call in self.asked for key in call]


def failing(*numbers: int, status: str = "failed") -> Core:
    keys = {volume(number) for number in numbers}
    bad = Outcome(status, "record 3 at byte 17 is not bzip2")  # type: ignore[arg-type]  # any status
    return Core(lambda event: bad if event.key in keys else Outcome("committed"))


def volume(number: int) -> str:
    return f"2026/10/09/KTLX/KTLX20261009_0430{number:02d}_V06"


def body(number: int, topic: str = ARCHIVE, bucket: str = "unidata-nexrad-level2") -> str:
    return json.dumps(envelope(s3_event(volume(number), bucket), TopicArn=topic))


def call(core: Core, event: dict[str, Any], **changes: Any) -> list[str]:
    context = changes.pop("context", Context())
    function = Function(AllowList([NEXRAD]), core, **changes)
    answer = function(event, context)
    assert set(answer) == {"batchItemFailures"}
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def test_s10_of_ten_messages_exactly_those_that_failed_come_again() -> None:
    event = lambda_sqs(*(body(n) for n in range(1, 11)))
    core = failing(3, 7)
    assert call(core, event) == ["id-3", "id-7"]
    assert core.asked == [[volume(n) for n in range(1, 11)]]  # one batch, one commit
    assert call(Core(), event) == []


def test_s10_a_batch_that_failed_as_a_whole_is_raised() -> None:
    event = lambda_sqs(*(body(n) for n in range(1, 4)))
    with pytest.raises(AllFailed, match="3 of 3 messages failed"):
        call(failing(1, 2, 3), event)

    def unreachable(_: Event) -> Outcome:
        raise StorageUnavailable("the lake cannot be reached")

    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        call(Core(unreachable), event)


def test_s10_only_ids_of_the_event_are_returned() -> None:
    record = lambda_sqs(body(1))["Records"][0]
    for lost in ({"messageId": None}, {"messageId": ""}, {"body": None}):
        with pytest.raises(UsageError, match="none of SQS"):
            call(Core(), {"Records": [record | lost]})
    event = lambda_sqs(body(1), body(1), body(2))  # one object twice: both messages answer for it
    assert call(failing(1), event) == ["id-1", "id-2"]


def fifo(*groups: str) -> dict[str, Any]:
    event = lambda_sqs(*(body(n) for n, _ in enumerate(groups, 1)))
    for record, group in zip(event["Records"], groups, strict=True):
        record["attributes"] = {"MessageGroupId": group}
        record["eventSourceARN"] = "arn:aws:sqs:us-east-1:123456789012:q.fifo"
    return event


def test_s10_in_a_fifo_queue_a_group_stops_at_its_first_failure() -> None:
    core = failing(2)
    assert call(core, fifo("a", "a", "a", "b", "b", "a")) == ["id-2", "id-3", "id-6"]
    assert core.asked == [[volume(1), volume(4)], [volume(2), volume(5)]]  # 3 and 6 never


def test_s10_in_a_fifo_queue_a_dead_letter_does_not_stop_its_group() -> None:
    event = fifo("a", "a", "a")
    event["Records"][1]["body"] = "nonsense"
    dead: list[tuple[str, str]] = []
    assert call(core := Core(), event, dead_letters=lambda b, r: dead.append((b, r))) == []
    assert core.keys == [volume(1), volume(3)]
    assert dead == [("nonsense", dead[0][1])]


BAD = {
    "not JSON": "nonsense",
    "a MiB of brackets": "[" * (1 << 20),
    "a wrong schema": {"Records": [{"eventSource": "aws:s3"}]},
    "an unknown topic": body(1, topic=ARCHIVE + "x"),
    "a forged bucket": body(1, bucket="evil-bucket"),
    "version 3": envelope(s3_event(eventVersion="3.0"), TopicArn=ARCHIVE),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_s09_a_poison_message_is_a_dead_letter_at_its_first_receive(bad: Any, aws: Aws) -> None:
    queue = aws.queue()
    dead = Queue(queue, S3Settings(), aws.client("sqs")).send
    core = Core()
    assert call(core, lambda_sqs(body(1), bad), dead_letters=dead) == []
    assert core.keys == [volume(1)]
    got = aws.client("sqs").receive_message(QueueUrl=queue, MessageAttributeNames=["All"])
    (message,) = got["Messages"]
    assert message["Body"] == lambda_sqs(bad)["Records"][0]["body"]
    assert message["MessageAttributes"]["reason"]["StringValue"]


def test_s09_without_dead_letters_the_queue_itself_moves_it() -> None:
    assert call(Core(), lambda_sqs(body(1), "nonsense")) == ["id-2"]


def test_s08_a_poison_object_is_dead_with_its_reason_after_all_attempts() -> None:
    dead: list[tuple[str, str]] = []
    for count in range(1, 6):
        event = lambda_sqs(*(body(n) for n in range(1, 11)), ApproximateReceiveCount=str(count))
        left = call(failing(4, status="poison"), event, dead_letters=lambda *d: dead.append(d))
        assert left == (["id-4"] if count < 5 else [])
    assert dead == [(body(4), "record 3 at byte 17 is not bzip2")]


def test_s23_what_is_forged_makes_no_request_and_is_counted() -> None:
    core = Core()
    function = Function(AllowList([NEXRAD]), core, dead_letters=lambda *_: None)
    bodies = [body(1, bucket="evil-bucket"), body(1, topic="arn:x"), body(2, bucket="usgs-landsat")]
    assert function(lambda_sqs(*bodies), Context()) == {"batchItemFailures": []}
    assert core.asked == []
    assert function.counts == {"refused": 3}


def test_a_record_that_may_still_succeed_keeps_its_message_alive() -> None:
    records = s3_event(volume(1), "unidata-nexrad-level2")["Records"]
    mixed = {"Records": [*records, *s3_event(eventVersion="3.0")["Records"]]}
    dead: list[str] = []
    event = lambda_sqs(body(2), mixed)
    assert call(failing(1), event, dead_letters=lambda b, _: dead.append(b)) == ["id-2"]
    assert dead == []
    assert call(Core(), event, dead_letters=lambda b, _: dead.append(b)) == []
    assert dead == [json.dumps(mixed)]


def test_what_is_of_no_interest_is_acknowledged_unread() -> None:
    sidecar = envelope(s3_event(volume(1) + "_MDM", "unidata-nexrad-level2"), TopicArn=ARCHIVE)
    test_event = {"Service": "Amazon S3", "Event": "s3:TestEvent"}
    core = Core()
    assert call(core, lambda_sqs(sidecar, test_event, {"Records": []})) == []
    assert core.asked == []


def test_events_of_sns_have_no_partial_failures() -> None:
    told = json.loads(real_file("nexrad/sns/lambda_event_archive_KBUF_20200310.json").read_text())
    sns = told["Records"][0]["Sns"]
    sns["TopicArn"] = ARCHIVE
    sns["Message"] = sns["Message"].replace("noaa-nexrad-level2", "unidata-nexrad-level2")
    key = "2020/03/10/KBUF/KBUF20200310_021645_V06"
    core = Core()
    assert call(core, told) == []
    assert core.keys == [key]
    broken = Core(lambda _: Outcome("failed", "throttled"))
    with pytest.raises(AllFailed, match="1 of 1"):
        call(broken, told)
    with pytest.raises(AllFailed):
        call(Core(), lambda_sns("nonsense"))


def test_events_of_eventbridge_and_of_s3_itself() -> None:
    bridge = eventbridge(volume(1), bucket={"name": "unidata-nexrad-level2"})
    for event in (bridge, s3_event(volume(1), "unidata-nexrad-level2")):
        core = Core()
        assert call(core, event) == []
        assert core.keys == [volume(1)]


def test_without_time_nothing_is_begun() -> None:
    core = Core()
    with pytest.raises(AllFailed, match="no time was left"):
        call(core, lambda_sqs(body(1)), context=Context(seconds=10))
    assert core.asked == []


def test_an_object_too_large_for_the_memory_is_refused_unread() -> None:
    told = s3_event(volume(1), "unidata-nexrad-level2")
    told["Records"][0]["s3"]["object"]["size"] = 300 << 20
    dead: list[str] = []
    event = lambda_sqs(told, body(2))
    assert call(core := Core(), event, dead_letters=lambda _, r: dead.append(r)) == []
    assert core.keys == [volume(2)]
    assert "more memory" in dead[0]
    assert call(Core(), event, context=Context(memory_limit_in_mb=4096)) == []


def test_failures_are_logged_with_their_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        call(failing(1), lambda_sqs(body(1), body(2)))
    assert "id-1" in caplog.text
    assert "record 3 at byte 17" in caplog.text
