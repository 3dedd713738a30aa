"""What a query took and cost, as its user sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from lakeq import cost
from lakeq.cost import size
from lakeq.planner import Plan


@dataclass(frozen=True, slots=True)
class Report:
    """What a query took and what that costs.

    `bytes_scanned` were read from storage, footers included: over the wire on S3, from the files
    locally. `cost_usd` is what Athena asks for a scan of so many bytes; of virtual tables, which
    Athena cannot read, it is the measure of budgets alone. `s3_cost_usd` and
    `egress_usd` are what S3 asks for the requests and for bytes that leave the bucket's region;
    both are 0 for local files and where the bucket's owner pays. Prices of `prices_date`.
    `notes` say what a reader of the rows should know, such as a slice that fell behind. `plan` is
    what was said before the query ran. `engine` ran it; `bytes_told_by` says how its bytes are
    known: "" counted read by read, "counted" as a sum, "plan" from the plan alone, or the engine's
    own word. `timings` are the engine's own, in seconds.
    """

    rows: int
    seconds: float
    bytes_scanned: int
    bytes_total: int
    files_read: int
    files_total: int
    row_groups_read: int
    row_groups_total: int
    cost_usd: Decimal
    s3_requests: int
    s3_cost_usd: Decimal
    egress_usd: Decimal
    snapshots: Mapping[str, int]
    truncated: bool
    plan: Plan
    prices_date: str
    notes: tuple[str, ...] = ()
    engine: str = "duckdb"
    bytes_told_by: str = ""
    timings: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """The report as JSON types; dollars keep all their digits (`cost.number`)."""
        names = (name for name in self.__slots__ if name != "snapshots")
        values: dict[str, object] = {name: getattr(self, name) for name in names}
        values["seconds"] = round(self.seconds, 6)
        values["notes"] = list(self.notes)
        values["timings"] = dict(self.timings)
        values["snapshots"] = dict(self.snapshots)
        values["plan"] = self.plan.to_dict()
        return cost.numbers(values)

    def __str__(self) -> str:
        rows = f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}"
        more = " (there are more: --max-rows)" if self.truncated else ""
        scanned = (
            f"scanned {size(self.bytes_scanned)} of {size(self.bytes_total)} in the tables; "
            f"{self.files_read} of {self.files_total} files, "
            f"{self.row_groups_read} of {self.row_groups_total} row groups"
        )
        where = "" if self.engine == "duckdb" else f" on {self.engine.capitalize()}"
        asked = "for this scan on Athena" if self.engine != "athena" else "asked by Athena"
        price = f"cost {cost.dollars(self.cost_usd)} {asked}"
        if self.plan.virtual:
            price = f"no price of Athena: {self.plan.not_athena}"
        lines = [f"{rows} in {self.seconds:.2f} s{where}{more}", scanned, price]
        if self.s3_requests:
            lines.append(
                f"S3: {self.s3_requests:,} requests {cost.dollars(self.s3_cost_usd)}, "
                f"out of the region {cost.dollars(self.egress_usd)}"
            )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
