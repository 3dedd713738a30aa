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

GROWTH = 3  # bytes written for a raw one at the most: all tables of a radar volume take 2.8
NAMED = 5  # objects of an ingest that are named
S3 = ("s3://", "s3a://", "s3n://")


@contextmanager
def recorded(ledger: Ledger, kind: str, subject: str, **options: object) -> Iterator[Run]:
    """A run of `kind` that the block settles; an error that ends the block ends the run.

    Its cost is not known beforehand, so it reserves nothing: a budget stops it only when it is
    overspent already. How much a failed one has read is not known (NULL).
    """
    run = ledger.begin(kind, subject, options={k: v for k, v in options.items() if v})
    try:
        if ledger.path.parent.is_dir():  # else nothing is spent yet, and a new lake has no folder
            run.reserve(Decimal(0))
        yield run
    except BaseException as error:
        run.settle([Line(kind)], outcome_of(error), error=error)
        raise


def subject(dataset: str, objects: Sequence[object], site: str | Sequence[str]) -> str:
    """What an ingest is about: the first of its objects or sites, and how many there are."""
    sites = [site] if isinstance(site, str) and site else list(site)
    given = [str(source) for source in objects] or sites
    more = f" and {len(given) - NAMED} more" if len(given) > NAMED else ""
    return f"ingest {' '.join([dataset, *given[:NAMED]])}{more}"


class Ingest:
    """An ingest on its way through the ledger: reserved batch by batch, settled with what it took.

    Raw objects on S3 cost egress where requests for them were signed; written files cost their
    first month of storage where the warehouse is on S3, and every signed request its price.
    """

    def __init__(
        self, run: Run, lake: IcebergLake, storage: Storage, tables: Collection[Table]
    ) -> None:
        self.run = run
        self._lake = lake
        self._storage = storage
        self._tables = tuple(tables)
        self._before = (storage.tally.requests, lake.tally.requests)
        self._allowed: list[SourceObject] = []

    def allow(self, sources: Sequence[SourceObject]) -> None:
        """Set aside the most that a batch can cost; `BudgetRefused` where a budget lacks it."""
        self.run.reserve_more(self._most(sources))
        self._allowed += sources

    def _most(self, sources: Sequence[SourceObject]) -> Decimal:
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

    def settle(self, report: IngestReport) -> None:
        """End the run: raw bytes read, Parquet written, and what S3 asks for both."""
        ledger = self.run.ledger
        lines = [
            Line("ingest", report.bytes_read, len(report.objects)),
            Line("convert", report.bytes_written, report.files),
            *self._egress({o.uri: o.size_bytes for o in report.objects}),
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
        raw, made = (
            tally.requests.since(before)
            for tally, before in zip(
                (self._storage.tally, self._lake.tally), self._before, strict=True
            )
        )
        both = raw.plus(made)
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
    run: Run, report: MaintenanceReport, before: Mapping[str, int], after: Mapping[str, int]
) -> None:
    """Settle an upkeep: bytes of the files that were rewritten; raw sizes go with the tables."""
    known = _known_sizes(run.ledger)
    sizes = {
        (name, after[name]): known[name, number]
        for name, number in before.items()
        if (name, number) in known and name in after
    }
    done = sum(upkeep.bytes_before for upkeep in report.tables if upkeep.compacted)
    count = sum(upkeep.files_before for upkeep in report.tables if upkeep.compacted)
    lines = [Line("maintain", done, count)]
    run.settle(lines, seconds=report.seconds, tables=_at(after), raw_sizes=sizes)


def refreshed(run: Run, report: RefreshReport, lake: IcebergLake) -> None:
    """Settle a slice that was made again; the query that made it has a line of its own."""
    snapshots = lake.read([report.table])
    lines = [Line("maintain", report.size_bytes, report.rows)]
    lines += _stored(snapshots, report.size_bytes, run.ledger.book)
    run.settle(lines, tables=_at({report.table: report.snapshot_id}))


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
