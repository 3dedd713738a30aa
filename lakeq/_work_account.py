"""Ingests, upkeep and slices in the ledger: begun before they work, settled with what they did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import cost
from lakeq.ledger import Ledger, Line, Run, Scanned, outcome_of

if TYPE_CHECKING:
    from lakeq.convert import IngestReport
    from lakeq.lake import IcebergLake
    from lakeq.maintain import MaintenanceReport
    from lakeq.refresh import RefreshReport
    from lakeq.snapshot import TableSnapshot

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


def ingested(
    run: Run, report: IngestReport, lake: IcebergLake, is_signed: Callable[[str], bool]
) -> None:
    """Settle an ingest: raw bytes read, Parquet written, and what S3 asks for them.

    Raw objects on S3 cost egress where requests for them were signed; written files cost their
    first month of storage where the warehouse is on S3.
    """
    book = run.ledger.book
    remote = sum(o.size_bytes for o in report.objects if o.uri.startswith(S3))
    lines = [
        Line("ingest", report.bytes_read, len(report.objects)),
        Line("convert", report.bytes_written, report.files),
    ]
    if remote:
        signed = [o for o in report.objects if o.uri.startswith(S3) and is_signed(o.uri)]
        billed = sum(o.size_bytes for o in signed)
        lines.append(Line("egress", remote, None, cost.egress_cost_usd(billed, book)))
    snapshots = lake.read(list(report.snapshots))
    lines += _stored(snapshots, report.bytes_written, book)
    objects = {o.uri: o.size_bytes for o in report.objects}
    run.settle(
        lines,
        seconds=report.seconds,
        tables=_at(report.snapshots),
        raw_sizes=_raw_sizes(run.ledger, snapshots, report.snapshots, objects),
        objects=objects,
    )


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
