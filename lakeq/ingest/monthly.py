"""What it costs a month to hear of new objects and keep them, from the price book.

Computed, not measured: the traffic is given, and what each part of it takes stands here with its
reason. Dollars are exact; free tiers are left out, except for the requests to SQS that every
account has free.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from lakeq import cost
from lakeq.errors import UsageError

HOURS = 730  # of a month, as AWS counts
DAYS = Decimal(HOURS) / 24
GB = 10**9
MILLION = 1_000_000
RECEIVED_TOGETHER = 10  # messages of one request to SQS, at best
PIECE_BYTES = 64 << 10  # SQS counts each as a request of its own
POLLS_A_MONTH = HOURS * 3600 // 20  # empty ones of one worker that waits 20 s each time
CATALOG_GB = Decimal("0.1")  # of a lake whose files are on S3
ALARMS = 3  # of the template, without that of the function


@dataclass(frozen=True, slots=True)
class Traffic:
    """What comes in a day, and what is kept of it.

    `messages` reach the queue; `objects` of them are ingested, in `commits` that each put
    `puts` objects into the warehouse and get `gets`. `lake_bytes` is what a day adds to the lake.
    """

    messages: int
    objects: int
    commits: int
    puts: int
    gets: int
    lake_bytes: int
    message_bytes: int = 2_000


@dataclass(frozen=True, slots=True)
class Setting:
    """Where it runs: a machine with a lake on its own disk or on S3, or Lambda."""

    function_gb_s: Decimal | None = None  # of one object; None is a machine
    on_s3: bool = False
    kept_days: int = 30


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill."""

    what: str
    amount: Decimal
    unit: str
    usd: Decimal


def lines(traffic: Traffic, setting: Setting, book: cost.PriceBook | None = None) -> Iterator[Line]:
    """The lines of a month's bill, in the order of the way; their sum is the bill."""
    book = book or cost.prices()
    live = cost.document()["live"]
    if book.region not in ("us-east-1", "us-east-2", "us-west-2"):
        hint = "its queues and machines are priced elsewhere: see the pages named in prices.json"
        raise UsageError(f"no prices of a queue are known for {book.region!r}", "prices", hint)
    yield _requests(traffic, setting, live)
    if setting.function_gb_s is None:
        yield _line("machine", Decimal(HOURS), "hours", live, "machine_usd_per_hour")
    else:
        calls = DAYS * traffic.messages / RECEIVED_TOGETHER
        work = DAYS * traffic.objects * setting.function_gb_s
        yield _line("Lambda, calls", calls / MILLION, "million", live, "lambda_usd_per_million")
        yield _line("Lambda, work", work, "GB-s", live, "lambda_usd_per_gb_s")
        yield _line("EFS", CATALOG_GB, "GB", live, "efs_usd_per_gb_month")
    stored = Decimal(traffic.lake_bytes * setting.kept_days) / GB
    if setting.on_s3:
        puts, gets = (DAYS * traffic.commits * each for each in (traffic.puts, traffic.gets))
        yield Line("S3, put", puts, "requests", puts / 1000 * book.put_usd_per_1000)
        yield Line("S3, get", gets, "requests", gets / 1000 * book.get_usd_per_1000)
        yield Line("S3, kept", stored, "GB", stored * book.storage_usd_per_gb_month)
    else:
        yield _line("disk", stored, "GB", live, "disk_usd_per_gb_month")
    yield _line("alarms", Decimal(ALARMS), "alarms", live, "alarm_usd_per_month")


def total_usd(traffic: Traffic, setting: Setting, book: cost.PriceBook | None = None) -> Decimal:
    """The sum of `lines`."""
    return sum((line.usd for line in lines(traffic, setting, book)), Decimal())


def _requests(traffic: Traffic, setting: Setting, live: dict[str, Any]) -> Line:
    """Each message is sent, received and deleted, the last two ten at a time; and empty polls."""
    pieces = -(-traffic.message_bytes // PIECE_BYTES)
    each = Decimal(pieces) + Decimal(2) / RECEIVED_TOGETHER
    pollers = 1 if setting.function_gb_s is None else 5  # Lambda begins with five
    requests = DAYS * traffic.messages * each + pollers * POLLS_A_MONTH
    paid = max(Decimal(), requests - Decimal(live["free_sqs_requests"]))
    return Line("SQS", requests, "requests", paid / MILLION * Decimal(live["sqs_usd_per_million"]))


def _line(what: str, amount: Decimal, unit: str, live: dict[str, Any], price: str) -> Line:
    return Line(what, amount, unit, amount * Decimal(live[price]))
