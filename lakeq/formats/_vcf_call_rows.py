"""Rows of the `calls` table from merged events: one Arrow column per catalog column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.errors import BadCatalog, BadSource
from lakeq.formats import TableBatch, _arrow
from lakeq.formats import _vcf_counts as counts_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._vcf_calls import CallsSpill, Merged, allele_strings
from lakeq.formats._vcf_fields import Alleles, FieldReader, first_not_utf8
from lakeq.formats._vcf_rows import new_carries
from lakeq.formats._vcf_spans import Spans

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from lakeq.catalog import Column, Table
    from lakeq.formats._vcf_rows import BatchRows, FileFacts

FORMAT = "FORMAT/"
ROWS_PER_BATCH = 1 << 20
Build = Callable[["CallRows"], Any]


class CallsTable:
    """Collects the calls of one file and yields them sorted by sample, pos and alt_index."""

    def __init__(self, table: Table, facts: FileFacts, folder: Path) -> None:
        from lakeq.types import arrow_schema

        self._table, self._facts = table, facts
        self._schema = arrow_schema(table)
        keys = [c.source.removeprefix(FORMAT) for c in table.columns if _is_format(c)]
        self.keys = tuple(dict.fromkeys(key for key in keys if key != "GT"))
        for column in table.columns:
            _check(table, column)
        self._spill = CallsSpill(folder, facts.header.samples, 1 + len(self.keys))

    def add(self, rows: BatchRows) -> None:
        """Take the events of one batch."""
        self._spill.add(rows)

    def batches(self) -> Iterator[TableBatch]:
        """Yield all rows, contig by contig in the order they first came."""
        import pyarrow as pa

        self._spill.columns.flush()
        for contig, runs in self._spill.contigs.items():
            for merged in self._spill.merged(runs):
                rows = CallRows(merged, contig, self._spill, self._facts, self.keys)
                arrays = [
                    self._column(rows, column, field.type)
                    for column, field in zip(self._table.columns, self._schema, strict=True)
                ]
                batch = pa.RecordBatch.from_arrays(arrays, schema=_typed(self._schema, arrays))
                for start in range(0, batch.num_rows, ROWS_PER_BATCH):
                    part = batch.slice(start, ROWS_PER_BATCH)
                    yield TableBatch(self._table.name, (contig,), part)

    def close(self) -> None:
        """Drop the files that the events waited in."""
        self._spill.columns.close()

    def _column(self, rows: CallRows, column: Column, type_: pa.DataType) -> pa.Array:
        import pyarrow as pa

        if _is_format(column):
            return rows.format(column.source.removeprefix(FORMAT), type_)
        array = _COLUMNS[column.name](rows)
        return array if pa.types.is_dictionary(array.type) else _arrow.as_type(array, type_)


def _typed(schema: pa.Schema, arrays: Sequence[pa.Array]) -> pa.Schema:
    """The schema with dictionaries where `arrays` are that."""
    import pyarrow as pa

    return pa.schema(
        field.with_type(array.type) if pa.types.is_dictionary(array.type) else field
        for field, array in zip(schema, arrays, strict=True)
    )


def _is_format(column: Column) -> bool:
    return column.source.startswith(FORMAT)


def _check(table: Table, column: Column) -> None:
    if not _is_format(column) and (column.name not in _COLUMNS or column.source):
        raise BadCatalog(
            f"the vcf format has no calls column {column.name!r} of source {column.source!r}",
            table.qualified,
            "give it a source FORMAT/KEY, or choose from: " + ", ".join(sorted(_COLUMNS)),
        )


class CallRows:
    """The rows of some merged events: one per carry, in order."""

    def __init__(
        self,
        merged: Merged,
        contig: str,
        spill: CallsSpill,
        facts: FileFacts,
        keys: tuple[str, ...],
    ) -> None:
        self.merged, self.contig, self._spill, self._facts = merged, contig, spill, facts
        self._keys = keys
        carries = new_carries(counts_of.count_carries(merged.call, merged.wide))
        count = counts_of.expand(merged.call, merged.wide, carries)
        self.event = carries.event[:count]
        self.allele = carries.allele[:count]
        self.copies = carries.copies[:count]
        self.site = merged.site[self.event]
        self.call = merged.call[self.event]
        self.pos = spill.columns["pos"].mapped()[self.site]
        self._sort_repeated_sites()
        self._check_utf8()

    def _check_utf8(self) -> None:
        bad = first_not_utf8(self.merged.text)
        if bad is not None:
            row = int(np.flatnonzero(self.event == bad)[0])
            hint = "convert the file to UTF-8, for example with iconv -f latin1 -t utf-8"
            raise BadSource("the sample's field is not UTF-8", self._where(row), hint)

    def _sort_repeated_sites(self) -> None:
        """Two lines may share a position: then their alleles are ordered together."""
        rank = self.merged.rank[self.event]
        key = np.where(self.allele > 0, self.allele, np.iinfo(np.int32).max)
        same = (rank[1:] == rank[:-1]) & (self.pos[1:] == self.pos[:-1])
        if np.any(same & (key[1:] < key[:-1])):
            order = np.lexsort((key, self.pos, rank))
            for name in ("event", "allele", "copies", "site", "call", "pos"):
                setattr(self, name, getattr(self, name)[order])

    def sample(self) -> pa.Array:
        """The name of each row's sample."""
        rank = self.merged.rank[self.event]
        low, high = int(rank[0]), int(rank[-1]) + 1
        return _arrow.dictionary(rank - np.int32(low), _arrow.texts(self._spill.names[low:high]))

    def alleles(self, number: npt.NDArray[np.int32]) -> pa.Array:
        """The text of each row's allele `number`, 0 being REF; NULL for -1."""
        return allele_strings(self._spill.columns, self.site, number)

    def allele_numbers(self) -> pa.Array:
        """All alleles of each row's call, NULL for a missing one."""
        call, wide = self.call, self.merged.wide
        offsets = np.empty(len(call) + 1, np.int32)
        counts_of.count_alleles(call, wide, offsets)
        values = np.empty(int(offsets[-1]), np.int32)
        counts_of.allele_numbers(call, wide, offsets, values)
        return _arrow.lists(offsets, _arrow.numbers(values, values >= 0))

    def phased(self) -> pa.Array:
        """Whether each row's call is phased; NULL for one of a single allele."""
        call = self.call
        ploidy = (call >> np.uint32(counts_of.PLOIDY_SHIFT)) & np.uint32(3)
        phased = (call >> np.uint32(counts_of.PHASED_SHIFT)) & np.uint32(1) == 1
        single = ploidy == 1
        if np.any(ploidy == 0):
            number = call[ploidy == 0]
            size = np.diff(self.merged.wide.end, prepend=0)
            phased[ploidy == 0] = self.merged.wide.phased[number] == 1
            single[ploidy == 0] = size[number] == 1
        return _arrow.numbers(phased, ~single)

    def format(self, key: str, type_: pa.DataType) -> pa.Array:
        """A FORMAT field of each row's call."""
        import pyarrow as pa

        text = self.merged.text
        if key not in self._keys or not len(text.text):
            return pa.nulls(len(self.event), type_)
        own = text.take(self.event)
        spans = Spans(own.text, np.empty_like(own.start), np.empty_like(own.size))
        spans_of.subfields(*own, self._place(key), spans.start, spans.size)
        defined = self._facts.header.format.get(key)
        number = defined.number if defined else "."
        reader = FieldReader(f"FORMAT/{key}", number, type_, self._facts.notes)
        alts = self._spill.columns["alts"].mapped()[self.site]
        return reader.read(spans, Alleles(self.allele, alts), self._where)

    def _place(self, key: str) -> npt.NDArray[np.int16]:
        """Where `key` stands in the FORMAT of each row's line."""
        width = 1 + len(self._keys)
        fields = self._spill.columns["fields"].mapped().reshape(-1, width)
        return np.ascontiguousarray(fields[self.site, 1 + self._keys.index(key)])

    def _where(self, row: int) -> str:
        line = int(self._spill.columns["line"].mapped()[self.site[row]])
        sample = self._spill.names[self.merged.rank[self.event[row]]]
        return f"{self._facts.uri}, line {line}, sample {sample}"


def _contig(rows: CallRows) -> pa.Array:
    return _arrow.constant(rows.contig, len(rows.event))


def _alt(rows: CallRows) -> pa.Array:
    return rows.alleles(np.where(rows.allele > 0, rows.allele, -1).astype(np.int32))


def _alt_index(rows: CallRows) -> pa.Array:
    return _arrow.numbers(rows.allele, rows.allele > 0)


def _plain(name: str) -> Build:
    def build(rows: CallRows) -> pa.Array:
        return _arrow.numbers(getattr(rows, name))

    return build


_COLUMNS: Mapping[str, Build] = {
    "sample": CallRows.sample,
    "contig": _contig,
    "pos": _plain("pos"),
    "ref": lambda rows: rows.alleles(np.zeros_like(rows.allele)),
    "alt": _alt,
    "alt_index": _alt_index,
    "alt_copies": _plain("copies"),
    "allele_numbers": CallRows.allele_numbers,
    "phased": CallRows.phased,
}
