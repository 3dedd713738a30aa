"""The `entries` table: every sample of every allele with every FORMAT field, in file order.

`calls` holds what is not homozygous reference, by sample; `entries` holds everything that the
sample columns of a file say, reference calls and lines without GT too: gVCF blocks, depths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq import contigs
from lakeq.errors import BadCatalog, BadSource
from lakeq.formats import TableBatch, _arrow
from lakeq.formats import _vcf_entries_kernels as kernels
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._vcf_columns import WHOLE, from_header, parts
from lakeq.formats._vcf_fields import Alleles, first_not_utf8, missing_blanked, strings
from lakeq.formats._vcf_spans import Spans
from lakeq.formats._vcf_typed import TypedField

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import pyarrow as pa

    from lakeq.catalog import Column, Table
    from lakeq.formats._vcf_header import Header
    from lakeq.formats._vcf_lines import VcfText
    from lakeq.formats._vcf_select import Selection

FORMAT = "FORMAT/"
REST = "format_rest"  # the column of FORMAT fields that no other column holds
DOT = 46
ROWS = 1 << 20  # entries at once; a line of more samples is a batch of its own
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


def entries(
    text: VcfText | Selection, table: Table, assembly: str, notes: MutableMapping[str, int]
) -> Iterator[TableBatch]:
    """Yield the entries of one VCF, contig by contig as they come, in file order.

    Raises `BadSource` for a line with other columns than the header, and for text that is not
    UTF-8; values that do not fit their definition are kept in `format_rest`.
    """
    header = text.header
    if header.columns < 10:
        return
    builder = _Builder(table, header, assembly, notes)
    number = header.lines
    for chunk, size in text.chunks():
        lines = kernels.count_lines(chunk, size)
        starts = np.empty((lines, header.columns + 1), np.int64)
        numbers = np.empty(lines, np.int64)
        bad = kernels.columns(chunk, size, number, starts, numbers)
        if bad >= 0:
            line = int(numbers[bad - 1]) + 1 if bad else number + 1
            what = f"the line does not have the header's {header.columns} columns"
            raise BadSource(what, f"{text.uri}, line {line}", "tabs were lost or added")
        number += int(np.count_nonzero(chunk[:size] == 10))
        step = max(1, ROWS // (header.columns - 9))
        for first in range(0, lines, step):
            part = slice(first, first + step)
            yield from builder.batches(Block(text.uri, header, chunk, starts[part], numbers[part]))


@dataclass
class Block:
    """Some lines of one file and where their columns begin."""

    uri: str
    header: Header
    text: npt.NDArray[np.uint8]
    starts: I64
    numbers: I64

    def field(self, column: int) -> Spans:
        """A fixed column of every line."""
        start = np.ascontiguousarray(self.starts[:, column])
        return Spans(self.text, start, (self.starts[:, column + 1] - start - 1).astype(np.int32))

    @property
    def samples(self) -> int:
        """How many samples each line has."""
        return int(self.starts.shape[1]) - 10

    @cached_property
    def alts(self) -> I32:
        """How many alternate alleles each line has; 0 where ALT is '.'."""
        alt = self.field(4)
        counts = np.empty(len(alt.size), np.int32)
        spans_of.count_elements(*alt, counts)
        none = (alt.size == 1) & (self.text[alt.start] == DOT)
        return np.where(none, 0, counts).astype(np.int32)

    @cached_property
    def rows_of_line(self) -> I64:
        """How many rows each line makes."""
        return np.maximum(self.alts, 1).astype(np.int64) * self.samples

    @cached_property
    def line(self) -> I64:
        """The line of each row."""
        return np.repeat(np.arange(len(self.alts)), self.rows_of_line)

    @cached_property
    def _within(self) -> I64:
        first = np.cumsum(self.rows_of_line) - self.rows_of_line
        return np.arange(len(self.line)) - first[self.line]

    @cached_property
    def sample(self) -> I32:
        """The sample of each row, in header order."""
        return (self._within % self.samples).astype(np.int32)

    @cached_property
    def call(self) -> I32:
        """The call of each row: line times samples plus sample."""
        return (self.line * self.samples + self.sample).astype(np.int32)

    @cached_property
    def alleles(self) -> Alleles:
        """The alternate allele of each row."""
        alts = self.alts[self.line]
        place = self._within // self.samples + 1
        return Alleles(np.where(alts > 0, place, 0).astype(np.int32), alts)

    @cached_property
    def pos(self) -> I64:
        """The position of each line."""
        import pyarrow as pa

        try:
            return np.asarray(strings(self.field(1)).cast(pa.int64()))
        except pa.ArrowInvalid as error:
            raise BadSource("a position is no number", f"{self.uri}, POS", str(error)) from error

    @cached_property
    def calls(self) -> Calls:
        """The genotypes of every sample of every line."""
        return Calls(self)

    def values(self, key: int, place: npt.NDArray[np.int16]) -> Spans:
        """The value of a wanted FORMAT key in every call."""
        count = len(self.starts) * self.samples
        spans = Spans(self.text, np.empty(count, np.int64), np.empty(count, np.int32))
        kernels.sample_fields(self.text, self.starts, place, key, spans.start, spans.size)
        return spans

    def where(self, call: int) -> str:
        """Where a call stands in the file."""
        line, sample = divmod(call, self.samples)
        return f"{self.uri}, line {int(self.numbers[line])}, sample {self.header.samples[sample]}"


class Calls:
    """The genotypes of a block: text, allele numbers, phase."""

    def __init__(self, block: Block) -> None:
        key = np.frombuffer(bytearray(b"GT"), np.uint8)
        place = np.empty((len(block.starts), 1), np.int16)
        kernels.places(block.text, block.starts, key, np.array([2], np.int32), place)
        self.text = block.values(0, place)
        counts = np.empty(len(self.text.size), np.int32)
        bad = kernels.count_call_alleles(*self.text, counts)
        if bad >= 0:
            what = f"{self.text.shown(bad)} is no genotype"
            raise BadSource(what, f"{block.where(bad)}, GT", "correct the line")
        self.offsets = np.zeros(len(counts) + 1, np.int32)
        np.cumsum(counts, out=self.offsets[1:])
        self.alleles = np.empty(int(self.offsets[-1]), np.int32)
        self.phased = np.empty(len(counts), bool)
        kernels.call_alleles(*self.text, self.offsets, self.alleles, self.phased)


Build = Callable[[Block], Any]


class _Builder:
    """Builds the batches of the entries of one file."""

    def __init__(
        self, table: Table, header: Header, assembly: str, notes: MutableMapping[str, int]
    ) -> None:
        from lakeq.types import arrow_schema

        self._table, self._header, self._assembly, self._notes = table, header, assembly, notes
        self._schema = arrow_schema(table)
        if not from_header(table):
            hint = "give the table the option fields: header"
            raise BadCatalog("entries hold the FORMAT fields of the header", table.qualified, hint)
        sources = [c.source.removeprefix(FORMAT) for c in table.columns if c.source]
        self._keys = list(dict.fromkeys(source.removesuffix(WHOLE) for source in sources))
        self._names = _arrow.texts(header.samples)
        for column in table.columns:
            if not column.source and column.name not in _COLUMNS:
                raise BadCatalog(
                    f"the vcf format has no entries column {column.name!r}",
                    table.qualified,
                    "give it a source FORMAT/KEY, or choose from: " + ", ".join(sorted(_COLUMNS)),
                )

    def batches(self, block: Block) -> Iterator[TableBatch]:
        import pyarrow as pa

        self._check_utf8(block)
        packed = np.frombuffer(bytearray("".join(self._keys).encode() or b"."), np.uint8)
        ends = np.cumsum([len(key.encode()) for key in self._keys], dtype=np.int32)
        place = np.empty((len(block.starts), len(self._keys)), np.int16)
        kernels.places(block.text, block.starts, packed, ends, place)
        bad = np.zeros((len(self._keys) + 1, len(block.starts) * block.samples), bool)
        arrays = []
        rest = None
        for i, (column, field) in enumerate(zip(self._table.columns, self._schema, strict=True)):
            if column.source:
                arrays.append(self._field(block, column, field.type, place, bad))
            elif column.name == REST:
                rest = i
                arrays.append(None)
            elif column.name == "sample":
                arrays.append(self._names.take(_arrow.numbers(block.sample)))
            else:
                arrays.append(_arrow.as_type(_COLUMNS[column.name](block), field.type))
        if rest is not None:
            gt = np.frombuffer(bytearray("".join([*self._keys, "GT"]).encode()), np.uint8)
            ends = np.cumsum([*map(len, self._keys), 2], dtype=np.int32)
            arrays[rest] = _rest(block, gt, ends, bad)
        batch = None
        for first, stop, name in self._segments(block):
            places = [i for i, column in enumerate(self._table.columns) if column.name == "contig"]
            if batch is None:
                for i in places:
                    arrays[i] = pa.nulls(len(block.line), pa.string())
                batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
            part = batch.slice(first, stop - first)
            for i in places:
                contig = _arrow.as_type(_arrow.constant(name, len(part)), self._schema[i].type)
                part = part.set_column(i, self._schema[i], contig)
            yield TableBatch(self._table.name, (name,), part)

    def _segments(self, block: Block) -> Iterator[tuple[int, int, str]]:
        """The rows of each run of a contig."""
        names: pa.Array = strings(block.field(0))
        ends = np.cumsum(block.rows_of_line)
        first_line = 0
        chroms = names.to_pylist()
        for line in range(1, len(chroms) + 1):
            if line == len(chroms) or chroms[line] != chroms[first_line]:
                source = chroms[first_line]
                length = self._header.contigs.get(source)
                first = int(ends[first_line - 1]) if first_line else 0
                name = contigs.canonical(source, self._assembly, length)
                yield first, int(ends[line - 1]), name
                first_line = line

    def _field(
        self,
        block: Block,
        column: Column,
        type_: pa.DataType,
        place: npt.NDArray[np.int16],
        bad: npt.NDArray[np.bool_],
    ) -> pa.Array:
        key = column.source.removeprefix(FORMAT).removesuffix(WHOLE)
        number = self._keys.index(key)
        defined = self._header.format.get(key)
        whole = column.source.endswith(WHOLE)
        reader = TypedField(
            defined.number if defined else ".",
            type_,
            self._header.version >= "4.3",
            whole,
            parts(defined) if defined else (),
        )
        values, wrong = reader.read(block.values(number, place).take(block.call), block.alleles)
        if wrong.any() and not whole:
            bad[number, block.call[wrong]] = True
            note = f"{column.source} does not fit its definition: NULL, kept in {REST}"
            self._notes[note] = self._notes.get(note, 0) + int(wrong.sum())
        return values

    def _check_utf8(self, block: Block) -> None:
        for column in (0, 3, 4, *range(9, block.starts.shape[1] - 1)):
            bad = first_not_utf8(block.field(column)) if block.text.max() > 127 else None
            if bad is not None:
                where = f"{block.uri}, line {int(block.numbers[bad])}"
                raise BadSource("the text is not UTF-8", where, "convert it with iconv")


def _rest(
    block: Block, keys: npt.NDArray[np.uint8], ends: I32, bad: npt.NDArray[np.bool_]
) -> pa.Array:
    offsets = np.empty(len(block.starts) * block.samples + 1, np.int32)
    out = np.empty(int(kernels.rest_size(block.starts)) + 1, np.uint8)
    kernels.rest_of_samples(block.text, block.starts, keys, ends, bad, offsets, out)
    rest = Spans(out, offsets[:-1].astype(np.int64), np.diff(offsets))
    rest.size[rest.size == 0] = spans_of.ABSENT
    return strings(rest.take(block.call))


def _alt(block: Block) -> pa.Array:
    spans = block.field(4)
    elements = np.maximum(block.alts, 1)
    total = int(elements.sum())
    alt = Spans(spans.text, np.empty(total, np.int64), np.empty(total, np.int32))
    spans_of.elements(*spans, alt.start, alt.size)
    first = np.cumsum(elements) - elements
    index = first[block.line] + np.maximum(block.alleles.alt_index, 1) - 1
    own = alt.take(index)
    own.size[block.alleles.alt_index == 0] = spans_of.ABSENT
    return strings(own)


def _alt_index(block: Block) -> pa.Array:
    index = block.alleles.alt_index
    return _arrow.numbers(index, index > 0)


def _alt_copies(block: Block) -> pa.Array:
    calls = block.calls
    out = np.empty(len(block.call), np.int32)
    kernels.copies(calls.offsets, calls.alleles, block.call, block.alleles.alt_index, out)
    known = (np.diff(calls.offsets)[block.call] > 0) & (block.alleles.alt_index > 0)
    return _arrow.numbers(out, known)


def _allele_numbers(block: Block) -> pa.Array:
    calls = block.calls
    values = _arrow.numbers(calls.alleles, calls.alleles >= 0)
    return _arrow.lists(calls.offsets, values, np.diff(calls.offsets) > 0).take(
        _arrow.numbers(block.call)
    )


def _phased(block: Block) -> pa.Array:
    return _arrow.numbers(
        block.calls.phased[block.call], np.diff(block.calls.offsets)[block.call] > 1
    )


_COLUMNS: Mapping[str, Build] = {
    "sample": lambda block: block.sample,
    "contig": lambda block: _arrow.constant("", len(block.line)),
    "pos": lambda block: _arrow.numbers(block.pos[block.line]),
    "ref": lambda block: strings(missing_blanked(block.field(3)).take(block.line)),
    "alt": _alt,
    "alt_index": _alt_index,
    "alt_copies": _alt_copies,
    "allele_numbers": _allele_numbers,
    "phased": _phased,
    "gt": lambda block: strings(block.calls.text.take(block.call)),
    REST: _alt,  # its place; it is made last
}
