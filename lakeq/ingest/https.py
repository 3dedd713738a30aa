"""An endpoint that SNS delivers to over HTTPS: an ASGI application, off unless somebody runs it.

    LAKEQ_SNS_TOPICS=arn:aws:sns:... LAKEQ_SNS_QUEUE_URL=https://sqs... \
        uvicorn --factory lakeq.ingest.https:from_environment

A message whose signature holds goes to a queue of one's own as it came, so that a worker takes it
like any other and the answer to SNS never waits for a conversion. Nothing else is let in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lakeq.errors import LakeqError, UsageError
from lakeq.ingest.sns import Certificates, Forged, Verifier, confirm, need_cryptography

MAX_BODY_BYTES = 512 << 10  # a message has at most 256 KiB, and its escaping may double it
BODY_TIMEOUT_S = 15.0  # after which SNS gives a delivery up itself

_log = logging.getLogger(__name__)

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass
class Endpoint:
    """The application; `deliver` takes the body of a message that was checked.

    Answers 200 when SNS need not come again, 403 for what is not of SNS, 503 when it shall try
    once more. `counts` has the number of answers by outcome.
    """

    verifier: Verifier
    deliver: Callable[[str], None]
    confirms: Callable[[Mapping[str, Any]], object]
    counts: Counter[str] = field(default_factory=Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            return
        status, outcome = await self._answer(scope, receive)
        self.counts[outcome] += 1
        headers = [(b"content-type", b"text/plain"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": outcome.encode("ascii")})

    async def _answer(self, scope: Scope, receive: Receive) -> tuple[int, str]:
        if scope["method"] != "POST":
            return 405, "only POST"
        try:
            body = (await asyncio.wait_for(_body(receive), BODY_TIMEOUT_S)).decode("utf-8")
            message = json.loads(body)
        except (ValueError, RecursionError, TimeoutError):
            return 400, "not a message"
        if not isinstance(message, dict):
            return 400, "not a message"
        try:
            return await asyncio.to_thread(self._take, body, message)
        except Forged as error:
            _log.warning("refused a message over HTTPS: %s", error.what)
            return 403, "refused"
        except LakeqError as error:
            _log.warning("could not take a message over HTTPS: %s", error.what)
            return 503, "try again"

    def _take(self, body: str, message: Mapping[str, Any]) -> tuple[int, str]:
        self.verifier.check(message)
        if message["Type"] == "SubscriptionConfirmation":
            self.confirms(message)
            return 200, "confirmed"
        if message["Type"] == "Notification":
            self.deliver(body)
            return 200, "taken"
        return 200, "noted"


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            raise ValueError("gone before the end")
        part = event.get("body", b"")
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise ValueError("too long")
        parts.append(part)
        if not event.get("more_body"):
            return b"".join(parts)


async def _live(receive: Receive, send: Send) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


def from_environment() -> Endpoint:
    """The application for the topics and the queue that the environment names.

    `LAKEQ_SNS_TOPICS` (ARNs, with commas between), `LAKEQ_SNS_QUEUE_URL`, and
    `LAKEQ_SNS_LOWEST_VERSION` (2 refuses signatures over SHA-1; 1 is the default). Raises
    `UsageError` where one is missing.
    """
    from lakeq import config
    from lakeq.ingest.queue import Queue

    need_cryptography()
    named = os.environ.get("LAKEQ_SNS_TOPICS", "")
    topics = frozenset(topic.strip() for topic in named.split(",") if topic.strip())
    queue = os.environ.get("LAKEQ_SNS_QUEUE_URL", "")
    if not topics or not queue:
        what = "LAKEQ_SNS_TOPICS and LAKEQ_SNS_QUEUE_URL are needed"
        raise UsageError(what, "SNS over HTTPS", "name the topics to expect and the queue")
    lowest = os.environ.get("LAKEQ_SNS_LOWEST_VERSION", "1")
    if lowest not in ("1", "2"):
        raise UsageError(f"LAKEQ_SNS_LOWEST_VERSION is {lowest!r}", "SNS over HTTPS", "1 or 2")
    deliver = Queue(queue, config.load().s3).send
    verifier = Verifier(topics, Certificates(), int(lowest))
    return Endpoint(verifier, deliver, lambda message: confirm(message, topics))
