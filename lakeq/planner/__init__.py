"""What a query will read and cost, before it runs: an interval that holds the bytes really read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

from lakeq import cost
from lakeq._packed_files import PackedFiles
from lakeq.cost import PriceBook
from lakeq.planner import options as plan_options
from lakeq.planner import tree as plan_tree
from lakeq.planner.options import Option
from lakeq.planner.reads import NOTHING, Cost, Interval
from lakeq.planner.scans import ScanCost, Scanner, many_files
from lakeq.planner.tree import Floor, Scan, Tree, UnknownPlan
from lakeq.planner.usage import Range, Usage, usage
from lakeq.snapshot import DataFile, TableSnapshot

if TYPE_CHECKING:
    from lakeq.planner.bulk import Bulk

__all__ = ["Plan", "Planned", "Planning", "Range", "TablePlan", "Usage", "make", "usage"]

UNKNOWN = '{"error": true}'  # what an engine says instead of a plan
Snapshots = Mapping[str, TableSnapshot]
NOT_ATHENA = "not on Athena: "
S3_SCHEMES = ("s3://", "s3a://", "s3n://")


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What is read of one table at the most; `columns` are its columns' bytes, largest first."""

    name: str
    files: int
    files_total: int
    row_groups: int
    row_groups_total: int
    high_bytes: int
    columns: tuple[tuple[str, int], ...]


class Cheaper(NamedTuple):
    """A query that takes less: what it leaves out, its text, and its bytes and dollars at most."""

    what: str
    sql: str
    high_bytes: int
    usd: Decimal

    def __str__(self) -> str:
        return f"{self.what}: {cost.size(self.high_bytes)}, {cost.dollars(self.usd)}: {self.sql}"


class Planning(NamedTuple):
    """What the making of a plan itself took: metadata, manifests and footers that were read.

    `requests` are those to S3, and `usd` what S3 asks for them. All are 0 where the lake's own
    copy of them was current. `index_bytes` of the bytes are of indexes that parts of virtual tables
    were chosen by: the query reads those again.
    """

    bytes: int
    requests: int
    usd: Decimal
    index_bytes: int = 0

    def __str__(self) -> str:
        if not self.bytes:
            return "planning read nothing: the lake keeps what a plan needs to know of its files"
        parts = [
            (self.bytes - self.index_bytes, "of metadata and footers"),
            (self.index_bytes, "of the index that says where pixels lie (the query reads it too)"),
        ]
        told = " and ".join(f"{cost.size(size)} {what}" for size, what in parts if size)
        noun = "request" if self.requests == 1 else "requests"
        asked = f", in {self.requests:,} S3 {noun}, {cost.dollars(self.usd)}"
        return f"planned by reading {told}{asked if self.requests else ''}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a query will read and cost.

    The bytes really read lie from `low_bytes` to `high_bytes`, if all rows are fetched. Files and
    row groups are those read at the most. `athena_bytes` is what Athena would read, by its own
    rules. Dollars are those of the price book `prices`; `egress` is what leaves the
    bucket's region when DuckDB runs outside of it, and 0 for local files. `stops` says that a LIMIT
    may end the reading anywhere in the interval; unless `bounded`, parts are read again and again,
    and the high bound is of what is likely. `advice` says where bytes are wasted, and `cheaper` has
    queries that ask for less, the cheapest last. `virtual` names tables that are made from raw
    objects while DuckDB reads: Athena cannot, so `options` leaves it out, and dollars of
    scanned bytes are no more than a measure. `planning` is what the plan itself took, None where
    nobody counted.
    """

    low_bytes: int
    high_bytes: int
    bytes_total: int
    files: int
    files_total: int
    row_groups: int
    row_groups_total: int
    low_requests: int
    high_requests: int
    athena_bytes: int
    tables: tuple[TablePlan, ...]
    prices: PriceBook
    stops: bool = False
    bounded: bool = True
    advice: tuple[str, ...] = ()
    cheaper: tuple[Cheaper, ...] = ()
    virtual: tuple[str, ...] = ()
    planning: Planning | None = None

    @property
    def exact(self) -> bool:
        """Whether the bytes are known to the byte."""
        return self.low_bytes == self.high_bytes

    @property
    def low_usd(self) -> Decimal:
        """What Athena asks for a scan of `low_bytes`, the least that the query costs."""
        return cost.athena_cost_usd(self.low_bytes, self.prices)

    @property
    def high_usd(self) -> Decimal:
        """What Athena asks for a scan of `high_bytes`: what a budget has to hold."""
        return cost.athena_cost_usd(self.high_bytes, self.prices)

    @property
    def athena_usd(self) -> Decimal:
        """What Athena would ask, for what it would read."""
        return cost.athena_cost_usd(self.athena_bytes, self.prices)

    @property
    def s3_usd(self) -> Decimal:
        """What S3 asks for the requests at the most; nothing for local files."""
        return cost.s3_requests_cost_usd(self.high_requests, self.prices)

    @property
    def egress_usd(self) -> Decimal:
        """What leaving the bucket's region costs at the most; nothing for local files."""
        return cost.egress_cost_usd(self.high_bytes if self.high_requests else 0, self.prices)

    def __str__(self) -> str:
        """What will be read and what it costs, for people."""
        if self.exact:
            amount = f"exactly {self.high_bytes:,} bytes ({cost.size(self.high_bytes)})"
        else:
            least, most = cost.size(self.low_bytes), cost.size(self.high_bytes)
            amount = f"between {self.low_bytes:,} and {self.high_bytes:,} bytes ({least} to {most})"
        more = " (more than there is: the ends of small files are read twice)"
        twice = more if self.high_bytes > self.bytes_total else ""
        groups = f"{self.row_groups:,} of {self.row_groups_total:,} row groups"
        lines = [
            f"will read {amount} of {cost.size(self.bytes_total)} in the tables{twice}",
            f"{self.files:,} of {self.files_total:,} files, {groups}",
            *([self._requests()] if self.high_requests else []),
            plan_options.HEADING,
            *map(str, self.options),
            *([f"{NOT_ATHENA}{self.not_athena}"] if self.virtual else []),
            *([str(self.planning)] if self.planning is not None else []),
            *(f"note: {line}" for line in self.advice),
            *self.told_cheaper,
        ]
        return "\n".join(lines)

    @property
    def told_cheaper(self) -> tuple[str, ...]:
        """The cheaper queries in words; some only read less, since Athena bills 10 MB at least."""
        words = {True: "cheaper", False: "reads less"}
        return tuple(f"{words[each.usd < self.athena_usd]}, {each}" for each in self.cheaper)

    def _requests(self) -> str:
        """What S3 is asked and asks, for people."""
        low, high = f"{self.low_requests:,}", f"{self.high_requests:,}"
        count = high if low == high else f"{low} to {high}"
        bill = f"{cost.dollars(self.s3_usd)}; outside of its region {cost.dollars(self.egress_usd)}"
        return f"{count} requests to S3, {bill} more for the bytes"

    @property
    def options(self) -> tuple[Option, ...]:
        """The query here, in the bucket's region and on Athena: dollars, seconds, bytes."""
        return plan_options.options(self)

    @property
    def not_athena(self) -> str:
        """Why Athena cannot run the query, and what to do; "" where it can."""
        if not self.virtual:
            return ""
        names = " and ".join(self.virtual)
        verb = "is" if len(self.virtual) == 1 else "are"
        return f"{names} {verb} virtual, materialise first (lakeq ingest … --materialize)"

    @property
    def cheapest(self) -> Option:
        """The place that asks the fewest dollars; of equal ones the faster."""
        return plan_options.cheapest(self)

    def planned_with(self, read_bytes: int, requests: int, index_bytes: int = 0) -> Plan:
        """The plan with what the making of it took; see `Planning`."""
        usd = cost.s3_requests_cost_usd(requests, self.prices)
        return replace(self, planning=Planning(read_bytes, requests, usd, index_bytes))

    def to_dict(self) -> dict[str, object]:
        """The plan as JSON types; dollars keep all their digits (`cost.number`)."""
        plain = {
            name: getattr(self, name) for name in self.__slots__ if name not in {"tables", "prices"}
        }
        dollars = ("low_usd", "high_usd", "athena_usd", "s3_usd", "egress_usd")
        return {
            **plain,
            "exact": self.exact,
            "prices_date": self.prices.date,
            **{name: cost.number(getattr(self, name)) for name in dollars},
            "options": [cost.numbers(option._asdict()) for option in self.options],
            "advice": list(self.advice),
            "virtual": list(self.virtual),
            "planning": None if self.planning is None else cost.numbers(self.planning._asdict()),
            "cheaper": [cost.numbers(each._asdict()) for each in self.cheaper],
            "tables": [
                {name: getattr(table, name) for name in table.__slots__ if name != "columns"}
                | {"columns": dict(table.columns)}
                for table in self.tables
            ],
        }


@dataclass(frozen=True, slots=True)
class Chosen:
    """What one mention of a virtual table will read: `table` is its name in the catalog.

    `bytes` in so many `requests`, of which the smallest has `first`; of so many `objects`, which
    have `total` bytes, and `blocks` of them; `columns` are bytes by column.
    """

    table: str
    bytes: int
    requests: int
    first: int
    objects: int
    blocks: int
    total: int
    columns: Mapping[str, int]
    remote: bool

    def cost(self) -> ScanCost:
        """As the cost of a scan."""
        whole = Cost(Interval(self.bytes, self.bytes), Interval(self.requests, self.requests))
        one = min(self.requests, 1)
        first = Cost(Interval(self.first, self.bytes), Interval(one, self.requests))
        return ScanCost(cost=whole, first=first, columns=dict(self.columns))

    def detail(self) -> TablePlan:
        """As a table of the plan: files are objects, row groups their blocks."""
        columns = tuple(sorted(self.columns.items(), key=lambda item: (-item[1], item[0])))
        return TablePlan(
            self.table, self.objects, self.objects, self.blocks, self.blocks, self.bytes, columns
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and the tables with only the files that its query needs.

    `again` says that the query reads the same parts again and again, so that a cache pays; `known`
    that DuckDB took the query; `counted` that its text tells how many rows it gives at the most.
    """

    plan: Plan
    tables: Snapshots
    again: bool = False
    known: bool = True
    counted: bool = False


def nothing(tables: Snapshots, book: PriceBook) -> Planned:
    """The plan of what reads no data file, such as EXPLAIN."""
    return Planned(_plan(tables, {}, Tree((), plan_tree.NOTHING), [], book), tables)


def make(
    tables: Snapshots,
    book: PriceBook,
    explain: Callable[[], str],
    *,
    stops: bool = False,
    timeless: bool = True,
    virtual: Callable[[Sequence[Scan]], Mapping[str, Chosen]] | None = None,
) -> Planned:
    """The plan of a query over `tables`; `explain` gives DuckDB's serialized plan of it.

    `stops` says that its reader may leave before the last row; unless `timeless`, the values of
    filters may be others when it runs, so they are not relied on. Where DuckDB serializes no
    plan, nothing is certain but that each table is read once at the most. `virtual` chooses what
    scans of virtual tables read, by the name of the table; those have no files.
    """
    known = True
    try:
        tree = plan_tree.read(explain(), stops=stops)
    except UnknownPlan as unknown:
        known = bool(unknown.scans)
        tree = _everything(tables, unknown.scans)
    if not timeless:
        tree = plan_tree.without_filters(tree)
    scanners = [_scanner(scan, tables[scan.table.lower()]) for scan in tree.scans]
    survivors = [scanner.survivors() for scanner in scanners]
    needed = dict(tables)  # a table that the plan does not scan stays as it is
    names = [scan.table.lower() for scan in tree.scans]
    for name in set(names):
        found = [files for other, files in zip(names, survivors, strict=True) if other == name]
        needed[name] = _only(tables[name], found)
    costs = [
        scanner.run(needed[name].files, files)
        for scanner, name, files in zip(scanners, names, survivors, strict=True)
    ]
    again = any(scan.repeated for scan in tree.scans)
    chosen = virtual(tree.scans) if virtual is not None else {}
    for number, name in enumerate(names):
        if name in chosen:
            costs[number] = chosen[name].cost()
    plan = _plan(tables, needed, tree, costs, book)
    if chosen:
        plan = _with(plan, [chosen[name] for name in dict.fromkeys(names) if name in chosen])
    return Planned(plan, needed, again, known, tree.counted)


def _with(plan: Plan, chosen: Sequence[Chosen]) -> Plan:
    """The plan with the virtual tables' parts under the catalog's names."""
    details = [table for table in plan.tables if "#" not in table.name]
    remote = any(each.remote for each in chosen)
    requests = sum(each.requests for each in chosen)
    return replace(
        plan,
        bytes_total=plan.bytes_total + sum(each.total for each in chosen),
        files=plan.files + sum(each.objects for each in chosen),
        files_total=plan.files_total + sum(each.objects for each in chosen),
        row_groups=plan.row_groups + sum(each.blocks for each in chosen),
        row_groups_total=plan.row_groups_total + sum(each.blocks for each in chosen),
        high_requests=max(plan.high_requests, requests) if remote else plan.high_requests,
        tables=(*details, *(each.detail() for each in chosen)),
        virtual=tuple(sorted({each.table for each in chosen})),
    )


def _scanner(scan: Scan, table: TableSnapshot) -> Scanner | Bulk:
    scanner = Scanner(scan, table)
    if not many_files(scanner):
        return scanner
    from lakeq.planner.bulk import Bulk

    return Bulk(scanner)


def _only(table: TableSnapshot, survivors: Sequence[Sequence[DataFile]]) -> TableSnapshot:
    """`table` with the files that one of its scans may need, in the table's order."""
    if any(len(files) == len(table.files) for files in survivors):
        return table
    if len(survivors) == 1:
        return replace(table, files=survivors[0])
    if isinstance(table.files, PackedFiles):
        chosen = {n for files in survivors if isinstance(files, PackedFiles) for n in files.numbers}
        numbers = [number for number in table.files.numbers if number in chosen]
        return replace(table, files=PackedFiles(table.files.packed, numbers))
    paths = {file.path for files in survivors for file in files}
    return replace(table, files=tuple(file for file in table.files if file.path in paths))


def _everything(tables: Snapshots, names: Sequence[str]) -> Tree:
    """Every column of every table, none of it for sure."""
    scans = tuple(
        Scan(
            name,
            tuple(plan_tree.Column(n) for n in range(len(tables[name].columns))),
            {},
            late=True,
            dynamic=True,
            sure=False,
        )
        for name in names or tables
        if name in tables
    )
    return Tree(scans, plan_tree.NOTHING)


def _plan(
    tables: Snapshots,
    needed: Snapshots,
    tree: Tree,
    costs: Sequence[ScanCost],
    book: PriceBook,
) -> Plan:
    total = NOTHING
    for each in costs:
        total += each.cost
    least = low(tree.floor, costs)
    remote = any(f.path.startswith(S3_SCHEMES) for t in needed.values() for f in t.files[:1])
    details = tuple(_details(tables, tree, costs))
    return Plan(
        low_bytes=least.bytes.low,
        high_bytes=total.bytes.high,
        bytes_total=sum(table.size_bytes for table in tables.values()),
        files=sum(table.files for table in details),
        files_total=sum(table.files_total for table in details),
        row_groups=sum(table.row_groups for table in details),
        row_groups_total=sum(table.row_groups_total for table in details),
        low_requests=least.requests.low if remote else 0,
        high_requests=total.requests.high if remote else 0,
        athena_bytes=sum(each.athena for each in costs),
        tables=details,
        prices=book,
        stops=tree.stops,
        bounded=not any(scan.repeated for scan in tree.scans),
    )


def _details(tables: Snapshots, tree: Tree, costs: Sequence[ScanCost]) -> Iterator[TablePlan]:
    for name, table in tables.items():
        mine = [
            each
            for scan, each in zip(tree.scans, costs, strict=True)
            if scan.table.lower() == name.lower()
        ]
        total = _row_groups(table.files)
        columns: dict[str, int] = {}
        for each in mine:
            for column, size in each.columns.items():
                columns[column] = columns.get(column, 0) + size
        yield TablePlan(
            name=name,
            files=_count(table, [each.files for each in mine]),
            files_total=len(table.files),
            row_groups=min(sum(each.groups for each in mine), total),
            row_groups_total=total,
            high_bytes=sum(each.cost.bytes.high for each in mine),
            columns=tuple(sorted(columns.items(), key=lambda item: (-item[1], item[0]))),
        )


def _count(table: TableSnapshot, survivors: Sequence[Sequence[DataFile]]) -> int:
    """How many different files the scans of a table need."""
    return len(_only(table, survivors).files) if survivors else 0


def _row_groups(files: Sequence[DataFile]) -> int:
    known: int | None = getattr(files, "row_groups", None)
    return sum(len(file.footer.rows) for file in files) if known is None else known


def low(floor: Floor, costs: Sequence[ScanCost], *, stopped: bool = False) -> Cost:
    """What the rule `floor` makes sure of; `stopped` when something above may stop the scans."""
    if floor.rule == "scan":
        return costs[floor.scan].first if stopped else costs[floor.scan].cost
    stopped = (stopped or floor.rule == "stop") and floor.rule != "whole"
    parts = [low(part, costs, stopped=stopped) for part in floor.parts]
    if not parts:
        return NOTHING
    if floor.rule == "least" or stopped:
        return Cost(
            Interval(min(p.bytes.low for p in parts), 0),
            Interval(min(p.requests.low for p in parts), 0),
        )
    total = NOTHING
    for part in parts:
        total += part
    return total
