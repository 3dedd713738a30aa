"""The function that AWS Lambda calls: events of SQS with partial failures, events of SNS without.

Configured by the environment: `LAKEQ_INGEST_DATASET`, and where wanted `LAKEQ_INGEST_TABLES` and
`LAKEQ_INGEST_TOPICS` (lists with commas), `LAKEQ_INGEST_ONLY` (`site=KTLX,KFWS`, several with
spaces between), `LAKEQ_INGEST_DEAD_LETTERS` (the URL of a queue); and by the settings of lakeq,
such as `LAKEQ_LAKE` and `LAKEQ_S3_REQUESTER_PAYS`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from lakeq.errors import LakeqError, UsageError
from lakeq.ingest.allow import AllowList
from lakeq.ingest.messages import Event, Refusal, parse
from lakeq.ingest.outcome import Core, Outcome

if TYPE_CHECKING:
    from lakeq.ingest.queue import Queue

RESERVE_S = 15.0  # of the time left, for the commit and the answer
SHARE_OF_MEMORY = 8  # an object may have this part of the memory: it inflates to about 6 times

_log = logging.getLogger(__name__)

DeadLetters = Callable[[str, str], None]  # body and reason
HIDE_S = 12 * 3600 - 900  # what a budget lacks comes again then; SQS hides 12 hours at the most


class Context(Protocol):
    """What is used of Lambda's context."""

    @property
    def memory_limit_in_mb(self) -> int | str:
        """The memory of the function, MiB."""
        ...

    def get_remaining_time_in_millis(self) -> int:
        """The time before Lambda ends the call."""
        ...


class AllFailed(LakeqError):
    """No message of a call succeeded, so the call itself failed."""

    exit_code = 6


@dataclass(slots=True)
class Item:
    """One message: its id with SQS, its group in a FIFO queue, and what became of its events."""

    identifier: str
    body: str
    group: str = ""
    receives: int = 1
    receipt: str = ""
    queue: str = ""  # its ARN
    buried: bool = False
    found: list[Event | Refusal] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def failed(self) -> Outcome | None:
        """The first outcome that is not settled, unless the message is among the dead letters."""
        return None if self.buried else next((o for o in self.outcomes if not o.settled), None)


@dataclass
class Function:
    """One deployment: what is let in, how it is brought in, and where dead letters go.

    To `dead_letters` goes what is refused, at once, and what is poison, with its `max_receives`th
    attempt; each with its reason. Without them such a message fails like any other, so that the
    queue's own redrive policy moves it after all its attempts, and only the log has the reason.

    What a budget lacks is hidden in its queue for hours, and with its last attempt put in anew, so
    that it waits for the budget and does not become a dead letter.
    """

    allowed: AllowList
    core: Core
    dead_letters: DeadLetters | None = None
    max_receives: int = 5
    queues: Callable[[str], Queue] | None = None  # by ARN
    close: Callable[[], None] = lambda: None  # settles what the call spent
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, event: Mapping[str, Any], context: Context) -> dict[str, Any]:
        """Handle one call; answers SQS with the ids of the messages that are to come again.

        Raises `AllFailed` when no message succeeded, and for an event of SNS, which has no partial
        failures, when any failed.
        """
        deadline = time.monotonic() + context.get_remaining_time_in_millis() / 1000 - RESERVE_S
        largest = int(context.memory_limit_in_mb) * (1 << 20) // SHARE_OF_MEMORY
        items, from_queue = _items(event)
        for run in _runs(items):
            try:
                self._handle(run, deadline, largest)
            finally:
                self.close()  # nothing runs between two calls
            for item in run:
                self._bury(item)
                self._put_off(item)
        self.counts.update(o.status for item in items for o in item.outcomes)
        failed = [item for item in items if item.failed]
        for item in failed:
            _log.warning("message %s: %s", item.identifier, item.failed)
        if failed and (not from_queue or len(failed) == len(items)):
            first = failed[0].failed
            what = f"{len(failed)} of {len(items)} messages failed"
            raise AllFailed(what, "lakeq.ingest.aws_lambda", first.reason if first else "")
        return {"batchItemFailures": [{"itemIdentifier": item.identifier} for item in failed]}

    def _handle(self, items: Sequence[Item], deadline: float, largest: int) -> None:
        """Bring in what is allowed of these messages, together."""
        work: list[Event] = []
        owners: list[tuple[Item, int]] = []
        for item in items:
            item.found = parse(item.body, self.allowed.adapters)
            for found in item.found:
                outcome = self._outright(found, largest)
                item.outcomes.append(outcome or Outcome("failed", "not begun"))
                if outcome is None and isinstance(found, Event):
                    work.append(found)
                    owners.append((item, len(item.outcomes) - 1))
        if not work:
            return
        if time.monotonic() >= deadline:
            done: Sequence[Outcome] = [Outcome("failed", "no time was left")] * len(work)
        else:
            done = self.core(work, deadline)
        for (item, number), outcome in zip(owners, done, strict=True):
            item.outcomes[number] = outcome

    def _outright(self, found: Event | Refusal, largest: int) -> Outcome | None:
        """What needs no look at the object; None for an event that does."""
        if isinstance(found, Refusal):
            return Outcome("refused", found.reason)
        verdict = self.allowed.judge(found)
        if verdict.action != "take":
            return Outcome("refused" if verdict.action == "refuse" else "skipped", verdict.reason)
        if found.size is not None and found.size > largest:
            what = f"{found.uri} has {found.size:,} bytes, and this function takes {largest:,}"
            return Outcome("refused", f"{what}: give it more memory, or use a worker")
        return None

    def _bury(self, item: Item) -> None:
        """Send a message that no attempt can help to the dead letters.

        Where one of its records may still succeed, the message comes again first.
        """
        open_ = [outcome for outcome in item.outcomes if not outcome.settled]
        hopeless = {"refused", "poison"} if item.receives >= self.max_receives else {"refused"}
        if self.dead_letters and open_ and all(o.status in hopeless for o in open_):
            self.dead_letters(item.body, open_[0].reason)
            item.buried = True

    def _put_off(self, item: Item) -> None:
        """Let a message that a budget lacks wait in its queue."""
        short = any(outcome.unaffordable for outcome in item.outcomes)
        if not (short and item.failed and item.receipt and self.queues):
            return
        queue = self.queues(item.queue)
        try:
            if item.receives < self.max_receives or item.group:
                queue.hide_receipt(item.receipt, HIDE_S)
            else:
                queue.send(item.body)
                item.buried = True
        except LakeqError as error:  # it comes again by itself, sooner
            _log.warning("message %s was not put off: %s", item.identifier, error)


def _items(event: Mapping[str, Any]) -> tuple[list[Item], bool]:
    """The messages of a call, and whether they are of a queue."""
    records = event.get("Records")
    if not isinstance(records, list) or any(not isinstance(r, dict) for r in records):
        return [Item("", json.dumps(event))], False  # EventBridge, or a call by hand
    if not records or records[0].get("eventSource") != "aws:sqs":
        return [Item("", json.dumps({"Records": [record]})) for record in records], False
    return [_of_queue(record) for record in records], True


def _of_queue(record: Mapping[str, Any]) -> Item:
    identifier, body = record.get("messageId"), record.get("body")
    if not isinstance(identifier, str) or not identifier or not isinstance(body, str):
        what = "a record without messageId or body is none of SQS"
        raise UsageError(what, "the event of the call", "call the function by its queue")
    attributes = record.get("attributes") or {}
    fifo = str(record.get("eventSourceARN", "")).endswith(".fifo")
    group = str(attributes.get("MessageGroupId", "")) if fifo else ""
    receives = int(attributes.get("ApproximateReceiveCount", 1))
    receipt, arn = str(record.get("receiptHandle", "")), str(record.get("eventSourceARN", ""))
    return Item(identifier, body, group, receives, receipt, arn)


def _runs(items: Sequence[Item]) -> Iterator[list[Item]]:
    """What may be done together: all of a plain queue; of a FIFO queue one message of each group.

    After a message that failed its group waits: those behind it fail unseen, so that they come
    again behind it.
    """
    waiting = list(items)
    stopped: set[str] = set()
    while waiting:
        run: list[Item] = []
        later: list[Item] = []
        for item in waiting:
            if item.group in stopped:
                item.outcomes = [Outcome("failed", "a message before it in its group failed")]
            elif item.group and any(item.group == other.group for other in run):
                later.append(item)
            else:
                run.append(item)
        if run:
            yield run
        stopped |= {item.group for item in run if item.group and item.failed}
        waiting = later


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """What Lambda calls: `Function` as the environment says, made once in a process."""
    return _function()(event, context)


@lru_cache(maxsize=1)
def _function() -> Function:
    return from_environment(os.environ)


def from_environment(environ: Mapping[str, str]) -> Function:
    """The function for the dataset and the lake that the environment names.

    Raises `UsageError` where it names no dataset, and what settings and catalog raise.
    """
    from pathlib import Path
    from tempfile import gettempdir

    from lakeq import catalog, config
    from lakeq.ingest.books import Books
    from lakeq.ingest.core import Ingester, Options
    from lakeq.ingest.queue import Queue, url_of
    from lakeq.ingest.store import Store
    from lakeq.keys import Wanted
    from lakeq.lake import IcebergLake
    from lakeq.ledger import Ledger
    from lakeq.storage import Storage

    name = environ.get("LAKEQ_INGEST_DATASET", "")
    if not name:
        hint = "set it to a dataset of `lakeq tables`"
        raise UsageError("LAKEQ_INGEST_DATASET is not set", "the environment", hint)
    settings = config.load(environ=environ)
    dataset = catalog.load(settings.catalogs).dataset(name, "LAKEQ_INGEST_DATASET")
    tables = _list(environ.get("LAKEQ_INGEST_TABLES", "")) or None
    only = [part.partition("=") for part in environ.get("LAKEQ_INGEST_ONLY", "").split()]
    allowed = AllowList(
        [dataset],
        topics=_list(environ.get("LAKEQ_INGEST_TOPICS", "")),
        only=[Wanted({name: _list(values) for name, _, values in only})] if only else (),
        requester_pays=bool(settings.s3.requester_pays),
    )
    lake, storage = IcebergLake(settings), Storage(settings)
    books = Books(Ledger(settings), lake, storage, dataset)
    core = Ingester(lake, storage, dataset, Options(tables=tables), books)
    core.store = Store(Path(gettempdir()))  # its WAL needs a local disk, which EFS is not
    dead = environ.get("LAKEQ_INGEST_DEAD_LETTERS", "")
    return Function(
        allowed,
        core,
        Queue(dead, settings.s3).send if dead else None,
        queues=lambda arn: Queue(url_of(arn), settings.s3),
        close=books.close,
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
