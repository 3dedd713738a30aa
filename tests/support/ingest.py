"""A whole chain for tests: a bucket that tells a topic, a queue with dead letters, a lake, workers.

S3, SNS and SQS are moto's, with its real fan-out; what moto has not is written by hand (see
tests/support/aws.py and tests/support/notes.py).
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lakeq.catalog import Dataset
from lakeq.config import S3Settings, Settings
from lakeq.ingest.allow import AllowList
from lakeq.ingest.brake import Brake
from lakeq.ingest.core import Ingester, Options
from lakeq.ingest.messages import Event
from lakeq.ingest.queue import Queue
from lakeq.ingest.tally import Tally
from lakeq.ingest.worker import Pace, Worker
from lakeq.lake import IcebergLake
from lakeq.storage import Storage
from tests.lake_formats import marks, named_files, warehouse_files
from tests.support.aws import Aws, notify
from tests.support.s3 import REGION

PACE = Pace(wait_s=0, retry_s=0, drain=True, visibility_s=30, interval_s=10, grace_s=10)
MAX_RECEIVES = 3


@dataclass
class Chain:
    """One bucket, topic, queue and lake."""

    aws: Aws
    folder: Path
    bucket: str
    topic: str
    url: str
    dead_url: str
    dataset: Dataset
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def made(
        cls, aws: Aws, folder: Path, *, receives: int = MAX_RECEIVES, told: bool = True
    ) -> Chain:
        """A new chain for the format `marks`; nothing is in its bucket, which tells its topic."""
        bucket, topic, dead = aws.s3.bucket(), aws.topic(), aws.queue()
        policy = {"deadLetterTargetArn": aws.queue_arn(dead), "maxReceiveCount": receives}
        url = aws.queue(RedrivePolicy=json.dumps(policy))
        aws.subscribe(topic, url)
        if told:
            notify(aws, bucket, topic)
        return cls(aws, folder, bucket, topic, url, dead, marks.dataset(bucket, (topic,)))

    def version(self) -> None:
        """Let the bucket keep the versions of its objects."""
        self.aws.s3.client.put_bucket_versioning(
            Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"}
        )

    @property
    def settings(self) -> Settings:
        """The settings of the lake."""
        s3 = S3Settings(endpoint_url=self.aws.s3.endpoint_url, region=REGION)
        return Settings(lake=self.folder / "lake", s3=s3)

    @property
    def lake(self) -> IcebergLake:
        """The lake, opened anew."""
        return IcebergLake(self.settings)

    def storage(self) -> Storage:
        """Where objects are read from; its requests are counted."""
        storage = Storage(self.settings)
        client = storage._buckets.client("signed", REGION)
        client.meta.events.register("before-send.s3", self._count)
        return storage

    def _count(self, request: Any, event_name: str, **_: object) -> None:
        operation = event_name.rpartition(".")[2]
        self.requests[operation, request.url.partition("?")[0]] += 1

    def gets(self) -> int:
        """Source bytes were asked for so often."""
        return sum(n for (operation, _), n in self.requests.items() if operation == "GetObject")

    def heads(self) -> int:
        """Objects were asked about so often."""
        return sum(n for (operation, _), n in self.requests.items() if operation == "HeadObject")

    def put(self, key: str, version: int = 1, rows: int = 3, data: bytes | None = None) -> Event:
        """Store an object, which tells the topic; returns its event, as it would be parsed."""
        body = marks.body(key, version, rows) if data is None else data
        answer = self.aws.s3.client.put_object(Bucket=self.bucket, Key=key, Body=body)
        return Event(
            "created",
            self.bucket,
            key,
            answer.get("VersionId", ""),
            answer["ETag"].strip('"'),
            len(body),
            topic=self.topic,
        )

    def delete(self, key: str) -> Event:
        """Delete an object, which tells the topic."""
        self.aws.s3.client.delete_object(Bucket=self.bucket, Key=key)
        return Event("removed", self.bucket, key, topic=self.topic)

    def send(self, event: Event, url: str = "") -> None:
        """Put the message of an event into the queue, as S3 and SNS would write it."""
        self.queue(url or self.url).send(message(event))

    def queue(self, url: str = "") -> Queue:
        """The queue, or the one at `url`."""
        return Queue(url or self.url, self.settings.s3, self.aws.client("sqs"))

    def ingester(self, storage: Storage | None = None, **options: Any) -> Ingester:
        """What brings objects in."""
        return Ingester(self.lake, storage or self.storage(), self.dataset, Options(**options))

    def worker(self, ingester: Ingester | None = None, **pace: Any) -> Worker:
        """A worker that ends when the queue is empty, unless told otherwise."""
        own = ingester or self.ingester()
        allowed = AllowList((self.dataset,))
        tally = Tally(own.store, self.dataset.name)
        brake = Brake(first_s=0.05, longest_s=0.2)
        return Worker(self.queue(), allowed, own, tally, replace(PACE, **pace), brake=brake)

    def work(self, workers: int = 1, ingester: Ingester | None = None, **pace: Any) -> Counter[str]:
        """Let workers drain the queue; returns what they counted."""
        made = [self.worker(ingester, **pace) for _ in range(workers)]
        threads = [threading.Thread(target=worker.run) for worker in made[1:]]
        for thread in threads:
            thread.start()
        made[0].run()
        for thread in threads:
            thread.join()
        return sum((worker.tally.counts for worker in made), Counter())

    def rows(self) -> list[tuple[str, int, int]]:
        """The rows of the lake, sorted."""
        if "marks.rows" not in self.lake.tables():
            return []
        table = self.lake.read_table("marks.rows")
        found = table.select(["name", "version", "number"]).to_pylist()
        return sorted((row["name"], row["version"], row["number"]) for row in found)

    def sources(self) -> list[str]:
        """The URIs in `_source`, once each."""
        snapshot = self.lake.snapshot("marks.rows")
        return sorted({uri for file in snapshot.files for uri, _ in file.contents})

    def depth(self, url: str = "") -> int:
        """Messages in the queue, hidden or not."""
        return sum(self.queue(url).depth().values())

    def dead(self) -> list[tuple[str, str]]:
        """Reason and body of each dead letter; they are taken out."""
        queue, found = self.queue(self.dead_url), []
        while got := queue.receive(10, 30, wait_s=0):
            found += [(message.reason, message.body) for message in got]
            for one in got:
                queue.delete(one)
        return found

    def leftovers(self) -> set[str]:
        """Files of the lake that nothing names, after a sweep."""
        self.lake.sweep()
        return self.unnamed()

    def unnamed(self) -> set[str]:
        """Files of the lake that nothing names."""
        lake = self.lake
        return warehouse_files(lake) - (named_files(lake) if lake.tables() else set())


def expected(objects: dict[str, tuple[int, int]]) -> list[tuple[str, int, int]]:
    """The rows of objects: name -> version and number of rows."""
    return sorted((n, v, row) for n, (v, rows) in objects.items() for row in range(rows))


def message(event: Event) -> str:
    """The body of SQS for an event: an envelope of SNS around the event of S3."""
    from urllib.parse import quote_plus

    told: dict[str, Any] = {"key": quote_plus(event.key, safe="/")}
    if event.kind == "created":
        told |= {"size": event.size, "eTag": event.etag}
    told |= {"sequencer": event.sequencer} if event.sequencer else {}
    told |= {"versionId": event.version_id} if event.version_id else {}
    name = "ObjectCreated:Put" if event.kind == "created" else "ObjectRemoved:Delete"
    time = event.event_time.isoformat() if event.event_time else "2026-03-28T20:00:00.000Z"
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": time,
        "eventName": name,
        "s3": {"bucket": {"name": event.bucket}, "object": told},
    }
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "0" * 8,
            "TopicArn": event.topic,
            "Message": json.dumps({"Records": [record]}),
            "Timestamp": "2026-03-28T20:00:00.000Z",
            "SignatureVersion": "1",
        }
    )


@contextmanager
def failing(client: Any, operation: str, answer: Any) -> Iterator[Counter[str]]:
    """Let `answer(request)` answer an operation of a client instead of its service, or not: None.

    Counts what was asked (`asked`) and what was answered so (`failed`).
    """
    counts: Counter[str] = Counter()

    def handle(request: Any, **_: object) -> Any:
        counts["asked"] += 1
        given = answer(request)
        counts["failed"] += given is not None
        return given

    service = client.meta.service_model.service_name
    name = f"before-send.{service}.{operation}" if operation else f"before-send.{service}"
    client.meta.events.register(name, handle)
    try:
        yield counts
    finally:
        client.meta.events.unregister(name, handle)


def throttle(request: Any, code: str = "SlowDown", status: int = 503, kind: str = "xml") -> Any:
    """The answer of a service that asks for less."""
    from botocore.awsrequest import AWSResponse

    if kind == "json":
        told = json.dumps({"__type": f"com.amazonaws#{code}", "message": "less, please"}).encode()
    else:
        told = f"<Error><Code>{code}</Code><Message>less, please</Message></Error>".encode()
    return AWSResponse(request.url, status, {"x-amzn-requestid": "0"}, _Raw(told))


class _Raw:
    """The raw body that botocore reads of an answer."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self._data


def statuses(outcomes: Sequence[Any]) -> list[str]:
    """The statuses of outcomes."""
    return [outcome.status for outcome in outcomes]
