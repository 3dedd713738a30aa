"""A lake's tables moved to S3 and Glue: files copied once, then all tables switched in one commit.

What was copied and not yet committed is found by the next try, so a publish that was stopped goes
on where it was; until its commit the destination is as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import cost
from lakeq.errors import NotFound, UsageError
from lakeq.lake.versions import Claim

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile

    from lakeq.lake import IcebergLake
    from lakeq.lake.pointers import Checksum
    from lakeq.lake.publish import Copy

SENDERS = 8  # threads; S3 takes a PUT of some MB in a tenth of a second
Progress = Callable[[str, int, int], None]  # table, its bytes copied so far, of how many
METADATA_PUTS = 3  # for each table: manifest, list of manifests, metadata
COMMIT_PUTS = 6  # the log's entry and end, and listings of it
GLUE_REQUESTS = 4  # for each table: looked up twice, moved on, its database made


@dataclass(frozen=True, slots=True)
class TablePublished:
    """One table: its files and bytes, those that the destination lacked, and rows.

    `snapshot_id` is the destination's, 0 in a dry run.
    """

    table: str
    files: int
    size_bytes: int
    rows: int
    new_files: int
    new_bytes: int
    dropped_files: int
    snapshot_id: int = 0


@dataclass(frozen=True, slots=True)
class PublishReport:
    """What was published, or would be; `sent_bytes` went over the network.

    `puts` are requests at the price of a PUT, `glue_requests` those to Glue, of which the first
    million of a month is free. `month_usd` is what the destination's storage costs more.
    """

    destination: str
    tables: tuple[TablePublished, ...]
    sent_files: int
    sent_bytes: int
    puts: int
    glue_requests: int
    request_usd: Decimal
    month_usd: Decimal
    seconds: float
    dry_run: bool

    def __str__(self) -> str:
        done = "would copy" if self.dry_run else "copied"
        rows = sum(table.rows for table in self.tables)
        return (
            f"{self.destination}: {len(self.tables)} tables, {rows:,} rows; {done}"
            f" {self.sent_files:,} files, {cost.size(self.sent_bytes)}; {self.puts:,} PUTs,"
            f" {self.glue_requests:,} requests to Glue: {cost.dollars(self.request_usd)};"
            f" storage {cost.dollars(self.month_usd)} more a month; {self.seconds:.1f} s"
        )


def publish(
    lake: IcebergLake,
    target: IcebergLake,
    names: Collection[str],
    *,
    prices: Mapping[str, str] | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PublishReport:
    """Publish the tables `names` of `lake` in `target`; see `Lake.publish`."""
    began = time.perf_counter()
    copies = _copies(lake, target, names)
    sending = _Sending(lake, target, progress)
    snapshots: dict[str, int] = {}
    if dry_run:
        sending.look(copies)
    else:
        target.create()
        sums = sending.all(copies)
        snapshots = _commit(target, copies, sums, _claims(lake, target, names))
        _tell_ways(lake, target, names)
    return _report(target, copies, snapshots, sending, began, prices, dry_run=dry_run)


def _copies(lake: IcebergLake, target: IcebergLake, names: Collection[str]) -> list[Copy]:
    """What there is to publish; nothing is written before all of it is known to be in order."""
    from lakeq.lake.commit import load_metadata
    from lakeq.lake.publish import copy_of

    present = lake.metadata_files()
    for name in names:
        if name not in present:
            raise NotFound(f"table {name} is not in the lake", lake.place, "see: lakeq tables")
    if not names:
        raise UsageError("the lake has no tables to publish", lake.place, "ingest into it first")
    there = target.pointers.taken(names)
    copies = []
    for name in names:
        at = there.get(name)
        known = load_metadata(target.files(), at) if at else None
        metadata = load_metadata(lake.files(), present[name])
        place = (target.files(), target.place, known)
        copies.append(copy_of(lake.files(), name, metadata, place))
    return copies


def _commit(
    target: IcebergLake,
    copies: Sequence[Copy],
    sums: Mapping[str, Checksum],
    claims: Mapping[str, Sequence[Claim]],
) -> dict[str, int]:
    from lakeq.lake.publish import stage_copy

    with target.session() as session:
        staged = target.persist(
            lambda: target.switch(
                lambda staging: [stage_copy(staging, copy) for copy in copies],
                session,
                sums,
                claims,
            )
        )
    return {state.name: state.snapshot_id for state in staged}


class _Sending:
    """Files on their way, in several threads; what one of them fails of, all do."""

    def __init__(self, lake: IcebergLake, target: IcebergLake, progress: Progress | None) -> None:
        self._lake, self._target = lake, target
        self._progress = progress or (lambda _table, _bytes, _of: None)
        self.files = self.bytes = 0

    def look(self, copies: Sequence[Copy]) -> None:
        """Count what would be sent: what neither the tables name nor a stopped try left."""
        files = self._target.files()
        for copy in copies:
            folder = f"{self._target.place}/{copy.name.replace('.', '/')}"
            present = dict(files.listed(folder))
            missing = [file for file, path in copy.new if path not in present]
            self.files += len(missing)
            self.bytes += sum(file.file_size_in_bytes for file in missing)

    def all(self, copies: Sequence[Copy]) -> dict[str, Checksum]:
        """Send what is missing; the checksums by the paths in the destination."""
        known = self._lake.pointers.checksums()
        sums: dict[str, Checksum] = {}
        for copy in copies:
            sums |= self._table(copy, known)
        return sums

    def _table(self, copy: Copy, known: Mapping[str, Checksum]) -> dict[str, Checksum]:
        from lakeq.lake.publish import send

        source, target = self._lake.files(), self._target.files()
        new = list(copy.new)
        total = sum(file.file_size_in_bytes for file, _ in new)
        sums: dict[str, Checksum] = {}
        done = 0

        def sent(pair: tuple[DataFile, str]) -> tuple[Checksum, bool]:
            path, place = pair[0].file_path, pair[1]
            return send(source, path, target, place, known.get(path))

        with ThreadPoolExecutor(SENDERS) as pool:
            try:
                for (file, path), (checksum, went) in zip(new, pool.map(sent, new), strict=True):
                    sums[path] = checksum._replace(mtime_ns=None)
                    done += file.file_size_in_bytes
                    self.files += went
                    self.bytes += file.file_size_in_bytes if went else 0
                    self._progress(copy.name, done, total)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return sums


def _claims(
    lake: IcebergLake, target: IcebergLake, names: Collection[str]
) -> dict[str, list[Claim]]:
    """The versions of objects that published tables hold, where the destination's differ."""
    claims: dict[str, list[Claim]] = {}
    for dataset in sorted({name.partition(".")[0] for name in names}):
        tables = {name.partition(".")[2] for name in names if name.startswith(f"{dataset}.")}
        there = {version.uri: version for version in target.all_versions(dataset)}
        for version in lake.all_versions(dataset):
            held = there.get(version.uri)
            wanted = replace(version, tables=version.tables & tables)
            known = held and (held.etag, held.version_id, held.removed, held.tables)
            new = (wanted.etag, wanted.version_id, wanted.removed, wanted.tables)
            if (wanted.tables or wanted.removed) and known != new:
                claims.setdefault(dataset, []).append(Claim(wanted))
    return claims


def _tell_ways(lake: IcebergLake, target: IcebergLake, names: Collection[str]) -> None:
    for dataset in sorted({name.partition(".")[0] for name in names}):
        ways = lake.ways(dataset)
        if ways and ways != target.ways(dataset):
            target.note_ways(dataset, ways)


def _report(
    target: IcebergLake,
    copies: Sequence[Copy],
    snapshots: Mapping[str, int],
    sending: _Sending,
    began: float,
    prices: Mapping[str, str] | None,
    *,
    dry_run: bool,
) -> PublishReport:
    book = cost.prices(prices)
    tables = tuple(_table(copy, snapshots.get(copy.name, 0)) for copy in copies)
    changed = [table for table in tables if table.new_files or table.dropped_files]
    puts = sending.files + METADATA_PUTS * len(changed) + COMMIT_PUTS
    return PublishReport(
        target.place,
        tables,
        sending.files,
        sending.bytes,
        puts,
        GLUE_REQUESTS * len(changed),
        cost.s3_puts_cost_usd(puts, book),
        cost.storage_cost_usd(sending.bytes, book),
        time.perf_counter() - began,
        dry_run,
    )


def _table(copy: Copy, snapshot_id: int) -> TablePublished:
    new = [file for file, _ in copy.new]
    files = [file for file, _ in copy.files]
    return TablePublished(
        copy.name,
        len(files),
        sum(file.file_size_in_bytes for file in files),
        sum(file.record_count for file in files),
        len(new),
        sum(file.file_size_in_bytes for file in new),
        len(copy.kept - {path for _, path in copy.files}),
        snapshot_id,
    )
