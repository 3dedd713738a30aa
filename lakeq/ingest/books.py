"""The ledger's entries of a worker: one for all that it began to bring in within a minute.

Before an object is read the most that it can cost is set aside, as `lakeq ingest` does; the entry
is settled with what was read when all of its objects are done with. Failed ones count as fetched.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import _work_account
from lakeq.convert.report import IngestReport, ObjectReport
from lakeq.errors import BudgetRefused, BudgetTooSmall
from lakeq.ledger import Ledger

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.convert.batch import Batch
    from lakeq.lake import IcebergLake
    from lakeq.storage import SourceObject, Storage

PERIOD_S = 60.0
MAX_OBJECTS = 500


@dataclass
class Entry:
    """One entry on its way: what it was told of, and how many parts of it are still at work."""

    account: _work_account.Ingest
    begun: float
    at_work: int = 0
    reports: list[ObjectReport] = field(default_factory=list)
    snapshots: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    files: int = 0
    written: int = 0
    seconds: float = 0.0

    def settle(self, dataset: str) -> None:
        """Write its lines."""
        report = IngestReport(
            dataset,
            tuple(self.reports),
            self.files,
            self.written,
            self.seconds,
            snapshots=self.snapshots,
        )
        self.account.settle(report, self.failed)


class Books:
    """The open entries of one worker; killed, they are told as interrupted by the next run."""

    def __init__(
        self,
        ledger: Ledger,
        lake: IcebergLake,
        storage: Storage,
        dataset: Dataset,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._lake = lake
        self._storage = storage
        self._tables = tuple(dataset.tables.values())
        self._dataset = dataset.name
        self._clock = clock
        self._lock = threading.Lock()
        self._requested = _work_account.Requested(lake, storage)
        self._current: Entry | None = None
        self._retired: list[Entry] = []  # they take no more, and wait for what is at work
        self._of: dict[str, Entry] = {}  # the entry of each object that is at work
        self._refused: Decimal | None = None

    def begin(self, sources: Sequence[SourceObject]) -> Entry:
        """Set aside the most that objects can cost, before they are read, in the open entry.

        `BudgetRefused` when a budget lacks it, `BudgetTooSmall` when it is more than all of one.
        """
        with self._lock:
            self._retire_if_due()
            try:
                entry = self._allowed(sources)
            except BudgetTooSmall:
                raise
            except BudgetRefused:
                self._retire()  # what was set aside and not spent is free again
                entry = self._allowed(sources)
            self._current = entry
            entry.at_work += 1
            self._of.update((source.uri, entry) for source in sources)
            return entry

    def _allowed(self, sources: Sequence[SourceObject]) -> Entry:
        entry = self._current or self._begun()
        try:
            entry.account.allow(sources)
        except BudgetRefused:
            self._refused = entry.account.most(sources)
            raise
        return entry

    def _begun(self) -> Entry:
        run = self._ledger.begin("ingest", f"ingest {self._dataset} by notification")
        account = _work_account.Ingest(
            run, self._lake, self._storage, self._tables, self._requested
        )
        return Entry(account, self._clock())

    def committed(self, batch: Batch, seconds: float) -> None:
        """Add what a commit brought in, each object to the entry that it began in."""
        written = sum(file.size_bytes for file in batch.files)
        self._add(batch.reports, batch.snapshots, len(batch.files), written, seconds)

    def restored(self, report: IngestReport) -> None:
        """Add what an ingest of objects that `begin` was told of brought in again."""
        self._add(
            report.objects, report.snapshots, report.files, report.bytes_written, report.seconds
        )

    def _add(
        self,
        reports: Sequence[ObjectReport],
        snapshots: Mapping[str, int],
        files: int,
        written: int,
        seconds: float,
    ) -> None:
        with self._lock:
            found = [(self._of[report.uri], report) for report in reports if report.uri in self._of]
            for entry, report in found:
                entry.reports.append(report)
            for entry, _ in found[:1]:
                entry.snapshots |= snapshots
                entry.files += files
                entry.written += written
                entry.seconds += seconds

    def ended(self, entry: Entry, sources: Sequence[SourceObject]) -> None:
        """These objects are done with, whatever became of them."""
        with self._lock:
            brought = {report.uri for report in entry.reports}
            for source in sources:
                if source.uri not in brought:
                    entry.failed[source.uri] = source.size_bytes
                if self._of.get(source.uri) is entry:
                    del self._of[source.uri]
            entry.at_work -= 1
            self._retire_if_due()
            self._settle_retired()

    def lacking(self) -> str:
        """Why what a budget refused last would still be refused; "" when there is room."""
        with self._lock:
            if self._refused is None:
                return ""
            refusal = self._ledger.lacks(self._refused)
            if refusal is None:
                self._refused = None
            return refusal.what if refusal else ""

    def close(self) -> None:
        """Settle every entry, as far as it has come."""
        with self._lock:
            self._retire()
            for entry in self._retired:
                entry.settle(self._dataset)
            self._retired.clear()

    def _retire_if_due(self) -> None:
        entry = self._current
        if entry is None:
            return
        if self._clock() - entry.begun >= PERIOD_S or len(entry.reports) >= MAX_OBJECTS:
            self._retire()

    def _retire(self) -> None:
        if self._current is not None:
            self._retired.append(self._current)
            self._current = None
        self._settle_retired()

    def _settle_retired(self) -> None:
        done = [entry for entry in self._retired if not entry.at_work]
        for entry in done:
            entry.settle(self._dataset)
            self._retired.remove(entry)
