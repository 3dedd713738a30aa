"""What remains of a data file when the rows of some of its objects go: the rest, in its order.

A file that a compaction made holds rows of many objects. Replacing one of them writes the others'
rows into a new file (copy on write): readers need to know nothing, and files stay plain Parquet.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

from lakeq.lake.inside import order_of
from lakeq.lake.parquet import NewFile, TableWriter
from lakeq.lake.schema import SOURCE
from lakeq.lake.verify import Listed

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.manifest import DataFile

    from lakeq.catalog import Table
    from lakeq.lake.io import WarehouseIO

BATCH_ROWS = 1 << 16


class Remainders:
    """The rewritten files of one commit, each made once however often the commit is prepared.

    `check` raises `BadLake` for a file that is not what was written: its rows are not carried on.
    """

    def __init__(
        self,
        files: WarehouseIO,
        writer: Callable[[Table], TableWriter],
        check: Callable[[Listed], None],
    ) -> None:
        self._files = files
        self._writer = writer
        self._check = check
        self._made: dict[tuple[str, frozenset[str]], NewFile] = {}

    def __call__(self, table: Table, file: DataFile, gone: frozenset[str]) -> NewFile:
        """A new file with the rows of `file` but those of the sources `gone`."""
        key = (file.file_path, gone)
        if key not in self._made:
            path, size, rows = file.file_path, file.file_size_in_bytes, file.record_count
            self._check(Listed(path, size, rows))
            self._made[key] = self._rest(self._writer(table), path, gone)
        return self._made[key]

    def drop_all_but(self, taken: Collection[NewFile]) -> None:
        """Delete the files that no commit took."""
        paths = {file.path for file in taken}
        for file in self._made.values():
            if file.path not in paths:
                self._files.delete(file.path)

    def leave(self) -> None:
        """Leave all files where they are: it is not known whether a commit took them."""
        self._made.clear()

    def _rest(self, writer: TableWriter, path: str, gone: frozenset[str]) -> NewFile:
        import pyarrow.parquet as pq

        with pq.ParquetFile(self._files.opened(path)) as old:
            order = order_of(old.metadata)
            new = writer.merged(writer.folder_of(path), "rest", order, old.schema_arrow)
            try:
                for batch in _others(old, gone):
                    new.write(batch)
                return new.close()
            except BaseException:
                new.abort()
                raise


def _others(file: object, gone: frozenset[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = pa.array(sorted(gone), pa.string())
    for batch in file.iter_batches(BATCH_ROWS):  # type: ignore[attr-defined]  # pyarrow has no stubs
        stays = pc.invert(pc.is_in(batch[SOURCE], value_set=values))
        rest = batch.filter(stays)
        if rest.num_rows:
            yield rest
