"""Notifications as AWS sends them, made to measure."""

from __future__ import annotations

import json
from typing import Any

TOPIC = "arn:aws:sns:us-east-1:123456789012:t"


def s3_event(key: str = "a/b", bucket: str = "a-bucket", **changes: Any) -> dict[str, Any]:
    """An event of S3 with one record; `key` as it is sent, that is encoded."""
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": "2026-10-09T04:36:44.969Z",
        "eventName": "ObjectCreated:Put",
        "s3": {
            "bucket": {"name": bucket},
            "object": {"key": key, "size": 3, "eTag": "ab", "sequencer": "0055AED6DCD90281E5"},
        },
    }
    return {"Records": [record | changes]}


def envelope(message: object, **changes: Any) -> dict[str, Any]:
    """What SNS puts around `message`."""
    said = message if isinstance(message, str) else json.dumps(message)
    told = {"Type": "Notification", "MessageId": "m-1", "TopicArn": TOPIC, "Message": said}
    return told | {"Timestamp": "2026-10-09T04:36:45Z"} | changes


def lambda_sns(message: object) -> dict[str, Any]:
    """What a function subscribed to a topic is called with."""
    return {"Records": [{"EventSource": "aws:sns", "Sns": envelope(message)}]}


def lambda_sqs(*bodies: object, **attributes: str) -> dict[str, Any]:
    """What a function fed by a queue is called with; ids of messages are id-1, id-2 and so on."""
    return {
        "Records": [
            {
                "eventSource": "aws:sqs",
                "messageId": f"id-{number}",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": attributes,
                "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:q",
            }
            for number, body in enumerate(bodies, 1)
        ]
    }


def eventbridge(
    key: str = "a", kind: str = "Object Created", source: str = "aws.s3", **detail: Any
) -> dict[str, Any]:
    """An event of S3 by way of EventBridge."""
    return {
        "version": "0",
        "id": "e-1",
        "detail-type": kind,
        "source": source,
        "time": "2026-10-09T04:36:44Z",
        "detail": {
            "version": "0",
            "bucket": {"name": "a-bucket"},
            "object": {
                "key": key,
                "size": 3,
                "etag": "ab",
                "version-id": "v1",
                "sequencer": "0055AED6DCD90281E5",
            },
        }
        | detail,
    }
