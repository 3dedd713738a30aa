"""The ledger's entries of a worker: one for all that it brought in within a minute."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from lakeq import _work_account
from lakeq.convert.report import IngestReport, ObjectReport
from lakeq.ledger import Ledger

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.convert.batch import Batch
    from lakeq.lake import IcebergLake
    from lakeq.storage import Storage

PERIOD_S = 60.0
MAX_OBJECTS = 500


class Books:
    """The open entry of one worker; killed, it is told as interrupted by the next run."""

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
        self._account: _work_account.Ingest | None = None
        self._begun = 0.0
        self._reports: list[ObjectReport] = []
        self._snapshots: dict[str, int] = {}
        self._files = 0
        self._written = 0
        self._seconds = 0.0

    def begin(self) -> None:
        """Open an entry unless one is open; `BudgetRefused` when a budget is overspent."""
        with self._lock:
            self._close_if_due()
            if self._account is None:
                run = self._ledger.begin("ingest", f"ingest {self._dataset} by notification")
                run.reserve(Decimal(0))
                self._account = _work_account.Ingest(run, self._lake, self._storage, self._tables)
                self._begun = self._clock()

    def committed(self, batch: Batch, seconds: float) -> None:
        """Add what a commit brought in."""
        with self._lock:
            self._reports += batch.reports
            self._snapshots |= batch.snapshots
            self._files += len(batch.files)
            self._written += sum(file.size_bytes for file in batch.files)
            self._seconds += seconds
            self._close_if_due()

    def close(self) -> None:
        """Settle the open entry."""
        with self._lock:
            self._settle()

    def _close_if_due(self) -> None:
        if self._clock() - self._begun >= PERIOD_S or len(self._reports) >= MAX_OBJECTS:
            self._settle()

    def _settle(self) -> None:
        account, self._account = self._account, None
        if account is None:
            return
        report = IngestReport(
            self._dataset,
            tuple(self._reports),
            self._files,
            self._written,
            self._seconds,
            snapshots=self._snapshots,
        )
        self._reports, self._snapshots = [], {}
        self._files = self._written = 0
        self._seconds = 0.0
        account.settle(report)
