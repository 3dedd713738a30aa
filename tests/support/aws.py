"""SNS and SQS on the loopback (moto), with real fan-out and real signatures.

What moto has not, and the tests bring themselves: a `sequencer` and a version id in the events of
S3 (tests/support/notes.py writes them), and the Subject in what is signed (tests/support/signing.py
signs as SNS does).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.support.s3 import REGION, S3

_NUMBERS = count()


@dataclass
class Aws:
    """Clients of one endpoint, and what tests make with them."""

    s3: S3
    clients: dict[str, Any] = field(default_factory=dict)

    def client(self, service: str) -> Any:
        """The client of a service."""
        import boto3

        if service not in self.clients:
            self.clients[service] = boto3.client(
                service,
                endpoint_url=self.s3.endpoint_url,
                region_name=REGION,
                aws_access_key_id="tests-own-client",
                aws_secret_access_key="tests-own-secret",
            )
        return self.clients[service]

    def topic(self, **attributes: str) -> str:
        """The ARN of a new topic."""
        name = f"topic-{next(_NUMBERS)}"
        return str(self.client("sns").create_topic(Name=name, Attributes=attributes)["TopicArn"])

    def queue(self, **attributes: str) -> str:
        """The URL of a new queue."""
        name = f"queue-{next(_NUMBERS)}"
        return str(
            self.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        )

    def queue_arn(self, url: str) -> str:
        """The ARN of the queue at `url`."""
        found = self.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def subscribe(self, topic: str, url: str, **attributes: str) -> None:
        """Deliver the messages of `topic` to the queue at `url`."""
        arn = self.queue_arn(url)
        self.client("sns").subscribe(
            TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=attributes
        )

    def bodies(self, url: str) -> list[str]:
        """The bodies of the messages in the queue at `url`, taken out of it."""
        found = []
        while (
            got := self.client("sqs")
            .receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0)
            .get("Messages")
        ):
            for message in got:
                found.append(message["Body"])
                self.client("sqs").delete_message(
                    QueueUrl=url, ReceiptHandle=message["ReceiptHandle"]
                )
        return found

    def certificate(self, url: str) -> bytes:
        """The certificate at `url`, an address of SNS, as the endpoint here would serve it."""
        from moto.sns.models import sns_backends

        keys = sns_backends["123456789012"][REGION]._message_public_keys
        return bytes(keys[url.rpartition("/")[2]])


def notify(aws: Aws, bucket: str, topic: str) -> None:
    """Announce what happens in `bucket` to `topic`."""
    aws.client("s3").put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "TopicConfigurations": [
                {"TopicArn": topic, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
            ]
        },
    )


def told(body: str) -> dict[str, Any]:
    """A body of JSON."""
    found: dict[str, Any] = json.loads(body)
    return found
