"""SNS over HTTPS: what SNS signed for us now is taken, everything else refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lakeq.config import S3Settings
from lakeq.errors import StorageUnavailable, UsageError
from lakeq.ingest.https import Endpoint, from_environment
from lakeq.ingest.queue import Queue
from lakeq.ingest.sns import Certificates, Forged, Verifier, confirm
from tests.support.aws import Aws
from tests.support.signing import CERTIFICATE, NOW, TOPIC, Signer


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.new(tmp_path_factory.mktemp("signer"))


class Web:
    """Where certificates come from; remembers who was asked."""

    def __init__(self, pem: bytes) -> None:
        self.pem = pem
        self.asked: list[str] = []

    def __call__(self, url: str) -> bytes:
        self.asked.append(url)
        return self.pem


def verifier(web: Callable[[str], bytes], lowest_version: int = 1) -> Verifier:
    clock = NOW.timestamp
    return Verifier({TOPIC}, Certificates(web, clock), lowest_version, clock)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("extra", [{}, {"Subject": "Amazon S3 Notification"}, {"Message": "é\n\t"}])
def test_what_openssl_signed_is_taken(version: str, extra: dict[str, str], signer: Signer) -> None:
    web = Web(signer.certificate)
    check = verifier(web).check
    for _ in range(3):
        check(signer.message(version, **extra))
    assert web.asked == [CERTIFICATE]  # once


def test_what_moto_signed_is_taken(aws: Aws) -> None:
    topic, queue = aws.topic(), aws.queue()
    aws.subscribe(topic, queue)
    aws.client("sns").publish(TopicArn=topic, Message="hello")
    (body,) = aws.bodies(queue)
    checked = Verifier({topic}, Certificates(aws.certificate), lowest_version=2)
    checked.check(json.loads(body))
    with pytest.raises(Forged, match="not that of the message"):
        checked.check(json.loads(body) | {"Message": "hullo"})


EVIL = CERTIFICATE.removeprefix("https://sns.us-east-1.amazonaws.com")
S24_BEFORE_ANY_REQUEST = {
    "another domain that begins alike": f"https://sns.us-east-1.amazonaws.com.evil.com{EVIL}",
    "http": CERTIFICATE.replace("https", "http"),
    "userinfo": f"https://sns.us-east-1.amazonaws.com@evil.com{EVIL}",
    "userinfo before SNS": f"https://evil@sns.us-east-1.amazonaws.com{EVIL}",
    "another port": CERTIFICATE.replace(".com/", ".com:8443/"),
    "another path": CERTIFICATE.replace("/Simple", "/x/../Simple"),
    "a query": CERTIFICATE + "?x",
    "a bucket": f"https://sns.s3.amazonaws.com{EVIL}",
    "another region": CERTIFICATE.replace("us-east-1", "eu-west-1"),
    "China": CERTIFICATE.replace(".com/", ".com.cn/"),
    "a line behind": CERTIFICATE + "\n",
    "none": "",
}


@pytest.mark.parametrize("url", S24_BEFORE_ANY_REQUEST.values(), ids=S24_BEFORE_ANY_REQUEST)
def test_s24_a_certificate_elsewhere_is_refused_without_a_request(url: str, signer: Signer) -> None:
    web = Web(signer.certificate)
    with pytest.raises(Forged, match="SigningCertURL"):
        verifier(web).check(signer.message(SigningCertURL=url))
    assert web.asked == []


@pytest.mark.parametrize(
    ("changes", "reason", "asked"),
    [
        ({"Message": "another"}, "not that of the message", 1),
        ({"Signature": "AAAA"}, "not that of the message", 1),
        ({"Signature": "é"}, "not base64", 0),
        ({"SignatureVersion": "1"}, "not that of the message", 1),  # signed over SHA-256
        ({"SignatureVersion": "3"}, "SignatureVersion", 0),
        ({"TopicArn": TOPIC + "x"}, "is not expected here", 0),
        ({"Timestamp": "2026-10-09T03:36:49Z"}, "more than an hour ago", 0),
        ({"Timestamp": "2026-10-09T05:36:49Z"}, "more than an hour ago or ahead", 0),
        ({"Timestamp": "yesterday"}, "is no time", 0),
        ({"Type": "Gossip"}, "Type", 0),
        ({"Message": None}, "Message is not text", 0),
        ({"Message": "\ud800"}, "UTF-8", 0),
        ({"Subject": "one that was not signed"}, "not that of the message", 1),
    ],
)
def test_s24_what_sns_did_not_sign_for_us_now_is_refused(
    changes: dict[str, Any], reason: str, asked: int, signer: Signer
) -> None:
    web = Web(signer.certificate)
    with pytest.raises(Forged, match=reason):
        verifier(web).check(signer.message() | changes)
    assert len(web.asked) == asked


def test_s24_version_1_is_refused_where_2_is_demanded(signer: Signer) -> None:
    web = Web(signer.certificate)
    with pytest.raises(Forged, match="2 is the lowest"):
        verifier(web, lowest_version=2).check(signer.message("1"))
    assert web.asked == []
    verifier(web, lowest_version=2).check(signer.message("2"))


def test_s24_a_certificate_out_of_date_is_refused(tmp_path: Path) -> None:
    old = Signer.new(tmp_path, valid_until=NOW - timedelta(hours=1))
    with pytest.raises(Forged, match="not valid now"):
        verifier(Web(old.certificate)).check(old.message())


@pytest.mark.parametrize("pem", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_s24_what_is_no_certificate_is_refused(pem: bytes, signer: Signer) -> None:
    with pytest.raises(Forged, match="no certificate"):
        verifier(Web(pem)).check(signer.message())


def test_the_hourly_number_of_certificates_is_bounded(signer: Signer) -> None:
    web = Web(b"none")
    check = verifier(web).check
    for number in range(40):
        url = CERTIFICATE.replace("0a0a", f"{number:04x}")
        with pytest.raises((Forged, StorageUnavailable)):
            check(signer.message() | {"SigningCertURL": url})
    assert len(web.asked) == 30


# The endpoint


def call(endpoint: Endpoint, body: bytes, method: str = "POST") -> tuple[int, str]:
    sent: list[Any] = []
    halves = [body[: len(body) // 2], body[len(body) // 2 :]]

    async def receive() -> dict[str, Any]:
        part = halves.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(halves)}

    async def send(event: Any) -> None:
        sent.append(event)

    asyncio.run(endpoint({"type": "http", "method": method}, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


def endpoint(web: Callable[[str], bytes], **changes: Any) -> tuple[Endpoint, list[str]]:
    taken: list[str] = []
    made = Endpoint(verifier(web), taken.append, lambda _: None)
    for name, value in changes.items():
        setattr(made, name, value)
    return made, taken


def test_a_message_goes_to_the_queue_as_it_came(signer: Signer) -> None:
    made, taken = endpoint(Web(signer.certificate))
    body = json.dumps(signer.message())
    assert call(made, body.encode()) == (200, "taken")
    assert taken == [body]
    assert made.counts == {"taken": 1}


@pytest.mark.parametrize(
    ("body", "method", "status"),
    [
        (b"", "GET", 405),
        (b"", "POST", 400),
        (b"[]", "POST", 400),
        (b"[" * 100_000, "POST", 400),
        (b"\xff\xfe{\0}\0", "POST", 400),
        (b"{}", "POST", 403),
        (b" " * (600 << 10), "POST", 400),
    ],
)
def test_anything_else_is_answered_and_dropped(
    body: bytes, method: str, status: int, signer: Signer
) -> None:
    web = Web(signer.certificate)
    made, taken = endpoint(web)
    assert call(made, body, method)[0] == status
    assert (taken, web.asked) == ([], [])


def test_a_queue_that_cannot_be_reached_makes_sns_come_again(aws: Aws, signer: Signer) -> None:
    broken = Queue("http://127.0.0.1:9/none", S3Settings(), aws.client("sqs")).send
    made, _ = endpoint(Web(signer.certificate), deliver=broken)
    assert call(made, json.dumps(signer.message()).encode()) == (503, "try again")


def test_only_an_expected_topic_is_confirmed_and_no_address_followed(
    aws: Aws, signer: Signer
) -> None:
    asked: list[dict[str, str]] = []

    class Sns:
        def confirm_subscription(self, **arguments: str) -> dict[str, str]:
            asked.append(arguments)
            return {"SubscriptionArn": f"{TOPIC}:1"}

    made, taken = endpoint(
        Web(signer.certificate), confirms=lambda message: confirm(message, {TOPIC}, Sns())
    )
    told = {
        "Type": "SubscriptionConfirmation",
        "Token": "T",
        "SubscribeURL": "https://evil.example/?Action=ConfirmSubscription",
    }
    assert call(made, json.dumps(signer.message(**told)).encode()) == (200, "confirmed")
    other = signer.message(**told, TopicArn=TOPIC + "x")
    assert call(made, json.dumps(other).encode()) == (403, "refused")
    unsigned = signer.message(**told) | {"Token": "U"}
    assert call(made, json.dumps(unsigned).encode()) == (403, "refused")
    assert asked == [{"TopicArn": TOPIC, "Token": "T"}]
    assert taken == []


def test_a_subscription_is_confirmed_by_its_token(aws: Aws) -> None:
    topic = aws.topic()
    message = {"TopicArn": topic, "Token": "moto takes any"}
    assert confirm(message, {topic}, aws.client("sns")).startswith(topic)
    with pytest.raises(Forged, match="not expected"):
        confirm(message, {TOPIC}, aws.client("sns"))


def test_the_endpoint_is_off_unless_topics_and_queue_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LAKEQ_SNS_TOPICS", raising=False)
    with pytest.raises(UsageError, match="LAKEQ_SNS_TOPICS"):
        from_environment()
    monkeypatch.setenv("LAKEQ_SNS_TOPICS", f" {TOPIC},")
    monkeypatch.setenv("LAKEQ_SNS_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/1/q")
    monkeypatch.setenv("LAKEQ_SNS_LOWEST_VERSION", "2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = from_environment()
    assert (made.verifier.topics, made.verifier.lowest_version) == ({TOPIC}, 2)


def test_the_way_from_https_to_the_queue(aws: Aws, signer: Signer) -> None:
    queue = aws.queue()
    made, _ = endpoint(
        Web(signer.certificate), deliver=Queue(queue, S3Settings(), aws.client("sqs")).send
    )
    body = json.dumps(signer.message())
    assert call(made, body.encode())[0] == 200
    assert aws.bodies(queue) == [body]
