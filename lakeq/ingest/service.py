"""The ingest of one dataset into one lake, put together from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakeq.convert.select import Selection
from lakeq.errors import UsageError
from lakeq.ingest.allow import AllowList
from lakeq.ingest.archive import Archive
from lakeq.ingest.books import Books
from lakeq.ingest.core import Ingester, Options
from lakeq.ingest.queue import Queue
from lakeq.ingest.tally import Listener, Tally
from lakeq.ingest.worker import Pace, Worker
from lakeq.keys import Wanted
from lakeq.lake import IcebergLake
from lakeq.storage import Storage

if TYPE_CHECKING:
    from lakeq.api import Lake
    from lakeq.catalog import Dataset


@dataclass
class Service:
    """One dataset on its way into one lake; `close` settles its entry in the ledger."""

    lake: Lake
    dataset: Dataset
    options: Options = field(default_factory=Options)
    sites: Sequence[str] = ()
    topics: Sequence[str] = ()

    def __post_init__(self) -> None:
        settings = self.lake.settings
        iceberg, storage = IcebergLake(settings), Storage(settings)
        self.books = Books(self.lake.ledger, iceberg, storage, self.dataset)
        self.ingester = Ingester(iceberg, storage, self.dataset, self.options, self.books)
        only = Wanted.of({"site": self.sites}) if self.sites else Wanted()
        self.allowed = AllowList(
            (self.dataset,), tuple(self.topics), only, bool(settings.s3.requester_pays)
        )

    def worker(
        self, url: str, pace: Pace | None = None, listeners: Sequence[Listener] = ()
    ) -> Worker:
        """A worker on the queue at `url`."""
        tally = Tally(self.ingester.store, self.dataset.name, listeners)
        queue = Queue(url, self.lake.settings.s3)
        return Worker(queue, self.allowed, self.ingester, tally, pace, lacking=self.books.lacking)

    def archive(self, selection: Selection, jobs: int = 4) -> Archive:
        """What the dataset's archive lists of a selection."""
        return Archive(self.ingester, selection, self.allowed, jobs, books=self.books)

    def close(self) -> None:
        """Settle what was brought in."""
        self.books.close()


def service(
    lake: Lake,
    dataset: str,
    options: Options | None = None,
    *,
    sites: Sequence[str] = (),
    topics: Sequence[str] = (),
) -> Service:
    """The service of a dataset, or of one table of it, `dataset.table`."""
    from dataclasses import replace

    name, _, table = dataset.partition(".")
    chosen = options or Options()
    if table:
        if chosen.tables is not None:
            hint = f"write {name} and its tables"
            raise UsageError(f"{dataset} is one table, and tables are named as well", hint=hint)
        chosen = replace(chosen, tables=(table,))
    return Service(lake, lake.catalog.dataset(name, "the ingest"), chosen, sites, topics)
