"""An archive's own listing against the lake: backfill, and what notifications missed.

Listed objects become events without a sequencer and go the way of all others, so a backfill can
run beside live events: what the lake has is not read again.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

from lakeq.convert.select import Selection, template_of
from lakeq.errors import BudgetRefused, LakeqError, StorageUnavailable
from lakeq.ingest.allow import AllowList
from lakeq.ingest.brake import Brake
from lakeq.ingest.core import Ingester
from lakeq.ingest.messages import Event
from lakeq.ingest.outcome import Outcome
from lakeq.storage.s3 import split_uri

if TYPE_CHECKING:
    from lakeq.ingest.books import Books, Entry
    from lakeq.ingest.store import Heard
    from lakeq.keys import KeyTemplate
    from lakeq.lake.versions import Version
    from lakeq.storage import SourceObject

PAGE = 1000  # objects between two marks, as many as S3 lists at once
TOGETHER = 25  # of them in one batch
MAX_TRIES = 8
SILENT_GAPS = 3  # usual gaps without an event are silence
SETTLE = timedelta(minutes=15)  # that a notification may take before an object counts as missed
MISSING, CHANGED, GONE, OUTPUT = "missing", "changed", "gone", "output deleted"

_log = logging.getLogger(__name__)
Progress = Callable[[int, str], None]  # objects so far, the last one


@dataclass
class Report:
    """What a backfill did: objects by what became of them, and those that failed, with reasons."""

    counts: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    resumed_after: str = ""
    bytes_read: int = 0


@dataclass(frozen=True, slots=True)
class Silence:
    """A topic that told nothing for longer than it usually does."""

    topic: str
    last: datetime
    usual_gap_s: float
    silent_s: float


@dataclass
class Reconciliation:
    """What the archive has and the lake lacks, or the other way round, by URI; and what was done.

    `silences` are topics not heard of for three times their usual gap.
    """

    listed: int = 0
    findings: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    silences: list[Silence] = field(default_factory=list)

    @property
    def open(self) -> dict[str, str]:
        """Findings that were not repaired, each with its reason."""
        done = self.outcomes
        return {
            uri: done[uri].reason if uri in done else what
            for uri, what in self.findings.items()
            if uri not in done or not done[uri].settled
        }


@dataclass
class Archive:
    """The archive of a dataset as a selection of it lists it, and the lake beside it."""

    ingester: Ingester
    selection: Selection
    allowed: AllowList
    jobs: int = 4
    brake: Brake = field(default_factory=Brake)
    books: Books | None = None

    def backfill(self, progress: Progress | None = None) -> Report:
        """Bring in everything listed that the lake lacks; killed, it goes on where it was.

        Objects that are not what their format says are told in the report, and the others go on.
        Raises `StorageUnavailable` when the archive or the lake cannot be reached for long.
        """
        report = Report()
        store, name = self.ingester.store, self._name()
        after, done = store.mark(name)
        report.resumed_after = after
        listed = self._listed(after)
        while page := list(islice(listed, PAGE)):
            self._bring([self._event(source) for source in page], report)
            done += len(page)
            store.set_mark(name, page[-1].uri, done)
            if progress is not None:
                progress(done, page[-1].uri)
        store.drop_mark(name)
        report.bytes_read = self.ingester.counted.bytes
        return report

    def _name(self) -> str:
        asked = [
            [{name: list(values) for name, values in wish.values.items()}, wish.start, wish.end]
            for wish in self.selection.wishes
        ]
        names = sorted(self.ingester.options.tables or ())
        told = [self.ingester.dataset.name, names, self.selection.keys, asked]
        return json.dumps(told, default=str)

    def _listed(self, after: str = "") -> Iterator[SourceObject]:
        """The objects, in the order of the prefixes and then of keys, those behind `after`."""
        dataset = self.ingester.dataset
        template = template_of(dataset, self.selection)
        tables = tuple(dataset.tables.values())
        skipping = bool(after)
        for prefix in self._prefixes():
            begin = ""
            if skipping:
                if not after.startswith(prefix):
                    continue
                skipping, begin = False, after
            for source in self.ingester.storage.listed(prefix, tables, begin):
                if self._is_wanted(template, source.uri) and self._is_allowed(source):
                    yield source

    def _prefixes(self) -> list[str]:
        template = template_of(self.ingester.dataset, self.selection)
        found = (p for wish in self.selection.wishes for p in template.prefixes(wish))
        return list(dict.fromkeys(found))

    def _is_wanted(self, template: KeyTemplate, uri: str) -> bool:
        told = template.match(uri)
        return told is not None and any(wish.includes(*told) for wish in self.selection.wishes)

    def _is_allowed(self, source: SourceObject) -> bool:
        return self.allowed.judge(self._event(source)).action == "take"

    @staticmethod
    def _event(source: SourceObject) -> Event:
        bucket, key = split_uri(source.uri)
        return Event("created", bucket, key, etag=source.version, size=source.size_bytes,
                     event_time=source.modified)  # fmt: skip

    def _bring(self, events: Sequence[Event], report: Report) -> dict[str, Outcome]:
        """Bring in one page, several objects at a time; what may pass is waited for."""
        outcomes: dict[str, Outcome] = {}
        open_ = list(events)
        for _ in range(MAX_TRIES):
            with ThreadPoolExecutor(self.jobs) as pool:
                parts = [open_[at : at + TOGETHER] for at in range(0, len(open_), TOGETHER)]
                done = [outcome for part in pool.map(self.ingester, parts) for outcome in part]
            outcomes |= {e.uri: outcome for e, outcome in zip(open_, done, strict=True)}
            if short := next((outcome for outcome in done if outcome.unaffordable), None):
                hint = "see lakeq budget, then run the same command: it goes on"
                raise BudgetRefused(short.reason, self.ingester.dataset.name, hint)
            open_ = [e for e, outcome in zip(open_, done, strict=True) if outcome.throttled]
            if not open_:
                break
            self.brake.throttled()
            while wait := self.brake.left_s():
                time.sleep(min(wait, 1.0))
        report.counts.update(outcome.status for outcome in outcomes.values())
        report.failed |= {u: o.reason for u, o in outcomes.items() if not o.settled}
        if open_:
            what = f"{len(open_)} objects could not be read: {outcomes[open_[0].uri].reason}"
            raise StorageUnavailable(what, open_[0].uri, "run the same command later: it goes on")
        return outcomes

    # What notifications missed

    def reconcile(
        self,
        *,
        repair: bool = True,
        now: datetime | None = None,
        settle: timedelta = SETTLE,
    ) -> Reconciliation:
        """Find what the lake lacks of the archive, or has that is gone there; and mend it.

        An object younger than `settle` is left to its notification. Files of the lake that were
        deleted count, too: their objects are brought in again.
        """
        moment = now or datetime.now(UTC)
        found = Reconciliation()
        events = dict(self._differences(found, moment - settle))
        lost = self._lost_outputs()
        found.findings |= dict.fromkeys(lost, OUTPUT)
        found.silences = silences(self.ingester.store.heard(self.ingester.dataset.name), moment)
        if repair:
            if lost:
                found.outcomes |= self._restore(lost)
            report = Report()
            wanted = [event for uri, event in events.items() if uri not in lost]
            for start in range(0, len(wanted), PAGE):
                found.outcomes |= self._bring(wanted[start : start + PAGE], report)
        return found

    def _differences(self, found: Reconciliation, before: datetime) -> Iterator[tuple[str, Event]]:
        """Events that somebody should have told of, page by page of the archive's listing."""
        listed = self._listed()
        name, wanted = self.ingester.dataset.name, self._wanted_tables
        template = template_of(self.ingester.dataset, self.selection)
        there: set[str] = set()
        while page := list(islice(listed, PAGE)):
            there.update(source.uri for source in page)
            found.listed += len(page)
            held = self.ingester.lake.versions(name, [source.uri for source in page])
            for source in page:
                version = held.get(source.uri)
                what = _difference(source, version, wanted(source.uri))
                if what and (source.modified is None or source.modified <= before):
                    found.findings[source.uri] = what
                    yield source.uri, self._event(source)
        for prefix in self._prefixes():
            for version in self.ingester.lake.all_versions(name, prefix):
                chosen = self._is_wanted(template, version.uri)
                if chosen and version.uri not in there and not version.removed:
                    found.findings[version.uri] = GONE
                    bucket, key = split_uri(version.uri)
                    yield version.uri, Event("removed", bucket, key)

    def _wanted_tables(self, uri: str) -> frozenset[str]:
        return self.ingester.tables_at(uri)

    def _lost_outputs(self) -> dict[str, set[str]]:
        """Objects whose rows were in files that are no longer there, with those files' tables."""
        lake, prefix = self.ingester.lake, f"{self.ingester.dataset.name}."
        names = [name for name in lake.tables() if name.startswith(prefix)]
        lost: dict[str, set[str]] = {}
        for name, snapshot in lake.read(names).items():
            gone = set(lake.missing_files(snapshot))
            for file in snapshot.files:
                for uri, _ in file.contents if file.path in gone else ():
                    lost.setdefault(uri, set()).add(name.removeprefix(prefix))
        return lost

    def _restore(self, lost: dict[str, set[str]]) -> dict[str, Outcome]:
        """Bring in again the objects of deleted files, as `lakeq verify --repair` does."""
        from lakeq.ingest.core import outcome_of

        ingester = self.ingester
        tables = sorted(set().union(*lost.values()) & ingester.dataset.tables.keys())
        for table in tables:
            ingester.lake.salvage(f"{ingester.dataset.name}.{table}")
        outcomes: dict[str, Outcome] = {}
        pages = iter(sorted(lost))
        while page := list(islice(pages, PAGE)):
            try:
                self._ingest_again(page, tables)
                outcomes |= dict.fromkeys(page, Outcome("committed"))
            except BudgetRefused:
                raise
            except LakeqError as error:
                outcomes |= dict.fromkeys(page, outcome_of(error))
        return outcomes

    def _ingest_again(self, page: Sequence[str], tables: Sequence[str]) -> None:
        from lakeq import convert

        ingester, books = self.ingester, self.books
        begun: list[tuple[Entry, Sequence[SourceObject]]] = []

        def allow(sources: Sequence[SourceObject]) -> None:
            if books is not None:
                begun.append((books.begin(sources), tuple(sources)))

        try:
            reports = convert.again(
                ingester.lake,
                ingester.storage,
                ingester.dataset,
                page,
                table_names=tables,
                panel=ingester.options.panel,
                allow=allow,
            )
            if books is not None:
                for report in reports:
                    books.restored(report)
        finally:
            for entry, sources in begun:
                if books is not None:
                    books.ended(entry, sources)


def _difference(source: SourceObject, version: Version | None, wanted: frozenset[str]) -> str:
    if version is None or version.removed or not wanted <= version.tables:
        return MISSING
    return CHANGED if version.etag != source.version else ""


def silences(heard: Sequence[Heard], now: datetime) -> list[Silence]:
    """The topics that told nothing for three times their usual gap."""
    found = []
    for topic in heard:
        silent = (now - topic.at).total_seconds()
        if topic.usual_gap_s and silent > SILENT_GAPS * max(topic.usual_gap_s, 1.0):
            found.append(Silence(topic.topic, topic.at, topic.usual_gap_s, silent))
    return found
