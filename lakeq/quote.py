"""What a conversion costs, once and each month, and after how many queries it has paid for itself.

A lake is compared with asking the raw objects themselves each time, which reads all of them: text
that is compressed as a whole can be read no other way. All dollars are of one price book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import cost

if TYPE_CHECKING:
    from lakeq.ledger import Ledger
    from lakeq.snapshot import TableSnapshot

FILES = 8  # written for an object at the most, for the requests that this takes
READS = 16  # requests that reading an object takes at the most


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of having raw objects as tables.

    `once_usd` is what S3 asks for fetching the objects and for putting the files, `month_usd` for
    keeping them; both are 0 for a lake on a disk and objects that their owner pays for. A query of
    the raw objects reads `raw_bytes`. `lake_bytes`, what the tables take, and `query_bytes`, what a
    query of them reads, are None where nothing is known of either: `query_bytes` is then taken for
    the least that Athena bills.
    """

    raw_bytes: int
    lake_bytes: int | None
    query_bytes: int | None
    once_usd: Decimal
    month_usd: Decimal
    raw_query_usd: Decimal
    lake_query_usd: Decimal

    @property
    def saved_usd(self) -> Decimal:
        """What each query costs less; negative where the raw objects are cheaper to ask."""
        return cost.total([self.raw_query_usd, -self.lake_query_usd])

    @property
    def pays_back_after(self) -> int | None:
        """Queries that save what the conversion costs once; None where no number of them does."""
        return queries_for(self.once_usd, self.saved_usd)

    @property
    def queries_a_month(self) -> int | None:
        """Queries a month that save what keeping the files costs; None as above."""
        return queries_for(self.month_usd, self.saved_usd)

    def __str__(self) -> str:
        keeping = "an unknown sum" if self.lake_bytes is None else cost.dollars(self.month_usd)
        first = f"costs {cost.dollars(self.once_usd)} once and {keeping} a month"
        each = (
            f"a query of the raw objects costs {cost.dollars(self.raw_query_usd)} on Athena, "
            f"of the tables {cost.dollars(self.lake_query_usd)}"
            f"{' at least' if self.query_bytes is None else ''}"
        )
        after, monthly = self.pays_back_after, self.queries_a_month
        if after is None or monthly is None:
            return f"{first}; {each}: it does not pay back in dollars"
        last = f"pays back after {after:,} {'query' if after == 1 else 'queries'}"
        more = f", and {monthly:,} a month carry the files" if monthly else ""
        return f"{first}; {each}: {last}{more}"

    def to_dict(self) -> dict[str, object]:
        """The quote as JSON types; dollars keep all their digits (`cost.number`)."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values |= {"saved_usd": self.saved_usd, "pays_back_after": self.pays_back_after}
        values["queries_a_month"] = self.queries_a_month
        return cost.numbers(values)


def queries_for(usd: Decimal, saved_usd: Decimal) -> int | None:
    """How many queries save `usd` when each saves `saved_usd`: 0 of nothing, None if never."""
    if usd <= 0:
        return 0
    if saved_usd <= 0:
        return None
    whole, rest = divmod(usd, saved_usd)  # Decimal's // drops what is left
    return int(whole) + (rest > 0)


def quote(
    raw: Sequence[int],
    book: cost.PriceBook,
    *,
    signed: Sequence[int] = (),
    warehouse_on_s3: bool = False,
    lake_bytes: int | None = None,
    query_bytes: int | None = None,
) -> Quote:
    """The quote for objects of `raw` bytes each, of which those of `signed` bytes cost egress."""
    requests = cost.s3_requests_cost_usd(READS * len(signed), book)
    puts = cost.s3_puts_cost_usd(FILES * len(raw), book) if warehouse_on_s3 else Decimal(0)
    kept = lake_bytes or 0 if warehouse_on_s3 else 0
    return Quote(
        raw_bytes=sum(raw),
        lake_bytes=lake_bytes,
        query_bytes=query_bytes,
        once_usd=cost.total([cost.egress_cost_usd(sum(signed), book), requests, puts]),
        month_usd=cost.storage_cost_usd(kept, book),
        raw_query_usd=cost.athena_cost_usd(sum(raw), book),
        lake_query_usd=cost.athena_cost_usd(query_bytes or 0, book),
    )


def expected(
    dataset: str,
    raw: Sequence[int],
    ledger: Ledger,
    tables: Mapping[str, TableSnapshot],
    *,
    signed: Sequence[int],
    warehouse_on_s3: bool,
) -> Quote:
    """The quote for more objects of a dataset, from what the ledger knows of it.

    `tables` are those that the objects fill and that are in the lake already. Their bytes over
    those of the objects behind them tell what the new ones will take; the queries of the ledger
    what a query reads.
    """
    ratio = _ratio(ledger, tables)
    return quote(
        raw,
        ledger.book,
        signed=signed,
        warehouse_on_s3=warehouse_on_s3,
        lake_bytes=None if ratio is None else int(sum(raw) * ratio),
        query_bytes=_middle_query(ledger, dataset),
    )


def _ratio(ledger: Ledger, tables: Mapping[str, TableSnapshot]) -> Decimal | None:
    """Bytes of all tables over those of the raw objects behind them, where these are known."""
    known = {
        (str(row["name"]), int(str(row["snapshot"]))): int(str(row["bytes"]))
        for row in ledger.look("SELECT * FROM raw_sizes")
    }
    pairs = [
        (table.size_bytes, known.get((name, table.snapshot_id), 0))
        for name, table in tables.items()
        if table.files
    ]
    if not pairs or not all(raw for _, raw in pairs):
        return None
    return sum((Decimal(size) / raw for size, raw in pairs), Decimal(0))


def _middle_query(ledger: Ledger, dataset: str) -> int | None:
    """The median of what the queries of a dataset read, of those that ended well."""
    rows = ledger.look(
        "SELECT bytes, tables FROM lines WHERE kind = 'query' AND outcome = 'ok' AND bytes > 0"
    )
    sizes = sorted(int(str(r["bytes"])) for r in rows if f'"{dataset}.' in str(r["tables"]))
    return sizes[len(sizes) // 2] if sizes else None
