"""A queue of SQS: received from, extended, answered; dead letters with their reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from lakeq import redact
from lakeq.errors import AccessDenied, NotFound, StorageUnavailable, UsageError
from lakeq.storage.s3 import CONNECT_TIMEOUT_S, DEFAULT_REGION, lacks_credentials

if TYPE_CHECKING:
    from lakeq.config import S3Settings

REASON = "reason"  # the attribute of a dead letter
MAX_REASON = 1000
WAIT_S = 10  # of a long poll; the one that is open when a worker is stopped has to end first
CREDENTIALS = (
    "SQS needs some: name a --profile, or set AWS_PROFILE, or AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY"
)
_MISSING = ("QueueDoesNotExist", "NonExistentQueue")


@dataclass(frozen=True, slots=True)
class Message:
    """One message that was received; `sent` is the time of the service that took it, UTC."""

    identifier: str
    receipt: str
    body: str
    receives: int
    sent: datetime
    reason: str = ""


class Queue:
    """One queue by its URL."""

    def __init__(self, url: str, settings: S3Settings, client: Any = None) -> None:
        self.url = url
        self._settings = settings
        self._given = client

    @cached_property
    def client(self) -> Any:
        """The client; it retries by itself what is throttled, twice."""
        if self._given is not None:
            return self._given
        import boto3
        from botocore.config import Config

        session = boto3.session.Session(profile_name=self._settings.profile or None)
        redact.remember_session(session)
        region = self._settings.region or _region_of(self.url) or session.region_name
        return session.client(
            "sqs",
            region_name=region or DEFAULT_REGION,
            endpoint_url=self._settings.endpoint_url or None,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=WAIT_S + 10,
                retries={"mode": "standard", "total_max_attempts": 3},
                max_pool_connections=32,
            ),
        )

    def receive(self, most: int, visibility_s: float, wait_s: int = WAIT_S) -> list[Message]:
        """Up to 10 messages, hidden from others for a while; none when none came in time."""
        found = self._call(
            "receive_message",
            MaxNumberOfMessages=max(1, min(10, most)),
            VisibilityTimeout=max(1, int(visibility_s)),
            WaitTimeSeconds=wait_s,
            MessageSystemAttributeNames=["ApproximateReceiveCount", "SentTimestamp"],
            MessageAttributeNames=[REASON],
        )
        return [_message(told) for told in found.get("Messages", ())]

    def hide(self, message: Message, seconds: int) -> None:
        """Hide a message for so many seconds from now; 0 gives it back."""
        self.hide_receipt(message.receipt, seconds)

    def hide_receipt(self, receipt: str, seconds: int) -> None:
        """The same by what it was received with."""
        self._call(
            "change_message_visibility",
            ReceiptHandle=receipt,
            VisibilityTimeout=min(43_200, max(0, seconds)),
        )

    def delete(self, message: Message) -> None:
        """A message is done."""
        self._call("delete_message", ReceiptHandle=message.receipt)

    def send(self, body: str, reason: str = "") -> None:
        """Put a message in."""
        more = {}
        if reason:
            attribute = {"DataType": "String", "StringValue": reason[:MAX_REASON]}
            more = {"MessageAttributes": {REASON: attribute}}
        self._call("send_message", MessageBody=body, **more)

    @cached_property
    def _attributes(self) -> Mapping[str, str]:
        found = self._call("get_queue_attributes", AttributeNames=["All"])
        attributes: Mapping[str, str] = found["Attributes"]
        return attributes

    @cached_property
    def max_receives(self) -> int:
        """Receives after which the queue moves a message to its dead letters itself; 0: never."""
        return int(self._redrive.get("maxReceiveCount", 0))

    @cached_property
    def dead_letters(self) -> Queue | None:
        """The queue of the dead letters, as this one's redrive policy names it."""
        arn = str(self._redrive.get("deadLetterTargetArn", ""))
        if not arn:
            return None
        *_, owner, name = arn.split(":")
        found = self._call_plain("get_queue_url", QueueName=name, QueueOwnerAWSAccountId=owner)
        return Queue(str(found["QueueUrl"]), self._settings, self.client)

    @cached_property
    def _redrive(self) -> Mapping[str, Any]:
        policy: Mapping[str, Any] = json.loads(self._attributes.get("RedrivePolicy", "{}"))
        return policy

    def depth(self) -> dict[str, int]:
        """Messages that wait, that are being worked on, and that come later: about so many."""
        names = {
            "waiting": "ApproximateNumberOfMessages",
            "in_flight": "ApproximateNumberOfMessagesNotVisible",
            "delayed": "ApproximateNumberOfMessagesDelayed",
        }
        found = self._call("get_queue_attributes", AttributeNames=list(names.values()))
        return {name: int(found["Attributes"].get(key, 0)) for name, key in names.items()}

    def _call(self, method: str, **arguments: Any) -> Any:
        return self._call_plain(method, QueueUrl=self.url, **arguments)

    def _call_plain(self, method: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self.client, method)(**arguments)
        except ClientError as error:
            raise _answered(error.response, self.url) from redact.bare(error)
        except (BotoCoreError, ValueError) as error:
            if lacks_credentials(error):
                what, hint = f"no usable AWS credentials: {error}", CREDENTIALS
                raise AccessDenied(what, self.url, hint) from redact.bare(error)
            what = f"SQS cannot be reached: {error}"
            raise StorageUnavailable(what, self.url, "check the network") from redact.bare(error)


def _answered(response: Mapping[str, Any], url: str) -> Exception:
    code = str(response.get("Error", {}).get("Code", ""))
    words = str(response.get("Error", {}).get("Message", "")) or code
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if any(name in code for name in _MISSING):
        return NotFound(f"no such queue: {words}", url, "check --queue-url")
    if "AccessDenied" in code or status in (401, 403):
        return AccessDenied(f"SQS refuses: {words}", url, "check --profile and the queue's policy")
    if "Throttl" in code or "TooManyRequests" in code or "OverLimit" in code or status >= 500:
        return StorageUnavailable(f"SQS answers {code}: {words}", url, "wait a minute")
    return UsageError(f"SQS does not accept the request: {words}", url)


def _message(told: Mapping[str, Any]) -> Message:
    attributes = told.get("Attributes", {})
    reason = told.get("MessageAttributes", {}).get(REASON, {}).get("StringValue", "")
    return Message(
        str(told["MessageId"]),
        str(told["ReceiptHandle"]),
        str(told["Body"]),
        int(attributes.get("ApproximateReceiveCount", 1)),
        datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000, UTC),
        str(reason),
    )


def url_of(arn: str) -> str:
    """The URL of the queue that an ARN names, in whatever partition of AWS it lies."""
    _, partition, _, region, account, name = arn.split(":", 5)
    suffix = "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com"
    return f"https://sqs.{region}.{suffix}/{account}/{name}"


def _region_of(url: str) -> str:
    """The region in https://sqs.REGION.amazonaws.com/..., if it is such a URL."""
    host = url.partition("://")[2].partition("/")[0]
    parts = host.split(".")
    return parts[1] if len(parts) > 3 and parts[0] == "sqs" else ""
