"""Raw objects to rows in the lake: read by their format, written as Parquet, committed together.

All tables that a batch of objects fills are switched at one instant, so a reader sees each object
whole in every table or not at all. An error in one object leaves the lake as it was before that
object's batch. Where the format tells what objects are copies or parts of, each thing is kept once.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from lakeq import formats
from lakeq.convert.batch import ROUNDS, Batch
from lakeq.convert.fan_out import FanOut
from lakeq.convert.report import IngestReport, ObjectReport
from lakeq.convert.samples import Panels, Roster, known_samples, samples_table
from lakeq.convert.select import Selection, selected
from lakeq.convert.things import Converted, Identities, Things, decide
from lakeq.convert.widen import widened
from lakeq.errors import StorageUnavailable, UnknownName, UsageError
from lakeq.formats import ReadOptions, Sample
from lakeq.storage import SourceObject, Storage

if TYPE_CHECKING:
    from lakeq.catalog import Dataset, Table
    from lakeq.convert.executors import Workers
    from lakeq.formats import Format
    from lakeq.lake import IcebergLake
    from lakeq.lake.session import Session

__all__ = ["IngestReport", "ObjectReport", "Selection", "ingest"]

Progress = Callable[[str, int, int], None]  # object, its raw bytes read so far, its raw bytes
BATCH_OBJECTS = 100  # objects in one commit: bounds what an error can cost
MANY = 1 << 62  # rows that a dry run takes an object for
PRESENT = "objects that the lake has already"
SKIPPED = "objects that the dataset skips by name"


def ingest(  # noqa: PLR0913  # one call does the whole job; options by keyword
    lake: IcebergLake,
    storage: Storage,
    dataset: Dataset,
    objects: Sequence[str | Path] | Selection,
    *,
    table_names: Sequence[str] | None = None,
    materialize: Sequence[str] = (),
    panel: str | Path | None = None,
    options: ReadOptions | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
    allow: Callable[[Sequence[SourceObject]], None] | None = None,
    workers: Workers | None = None,
) -> IngestReport:
    """Replace the rows of `objects` in the tables of `dataset` by what the objects hold now.

    `objects` are paths, URIs or globs, or a selection from the dataset's archive. `table_names`
    restricts the tables; `materialize` names virtual ones whose rows are written too. `panel` is a
    file or URI, "" for none, None to look for one (see `Panels.for_object`). `progress` is called
    with an object's URI, its raw bytes read so far and its raw bytes. Objects are committed in
    batches of 100; `allow` is shown each batch before it is read, and ends the ingest by raising.
    `workers` read the objects and write the files, one object each; they are begun here and ended.
    Raises what storage, format and lake raise, and `WorkerLost` for an object that workers die of;
    nothing of the failing batch stays.
    """
    started = time.perf_counter()
    dataset = widened(dataset, storage, objects, keep=not dry_run)
    job = Job(lake, storage, dataset, chosen(dataset, table_names, materialize), panel, progress)
    job.options = options or ReadOptions()
    sources = job.sources(objects)
    if dry_run:
        return job.rehearse(sources)
    batch = list(islice(sources, BATCH_OBJECTS))  # nothing is made before something is found
    lake.prepare()
    with lake.session() as session, workers or nullcontext():
        if workers is not None:
            job.fan_out = FanOut(workers, lake, storage)
        while batch:
            if allow is not None:
                allow(batch)
            job.run(batch, session)
            way = encoded_way(job.options, panel)
            lake.note_ways(dataset.name, dict.fromkeys((source.uri for source in batch), way))
            batch = list(islice(sources, BATCH_OBJECTS))
    return job.report(time.perf_counter() - started)


def again(
    lake: IcebergLake,
    storage: Storage,
    dataset: Dataset,
    objects: Sequence[str],
    *,
    table_names: Sequence[str],
    panel: str | None = None,
    allow: Callable[[Sequence[SourceObject]], None] | None = None,
) -> list[IngestReport]:
    """Ingest `objects`, URIs, as the ingest did that brought them: its options, its panel.

    Of virtual tables among `table_names` the rows that were written are written again. `panel` is
    for objects of which neither was kept. Raises what `ingest` does.
    """
    ways = lake.ways(dataset.name)
    by_way: dict[str, list[str]] = {}
    for uri in objects:
        by_way.setdefault(ways.get(uri, ""), []).append(uri)
    virtual = [name for name in table_names if dataset.tables[name].index]
    stored = [name for name in table_names if name not in virtual]
    done = []
    for way, some in by_way.items():
        options, known = decoded_way(way) if way else (None, panel)
        done.append(
            ingest(
                lake,
                storage,
                dataset,
                some,
                table_names=stored,
                materialize=virtual,
                panel=known,
                options=options,
                allow=allow,
            )
        )
    return done


def merged(reports: Sequence[IngestReport]) -> IngestReport:
    """Several ingests of one dataset as one."""
    first = reports[0]
    return IngestReport(
        first.dataset,
        tuple(found for report in reports for found in report.objects),
        sum(report.files for report in reports),
        sum(report.bytes_written for report in reports),
        sum(report.seconds for report in reports),
        dict(sum((Counter(report.notes) for report in reports), Counter())),
        {name: number for report in reports for name, number in report.snapshots.items()},
    )


def encoded_way(options: ReadOptions, panel: str | Path | None) -> str:
    """How objects are read, as text that `decoded_way` takes back; a panel of a disk by its path.

    Samples that fill more than a page are kept as they are: a repair must read the same.
    """
    known = None if panel is None else str(panel)
    if known and "://" not in known:
        known = str(Path(known).expanduser().absolute())
    way = {"strict": options.strict, "regions": options.regions, "samples": options.samples}
    return json.dumps({**way, "panel": known}, sort_keys=True)


def decoded_way(text: str) -> tuple[ReadOptions, str | None]:
    """The options and the panel of `encoded_way`."""
    way = json.loads(text)
    samples = way["samples"]
    options = ReadOptions(
        way["strict"], tuple(way["regions"]), None if samples is None else tuple(samples)
    )
    return options, way["panel"]


def chosen(
    dataset: Dataset, names: Sequence[str] | None, materialize: Sequence[str] = ()
) -> dict[str, Table]:
    """The tables to fill, by name, without that of the samples and without slices."""
    samples = samples_table(dataset)
    for name in names or ():
        if name not in dataset.tables:
            raise UnknownName.among("table", name, dataset.tables, f"dataset {dataset.name}")
        if dataset.tables[name].index:
            index = f"{dataset.name}.{dataset.tables[name].index}"
            hint = f"ingest its index, {index}; queries read the pixels where they lie"
            raise UsageError(f"{name} is virtual", f"dataset {dataset.name}", hint)
        if dataset.tables[name].query:
            hint = f"lakeq refresh {dataset.name}.{name}"
            raise UsageError(f"{name} keeps the answer to a query", f"dataset {dataset.name}", hint)
    made_of_objects = [
        n for n, table in dataset.tables.items() if not table.query and not table.index
    ]
    wanted = dict.fromkeys(made_of_objects if names is None else names)
    wanted |= dict.fromkeys(_stored(dataset, materialize))
    return {name: dataset.tables[name] for name in wanted if dataset.tables[name] is not samples}


def _stored(dataset: Dataset, names: Sequence[str]) -> Iterator[str]:
    """The virtual tables to write, each after the index that its rows are made from."""
    for name in names:
        if name not in dataset.tables:
            raise UnknownName.among("table", name, dataset.tables, f"dataset {dataset.name}")
        index = dataset.tables[name].index
        if not index:
            raise UsageError(f"{name} is not virtual", f"dataset {dataset.name}", "ingest it")
        yield from (index, name)


class Job:
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
        self.storage = storage
        self.reader = _reader(tables)
        self.identities = Identities(self.reader)
        self.dataset = dataset
        self.tables = tables
        self.samples_table = samples_table(dataset)
        self._panels = Panels.of(dataset, storage, None if panel is None else str(panel))
        self.progress = progress or (lambda _uri, _read, _total: None)
        self.options = ReadOptions()
        self.fan_out: FanOut | None = None  # to workers; None reads here
        self._reports: list[ObjectReport] = []
        self._notes: Counter[str] = Counter()
        self._snapshots: dict[str, int] = {}
        self._files = 0
        self._bytes = 0

    def sources(self, objects: Sequence[str | Path] | Selection) -> Iterator[SourceObject]:
        """The objects, found and pinned, without those that the dataset skips by name."""
        if isinstance(objects, Selection):
            found = selected(self.dataset, self.storage, objects)
            new = filter(self._is_new, found) if objects.new_only else found
            return filter(self._not_skipped, new)
        return filter(self._not_skipped, self.storage.expand(objects, self._all_tables))

    @property
    def _all_tables(self) -> tuple[Table, ...]:
        return tuple(self.dataset.tables.values())

    def _is_new(self, source: SourceObject) -> bool:
        held = self.in_lake.uris.get(source.uri, set())
        new = not self.tables.keys() <= held
        self._notes.update([] if new else [PRESENT])
        return new

    def _not_skipped(self, source: SourceObject) -> bool:
        name = source.uri.rpartition("/")[2]
        skipped = any(fnmatchcase(name, glob) for glob in self.dataset.skip)
        self._notes.update([SKIPPED] if skipped else [])
        return not skipped

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

    def rehearse(self, sources: Iterable[SourceObject]) -> IngestReport:
        """Everything short of reading the objects: only their headers, for their samples."""
        roster = Roster(known_samples(self.lake, self.samples_table))
        for source in sources:
            tables = self.tables_of(source)
            self.enroll(source, tables, roster)
            rows = {table.qualified: 0 for table in tables.values()}
            replaces = source.uri in self.in_lake.uris
            item = Converted(source, self.identities.of(source.uri), tables)
            item.rows = dict.fromkeys(tables, MANY)
            done = decide([item], self.in_lake)
            replaced = tuple(sorted(done.replaced.get(source.uri, ())))
            kept = done.kept.get(source.uri, "")
            self._reports.append(
                ObjectReport(source.uri, source.size_bytes, rows, replaces, replaced, kept)
            )
        return self.report(0.0, dry_run=True)

    def run(self, sources: Sequence[SourceObject], session: Session) -> None:
        """Convert and commit one batch of objects."""
        for _ in range(ROUNDS):
            batch = Batch(self, session)
            batch.convert_all(sources)
            if batch.commit():
                self._add(batch)
                return
            self.lake.delete(batch.files)
        what = "other writers kept numbering the same samples"
        raise StorageUnavailable(what, self.dataset.name, "try again when fewer are writing")

    def _add(self, batch: Batch) -> None:
        self._reports += batch.reports
        self._notes.update(batch.notes)
        self._snapshots.update(batch.snapshots)
        self._files += len(batch.files)
        self._bytes += sum(file.size_bytes for file in batch.files)

    def tables_of(self, source: SourceObject) -> dict[str, Table]:
        """The chosen tables that `source` fills; see `tables_at`."""
        return self.tables_at(source.uri)

    def tables_at(self, uri: str) -> dict[str, Table]:
        """The chosen tables that the object at `uri` fills: those of its one format.

        Where the dataset has several formats, the object's name decides which.
        """
        names = sorted({table.format for table in self.tables.values()})
        if len(names) > 1:
            names = sorted({t.format for t in self.tables.values() if _named_by(t, uri)})
        if len(names) != 1:
            what = f"cannot tell which tables of {self.dataset.name} the object fills"
            choice = ", ".join(table.qualified for table in self.tables.values())
            raise UsageError(what, uri, f"name one table: {choice or 'there is none'}")
        return {name: table for name, table in self.tables.items() if table.format == names[0]}

    @cached_property
    def in_lake(self) -> Things:
        """What the dataset's tables held when the call began."""
        return self.things()

    def things(self) -> Things:
        """What the dataset's tables hold now."""
        return Things(self.lake, self.dataset, self.identities)

    def enroll(
        self, source: SourceObject, tables: Mapping[str, Table], roster: Roster
    ) -> tuple[dict[str, Sample], int]:
        """The samples of one object, and how many of them no panel names."""
        reader = formats.get(next(iter(tables.values())).format)
        sample_names = getattr(reader, "sample_names", None)
        if sample_names is None:
            return {}, 0
        names: Sequence[str] = sample_names(source)
        if self.options.samples is not None:
            names = [name for name in names if name in self.options.samples]
        panel = self._panels.for_object(source, names, roster.known)
        samples = roster.enroll(names, panel, source.uri)
        unknown = sum(name not in panel for name in names) if panel else 0
        return samples, unknown


def _named_by(table: Table, uri: str) -> bool:
    name = uri.rpartition("/")[2]
    return any(fnmatchcase(name, pattern.rpartition("/")[2]) for pattern in table.objects)


def _reader(tables: Mapping[str, Table]) -> Format | None:
    """The one format of the tables; None where there are several, or no table."""
    names = {table.format for table in tables.values()}
    return formats.get(names.pop()) if len(names) == 1 else None
