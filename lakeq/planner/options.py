"""The same query in three places: DuckDB here, DuckDB in the bucket's region, Athena.

Seconds are expected ones, from the rates below; a machine that is faster or busy takes others.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from lakeq import cost

if TYPE_CHECKING:
    from lakeq.planner import Plan

# Measured by benchmarks/plan.py on 2 cores of a virtual machine; docs/benchmarks.md, "Plans".
DUCKDB_START_S = 0.06
DUCKDB_BYTES_PER_S = 120_000_000  # compressed, read and aggregated, from a local disk
# A GET of S3 takes some 30 ms to its first byte, and DuckDB has as many under way as threads.
S3_REQUEST_S = 0.03
S3_AT_ONCE = 4
# Not measured: 100 Mbit/s from the internet.
INTERNET_BYTES_PER_S = 12_500_000
# Quoted: 100 GB in 4 minutes (AWS, 2016), and a start that nobody promises.
ATHENA_START_S = 1.5
ATHENA_BYTES_PER_S = 417_000_000


HEADING = f"{'where it may run':<17} {'dollars':>19}  {'expected time':>15}  reads"


class Option(NamedTuple):
    """What the query would take in one place, at least and at the most.

    Dollars of DuckDB are those that S3 asks; the machine it runs on is not counted.
    """

    place: str
    low_bytes: int
    high_bytes: int
    low_usd: Decimal
    high_usd: Decimal
    low_seconds: float
    high_seconds: float

    def __str__(self) -> str:
        usd = _span(cost.dollars(self.low_usd), cost.dollars(self.high_usd))
        seconds = _span(_seconds(self.low_seconds), _seconds(self.high_seconds))
        size = _span(cost.size(self.low_bytes), cost.size(self.high_bytes))
        return f"{self.place:<17} {usd:>19}  {seconds:>15}  {size}"


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 100 else f"{value:,.0f} s"


def options(plan: Plan) -> tuple[Option, ...]:
    """DuckDB here, DuckDB in the region where data lies on S3, and Athena.

    Athena is left out where the query reads a virtual table.
    """
    requests = (plan.low_requests, plan.high_requests)
    s3 = [cost.s3_requests_cost_usd(count, plan.prices) for count in requests]
    egress = [
        cost.egress_cost_usd(size if plan.high_requests else 0, plan.prices)
        for size in (plan.low_bytes, plan.high_bytes)
    ]
    here = Option(
        "DuckDB here",
        plan.low_bytes,
        plan.high_bytes,
        s3[0] + egress[0],
        s3[1] + egress[1],
        *_duckdb_seconds(plan, near=not plan.high_requests),
    )
    size = plan.athena_bytes
    usd = cost.athena_cost_usd(size, plan.prices)
    seconds = ATHENA_START_S + size / ATHENA_BYTES_PER_S
    athena = [Option("Athena", size, size, usd, usd, seconds, seconds)]
    if plan.virtual:
        athena.clear()
    if not plan.high_requests:
        return here, *athena
    near = Option(
        "DuckDB in region",
        plan.low_bytes,
        plan.high_bytes,
        s3[0],
        s3[1],
        *_duckdb_seconds(plan, near=True),
    )
    return here, near, *athena


def _duckdb_seconds(plan: Plan, *, near: bool) -> tuple[float, float]:
    rate = DUCKDB_BYTES_PER_S if near else min(DUCKDB_BYTES_PER_S, INTERNET_BYTES_PER_S)

    def expected(size: int, requests: int) -> float:
        return DUCKDB_START_S + size / rate + requests * S3_REQUEST_S / S3_AT_ONCE

    low = expected(plan.low_bytes, plan.low_requests)
    return low, expected(plan.high_bytes, plan.high_requests)


def cheapest(plan: Plan) -> Option:
    """The place that asks the fewest dollars at the most; of equal ones the faster."""
    return min(options(plan), key=lambda option: (option.high_usd, option.high_seconds))
