"""The objects of one commit: read, written as files, settled with what the lake has, committed."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from lakeq.convert import outlines
from lakeq.convert import parts as convert_parts
from lakeq.convert.reading import Reading
from lakeq.convert.report import ObjectReport
from lakeq.convert.samples import NOT_IN_PANEL, Roster, known_samples
from lakeq.convert.things import Converted, Decision, TableDecision, Things, decide
from lakeq.errors import LakeqError, UsageError
from lakeq.lake.versions import Claim, Outdated, Version

if TYPE_CHECKING:
    from lakeq.catalog import Table
    from lakeq.convert import Job
    from lakeq.convert.fan_out import FanOut
    from lakeq.formats import Sample
    from lakeq.lake.commit import Change
    from lakeq.lake.parquet import NewFile, TableWriter
    from lakeq.lake.session import Session
    from lakeq.storage import SourceObject

Failed = Callable[["SourceObject", LakeqError], None]
ROUNDS = 5  # preparations again because another writer changed the samples
DECISIONS = 30  # or brought objects of the same things


class Batch:
    """The objects of one commit, being converted."""

    def __init__(self, job: Job, session: Session) -> None:
        self._job = job
        self.session = session
        self._lake = job.lake
        self._roster = Roster(known_samples(job.lake, job.samples_table))
        self._writers: dict[str, TableWriter] = {}
        self._lock = threading.Lock()  # over writers, notes and progress
        self._converted: list[Converted] = []
        self._left: list[tuple[SourceObject, str]] = []  # not read, and what stays instead
        self.reports: list[ObjectReport] = []
        self.notes: Counter[str] = Counter()
        self.snapshots: dict[str, int] = {}
        self.files: list[NewFile] = []
        self.claims: dict[str, Claim] = {}  # by object; those not in it take place in any case
        self.removed: set[str] = set()  # objects that are gone, whose rows go

    def convert_all(self, sources: Sequence[SourceObject], failed: Failed | None = None) -> None:
        """Read the objects and write their files, as many at once as the format allows.

        An object that cannot be taken is told to `failed`, if given, and the others go on; where
        workers read them, it ends the batch.
        """
        wanted = self._unread(sources)
        if self._job.fan_out is not None:
            self._convert_elsewhere(wanted, self._job.fan_out)
            return
        at_once = self._at_once(wanted)
        if at_once == 1:
            for number, source in enumerate(wanted):
                self._keep(partial(self._convert, source, number), source, failed)
            return
        with ThreadPoolExecutor(at_once) as pool:
            futures = [pool.submit(self._convert, s, n) for n, s in enumerate(wanted)]
            try:
                for source, future in zip(wanted, futures, strict=True):
                    self._keep(future.result, source, failed)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def absorb(self, other: Batch) -> None:
        """Take over what `other`, of the same job's dataset and without samples, converted."""
        self._converted += other._converted
        self._left += other._left
        self.files += other.files
        self.notes.update(other.notes)
        self.claims |= other.claims
        self.removed |= other.removed

    def drop(self, uris: Collection[str]) -> None:
        """Give up what was converted of these objects, and delete their files."""
        gone = [item for item in self._converted if item.source.uri in uris]
        self._converted = [item for item in self._converted if item.source.uri not in uris]
        self._left = [(source, stays) for source, stays in self._left if source.uri not in uris]
        paths = {file.path for item in gone for files in item.files.values() for file in files}
        self._lake.delete(file for file in self.files if file.path in paths)
        self.files = [file for file in self.files if file.path not in paths]
        self.claims = {uri: claim for uri, claim in self.claims.items() if uri not in uris}
        self.removed -= set(uris)

    def _at_once(self, sources: Collection[SourceObject]) -> int:
        reader = self._job.reader
        if reader is None or hasattr(reader, "sample_names") or len(sources) < 2:
            return 1  # samples are numbered in the order of the objects
        at_once = getattr(reader, "at_once", None)
        return min(len(sources), at_once(self._job.tables)) if at_once else 1

    def _unread(self, sources: Sequence[SourceObject]) -> list[SourceObject]:
        """The objects to read: no part twice, none that is there already or that came too late."""
        job = self._job
        if not job.identities.told:
            return list(sources)
        things = job.things()
        sources = self._not_outlined(sources, things)
        of = job.identities.of
        keys = {i.key for s in sources if (i := of(s.uri)) is not None and i.part}
        parts = convert_parts.known_parts(job.lake, things, keys)
        wanted: dict[object, SourceObject] = {}
        for source in sources:
            identity = of(source.uri)
            if identity is None or not identity.part:
                wanted[source.uri] = source
                continue
            tables = job.tables_of(source)
            above = [things.above(identity, name) for name in tables]
            known = parts[identity.key]
            twin = wanted.get((identity.key, identity.part))
            if all(above):
                self._left.append((source, above[0] or ""))
            elif not convert_parts.to_read(frozenset(tables), source, known):
                self._left.append((source, source.uri))
            else:
                if twin is not None:
                    self._left.append((twin, source.uri))
                wanted[identity.key, identity.part] = source
        return list(wanted.values())

    def _not_outlined(
        self, sources: Sequence[SourceObject], things: Things
    ) -> Sequence[SourceObject]:
        """The objects without those of which the lake knows more than would be read."""
        fuller = self._fuller(sources, things)
        self._left += [(source, fuller[source.uri]) for source in sources if source.uri in fuller]
        return [source for source in sources if source.uri not in fuller]

    def _fuller(self, sources: Sequence[SourceObject], things: Things) -> dict[str, str]:
        job = self._job
        outline = outlines.outline_of(job.reader, job.tables)
        if outline is None:
            return {}
        return outlines.fuller(job.lake, things, job.identities, outline, sources)

    def _keep(
        self, convert: Callable[[], Converted], source: SourceObject, failed: Failed | None
    ) -> None:
        try:
            item = convert()
        except LakeqError as error:
            if failed is None:
                raise
            failed(source, error)
            return
        self._converted.append(item)
        self.files += [file for files in item.files.values() for file in files]

    def _convert(self, source: SourceObject, number: int) -> Converted:
        """Read one object and write its files."""
        item, samples = self._enrolled(source)
        notes = self._reading.read(
            item, samples, self._writer, number, partial(self._progress, source)
        )
        self._done(item, notes)
        return item

    def _enrolled(self, source: SourceObject) -> tuple[Converted, dict[str, Sample]]:
        """One object before it is read, and its samples."""
        job = self._job
        tables = job.tables_of(source)
        samples, unknown = job.enroll(source, tables, self._roster)
        with self._lock:
            self.notes.update({NOT_IN_PANEL: unknown} if unknown else {})
        return Converted(source, job.identities.of(source.uri), tables), samples

    def _done(self, item: Converted, notes: Mapping[str, int]) -> None:
        with self._lock:
            self.notes.update(notes)
            self._job.progress(item.source.uri, item.source.size_bytes, item.source.size_bytes)

    @property
    def _reading(self) -> Reading:
        job = self._job
        return Reading(job.dataset, job.storage, job.options, self.session.scratch)

    def _convert_elsewhere(self, sources: Sequence[SourceObject], fan_out: FanOut) -> None:
        """Have the objects read by workers; samples are numbered here, in the objects' order."""
        asked = [self._enrolled(source) for source in sources]
        self._converted = [item for item, _samples in asked]
        job = self._job
        made = fan_out.convert(job.dataset, job.options, asked, self.session, self._done)
        self.files += made

    def _progress(self, source: SourceObject, read: int) -> None:
        with self._lock:
            self._job.progress(source.uri, read, source.size_bytes)

    def _writer(self, table: Table) -> TableWriter:
        with self._lock:
            if table.name not in self._writers:
                self._writers[table.name] = self._lake.writer(table, self.session)
            return self._writers[table.name]

    def commit(self) -> bool:
        """Make the batch current; False when its sample numbers were given away meanwhile."""
        from lakeq.lake.commit import Overtaken

        rounds = DECISIONS if self._job.identities.told else ROUNDS
        for _ in range(rounds):
            things = self._job.things() if self._job.identities.told else self._job.in_lake
            fuller = self._fuller([item.source for item in self._converted], things)
            better = [item for item in self._converted if item.source.uri not in fuller]
            decision = decide(better, things)
            decision.kept |= fuller
            made: list[NewFile] = []
            changes = list(self._changes(decision, things, made))
            samples = list(self._samples())
            claims = self._claims()
            try:
                if changes or samples or claims:
                    together = [*changes, *samples]
                    self.snapshots = self._lake.commit_all(together, self.session, claims)
            except Outdated:
                self._lake.delete([*made, *(f for c in samples for f in c.files)])
                raise
            except Overtaken:
                self._lake.delete(made)
                self._lake.delete(file for change in samples for file in change.files)
                known = known_samples(self._lake, self._job.samples_table)
                if not self._roster.rebase(known):
                    return False
            else:
                self._settle(decision, things, [*made, *(f for c in samples for f in c.files)])
                return True
        return False

    def _claims(self) -> dict[str, list[Claim]]:
        """What the commit says of the objects on S3: the versions that are in the lake then."""
        sources = [item.source for item in self._converted] + [source for source, _ in self._left]
        claims = {s.uri: self._own_claim(s) for s in sources if s.uri.startswith("s3://")}
        claims |= self.claims
        return {self._job.dataset.name: list(claims.values())} if claims else {}

    def _own_claim(self, source: SourceObject) -> Claim:
        options = self._job.options
        tables = frozenset(self._job.tables_of(source))
        version = Version(source.uri, source.version, source.version_id, tables=tables)
        return Claim(version, forget=bool(options.regions) or options.samples is not None)

    def _settle(self, decision: Decision, things: Things, more: Sequence[NewFile]) -> None:
        """After the commit: drop what was not taken, and report; `things` were there before."""
        taken = {file.path for table in decision.tables.values() for file in table.files}
        self._lake.delete(file for file in self.files if file.path not in taken)
        self.files = [file for file in self.files if file.path in taken] + list(more)
        self.reports = [self._report(item, decision, things) for item in self._converted]
        self.reports += [
            ObjectReport(s.uri, s.size_bytes, {}, s.uri in things.uris, kept=stays)
            for s, stays in self._left
        ]

    def _report(self, item: Converted, decision: Decision, things: Things) -> ObjectReport:
        uri = item.source.uri
        kept = decision.kept.get(uri, "")
        counted = {} if kept else item.rows
        rows = {item.tables[name].qualified: count for name, count in counted.items()}
        replaced = tuple(sorted(decision.replaced.get(uri, ())))
        replaces = uri in things.uris
        return ObjectReport(uri, item.source.size_bytes, rows, replaces, replaced, kept)

    def _changes(self, decision: Decision, things: Things, made: list[NewFile]) -> Iterator[Change]:
        """What the commit does to each table; new files that it makes for that go to `made`."""
        for uri in self.removed:
            for name in things.uris.get(uri, set()) & self._job.tables.keys():
                if self._job.tables[name].replace == "source":
                    decision.table(name).sources.add(uri)
        self._add_summaries(decision, things, made)
        for name, table in decision.tables.items():
            described = self._job.tables.get(name) or convert_parts.parts_table(self._job.dataset)
            if described.replace == "table":
                self._check_alone(described, decision)
                if not table.files:  # an object of the other assembly, say
                    continue
            yield self._change(described, table, things)

    def _change(self, table: Table, decided: TableDecision, things: Things) -> Change:
        from lakeq.lake.commit import Change

        sources, files = frozenset(decided.sources), tuple(decided.files)
        if not decided.minded:
            return Change(table, sources, files)
        key = self._job.identities.key
        keys, minded = frozenset(decided.keys), frozenset(decided.minded)
        return Change(
            table,
            sources,
            files,
            covers=lambda uri: key(uri) in keys,
            expected=things.paths(minded, table.name),
            watch=lambda uri: key(uri) in minded,
        )

    def _check_alone(self, table: Table, decision: Decision) -> None:
        filled = [item.source.uri for item in self._converted if item.files.get(table.name)]
        if len(filled) > 1:
            what = f"{table.qualified} holds one object at a time, but two were given"
            raise UsageError(what, f"{filled[0]} and {filled[1]}", "give one of them")

    def _add_summaries(self, decision: Decision, things: Things, made: list[NewFile]) -> None:
        """Work out anew the rows that tell of a whole thing, for the things that got a part."""
        job = self._job
        of = job.identities.key
        whole = {key: item for item in decision.wholes if (key := of(item.source.uri))}
        parted = {key for key in whole if things.in_table(key, convert_parts.NAME)}
        if not parted and not decision.parts:
            return
        assert job.reader is not None
        parts = decision.table(convert_parts.NAME)
        parts.minded |= parted | decision.parts.keys()
        parts.keys |= {key for key in parted if things.superseded(key, whole[key].tables)}
        known = convert_parts.known_parts(job.lake, things, decision.parts)
        for key, taken in decision.parts.items():
            parts.sources |= {item.source.uri for item in taken}
            parts.sources |= {
                uri for item in taken for uri in decision.replaced.get(item.source.uri, ())
            }
            writer = self._writer(convert_parts.parts_table(job.dataset))
            made.append(convert_parts.write_parts(writer, taken))
            parts.files.append(made[-1])
            self._combine(decision, things, key, known[key], made)

    def _combine(
        self,
        decision: Decision,
        things: Things,
        key: str,
        known: Sequence[convert_parts.Part],
        made: list[NewFile],
    ) -> None:
        job = self._job
        assert job.reader is not None
        taken = decision.parts[key]
        identity = taken[0].identity
        assert identity is not None
        tables = {
            name: table
            for name, table in taken[0].tables.items()
            if name in convert_parts.summaries(job.reader) and things.above(identity, name) is None
        }
        if not tables:
            return
        writers = {name: self._writer(table) for name, table in tables.items()}
        new = convert_parts.combined(job.reader, tables, known, taken, writers)
        for name in tables:
            table = decision.table(name)
            table.keys.add(key)
            table.files += new.get(name, ())
            made += new.get(name, ())

    def _samples(self) -> Iterator[Change]:
        """The samples table, written anew when it changed, on the base that it was read from."""
        from lakeq import types
        from lakeq.lake.commit import Change

        table = self._job.samples_table
        if table is None or not self._roster.changed:
            return
        writer = self._writer(table).open(self._converted[0].source.uri, (), 0)
        writer.write(self._roster.rows(types.arrow_schema(table)))
        base = self._roster.known.snapshot_id
        yield Change(table, frozenset(), (writer.close(),), base=base, whole=True)
