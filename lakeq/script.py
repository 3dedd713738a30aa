"""Several statements with one bill: planned together, refused together, summed to the last digit.

Each statement is a query of its own to the guard, the ledger and Athena, which rounds each up to
the next MB and bills 10 MB for it at least. So the bill is the sum of the statements' bills, never
the bill of the summed bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import cost, limits
from lakeq._query_text import mentioned
from lakeq.config import Limits
from lakeq.errors import BudgetRefused, UnknownName

if TYPE_CHECKING:
    from lakeq.ledger import Ledger
    from lakeq.planner import Plan
    from lakeq.query import Report, Result

Values = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Bill:
    """What several statements took: sums of what each took, and of what each is billed."""

    statements: int
    bytes_scanned: int
    cost_usd: Decimal
    s3_cost_usd: Decimal
    egress_usd: Decimal
    seconds: float

    @classmethod
    def of(cls, reports: Sequence[Report]) -> Bill:
        """The bill of these."""
        return cls(
            len(reports),
            sum(report.bytes_scanned for report in reports),
            cost.total(report.cost_usd for report in reports),
            cost.total(report.s3_cost_usd for report in reports),
            cost.total(report.egress_usd for report in reports),
            sum(report.seconds for report in reports),
        )

    @property
    def total_usd(self) -> Decimal:
        """Scan, requests and egress together, as a budget counts them."""
        return cost.total([self.cost_usd, self.s3_cost_usd, self.egress_usd])

    def __str__(self) -> str:
        count = f"{self.statements} statements"
        s3 = cost.total([self.s3_cost_usd, self.egress_usd])
        more = f", {cost.dollars(s3)} of S3" if s3 else ""
        scanned = f"{cost.size(self.bytes_scanned)} scanned"
        usd = f"{cost.dollars(self.cost_usd)} on Athena{more}"
        return f"{count}: {scanned}, {usd}, {self.seconds:.1f} s"

    def to_dict(self) -> dict[str, object]:
        """The bill as JSON types; dollars keep all their digits (`cost.number`)."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["total_usd"] = self.total_usd
        return cost.numbers(values)


class Script:
    """The results of several statements, in turn; `bill` sums those that were taken."""

    def __init__(
        self,
        statements: Sequence[str],
        parameters: Values,
        plan: Callable[[str, Values], Plan],
        ask: Callable[[str, Values, Limits], Result],
        most: Limits,
        ledger: Ledger,
    ) -> None:
        self.statements = tuple(statements)
        self._values = [mentioned(sql, parameters) for sql in self.statements]
        for name in parameters:
            if not any(name in values for values in self._values):
                raise UnknownName.among("parameter", name, (), "the script")
        self._plan = plan
        self._ask = ask
        self._most = most
        self._ledger = ledger
        self._reports: list[Report] = []

    def plans(self) -> tuple[Plan, ...]:
        """What each statement would read and cost; reads no data file."""
        pairs = zip(self.statements, self._values, strict=True)
        return tuple(self._plan(sql, values) for sql, values in pairs)

    def __iter__(self) -> Iterator[Result]:
        """Run one after the other; each result is to be read before the next is asked for.

        `BudgetRefused` before anything is read when all of them may together pass a limit or a
        budget, and later for a statement when those before it left too little.
        """
        self._allow(self.plans())
        for sql, values in zip(self.statements, self._values, strict=True):
            result = self._ask(sql, values, self._left())
            try:
                yield result
            finally:
                result.close()
            self._reports.append(result.report)

    @property
    def bill(self) -> Bill:
        """Of the statements that ran."""
        return Bill.of(self._reports)

    def _allow(self, plans: Sequence[Plan]) -> None:
        lowest = cost.total(plan.low_usd if plan.stops else plan.high_usd for plan in plans)
        size = sum(plan.low_bytes if plan.stops else plan.high_bytes for plan in plans)
        words = limits.passed_by(self._most, lowest, size, f"its {len(plans)} statements")
        if words:
            what = "refused before anything was read, at no cost: " + "; ".join(words)
            raise BudgetRefused(what, "the script", "raise the limit, or ask for less")
        usd = cost.total(x for p in plans for x in (p.high_usd, p.s3_usd, p.egress_usd))
        refusal = self._ledger.lacks(usd)
        if refusal is not None:
            raise refusal

    def _left(self) -> Limits:
        """What the statements before left of the limits."""
        bill, most = self.bill, self._most
        left = replace(most)
        if most.max_usd is not None:
            left = replace(left, max_usd=max(Decimal(0), most.max_usd - bill.cost_usd))
        if most.max_bytes is not None:
            left = replace(left, max_bytes=max(0, most.max_bytes - bill.bytes_scanned))
        if most.max_seconds is not None:
            left = replace(left, max_seconds=max(0.001, most.max_seconds - bill.seconds))
        return left
