"""The objects of a batch given to workers: one unit each, done again when a worker dies.

Each attempt writes below a folder of its own, which is journalled before, so nothing that a dead
worker leaves is lost sight of; only the files that an answer lists are committed, and by the one
who asked.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lakeq.errors import LakeqError, UsageError, WorkerLost

if TYPE_CHECKING:
    from lakeq.catalog import Dataset
    from lakeq.convert.executors import Workers
    from lakeq.convert.things import Converted
    from lakeq.convert.unit import Answer
    from lakeq.formats import ReadOptions, Sample
    from lakeq.lake import IcebergLake
    from lakeq.lake.parquet import NewFile
    from lakeq.lake.places import Place
    from lakeq.lake.session import Session
    from lakeq.storage import Storage

Done = Callable[["Converted", Mapping[str, int]], None]
LOOK_S = 0.5  # between two looks at whether there are workers at all


@dataclass
class _Task:
    """One object on its way through the workers."""

    number: int
    item: Converted
    samples: Mapping[str, Sample]
    attempts: int = 0
    folder: str = ""


class FanOut:
    """Has objects read by `workers`, for a lake whose one writer this process is."""

    def __init__(self, workers: Workers, lake: IcebergLake, storage: Storage) -> None:
        self._workers = workers
        self._lake = lake
        self._storage = storage

    def convert(
        self,
        dataset: Dataset,
        options: ReadOptions,
        asked: Sequence[tuple[Converted, Mapping[str, Sample]]],
        session: Session,
        done: Done,
    ) -> list[NewFile]:
        """Have each object read; its `Converted` has files, rows and what is kept aside then.

        Returns all files, in the order of the objects. `done` is told each object with its notes.
        Raises what a worker met, for the first object that is told of, and `WorkerLost`.
        """
        batch = _Batch(self._workers, self._lake, self._storage, dataset, options, session)
        for item, _samples in asked:
            batch.check(item)
        tasks = [_Task(n, item, samples) for n, (item, samples) in enumerate(asked)]
        batch.run(tasks, done)
        made = [file for task in tasks for files in task.item.files.values() for file in files]
        if batch.lost or self._workers.repeat:
            batch.clear({file.path for file in made})
        return made


@dataclass
class _Batch:
    """The units of one commit."""

    workers: Workers
    lake: IcebergLake
    storage: Storage
    dataset: Dataset
    options: ReadOptions
    session: Session
    run_id: str = field(default_factory=lambda: os.urandom(8).hex())
    places: dict[str, Place] = field(default_factory=dict)
    lost: int = 0

    @property
    def folder(self) -> str:
        """Where all of its workers write, below the folder of each table."""
        from lakeq.lake import places

        return places.run_folder(self.run_id)

    def check(self, item: Converted) -> None:
        """Refuse what these workers cannot reach, and journal where they will write."""
        uri = item.source.uri
        if self.workers.only_s3 and not (self.lake.is_on_s3 and uri.startswith("s3://")):
            what = f"{self.workers.name} reads objects on S3 and writes to a lake on S3 only"
            hint = "make a lake with --warehouse s3://bucket/prefix, or use another --executor"
            where = uri if self.lake.is_on_s3 else "the lake's files are on this machine's disk"
            raise UsageError(what, where, hint)
        for name, table in item.tables.items():
            if name not in self.places:
                self.places[name] = self.lake.place_of(table)
                self.session.record(self.places[name].folder(self.folder))

    def run(self, tasks: Sequence[_Task], done: Done) -> None:
        """Have all tasks done, each again as often as these workers allow."""
        pending = {self._begin(task): task for task in tasks}
        try:
            while pending:
                ready, _ = wait(pending, LOOK_S, FIRST_COMPLETED)
                if not ready:
                    self.workers.look()
                for future in ready:
                    task = pending.pop(future)
                    if (answer := self._answer(future, task)) is None:
                        pending[self._begin(task)] = task
                    else:
                        self._take(task, answer, done)
        except BaseException:
            for future in pending:
                future.cancel()
            raise

    def _begin(self, task: _Task) -> Future[str]:
        from lakeq.convert.unit import Pinned, Unit
        from lakeq.lake import places

        source = task.item.source
        task.folder = places.part_folder(self.run_id, task.number, task.attempts)
        task.attempts += 1
        unit = Unit(
            source=Pinned(source.uri, source.size_bytes, source.version, source.version_id),
            number=task.number,
            dataset=self.dataset,
            targets={name: self.places[name] for name in task.item.tables},
            samples=task.samples,
            options=self.options,
            folder=task.folder,
            journal="" if self.lake.is_on_s3 else self.session.journal,
            s3=self.storage.s3,
        )
        return self.workers.submit(unit.encoded())

    def _answer(self, future: Future[str], task: _Task) -> Answer | None:
        """What the worker answered; None when it died and the unit is to be done again."""
        from lakeq.convert.unit import decode_answer

        try:
            text = future.result()
        except LakeqError:
            raise
        except (Exception, CancelledError) as error:
            self.lost += 1
            if task.attempts < self.workers.attempts:
                return None
            name, count = self.workers.name, task.attempts
            tried = f"in {count} attempts " if count > 1 else ""
            what = f"no worker of {name} {tried}finished the object: {_told(error)}"
            hint = "give workers more memory, or ingest it by itself without --executor to see why"
            raise WorkerLost(what, task.item.source.uri, hint) from error
        return decode_answer(text, socket.gethostname())

    def _take(self, task: _Task, answer: Answer, done: Done) -> None:
        from lakeq.convert import parts

        item = task.item
        if not answer.files.keys() <= item.tables.keys():
            raise WorkerLost("a worker answered for tables nobody asked for", item.source.uri)
        for name, written in answer.files.items():
            folder = self.places[name].folder(task.folder)
            item.files[name] = self.lake.take({folder: written}, item.source.uri)
        item.count()
        item.aside = parts.unpacked(answer.aside)
        self.storage.tally.add(answer.raw)
        self.lake.tally.add(answer.made)
        done(item, answer.notes)

    def clear(self, keep: set[str]) -> None:
        """Delete what attempts that came to nothing left."""
        for place in self.places.values():
            self.lake.clear(place.folder(self.folder), keep)


def _told(error: BaseException) -> str:
    """The last line of what an executor says, which in a traceback is the error itself."""
    lines = str(error).strip().splitlines()
    return lines[-1][:300] if lines else type(error).__name__
