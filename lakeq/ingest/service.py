"""The ingest of one dataset into one lake, put together from the settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from lakeq.convert.select import Selection
from lakeq.errors import UsageError
from lakeq.ingest.allow import AllowList
from lakeq.ingest.archive import Archive
from lakeq.ingest.books import Books
from lakeq.ingest.core import Ingester, Options
from lakeq.ingest.queue import Queue
from lakeq.ingest.tally import Listener, Tally
from lakeq.ingest.upkeep import Upkeep
from lakeq.ingest.worker import Pace, Worker
from lakeq.keys import Wanted
from lakeq.lake import IcebergLake
from lakeq.storage import Storage

if TYPE_CHECKING:
    from lakeq.api import Lake
    from lakeq.catalog import Dataset


@dataclass
class Service:
    """One dataset on its way into one lake; `close` settles its entry in the ledger.

    `places` are fields of keys, such as sites: objects of others are left. `keep` is the age from
    which snapshots are given up as commits go by; None keeps them all.
    """

    lake: Lake
    dataset: Dataset
    options: Options = field(default_factory=Options)
    places: Sequence[Mapping[str, Sequence[str]]] = ()
    topics: Sequence[str] = ()
    keep: timedelta | None = None
    _upkeep: Upkeep | None = None

    def __post_init__(self) -> None:
        settings = self.lake.settings
        iceberg, storage = IcebergLake(settings), Storage(settings)
        self.books = Books(self.lake.ledger, iceberg, storage, self.dataset)
        self.ingester = Ingester(iceberg, storage, self.dataset, self.options, self.books)
        only = [Wanted.of(place) for place in self.places]
        pays = bool(settings.s3.requester_pays)
        self.allowed = AllowList((self.dataset,), tuple(self.topics), only, pays)
        if self.keep is not None:
            self._upkeep = Upkeep(self._expire)
            self.ingester.on_commit = self._upkeep.committed

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

    def _expire(self) -> None:
        self.lake.maintain(self.dataset.name, compact=False, expire_older_than=self.keep)

    def close(self) -> None:
        """Settle what was brought in."""
        if self._upkeep is not None:
            self._upkeep.close()
        self.books.close()


def service(
    lake: Lake,
    dataset: str,
    options: Options | None = None,
    *,
    places: Sequence[Mapping[str, Sequence[str]]] = (),
    topics: Sequence[str] = (),
    keep: timedelta | None = None,
) -> Service:
    """The service of a dataset, or of one table of it, `dataset.table`; see `Service`."""
    from dataclasses import replace

    name, _, table = dataset.partition(".")
    chosen = options or Options()
    if table:
        if chosen.tables is not None:
            hint = f"write {name} and its tables"
            raise UsageError(f"{dataset} is one table, and tables are named as well", hint=hint)
        chosen = replace(chosen, tables=(table,))
    return Service(lake, lake.catalog.dataset(name, "the ingest"), chosen, places, topics, keep)
