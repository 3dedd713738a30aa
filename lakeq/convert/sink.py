"""From record batches to finished Parquet files: by object, table and partition value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lakeq.formats import TableBatch
    from lakeq.lake.parquet import FileWriter, NewFile, TableWriter

PENDING_BYTES = 384 << 20  # Arrow memory over all open files; the largest is written beyond it


@dataclass
class Sink:
    """Takes the batches of one object; `finished` has its files by table, empty ones left out.

    A table is in `finished` as soon as one batch of it came, even one without rows.
    """

    source: str
    writers: Mapping[str, TableWriter]
    number: int = 0  # of the next file, so that files are named in the order they were begun
    finished: dict[str, list[NewFile]] = field(default_factory=dict)
    _open: dict[tuple[str, tuple[str, ...]], FileWriter] = field(default_factory=dict)

    def write(self, batch: TableBatch) -> None:
        """Add one batch to the file of its table and partition."""
        self.finished.setdefault(batch.table, [])
        if not batch.rows.num_rows:
            return
        key = (batch.table, batch.partition)
        if key not in self._open:
            writer = self.writers[batch.table]
            self._open[key] = writer.open(self.source, batch.partition, self.number)
            self.number += 1
        self._open[key].write(batch.rows)
        if self._open[key].full:
            self._finish(key)
        if sum(file.pending_bytes for file in self._open.values()) > PENDING_BYTES:
            max(self._open.values(), key=lambda file: file.pending_bytes).flush()

    def close(self) -> None:
        """Finish all files, those that hold least first: what they leave the largest can use."""
        while self._open:
            self._finish(min(self._open, key=lambda key: self._open[key].pending_bytes))

    def _finish(self, key: tuple[str, tuple[str, ...]]) -> None:
        self.finished[key[0]].append(self._open[key].close())
        del self._open[key]

    def abort(self) -> None:
        """Drop the files that are not finished; the finished ones are the caller's."""
        for file in self._open.values():
            file.abort()
        self._open.clear()
