"""Ingests, upkeep and slices in the ledger: begun before they work, settled with what they did."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import cost, quote
from lakeq.errors import BudgetRefused
from lakeq.ledger import Ledger, Line, Run, Scanned, outcome_of

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.convert import IngestReport
    from lakeq.lake import IcebergLake
    from lakeq.maintain import MaintenanceReport
    from lakeq.refresh import RefreshReport
    from lakeq.snapshot import TableSnapshot
    from lakeq.storage import SourceObject, Storage
    from lakeq.storage.tally import Requests

GROWTH = 3  # bytes written for a raw one at the most: all tables of a radar volume take 2.8
NAMED = 5  # objects of an ingest that are named
S3 = ("s3://", "s3a://", "s3n://")


class Upkeep:
    """Upkeep, a slice or a check on its way through the ledger.

    What it reads of a lake on S3 costs its way out, what it writes a month, and every request its
    price; on a disk all of it is free. Set aside step by step, before each is taken.
    """

    def __init__(self, run: Run, lake: IcebergLake) -> None:
        self.run = run
        self._lake = lake
        self._before = lake.tally.requests
        self._told_before = lake.tally.bytes_read
        self._out_bytes = self._reads = self._written_bytes = 0

    def allow(self, read_bytes: int, written_bytes: int, reads: int, writes: int = 0) -> None:
        """Set aside the most that so much can cost; `BudgetRefused` where a budget lacks it.

        `reads` are requests at the price of a GET, `writes` at that of a PUT.
        """
        if not self._lake.is_on_s3:
            return
        book = self.run.ledger.book
        most = [
            cost.egress_cost_usd(read_bytes, book),
            cost.storage_cost_usd(written_bytes, book),
            cost.s3_requests_cost_usd(reads, book),
            cost.s3_puts_cost_usd(writes, book),
        ]
        self.run.reserve_more(cost.total(most))

    def took(self, read_bytes: int, requests: int = 0) -> None:
        """So many bytes were read, in so many requests, by others than the lake itself."""
        if self._lake.is_on_s3:
            self._out_bytes += read_bytes
            self._reads += requests

    def wrote(self, written_bytes: int) -> None:
        """So many bytes were written."""
        if self._lake.is_on_s3:
            self._written_bytes += written_bytes

    def lines(self) -> Iterator[Line]:
        """What S3 asks for all of it."""
        book = self.run.ledger.book
        made = self._lake.tally.requests.since(self._before)
        gets, puts = made.signed_gets + self._reads, made.signed_puts
        if gets + puts:
            usd = [cost.s3_requests_cost_usd(gets, book), cost.s3_puts_cost_usd(puts, book)]
            yield Line("request", None, gets + puts, cost.total(usd))
        out_bytes = self._out_bytes
        if self._lake.is_on_s3:  # metadata and footers, as the lake reads them
            out_bytes += self._lake.tally.bytes_read - self._told_before
        if out_bytes:
            yield Line("egress", out_bytes, None, cost.egress_cost_usd(out_bytes, book))
        if self._written_bytes:
            month = cost.storage_cost_usd(self._written_bytes, book)
            yield Line("storage", self._written_bytes, None, month)


@contextmanager
def upkeeping(ledger: Ledger, subject: str, lake: IcebergLake) -> Iterator[Upkeep]:
    """Upkeep that the block settles; an error that ends the block ends the run."""
    upkeep = Upkeep(ledger.begin("maintain", subject), lake)
    try:
        if ledger.path.parent.is_dir():  # else nothing is spent yet, and a new lake has no folder
            upkeep.run.reserve(Decimal(0))  # a budget that is overspent lets nothing begin
        yield upkeep
    except BaseException as error:
        outcome = "refused" if _read_nothing(error, upkeep) else outcome_of(error)
        upkeep.run.settle([Line("maintain"), *upkeep.lines()], outcome, error=error)
        raise


def _read_nothing(error: BaseException, upkeep: Upkeep) -> bool:
    return isinstance(error, BudgetRefused) and not any(
        line.bytes or line.kind == "request" for line in upkeep.lines()
    )


def subject(dataset: str, objects: Sequence[object], site: str | Sequence[str]) -> str:
    """What an ingest is about: the first of its objects or sites, and how many there are."""
    sites = [site] if isinstance(site, str) and site else list(site)
    given = [str(source) for source in objects] or sites
    more = f" and {len(given) - NAMED} more" if len(given) > NAMED else ""
    return f"ingest {' '.join([dataset, *given[:NAMED]])}{more}"


class Requested:
    """Requests to S3 of a storage and a lake: each is taken once, by whoever settles next."""

    def __init__(self, lake: IcebergLake, storage: Storage) -> None:
        self._tallies = (storage.tally, lake.tally)
        self._taken = [tally.requests for tally in self._tallies]

    def take(self) -> Requests:
        """Those since the last time."""
        now = [tally.requests for tally in self._tallies]
        raw, made = (new.since(old) for new, old in zip(now, self._taken, strict=True))
        self._taken = now
        return raw.plus(made)


class Ingest:
    """An ingest on its way through the ledger: reserved batch by batch, settled with what it took.

    Raw objects on S3 cost egress where requests for them were signed; written files cost their
    first month of storage where the warehouse is on S3, and every signed request its price.
    """

    def __init__(
        self,
        run: Run,
        lake: IcebergLake,
        storage: Storage,
        tables: Collection[Table],
        requested: Requested | None = None,
    ) -> None:
        self.run = run
        self._lake = lake
        self._storage = storage
        self._tables = tuple(tables)
        self._requested = requested or Requested(lake, storage)
        self._allowed: list[SourceObject] = []

    def allow(self, sources: Sequence[SourceObject]) -> None:
        """Set aside the most that a batch can cost; `BudgetRefused` where a budget lacks it."""
        self.run.reserve_more(self.most(sources))
        self._allowed += sources

    def most(self, sources: Sequence[SourceObject]) -> Decimal:
        """The most that fetching, writing and a month of keeping these can cost."""
        book = self.run.ledger.book
        asked = quote.quote(
            [source.size_bytes for source in sources],
            book,
            signed=[s.size_bytes for s in sources if self._is_ours(s.uri)],
            warehouse_on_s3=self._lake.is_on_s3,
            lake_bytes=GROWTH * sum(source.size_bytes for source in sources),
        )
        return cost.total([asked.once_usd, asked.month_usd])

    def _is_ours(self, uri: str) -> bool:
        return uri.startswith(S3) and self._storage.is_signed(uri, self._tables)

    def settle(self, report: IngestReport, failed: Mapping[str, int] | None = None) -> None:
        """End the run: raw bytes read, Parquet written, and what S3 asks for both.

        `failed` are further objects, with their bytes, that count as fetched.
        """
        ledger = self.run.ledger
        lines = [
            Line("ingest", report.bytes_read, len(report.objects)),
            Line("convert", report.bytes_written, report.files),
            *self._egress({**(failed or {}), **{o.uri: o.size_bytes for o in report.objects}}),
            *self._requests(),
        ]
        snapshots = self._lake.read(list(report.snapshots))
        lines += _stored(snapshots, report.bytes_written, ledger.book)
        objects = {o.uri: o.size_bytes for o in report.objects}
        self.run.settle(
            lines,
            seconds=report.seconds,
            tables=_at(report.snapshots),
            raw_sizes=_raw_sizes(ledger, snapshots, report.snapshots, objects),
            objects=objects,
        )

    def failed(self, error: BaseException) -> None:
        """End the run by `error`: all that it was allowed to fetch counts as fetched."""
        egress = self._egress({s.uri: s.size_bytes for s in self._allowed})
        lines = [Line("ingest"), *egress, *self._requests()]
        refused = isinstance(error, BudgetRefused) and not self._allowed
        self.run.settle(lines, "refused" if refused else outcome_of(error), error=error)

    def _egress(self, sizes: Mapping[str, int]) -> Iterator[Line]:
        remote = {uri: size for uri, size in sizes.items() if uri.startswith(S3)}
        if remote:
            billed = sum(size for uri, size in remote.items() if self._is_ours(uri))
            usd = cost.egress_cost_usd(billed, self.run.ledger.book)
            yield Line("egress", sum(remote.values()), None, usd)

    def _requests(self) -> Iterator[Line]:
        both = self._requested.take()
        if both.gets + both.puts:
            book = self.run.ledger.book
            gets = cost.s3_requests_cost_usd(both.signed_gets, book)
            puts = cost.s3_puts_cost_usd(both.signed_puts, book)
            yield Line("request", None, both.gets + both.puts, cost.total([gets, puts]))


@contextmanager
def ingesting(
    ledger: Ledger,
    subject: str,
    lake: IcebergLake,
    storage: Storage,
    tables: Collection[Table],
) -> Iterator[Ingest]:
    """An ingest that the block settles; an error that ends the block ends the run."""
    ingest = Ingest(ledger.begin("ingest", subject), lake, storage, tables)
    try:
        if ledger.path.parent.is_dir():  # a budget that is overspent lets nothing be listed
            ingest.run.reserve(Decimal(0))
        yield ingest
    except BaseException as error:
        ingest.failed(error)
        raise


def maintained(
    upkeep: Upkeep,
    report: MaintenanceReport,
    before: Mapping[str, int],
    after: Mapping[str, int],
) -> None:
    """Settle an upkeep: bytes of the files that were rewritten; raw sizes go with the tables."""
    run = upkeep.run
    known = _known_sizes(run.ledger)
    sizes = {
        (name, after[name]): known[name, number]
        for name, number in before.items()
        if (name, number) in known and name in after
    }
    done = sum(upkept.bytes_before for upkept in report.tables if upkept.compacted)
    count = sum(upkept.files_before for upkept in report.tables if upkept.compacted)
    lines = [Line("maintain", done, count), *upkeep.lines()]
    run.settle(lines, seconds=report.seconds, tables=_at(after), raw_sizes=sizes)


def refreshed(upkeep: Upkeep, report: RefreshReport) -> None:
    """Settle a slice that was made again; the query that made it has a line of its own."""
    lines = [Line("maintain", report.size_bytes, report.rows), *upkeep.lines()]
    upkeep.run.settle(lines, tables=_at({report.table: report.snapshot_id}))


def verified(upkeep: Upkeep, bytes_read: int, files: int, seconds: float) -> None:
    """Settle a check: bytes and files that it read."""
    lines = [Line("maintain", bytes_read, files), *upkeep.lines()]
    upkeep.run.settle(lines, seconds=seconds)


def snapshots_of(lake: IcebergLake, names: Sequence[str]) -> dict[str, int]:
    """The snapshots of the tables among `names` that are in the lake."""
    present = set(lake.tables())
    found = lake.read([name for name in names if name in present])
    return {name: table.snapshot_id for name, table in found.items()}


def _at(snapshots: Mapping[str, int]) -> dict[str, Scanned]:
    return {name: Scanned(number, 0, 0) for name, number in snapshots.items()}


def _stored(
    snapshots: Mapping[str, TableSnapshot], written: int, book: cost.PriceBook
) -> list[Line]:
    paths = [table.files[0].path for table in snapshots.values() if table.files]
    if not written or not paths or not paths[0].startswith(S3):
        return []
    return [Line("storage", written, None, cost.storage_cost_usd(written, book))]


def _raw_sizes(
    ledger: Ledger,
    snapshots: Mapping[str, TableSnapshot],
    made: Mapping[str, int],
    objects: Mapping[str, int],
) -> dict[tuple[str, int], int]:
    """Bytes of the objects behind each table; left out where one of them is not known."""
    sizes = _known_objects(ledger) | dict(objects)
    found = {}
    for name, table in snapshots.items():
        sources = {file.source for file in table.files}
        if table.snapshot_id == made[name] and sources <= sizes.keys():
            found[name, table.snapshot_id] = sum(sizes[str(source)] for source in sources)
    return found


def _known_objects(ledger: Ledger) -> dict[str, int]:
    rows = ledger.look("SELECT uri, bytes FROM objects")
    return {str(row["uri"]): int(str(row["bytes"])) for row in rows}


def _known_sizes(ledger: Ledger) -> dict[tuple[str, int], int]:
    rows = ledger.look("SELECT * FROM raw_sizes")
    return {(str(r["name"]), int(str(r["snapshot"]))): int(str(r["bytes"])) for r in rows}
