"""Dollars for bytes and requests, from a dated price book; always `Decimal`, never float.

One MB is 10^6 bytes and one TB 10^12. AWS says "per TB" and "nearest megabyte" without defining
them; the published bills that our fixtures repeat (100 GB for $0.50, 60 MB for $0.0003) fit the
decimal units exactly. Were a TB 2^40 bytes, the true price would be 9 % lower: we err upwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

from lakeq.errors import UnknownName, UsageError

MB = 10**6
GB = 10**9
TB = 10**12
EXACT = Context(prec=200)  # Decimal's own 28 digits would round a long sum
PRICES = Path(__file__).with_name("prices.json")


@dataclass(frozen=True, slots=True)
class PriceBook:
    """What AWS asked on `date` in `region`, in US dollars without taxes, tiers and free quotas.

    `overrides` names the prices that the settings put in place of the book's.
    """

    date: str
    region: str
    athena_usd_per_tb: Decimal
    athena_minimum_bytes: int
    get_usd_per_1000: Decimal
    put_usd_per_1000: Decimal
    storage_usd_per_gb_month: Decimal
    egress_usd_per_gb: Decimal
    overrides: tuple[str, ...] = ()

    def price(self, name: str) -> Decimal:
        """The price of that name among `PRICES_OF`."""
        if name == "athena_minimum_mb":
            return Decimal(self.athena_minimum_bytes) / MB
        found: Decimal = getattr(self, name)
        return found

    @property
    def version(self) -> str:
        """Tells books apart: date and region, and a fingerprint of the prices where overridden."""
        if not self.overrides:
            return f"{self.date}/{self.region}"
        values = [str(getattr(self, name)) for name in self.__slots__[:-1]]
        return f"{self.date}/{self.region}+{crc32(' '.join(values).encode()):08x}"


PRICES_OF = (  # the names of prices in the book and in the settings
    "athena_usd_per_tb",
    "athena_minimum_mb",
    "get_usd_per_1000",
    "put_usd_per_1000",
    "storage_usd_per_gb_month",
    "egress_usd_per_gb",
)


def prices(overrides: Mapping[str, str] | None = None) -> PriceBook:
    """The price book that lakeq came with, with the setting `prices` on top.

    `overrides` has prices by the names of `PRICES_OF`, `region`, whose row of the book is taken,
    and `date`, when the overriding prices were read. Raises `UnknownName` for another name and
    `UsageError` for a region that the book lacks, unless every price is given.
    """
    return _prices(tuple(sorted((overrides or {}).items())))


@lru_cache(maxsize=8)
def _prices(overrides: tuple[tuple[str, str], ...]) -> PriceBook:
    given = dict(overrides)
    book = document()
    region = given.pop("region", book["default_region"])
    date = given.pop("date", book["date"])
    for name in given:
        if name not in PRICES_OF:
            raise UnknownName.among("price", name, PRICES_OF, "the settings prices.*")
    row = book["regions"].get(region, {}) | given
    missing = [name for name in PRICES_OF if name not in row]
    if missing:
        known = ", ".join(book["regions"])
        hint = f"give prices.{missing[0]} as well, or one of the regions {known}"
        raise UsageError(f"no prices are known for {region!r}", "the setting prices.region", hint)
    amounts = {name: Decimal(row[name]) for name in PRICES_OF}
    minimum = int(amounts.pop("athena_minimum_mb") * MB)
    return PriceBook(
        date=date,
        region=region,
        athena_minimum_bytes=minimum,
        overrides=tuple(given),
        **amounts,
    )


def document() -> Any:
    """The price book as it is written, with its sources."""
    return json.loads(PRICES.read_text(encoding="utf-8"))


def athena_billed_bytes(scanned_bytes: int, book: PriceBook | None = None) -> int:
    """Bytes that Athena bills for a scan: up to the next MB, and 10 MB at least."""
    book = book or prices()
    return max(-(-scanned_bytes // MB) * MB, book.athena_minimum_bytes)


def athena_cost_usd(scanned_bytes: int, book: PriceBook | None = None) -> Decimal:
    """What a query that scans so many bytes costs on Athena."""
    book = book or prices()
    return _exact(athena_billed_bytes(scanned_bytes, book) * book.athena_usd_per_tb / TB)


def athena_bytes_for(usd: Decimal, book: PriceBook | None = None) -> int:
    """The most bytes that a scan may have to cost no more than `usd`, 0 where none does.

    Athena asks for whole MB, and for 10 MB at least.
    """
    book = book or prices()
    whole = int(usd * TB / book.athena_usd_per_tb) // MB * MB
    return whole if whole >= book.athena_minimum_bytes else 0


def s3_requests_cost_usd(requests: int, book: PriceBook | None = None) -> Decimal:
    """What so many GET and HEAD requests to S3 Standard cost whoever pays for them."""
    book = book or prices()
    return _exact(requests * book.get_usd_per_1000 / 1000)


def s3_puts_cost_usd(requests: int, book: PriceBook | None = None) -> Decimal:
    """What so many PUT, POST and LIST requests to S3 Standard cost whoever pays for them."""
    book = book or prices()
    return _exact(requests * book.put_usd_per_1000 / 1000)


def egress_cost_usd(transferred_bytes: int, book: PriceBook | None = None) -> Decimal:
    """What so many bytes cost on their way out of the bucket's region to the internet."""
    book = book or prices()
    return _exact(transferred_bytes * book.egress_usd_per_gb / GB)


def storage_cost_usd(stored_bytes: int, book: PriceBook | None = None) -> Decimal:
    """What so many bytes cost for a month in S3 Standard."""
    book = book or prices()
    return _exact(stored_bytes * book.storage_usd_per_gb_month / GB)


def total(amounts: Iterable[Decimal]) -> Decimal:
    """The sum to the last digit, however many digits that takes."""
    found = Decimal(0)
    for amount in amounts:
        found = EXACT.add(found, amount)
    return found


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


def number(amount: Decimal) -> float | str:
    """`amount` as a JSON number that has exactly its digits; as text where no such number is.

    A number of Python's that JSON shows by up to 15 digits is read back as it was.

    >>> number(Decimal("0.00005")), number(Decimal("12345678901234567.89"))
    (5e-05, '12345678901234567.89')
    """
    near = float(amount)
    return near if Decimal(repr(near)) == amount else f"{amount:f}"


def numbers(values: Mapping[str, object]) -> dict[str, object]:
    """`values` with each `Decimal` as a `number`."""
    return {k: number(v) if isinstance(v, Decimal) else v for k, v in values.items()}


def _exact(amount: Decimal) -> Decimal:
    """Without an exponent of trailing zeros: 0.5, not 0.500000."""
    return amount.normalize() if amount else Decimal(0)


def size(count: int) -> str:
    """Bytes for people, in decimal units: 1.2 MB."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if value < 999.95:
            break
        value, unit = value / 1000, larger
    return f"{count} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
