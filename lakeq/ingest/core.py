"""The way of one object from its event into the lake, once and only in its newest version.

1. Is it there already, in this version or a newer one? Then nothing is read.
2. It is read pinned to one version, under bounds of size and time, into private files.
3. What several threads have ready is committed in one transaction, which also notes the version
   of each object. A commit that another writer overtook is judged again from what is there now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from lakeq.convert import Job, chosen
from lakeq.convert.batch import Batch
from lakeq.errors import (
    AccessDenied,
    BadLake,
    BudgetRefused,
    BudgetTooSmall,
    LakeqError,
    NotFound,
    SourceChanged,
    StorageUnavailable,
)
from lakeq.formats import ReadOptions
from lakeq.ingest.order import Held, newest, relation
from lakeq.ingest.outcome import Outcome
from lakeq.ingest.source import Counted, watched
from lakeq.ingest.store import Store
from lakeq.lake.versions import Claim, Outdated, Version

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.ingest.books import Entry
    from lakeq.ingest.messages import Event
    from lakeq.lake import IcebergLake
    from lakeq.lake.session import Session
    from lakeq.storage import SourceObject, Storage

Deleted = Literal["remove", "keep"]
TRIES = 8  # of one object that keeps changing while it is read or committed
MAX_OBJECT_BYTES = 2 << 30
IN_FLIGHT_BYTES = 1 << 30  # of raw objects being read at the same time; a larger one goes alone
MAX_GROUP = 100  # objects in one commit
_PATIENCE_S = 20.0  # for another worker that is at the same object, before both go on


class Account(Protocol):
    """Who keeps account of what is spent."""

    def begin(self, sources: Sequence[SourceObject]) -> Entry:
        """These are about to be read; raises `BudgetRefused` when they may not be."""
        ...

    def ended(self, entry: Entry, sources: Sequence[SourceObject]) -> None:
        """They are done with, whatever became of them; `entry` is what `begin` gave."""
        ...

    def committed(self, batch: Batch, seconds: float) -> None:
        """A batch was committed; `seconds` is the time of its commit."""
        ...


class LeaseLost(LakeqError):
    """The work on a message is to end: its lease or its time is over; others may have it now."""

    exit_code = 6


@dataclass(frozen=True, slots=True)
class Options:
    """How objects are brought in.

    `deleted`: whether the rows of an object that is gone go too, or stay; parts of a thing always
    stay until the whole takes over. `tables` restricts the tables, `panel` is as in `ingest`.
    """

    tables: tuple[str, ...] | None = None
    panel: str | None = None
    deleted: Deleted = "remove"
    max_object_bytes: int = MAX_OBJECT_BYTES
    in_flight_bytes: int = IN_FLIGHT_BYTES


@dataclass
class _Item:
    """One object on its way: its event, what the lake held, and what became of it."""

    event: Event
    check: Callable[[], None]
    held: Version
    source: SourceObject | None = None
    removal: bool = False
    outcome: Outcome | None = None

    @property
    def uri(self) -> str:
        return self.event.uri


@dataclass
class _Ready:
    """What one thread has converted, waiting for the commit that somebody makes for all."""

    batch: Batch
    job: Job
    items: list[_Item]
    done: threading.Event = field(default_factory=threading.Event)


class Ingester:
    """Brings objects of one dataset into one lake; called by any number of threads at a time."""

    def __init__(
        self,
        lake: IcebergLake,
        storage: Storage,
        dataset: Dataset,
        options: Options | None = None,
        account: Account | None = None,
    ) -> None:
        self.lake = lake
        self.storage = storage
        self.dataset = dataset
        self.options = options or Options()
        self.store = Store(lake.folder)
        self.counted = Counted()
        self.on_commit: Callable[[], object] = lambda: None  # told of each commit
        self._account = account
        self._names = chosen(dataset, self.options.tables)
        self._queue: list[_Ready] = []
        self._queued = threading.Lock()
        self._committing = threading.Lock()
        self._room = _Room(self.options.in_flight_bytes)

    def __call__(
        self,
        events: Sequence[Event],
        deadline: float = float("inf"),
        check: Callable[[], None] | None = None,
    ) -> list[Outcome]:
        """What became of each of `events`, in their order; they are allowed ones of the dataset.

        Nothing is read after `deadline` (of `time.monotonic`) or once `check` raises `LeaseLost`,
        and nothing is committed then.
        """

        def in_time() -> None:
            if time.monotonic() >= deadline:
                raise LeaseLost("no time was left", self.dataset.name, "it comes again")
            if check is not None:
                check()

        chosen_ = newest(events)
        items = [_Item(event, in_time, Version(event.uri)) for event in chosen_]
        try:
            self._bring(items)
        except LakeqError as error:
            for item in items:
                item.outcome = item.outcome or outcome_of(error)
        by_uri = {item.uri: item for item in items}
        found: list[Outcome] = []
        told: set[str] = set()  # objects of which the event that was followed has its outcome
        for event in events:
            item = by_uri[event.uri]
            first = event == item.event and item.uri not in told
            told |= {item.uri} if first else set()
            found.append(_told(event, item, first=first))
        return found

    # Step 1: what is to be read

    def _bring(self, items: Sequence[_Item]) -> None:
        for _ in range(TRIES):
            open_ = [item for item in items if item.outcome is None]
            if not open_:
                return
            self._look(open_)
            mine = [item for item in open_ if item.outcome is None]
            if not mine:
                return
            with self._claimed(mine):
                self._look(mine)  # whoever was at one of them may be done now
                for part in self._parted([item for item in mine if item.outcome is None]):
                    self._bring_part(part)
        for item in items:
            item.outcome = item.outcome or Outcome("failed", "it kept changing", throttled=True)

    def _bring_part(self, part: Sequence[_Item]) -> None:
        """Bring these in together, or singly where a budget could never hold all of them."""
        try:
            self._convert_and_commit(part)
        except BudgetTooSmall as error:
            if len(part) == 1:
                part[0].outcome = outcome_of(error)
                return
            for item in part:
                self._bring_part([item])

    def _parted(self, items: list[_Item]) -> list[list[_Item]]:
        """What may be in one batch: of tables that hold one object at a time, one object."""
        alone = any(table.replace == "table" for table in self._names.values())
        return [[item] for item in items] if alone else [items] if items else []

    def _look(self, items: Sequence[_Item]) -> None:
        """Settle what needs no reading; `held` is then what the lake has of the others."""
        held = self.lake.versions(self.dataset.name, [item.uri for item in items])
        for item in items:
            item.held = held.get(item.uri, Version(item.uri))
            item.outcome = self._judged(item)

    def _judged(self, item: _Item) -> Outcome | None:
        version = item.held
        if not version.revision:
            return None
        told = relation(item.event, _held(version))
        whole = version.removed or self.tables_at(item.uri) <= version.tables
        if told == "older":
            return Outcome("stale", f"the lake has a newer version of {item.uri}")
        if told == "same" and whole:
            return Outcome("removed" if version.removed else "duplicate")
        if told == "restated" and whole:
            claim = Claim(
                Version(
                    item.uri,
                    version.etag,
                    item.event.version_id,
                    item.event.sequencer,
                    version.tables,
                ),
                version.revision,
            )
            try:
                self.lake.commit_all([], claims={self.dataset.name: [claim]})
            except Outdated:
                return None
            return Outcome("duplicate")
        return None

    def tables_at(self, uri: str) -> frozenset[str]:
        """The names of the tables that the object at `uri` fills."""
        return frozenset(self._job().tables_at(uri))

    def _job(self) -> Job:
        job = Job(
            self.lake, self.storage, self.dataset, self._names, self.options.panel, progress=None
        )
        job.options = ReadOptions()
        return job

    @contextmanager
    def _claimed(self, items: Sequence[_Item]) -> Iterator[None]:
        """While others are at one of these objects, wait a little: what they do need not be done.

        Only a courtesy: the commit settles who is first.
        """
        mine: list[str] = []
        until = time.monotonic() + _PATIENCE_S
        try:
            for item in sorted(items, key=lambda item: item.uri):  # one order: nobody waits in turn
                pause = 0.01
                while not self.store.begin(item.uri) and time.monotonic() < until:
                    item.check()
                    time.sleep(pause)
                    pause = min(0.25, pause * 2)
                mine.append(item.uri)
            yield
        finally:
            self.store.end(mine)

    # Step 2: reading

    def _convert_and_commit(self, items: Sequence[_Item]) -> None:
        for item in items:
            self._open(item)
        work = [item for item in items if item.outcome is None]
        if not work:
            return
        sources = [item.source for item in work if item.source]
        total = sum(source.size_bytes for source in sources)
        job = self._job()
        with suppress(_Leftovers), ExitStack() as stack:
            if self._account is not None and sources:
                stack.callback(self._account.ended, self._account.begin(sources), sources)
            stack.enter_context(self._room.taken(total))
            if job.samples_table is not None:  # numbered in turn, so one batch after the other
                stack.enter_context(self._committing)
            session = stack.enter_context(self.lake.session())
            ready = self._converted(job, session, work)
            if job.samples_table is not None:
                self._commit_group([ready])
            elif ready.items:
                self._commit_together(ready)
            if any(item.outcome is None or not item.outcome.settled for item in work):
                raise _Leftovers  # the session deletes what nothing names

    def _open(self, item: _Item) -> None:
        """Pin the object: the version that the event names, else what is there now."""
        event, tables = item.event, tuple(self.dataset.tables.values())
        named = event.version_id if event.sequencer and event.kind == "created" else ""
        item.source, item.removal = None, False
        try:
            item.check()
            try:
                found = self.storage.version(item.uri, tables, named)
            except NotFound:
                if not named:
                    raise
                found = self.storage.version(item.uri, tables)
        except NotFound:
            item.removal = True
            if not item.held.revision:
                item.held = Version(item.uri)
            self._gone(item)
            return
        except LakeqError as error:
            item.outcome = outcome_of(error)
            return
        if found.size_bytes > self.options.max_object_bytes:
            limit = self.options.max_object_bytes
            what = f"{item.uri} has {found.size_bytes:,} bytes, the limit is {limit:,}"
            item.outcome = Outcome("poison", f"{what}: see --max-object")
            return
        held = item.held
        whole = self.tables_at(item.uri) <= held.tables
        if held.revision and not held.removed and held.etag == found.version and whole:
            item.outcome = Outcome("duplicate")
            return
        item.source = watched(found, item.check, self.counted)

    def _gone(self, item: _Item) -> None:
        """There is no such object: its rows go with it, unless they are to stay."""
        if item.held.removed:
            item.outcome = Outcome("removed")
            return
        identity = self._job().identities.of(item.uri)
        stays = self.options.deleted == "keep" or (identity is not None and bool(identity.part))
        if stays or not item.held.revision:
            claim = Claim(self._version(item, removed=True), item.held.revision)
            try:
                self.lake.create()
                self.lake.commit_all([], claims={self.dataset.name: [claim]})
            except Outdated:
                return
            item.outcome = Outcome("gone", "its rows stay" if item.held.revision else "")

    def _version(self, item: _Item, *, removed: bool = False) -> Version:
        event, source = item.event, item.source
        if removed:
            sequencer = event.sequencer if event.kind == "removed" else item.held.sequencer
            tables = item.held.tables
            return Version(item.uri, item.held.etag, "", sequencer, tables, removed=True)
        assert source is not None
        named = event.kind == "created" and event.etag in ("", source.version)
        same = named and (not event.version_id or event.version_id == source.version_id)
        sequencer = event.sequencer if same else ""
        tables = self.tables_at(item.uri)
        if item.held.etag == source.version:
            tables |= item.held.tables
        return Version(item.uri, source.version, source.version_id, sequencer, tables)

    def _converted(self, job: Job, session: Session, items: Sequence[_Item]) -> _Ready:
        """Read the objects into private files; what cannot be read has its outcome then."""
        work = [item for item in items if item.outcome is None]
        while True:
            batch = Batch(job, session)
            failed = self._read(batch, work)
            work = [item for item in work if item not in failed]
            if not failed or job.samples_table is None:
                break
            self.lake.delete(batch.files)  # the bad object's samples are numbered in this batch
        for item in work:
            if item.removal:
                batch.removed.add(item.uri)
            version = self._version(item, removed=item.removal)
            batch.claims[item.uri] = Claim(version, item.held.revision)
        return _Ready(batch, job, work)

    def _read(self, batch: Batch, items: Sequence[_Item]) -> list[_Item]:
        by_uri = {item.uri: item for item in items}
        failed: list[_Item] = []

        def note(source: SourceObject, error: LakeqError) -> None:
            item = by_uri[source.uri]
            failed.append(item)
            if not isinstance(error, SourceChanged):  # that one is looked at again
                item.outcome = outcome_of(error)

        batch.convert_all([item.source for item in items if item.source], note)
        return failed

    # Step 3: one commit for all that is ready

    def _commit_together(self, ready: _Ready) -> None:
        """Commit `ready`, or have it committed by whoever commits now."""
        with self._queued:
            self._queue.append(ready)
        with self._committing:
            if ready.done.is_set():
                return
            while not ready.done.is_set():
                with self._queued:
                    group, count = [], 0
                    while self._queue and count < MAX_GROUP:
                        group.append(self._queue.pop(0))
                        count += len(group[-1].items)
                try:
                    self._commit_group(group)
                finally:
                    for member in group:
                        member.done.set()

    def _commit_group(self, group: Sequence[_Ready]) -> None:
        """One transaction for all of `group`; one by one where something is wrong with one."""
        started = time.perf_counter()
        alive = [member for member in group if self._still_held(member)]
        if not alive:
            return
        first, *others = alive
        try:
            if others:
                together = Batch(first.job, first.batch.session)
                for member in alive:
                    together.absorb(member.batch)
                self._commit(together, [item for member in alive for item in member.items])
                batch = together
            else:
                self._commit(first.batch, first.items)
                batch = first.batch
        except LakeqError as error:
            outcome = outcome_of(error)
            if others and outcome.status == "poison":
                for member in alive:
                    self._commit_group([member])
                return
            for member in alive:
                for item in member.items:
                    item.outcome = item.outcome or outcome
            return
        self.on_commit()
        if self._account is not None and batch.reports:
            self._account.committed(batch, time.perf_counter() - started)

    def _still_held(self, member: _Ready) -> bool:
        """Drop the objects whose lease was lost meanwhile."""
        for item in list(member.items):
            try:
                item.check()
            except LeaseLost as error:
                item.outcome = outcome_of(error)
                member.batch.drop([item.uri])
                member.items.remove(item)
        return bool(member.items)

    def _commit(self, batch: Batch, items: list[_Item]) -> None:
        for _ in range(TRIES):
            try:
                if not batch.commit():
                    what = "other writers kept numbering the same samples"
                    raise StorageUnavailable(what, self.dataset.name, "it comes again")
            except Outdated as late:
                self._again(batch, [item for item in items if item.uri in late.uris])
                items = [item for item in items if item.uri in batch.claims]
                if not items:
                    return
            else:
                for item in items:
                    item.outcome = Outcome("removed" if item.removal else "committed")
                return
        what = "other writers kept bringing in the same objects"
        raise StorageUnavailable(what, self.dataset.name, "it comes again")

    def _again(self, batch: Batch, items: Sequence[_Item]) -> None:
        """Judge objects anew that another writer brought in meanwhile.

        Where the event does not tell that it is newer, S3 is asked again from the beginning.
        """
        self._look(items)
        for item in items:
            told = relation(item.event, _held(item.held)) if item.held.revision else "newer"
            if item.outcome is None and told == "newer" and not item.removal:
                version = self._version(item)
                batch.claims[item.uri] = Claim(version, item.held.revision)
            else:
                batch.drop([item.uri])


class _Leftovers(Exception):  # ends a session, nothing else
    """Files of objects that were not committed."""


class _Room:
    """Bytes of raw objects that are read at the same time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._free = threading.Condition()

    @contextmanager
    def taken(self, amount: int) -> Iterator[None]:
        """Wait until there is room for `amount` more, or for it alone."""
        with self._free:
            self._free.wait_for(lambda: not self._used or self._used + amount <= self._size)
            self._used += amount
        try:
            yield
        finally:
            with self._free:
                self._used -= amount
                self._free.notify_all()


def outcome_of(error: LakeqError) -> Outcome:
    """What an error means for the message: again later, or never."""
    reason = " ".join(filter(None, [error.what, f"({error.where})" if error.where else ""]))
    if isinstance(error, StorageUnavailable):
        return Outcome("failed", reason, throttled=True)
    if isinstance(error, BudgetRefused) and not isinstance(error, BudgetTooSmall):
        return Outcome("failed", reason, unaffordable=True)
    if isinstance(error, LeaseLost | AccessDenied | BadLake | SourceChanged):
        return Outcome("failed", reason)
    return Outcome("poison", reason)


def _held(version: Version) -> Held:
    return Held(version.etag, version.version_id, version.sequencer, version.removed)


def _told(event: Event, item: _Item, *, first: bool) -> Outcome:
    """The outcome of one of several events of an object: that of the newest, or next to it."""
    outcome = item.outcome
    assert outcome is not None
    if first or not outcome.settled or outcome.status in ("duplicate", "stale"):
        return outcome
    same = (event.etag, event.kind, event.version_id) == (
        item.event.etag,
        item.event.kind,
        item.event.version_id,
    )
    return Outcome("duplicate" if same else "stale")
