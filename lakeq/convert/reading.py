"""One raw object read by its format, its rows written as files of their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lakeq import formats
from lakeq.convert import parts as convert_parts
from lakeq.convert.sink import Sink
from lakeq.formats import ReadContext, ReadOptions, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Dataset, Table
    from lakeq.convert.things import Converted
    from lakeq.formats import Format
    from lakeq.lake.parquet import TableWriter
    from lakeq.storage import Storage

FILES_PER_OBJECT = 1000  # numbers apart from object to object, so that files sort by object


@dataclass(frozen=True, slots=True)
class Reading:
    """How objects of a dataset are read, here or by a worker.

    `scratch` is a folder for what is not kept; `progress` is told the raw bytes read so far.
    """

    dataset: Dataset
    storage: Storage
    options: ReadOptions
    scratch: Path

    def read(
        self,
        item: Converted,
        samples: Mapping[str, Sample],
        writer: Callable[[Table], TableWriter],
        number: int,
        progress: Callable[[int], None],
    ) -> dict[str, int]:
        """Read the object of `item`, the batch's `number`-th, and write its files.

        `item` has them then, with its rows and what is kept aside. Returns the format's notes;
        raises what storage, format and lake raise, and nothing of the object's last files stays.
        """
        source, tables = item.source, item.tables
        reader = formats.get(next(iter(tables.values())).format)
        sink = Sink(source.uri, Writers(writer, tables), number * FILES_PER_OBJECT)
        aside = _Aside(reader, item)
        all_tables = tuple(tables.values())
        with TemporaryDirectory(dir=self.scratch) as folder:
            context = ReadContext(
                dataset=self.dataset,
                temp_dir=Path(folder),
                samples=samples,
                progress=progress,
                options=self.options,
                other=partial(self.storage.source, tables=all_tables),
                beside=partial(self.storage.beside, tables=all_tables),
            )
            try:
                for batch in reader.read(source, tables, context):
                    if not aside.take(batch):
                        sink.write(batch)
                sink.close()
            finally:
                sink.abort()
        aside.close()
        item.files = sink.finished
        item.count()
        return context.notes


class Writers(dict[str, "TableWriter"]):
    """The writers of some tables, each made when its first rows come.

    So PyIceberg, which it takes, is imported while the object is being read (see `Lake.prepare`).
    """

    def __init__(self, make: Callable[[Table], TableWriter], tables: Mapping[str, Table]) -> None:
        super().__init__()
        self._make, self._tables = make, tables

    def __missing__(self, name: str) -> TableWriter:
        self[name] = self._make(self._tables[name])
        return self[name]


class _Aside:
    """Takes what is kept aside of a part: rows of summaries, and of made-up tables."""

    def __init__(self, reader: Format, item: Converted) -> None:
        self._item = item
        self._part = item.identity is not None and bool(item.identity.part)
        self._summaries = convert_parts.summaries(reader)
        self._batches: defaultdict[str, list[pa.RecordBatch]] = defaultdict(list)

    def take(self, batch: formats.TableBatch) -> bool:
        """Whether the batch is to be kept aside, and so is not one for the tables."""
        if not self._part or not (batch.table in self._summaries or batch.table.startswith("_")):
            return False
        self._batches[batch.table].append(batch.rows)
        return True

    def close(self) -> None:
        """Hand over what was taken."""
        import pyarrow as pa

        for name, batches in self._batches.items():
            self._item.aside[name] = pa.Table.from_batches(batches)
