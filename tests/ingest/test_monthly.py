"""What a month costs: the table of docs/how-to/live.md, computed again."""

from __future__ import annotations

import os
import re
from decimal import ROUND_HALF_UP, Decimal

import pytest

from lakeq import cost
from lakeq.errors import UsageError
from lakeq.ingest.monthly import Setting, Traffic, lines, total_usd
from tests.support.data import ROOT

PAGE = ROOT / "docs" / "how-to" / "live.md"
VOLUMES = 240  # a day of one site: one every six minutes
CHUNKS = 70  # of a volume
SITES = 160
RAW_BYTES = 9_000_000
LAKE_BYTES = int(RAW_BYTES * Decimal("2.8"))  # rays 1.1, gates 1.6, grid and the rest 0.1
ARCHIVE = Traffic(VOLUMES * SITES, VOLUMES, VOLUMES, 25, 40, VOLUMES * LAKE_BYTES)
BOTH = Traffic(
    messages=ARCHIVE.messages + VOLUMES * CHUNKS,
    objects=VOLUMES * (CHUNKS + 1),
    commits=VOLUMES * (CHUNKS // 4 + 1),  # chunks that come together are committed together
    puts=27,
    gets=100,
    lake_bytes=VOLUMES * LAKE_BYTES,
)
COLUMNS = (
    (BOTH, Setting()),
    (ARCHIVE, Setting(on_s3=True)),
    (BOTH, Setting(on_s3=True)),
    (ARCHIVE, Setting(on_s3=True, function_gb_s=Decimal(3 * 15))),  # 15 s with 3 GB a volume
)


def cents(usd: Decimal) -> str:
    return f"${usd.quantize(Decimal('0.01'), ROUND_HALF_UP)}"


def table() -> str:
    """The rows of the page: what, and dollars by column."""
    columns = [{line.what: cents(line.usd) for line in lines(*given)} for given in COLUMNS]
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    rows.append(["**sum**", *(f"**{cents(total_usd(*given))}**" for given in COLUMNS)])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows).replace("|  |", "| |")


def test_the_page_says_what_the_price_book_says() -> None:
    text = PAGE.read_text()
    found = re.search(r"(\|---\|---\|---\|---\|---\|\n)(.*?)(<!-- end -->)", text, re.DOTALL)
    assert found is not None
    if os.environ.get("WRITE_DOCS"):
        PAGE.write_text(text[: found.start(2)] + table() + text[found.end(2) :])
        return
    assert found[2] == table()


def test_the_bill_by_hand() -> None:
    """60,000 messages a day of 30.4 days: 1.2 requests each and 131,400 polls, a million free."""
    traffic = Traffic(60_000, 1000, 1000, 10, 10, 10**9)
    bill = {line.what: line.usd for line in lines(traffic, Setting(on_s3=True))}
    days = Decimal(730) / 24
    requests = days * 60_000 * Decimal("1.2") + 131_400
    assert bill["SQS"] == (requests - 1_000_000) / 1_000_000 * Decimal("0.40")
    assert bill["machine"] == Decimal("15.184")
    assert bill["S3, put"] == days * 10_000 / 1000 * Decimal("0.005")
    assert bill["S3, get"] == days * 10_000 / 1000 * Decimal("0.0004")
    assert bill["S3, kept"] == Decimal(30) * Decimal("0.023")
    assert total_usd(traffic, Setting(on_s3=True)) == sum(bill.values())


def test_few_messages_are_free_and_long_ones_count_more() -> None:
    few = Traffic(100, 100, 100, 10, 10, 10**6)
    assert next(lines(few, Setting())).usd == 0
    long = Traffic(60_000, 0, 0, 0, 0, 0, message_bytes=100_000)
    short = Traffic(60_000, 0, 0, 0, 0, 0)
    assert next(lines(long, Setting())).amount - next(lines(short, Setting())).amount == (
        Decimal(730) / 24 * 60_000
    )


def test_a_region_without_prices_says_so() -> None:
    names = dict.fromkeys(cost.PRICES_OF, "1")
    book = cost.prices({"region": "eu-north-1", **names})
    with pytest.raises(UsageError, match="eu-north-1"):
        total_usd(ARCHIVE, Setting(), book)
