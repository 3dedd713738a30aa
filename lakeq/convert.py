"""Raw objects to rows in the lake: read by their format, written as Parquet, committed together.

All tables that a batch of objects fills are switched at one instant, so a reader sees each object
whole in every table or not at all. An error in one object leaves the lake as it was before that
object's batch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lakeq import formats
from lakeq._convert_samples import (
    NOT_IN_PANEL,
    Panels,
    Roster,
    known_samples,
    samples_table,
)
from lakeq._convert_sink import Sink
from lakeq.errors import StorageUnavailable, UnknownName, UsageError
from lakeq.formats import ReadContext, Sample
from lakeq.storage import SourceObject, Storage

if TYPE_CHECKING:
    from lakeq._lake_commit import Change
    from lakeq._lake_parquet import NewFile, TableWriter
    from lakeq._lake_session import Session
    from lakeq.catalog import Dataset, Table
    from lakeq.lake import IcebergLake

Progress = Callable[[str, int, int], None]  # object, its raw bytes read so far, its raw bytes
BATCH_OBJECTS = 100  # objects in one commit: bounds what an error can cost
_ROUNDS = 5  # conversions again because another writer gave the sample numbers away


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """What one object is, or was, converted to; `rows` has the tables that it fills.

    `replaces` says whether the lake had rows of this object before. In a dry run the counts are 0.
    """

    uri: str
    size_bytes: int
    rows: Mapping[str, int]
    replaces: bool


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingest did, or in a dry run would do.

    `notes` counts remarks such as samples that the panel does not name; `snapshots` has the new
    snapshot of each table that changed.
    """

    dataset: str
    objects: tuple[ObjectReport, ...]
    files: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    notes: Mapping[str, int] = field(default_factory=dict)
    snapshots: Mapping[str, int] = field(default_factory=dict)
    dry_run: bool = False

    @property
    def bytes_read(self) -> int:
        """Raw bytes of all objects."""
        return sum(report.size_bytes for report in self.objects)

    @property
    def rows(self) -> dict[str, int]:
        """Rows per table over all objects."""
        total: Counter[str] = Counter()
        for report in self.objects:
            total.update(report.rows)
        return dict(total)


def ingest(
    lake: IcebergLake,
    storage: Storage,
    dataset: Dataset,
    objects: Sequence[str | Path],
    *,
    table_names: Sequence[str] | None = None,
    panel: str | Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> IngestReport:
    """Replace the rows of `objects` in the tables of `dataset` by what the objects hold now.

    `objects` are paths, URIs or globs; `table_names` restricts the tables. `panel` is a file or
    URI, "" for none, None to look for one (see `Panels.for_object`). `progress` is called with an
    object's URI, its raw bytes read so far and its raw bytes. Objects are committed in batches of
    100. Raises what storage, format and lake raise; nothing of the failing batch stays.
    """
    started = time.perf_counter()
    job = _Job(lake, storage, dataset, _chosen(dataset, table_names), panel, progress)
    sources = job.sources(objects)
    if dry_run:
        return job.rehearse(sources)
    with lake.session() as session:
        remaining = iter(sources)
        while batch := list(islice(remaining, BATCH_OBJECTS)):
            job.run(batch, session)
    return job.report(time.perf_counter() - started)


def _chosen(dataset: Dataset, names: Sequence[str] | None) -> dict[str, Table]:
    """The tables to fill, by name, without that of the samples and without slices."""
    samples = samples_table(dataset)
    for name in names or ():
        if name not in dataset.tables:
            raise UnknownName.among("table", name, dataset.tables, f"dataset {dataset.name}")
        if dataset.tables[name].query:
            hint = f"lakeq refresh {dataset.name}.{name}"
            raise UsageError(f"{name} keeps the answer to a query", f"dataset {dataset.name}", hint)
    made_of_objects = [name for name, table in dataset.tables.items() if not table.query]
    wanted = dict.fromkeys(made_of_objects if names is None else names)
    return {name: dataset.tables[name] for name in wanted if dataset.tables[name] is not samples}


class _Job:
    """One call of `ingest`."""

    def __init__(
        self,
        lake: IcebergLake,
        storage: Storage,
        dataset: Dataset,
        tables: Mapping[str, Table],
        panel: str | Path | None,
        progress: Progress | None,
    ) -> None:
        self.lake = lake
        self._storage = storage
        self.dataset = dataset
        self.tables = tables
        self.samples_table = samples_table(dataset)
        self._panels = Panels.of(dataset, storage, None if panel is None else str(panel))
        self.progress = progress or (lambda _uri, _read, _total: None)
        self._reports: list[ObjectReport] = []
        self._notes: Counter[str] = Counter()
        self._snapshots: dict[str, int] = {}
        self._files = 0
        self._bytes = 0

    def sources(self, objects: Sequence[str | Path]) -> list[SourceObject]:
        """The objects, found and pinned."""
        return self._storage.expand(objects, tuple(self.dataset.tables.values()))

    def report(self, seconds: float, dry_run: bool = False) -> IngestReport:
        """What was done so far."""
        return IngestReport(
            dataset=self.dataset.name,
            objects=tuple(self._reports),
            files=self._files,
            bytes_written=self._bytes,
            seconds=seconds,
            notes=dict(self._notes),
            snapshots=self._snapshots,
            dry_run=dry_run,
        )

    def rehearse(self, sources: Sequence[SourceObject]) -> IngestReport:
        """Everything short of reading the objects: only their headers, for their samples."""
        roster = Roster(known_samples(self.lake, self.samples_table))
        for source in sources:
            tables = self.tables_of(source)
            self.enroll(source, tables, roster)
            rows = {table.qualified: 0 for table in tables.values()}
            replaces = source.uri in self.in_lake
            self._reports.append(ObjectReport(source.uri, source.size_bytes, rows, replaces))
        return self.report(0.0, dry_run=True)

    def run(self, sources: Sequence[SourceObject], session: Session) -> None:
        """Convert and commit one batch of objects."""
        for _ in range(_ROUNDS):
            batch = _Batch(self, session)
            for source in sources:
                batch.convert(source)
            if batch.commit():
                self._add(batch)
                return
            self.lake.delete(batch.files)
        what = "other writers kept numbering the same samples"
        raise StorageUnavailable(what, self.dataset.name, "try again when fewer are writing")

    def _add(self, batch: _Batch) -> None:
        self._reports += batch.reports
        self._notes.update(batch.notes)
        self._snapshots.update(batch.snapshots)
        self._files += len(batch.files)
        self._bytes += sum(file.size_bytes for file in batch.files)

    def tables_of(self, source: SourceObject) -> dict[str, Table]:
        """The chosen tables that `source` fills: those of its one format.

        Where the dataset has several formats, the object's name decides which.
        """
        names = sorted({table.format for table in self.tables.values()})
        if len(names) > 1:
            names = sorted({t.format for t in self.tables.values() if _named_by(t, source)})
        if len(names) != 1:
            what = f"cannot tell which tables of {self.dataset.name} the object fills"
            choice = ", ".join(table.qualified for table in self.tables.values())
            raise UsageError(what, source.uri, f"name one table: {choice or 'there is none'}")
        return {name: table for name, table in self.tables.items() if table.format == names[0]}

    @cached_property
    def in_lake(self) -> frozenset[str | None]:
        """The objects that the dataset's tables held rows of when the call began."""
        prefix = f"{self.dataset.name}."
        names = [name for name in self.lake.tables() if name.startswith(prefix)]
        snapshots = self.lake.read(names).values()
        return frozenset(file.source for snapshot in snapshots for file in snapshot.files)

    def enroll(
        self, source: SourceObject, tables: Mapping[str, Table], roster: Roster
    ) -> tuple[dict[str, Sample], int]:
        """The samples of one object, and how many of them no panel names."""
        reader = formats.get(next(iter(tables.values())).format)
        sample_names = getattr(reader, "sample_names", None)
        if sample_names is None:
            return {}, 0
        names: Sequence[str] = sample_names(source)
        panel = self._panels.for_object(source, names, roster.known)
        samples = roster.enroll(names, panel, source.uri)
        unknown = sum(name not in panel for name in names) if panel else 0
        return samples, unknown


def _named_by(table: Table, source: SourceObject) -> bool:
    name = source.uri.rpartition("/")[2]
    return any(fnmatchcase(name, pattern.rpartition("/")[2]) for pattern in table.objects)


class _Batch:
    """The objects of one commit, being converted."""

    def __init__(self, job: _Job, session: Session) -> None:
        self._job = job
        self._session = session
        self._lake = job.lake
        self._roster = Roster(known_samples(job.lake, job.samples_table))
        self._writers: dict[str, TableWriter] = {}
        self._filled: dict[str, dict[str, list[NewFile]]] = {}  # table -> object -> its files
        self.reports: list[ObjectReport] = []
        self.notes: Counter[str] = Counter()
        self.snapshots: dict[str, int] = {}
        self.files: list[NewFile] = []

    def convert(self, source: SourceObject) -> None:
        """Read one object and write its files."""
        job = self._job
        tables = job.tables_of(source)
        samples, unknown = job.enroll(source, tables, self._roster)
        if unknown:
            self.notes[NOT_IN_PANEL] += unknown
        sink = Sink(source.uri, {n: self._writer(t) for n, t in tables.items()}, len(self.files))
        self._read(source, tables, samples, sink)
        self.files += [file for files in sink.finished.values() for file in files]
        job.progress(source.uri, source.size_bytes, source.size_bytes)
        self._fill(source, tables, sink)

    def _read(
        self,
        source: SourceObject,
        tables: Mapping[str, Table],
        samples: Mapping[str, Sample],
        sink: Sink,
    ) -> None:
        reader = formats.get(next(iter(tables.values())).format)
        progress = self._job.progress
        with TemporaryDirectory(dir=self._session.scratch) as folder:
            context = ReadContext(
                dataset=self._job.dataset,
                temp_dir=Path(folder),
                samples=samples,
                progress=lambda read: progress(source.uri, read, source.size_bytes),
            )
            try:
                for batch in reader.read(source, tables, context):
                    sink.write(batch)
                sink.close()
            finally:
                sink.abort()
        self.notes.update(context.notes)

    def _fill(self, source: SourceObject, tables: Mapping[str, Table], sink: Sink) -> None:
        rows = {name: 0 for name, table in tables.items() if table.replace == "source"}
        rows |= sink.rows()
        for name, table in tables.items():
            whole = table.replace == "table"
            if whole and not rows.get(name):  # an object of the other assembly, say
                continue
            filled = self._filled.setdefault(name, {})
            if whole and filled:
                what = f"{table.qualified} holds one object at a time, but two were given"
                raise UsageError(what, f"{next(iter(filled))} and {source.uri}", "give one of them")
            filled[source.uri] = sink.finished.get(name, [])
        qualified = {tables[name].qualified: count for name, count in rows.items()}
        replaces = source.uri in self._job.in_lake
        report = ObjectReport(source.uri, source.size_bytes, qualified, replaces)
        self.reports.append(report)

    def _writer(self, table: Table) -> TableWriter:
        if table.name not in self._writers:
            self._writers[table.name] = self._lake.writer(table, self._session)
        return self._writers[table.name]

    def commit(self) -> bool:
        """Make the batch current; False when its sample numbers were given away meanwhile."""
        from lakeq._lake_commit import Overtaken

        changes = list(self._changes())
        for _ in range(_ROUNDS):
            samples = list(self._samples())
            try:
                self.snapshots = self._lake.commit_all([*changes, *samples], self._session)
            except Overtaken:
                self._lake.delete(file for change in samples for file in change.files)
                known = known_samples(self._lake, self._job.samples_table)
                if not self._roster.rebase(known):
                    return False
            else:
                self.files += [file for change in samples for file in change.files]
                return True
        return False

    def _changes(self) -> Iterator[Change]:
        from lakeq._lake_commit import Change

        for name, filled in self._filled.items():
            files = tuple(file for files in filled.values() for file in files)
            yield Change(self._job.tables[name], frozenset(filled), files)

    def _samples(self) -> Iterator[Change]:
        """The samples table, written anew when it changed, on the base that it was read from."""
        from lakeq import types
        from lakeq._lake_commit import Change

        table = self._job.samples_table
        if table is None or not self._roster.changed:
            return
        writer = self._writer(table).open(self.reports[0].uri, (), 0)
        writer.write(self._roster.rows(types.arrow_schema(table)))
        base = self._roster.known.snapshot_id
        yield Change(table, frozenset(), (writer.close(),), base=base, whole=True)
