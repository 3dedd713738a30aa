"""Is the lake what was written? Every file of every table, and what can be mended.

What a table's current snapshot names is read whole: metadata, manifests, data files. Damage names
the file and the objects whose rows it held. Mending rebuilds metadata, ingests those objects
again, which replaces the damaged files in one commit per dataset, and deletes files that no
snapshot names.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from lakeq.errors import BadLake, LakeqError, NotFound
from lakeq.lake import requests
from lakeq.lake.inside import FOOTER_GUESS_BYTES

if TYPE_CHECKING:
    from lakeq.catalog import Catalog, Dataset
    from lakeq.lake import IcebergLake
    from lakeq.lake.verify import Checked, Inventory, Listed
    from lakeq.maintain import Account
    from lakeq.storage import Storage

ORPHAN = "orphan"
CACHE = "cache"
METADATA = "metadata"
OLD = "old"
REPAIRED = "repaired"
DELETED = "deleted"

Progress = Callable[[str, int, int], None]  # table, its bytes read so far, of how many


@dataclass(frozen=True, slots=True)
class Mending:
    """How what was lost is made again: `ingest` of a dataset's objects into tables, `refresh`."""

    ingest: Callable[[Dataset, Sequence[str], Sequence[str]], object]
    refresh: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with one file.

    `problem` is damaged, missing, metadata (of the table itself), old (only time travel needs the
    file), orphan (no snapshot names the file, nothing is lost) or cache (a side file, which is made
    again). `sources` are the objects whose
    rows the file held. `outcome` says what a repair did; empty means nothing was tried.
    """

    table: str
    path: str
    problem: str
    detail: str
    sources: tuple[str, ...] = ()
    outcome: str = ""

    @property
    def hurts(self) -> bool:
        """Whether rows are lost or wrong as long as nothing is done."""
        return self.problem not in (ORPHAN, CACHE) and self.outcome != REPAIRED

    @property
    def next(self) -> str:
        """What to do about it."""
        if self.outcome in (REPAIRED, DELETED):
            return ""
        if self.problem in (ORPHAN, CACHE):
            return "lakeq verify --repair deletes it"
        if self.problem == OLD:
            return "restore the file, or give up old snapshots: maintain --expire-older-than"
        if self.problem == METADATA and self.outcome:
            return "restore the file from a backup, or ingest into a new lake"
        if self.problem == METADATA:
            return "lakeq verify --repair rebuilds it from what is left of the table"
        if not self.sources:
            return "restore the file from a backup, or ingest its objects again"
        return "lakeq verify --repair ingests its objects again"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was checked and what was found; `unsummed` counts files without a kept checksum."""

    tables: tuple[str, ...]
    files: int
    rows: int
    bytes_read: int
    unsummed: int
    seconds: float
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether every row is there and as it was written."""
        return not any(finding.hurts for finding in self.findings)


@dataclass
class _Tally:
    files: int = 0
    rows: int = 0
    bytes_read: int = 0
    unsummed: int = 0


def verify(
    lake: IcebergLake,
    names: Sequence[str],
    *,
    progress: Progress | None = None,
    account: Account | None = None,
) -> VerifyReport:
    """Check the tables `names`: every file that their current snapshots name, and orphans.

    Reads each file once, in pieces. A damaged file is a finding, not an error; what cannot be
    reached is an error. `account` is asked before a table's metadata and data files are read.
    """
    started = time.perf_counter()
    tally = _Tally()
    findings: list[Finding] = []
    for name in names:
        findings += _table(lake, name, tally, progress or _quiet, account)
    return VerifyReport(
        tuple(names),
        tally.files,
        tally.rows,
        tally.bytes_read,
        tally.unsummed,
        time.perf_counter() - started,
        tuple(findings),
    )


def _quiet(_table: str, _read: int, _total: int) -> None:
    """Nobody wants to know."""


def _table(
    lake: IcebergLake, name: str, tally: _Tally, progress: Progress, account: Account | None
) -> Iterator[Finding]:
    try:
        inventory = lake.inventory(name, partial(_allow, account))
    except (BadLake, NotFound) as error:
        yield Finding(name, error.where, METADATA, error.what)
        return
    for path, checked in inventory.metadata.items():
        tally.files += 1
        tally.bytes_read += checked.bytes_read
        tally.unsummed += not checked.verified
        if checked.problem:
            yield Finding(name, path, METADATA, checked.told)
    for file, checked in _data(lake, name, inventory, progress, account):
        tally.files += 1
        tally.rows += file.rows if file.current else 0
        tally.bytes_read += checked.bytes_read
        tally.unsummed += not checked.verified
        if checked.problem:
            yield _hurt(name, file, checked)
    counted = sum(file.rows for file in inventory.files if file.current)
    if inventory.rows not in (None, counted):
        detail = f"{counted} rows in its manifests, the snapshot says {inventory.rows}"
        yield Finding(name, next(iter(inventory.metadata)), METADATA, detail)
    for side in lake.damaged_side_files(name):
        yield Finding(name, str(side), CACHE, "its bytes are not those of its checksum")
    if any(checked.problem for checked in inventory.metadata.values()):
        return  # what it names is not known, so nothing can be called an orphan
    for path, size in lake.orphans(name).items():
        yield Finding(name, path, ORPHAN, f"{size} bytes that no snapshot names")


def _allow(account: Account | None, size: int, files: int) -> None:
    """Ask for files of the metadata, which are read to check them and again to follow them."""
    if account is not None:
        account.allow(requests.TELLINGS * size, 0, requests.TELLING * files)


def _data(
    lake: IcebergLake,
    name: str,
    inventory: Inventory,
    progress: Progress,
    account: Account | None,
) -> Iterator[tuple[Listed, Checked]]:
    """Each data file, and what came of it."""
    total = sum(file.size_bytes for file in inventory.files)
    read = 0
    if account is not None:
        account.took(sum(checked.bytes_read for checked in inventory.metadata.values()))
        count = len(inventory.files)
        listed = requests.to_list(count + len(inventory.metadata))
        ends = sum(min(file.size_bytes, FOOTER_GUESS_BYTES) for file in inventory.files)
        account.allow(total + ends, 0, requests.CHECKING * count, listed)
    for file in inventory.files:
        checked = lake.check_data(file)
        if account is not None:
            account.took(checked.bytes_read)
        yield file, checked
        read += file.size_bytes
        progress(name, read, total)


def _hurt(name: str, file: Listed, checked: Checked) -> Finding:
    if file.current:
        return Finding(name, file.path, checked.problem, checked.told, file.sources)
    return Finding(name, file.path, OLD, f"{checked.problem}: {checked.told}")


def repair(
    lake: IcebergLake,
    storage: Storage,
    catalog: Catalog,
    report: VerifyReport,
    mending: Mending,
) -> VerifyReport:
    """Mend what `report` found: metadata is rebuilt, objects ingested and slices made again.

    Objects are read with the options of the ingest that brought them. Orphans are deleted. A
    finding whose objects cannot be read stays, with the reason as its outcome.
    """
    report = _with_metadata(lake, catalog, report)
    done: dict[Finding, str] = {}
    others = (ORPHAN, CACHE, METADATA, OLD)
    lost = [f for f in report.findings if f.problem not in others and f.sources]
    slices = [f for f in lost if catalog.table(f.table, "the repair").query]
    for dataset, found in _by_dataset(f for f in lost if f not in slices).items():
        outcome = _again(lake, storage, catalog, dataset, found, mending)
        done.update(dict.fromkeys(found, outcome))
    for name in dict.fromkeys(finding.table for finding in slices):  # they read what was mended
        outcome = _refreshed(lake, name, mending)
        done.update((finding, outcome) for finding in slices if finding.table == name)
    orphans = [finding for finding in report.findings if finding.problem in (ORPHAN, CACHE)]
    lake.delete_paths(finding.path for finding in orphans)
    done.update(dict.fromkeys(orphans, DELETED))
    findings = tuple(replace(f, outcome=done.get(f, f.outcome)) for f in report.findings)
    return replace(report, findings=findings)


def _with_metadata(lake: IcebergLake, catalog: Catalog, report: VerifyReport) -> VerifyReport:
    """The report after metadata was rebuilt, with what its tables then show to be wrong."""
    broken = [finding for finding in report.findings if finding.problem == METADATA]
    outcomes = {f.table: "" for f in broken}
    for name in outcomes:
        outcomes[name] = _rebuilt(lake, catalog, name)
    names = [name for name, outcome in outcomes.items() if outcome.startswith(REPAIRED)]
    if not names:
        told = {f: outcomes[f.table] for f in broken}
        return replace(report, findings=tuple(_told(f, told) for f in report.findings))
    again = verify(lake, names)
    kept = [_told(f, {f: outcomes[f.table]}) for f in broken]
    others = [f for f in report.findings if f.problem != METADATA and f.table not in names]
    return replace(report, findings=(*kept, *others, *again.findings))


def _told(finding: Finding, outcomes: Mapping[Finding, str]) -> Finding:
    """The finding with its outcome; what was given up with it goes into its detail."""
    outcome = outcomes.get(finding, finding.outcome)
    if outcome.startswith(REPAIRED) and outcome != REPAIRED:
        more = outcome.removeprefix(REPAIRED)
        return replace(finding, outcome=REPAIRED, detail=finding.detail + more)
    return replace(finding, outcome=outcome)


def _rebuilt(lake: IcebergLake, catalog: Catalog, name: str) -> str:
    try:
        table = catalog.table(name, "the repair")
    except LakeqError:  # of a dataset whose catalog is gone, or a table that lakeq keeps itself
        table = None
    try:
        lost = lake.rebuild(name, table)
    except LakeqError as error:
        return f"not repaired: {error.what}" + (f" ({error.where})" if error.where else "")
    if not lost:
        return REPAIRED
    return (
        f"{REPAIRED}; given up, only time travel needs them: snapshots {', '.join(map(str, lost))}"
    )


def _by_dataset(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        found[finding.table.partition(".")[0]].append(finding)
    return found


def _refreshed(lake: IcebergLake, name: str, mending: Mending) -> str:
    """Make a slice again; returns what came of it."""
    try:
        lake.salvage(name)
        mending.refresh(name)
    except LakeqError as error:
        return f"not repaired: {error.what}"
    return REPAIRED


def _again(
    lake: IcebergLake,
    storage: Storage,
    catalog: Catalog,
    dataset: str,
    findings: Sequence[Finding],
    mending: Mending,
) -> str:
    """Ingest the objects of damaged files again; returns what came of it."""
    from lakeq.convert.samples import samples_table

    sources = sorted({source for finding in findings for source in finding.sources})
    tables = sorted({finding.table for finding in findings})
    try:
        known = catalog.dataset(dataset, "the repair")
        samples = samples_table(known)
        if samples is not None and samples.qualified in tables:
            from lakeq.convert import renumber

            lost = {f.path: f.sources for f in findings if f.table == samples.qualified}
            if not renumber.restore(lake, storage, known, samples, lost):
                what = "the numbers of samples cannot be told from the objects as they are now"
                return f"not repaired: {what}; restore the file from a backup"
            tables.remove(samples.qualified)
            sources = sorted({s for f in findings if f.path not in lost for s in f.sources})
        for table in tables:
            lake.salvage(table)
        if not tables:
            return REPAIRED
        names = [table.partition(".")[2] for table in tables]
        mending.ingest(known, sources, names)
    except LakeqError as error:
        return f"not repaired: {error.what}"
    return REPAIRED
