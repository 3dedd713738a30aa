"""Dollars for bytes and requests, from a dated price book; always `Decimal`, never float.

One MB is 10^6 bytes and one TB 10^12. AWS says "per TB" and "nearest megabyte" without defining
them; the published bills that our fixtures repeat (100 GB for $0.50, 60 MB for $0.0003) fit the
decimal units exactly. Were a TB 2^40 bytes, the true price would be 9 % lower: we err upwards.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

MB = 10**6
GB = 10**9
TB = 10**12
PRICES = Path(__file__).with_name("prices.json")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """What AWS asked on `date` in `region`, in US dollars without taxes, tiers and free quotas."""

    date: str
    region: str
    athena_usd_per_tb: Decimal
    athena_minimum_bytes: int
    get_usd_per_1000: Decimal
    egress_usd_per_gb: Decimal


@lru_cache(maxsize=1)
def prices() -> PriceBook:
    """The price book that lakeq came with."""
    book = json.loads(PRICES.read_text(encoding="utf-8"))
    return PriceBook(
        date=book["date"],
        region=book["region"],
        athena_usd_per_tb=Decimal(book["athena"]["usd_per_tb"]),
        athena_minimum_bytes=book["athena"]["minimum_mb"] * MB,
        get_usd_per_1000=Decimal(book["s3"]["usd_per_1000_get"]),
        egress_usd_per_gb=Decimal(book["egress"]["usd_per_gb"]),
    )


def athena_billed_bytes(scanned_bytes: int, book: PriceBook | None = None) -> int:
    """Bytes that Athena bills for a scan: up to the next MB, and 10 MB at least."""
    book = book or prices()
    return max(-(-scanned_bytes // MB) * MB, book.athena_minimum_bytes)


def athena_cost_usd(scanned_bytes: int, book: PriceBook | None = None) -> Decimal:
    """What a query that scans so many bytes costs on Athena."""
    book = book or prices()
    return _exact(athena_billed_bytes(scanned_bytes, book) * book.athena_usd_per_tb / TB)


def s3_requests_cost_usd(requests: int, book: PriceBook | None = None) -> Decimal:
    """What so many GET and HEAD requests to S3 Standard cost whoever pays for them."""
    book = book or prices()
    return _exact(requests * book.get_usd_per_1000 / 1000)


def egress_cost_usd(transferred_bytes: int, book: PriceBook | None = None) -> Decimal:
    """What so many bytes cost on their way out of the bucket's region to the internet."""
    book = book or prices()
    return _exact(transferred_bytes * book.egress_usd_per_gb / GB)


def dollars(amount: Decimal) -> str:
    """`amount` for people: cents, or two significant digits of less than a dollar.

    >>> dollars(Decimal("0.5")), dollars(Decimal("0.00005")), dollars(Decimal("1234.5"))
    ('$0.50', '$0.00005', '$1,234.50')
    """
    if amount == 0 or amount >= 1:
        return f"${amount:,.2f}"
    places = max(2, 1 - amount.adjusted())
    text = f"${amount:.{places}f}"
    whole, _, part = text.partition(".")
    return f"{whole}.{part[:2]}{part[2:].rstrip('0')}"


def _exact(amount: Decimal) -> Decimal:
    """Without an exponent of trailing zeros: 0.5, not 0.500000."""
    return amount.normalize() if amount else Decimal(0)
