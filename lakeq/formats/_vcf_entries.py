"""The `entries` table: every sample of every allele with every FORMAT field, in file order.

`calls` holds what is not homozygous reference, by sample; `entries` holds everything that the
sample columns of a file say, reference calls and lines without GT too: gVCF blocks, depths.

One thread inflates; pieces of text are made into columns on all cores, each by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq import contigs
from lakeq.errors import BadCatalog, BadSource
from lakeq.formats import TableBatch, _arrow
from lakeq.formats import _vcf_cell_columns as columns_of
from lakeq.formats import _vcf_cells as cells_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._ahead import ahead, spread
from lakeq.formats._vcf_cell_columns import Cells, Genotypes
from lakeq.formats._vcf_columns import WHOLE, from_header, parts
from lakeq.formats._vcf_entries_kernels import rest_of_samples
from lakeq.formats._vcf_fields import missing_blanked, strings
from lakeq.formats._vcf_lenient import DEVIATES, Kinds
from lakeq.formats._vcf_lines import PAD_BYTES
from lakeq.formats._vcf_spans import Spans
from lakeq.formats._vcf_strict_lines import MORE_FIELDS, format_deviations
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
DOT, NEWLINE = 46, 10
ROWS = 1 << 20  # entries at once; a line of more samples is a batch of its own
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


class Text(NamedTuple):
    """Whole lines of one file, the number of the line before, and how many line ends there are."""

    data: U8
    size: int
    before: int
    ends: int


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
    builder = _Builder(table, header, assembly, text.uri)
    with closing(spread(ahead(_texts(text)), builder.batches)) as made:
        found, unfit = Kinds(), Kinds()
        for done in made:
            yield from done.batches
            found.add(done.deviations)
            unfit.add(done.unfit)
        found.write(notes, DEVIATES)
        unfit.write(notes)


def _texts(text: VcfText | Selection) -> Iterator[Text]:
    """The lines of a file in pieces that stay as they are."""
    number = text.header.lines
    for chunk, size in text.chunks():
        data = chunk[: size + PAD_BYTES].copy()
        ends = int(np.count_nonzero(data[:size] == NEWLINE))
        yield Text(data, size, number, ends)
        number += ends


class Done(NamedTuple):
    """The batches of some lines, and what is wrong with their samples by kind.

    `unfit` are values that do not fit their definition and are kept in the rest.
    """

    batches: list[TableBatch]
    deviations: Kinds
    unfit: Kinds


@dataclass
class Block:
    """Some lines of one file, where their fixed columns and their sample fields begin."""

    uri: str
    header: Header
    text: U8
    size: int
    fixed: I64
    numbers: I64
    start: I32  # of each wanted FORMAT key, GT last, in every call
    unknown: bool  # whether a line has a FORMAT key that is not wanted

    def field(self, column: int) -> Spans:
        """CHROM to FORMAT of every line."""
        start = np.ascontiguousarray(self.fixed[:, column])
        return Spans(self.text, start, (self.fixed[:, column + 1] - start - 1).astype(np.int32))

    @property
    def samples(self) -> int:
        """How many samples each line has."""
        return len(self.header.samples)

    @cached_property
    def cells(self) -> Cells:
        """The sample fields of the block."""
        return Cells(self.text, self.start, self.alts, self.samples)

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
        return self.cells.elements.astype(np.int64) * self.samples

    def of_rows(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of each line, for every row."""
        return np.repeat(values, self.rows_of_line)

    @cached_property
    def pos(self) -> I64:
        """The position of each line."""
        import pyarrow as pa

        try:
            return np.asarray(strings(self.field(1)).cast(pa.int64()))
        except pa.ArrowInvalid as error:
            raise BadSource("a position is no number", f"{self.uri}, POS", str(error)) from error

    @cached_property
    def calls(self) -> Genotypes:
        """The genotypes of every row."""
        key = len(self.start) - 1
        try:
            return Genotypes(self.cells, key)
        except ValueError as error:
            call = int(error.args[0])
            what = f"{self.cells.spans(key).shown(call)} is no genotype"
            raise BadSource(what, f"{self.where(call)}, GT", "correct the line") from error

    def parts(self) -> Iterator[Block]:
        """The lines in parts of about ROWS rows; a line is never cut."""
        part = np.cumsum(self.rows_of_line) // ROWS
        cuts = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), len(part)]
        for first, stop in pairwise(cuts):
            calls = slice(first * self.samples, stop * self.samples)
            yield replace(
                self,
                fixed=self.fixed[first:stop],
                numbers=self.numbers[first:stop],
                start=self.start[:, calls],
            )

    def where(self, call: int) -> str:
        """Where a call stands in the file."""
        line, sample = divmod(call, self.samples)
        return f"{self.uri}, line {int(self.numbers[line])}, sample {self.header.samples[sample]}"


Build = Callable[[Block], Any]


class _Builder:
    """Builds the batches of the entries of one file, in any thread."""

    def __init__(self, table: Table, header: Header, assembly: str, uri: str) -> None:
        from lakeq.types import arrow_schema

        self._table, self._header, self._assembly, self._uri = table, header, assembly, uri
        self._schema = arrow_schema(table)
        if not from_header(table):
            hint = "give the table the option fields: header"
            raise BadCatalog("entries hold the FORMAT fields of the header", table.qualified, hint)
        for column in table.columns:
            if not column.source and column.name not in _COLUMNS:
                raise BadCatalog(
                    f"the vcf format has no entries column {column.name!r}",
                    table.qualified,
                    "give it a source FORMAT/KEY, or choose from: " + ", ".join(sorted(_COLUMNS)),
                )
        self._keys = list(dict.fromkeys(_key(c) for c in table.columns if c.source))
        names = [key.encode() for key in [*self._keys, "GT"]]
        self._packed = np.frombuffer(bytearray(b"".join(names)), np.uint8)
        self._ends = np.cumsum([len(name) for name in names], dtype=np.int32)
        self._names = _arrow.texts(header.samples)
        self._rest = [i for i, c in enumerate(table.columns) if c.name == REST and not c.source]
        self._fields = [
            self._field(column, field.type) if column.source else None
            for column, field in zip(table.columns, self._schema, strict=True)
        ]

    def batches(self, text: Text) -> Done:
        """The batches of some lines, and what there is to note of them."""
        self._check_utf8(text)
        done = Done([], Kinds(), Kinds())
        whole = self._block(text, done.deviations)
        self._check_formats(whole, done.deviations)
        for block in whole.parts():
            done.batches.extend(self._segments(block, self._arrays(block, done.unfit)))
        return done

    def _check_formats(self, block: Block, found: Kinds) -> None:
        """Count the lines whose FORMAT breaks the rules."""
        made = strings(block.field(8)).dictionary_encode()
        index = np.asarray(made.indices)
        for number, text in enumerate(made.dictionary.to_pylist()):
            for kind, _ in format_deviations(text.split(":"), self._header.version):
                lines = block.numbers[index == number]
                found.note(kind, int(lines[0]), len(lines))

    def _block(self, text: Text, found: Kinds) -> Block:
        """The lines of a piece of text, their cells found."""
        samples = len(self._header.samples)
        fixed = np.empty((text.ends, cells_of.FIXED_STARTS), np.int64)
        numbers = np.empty(text.ends, np.int64)
        start = np.full((len(self._ends), text.ends * samples), spans_of.ABSENT, np.int32)
        facts = np.zeros(4, np.int64)
        lines = cells_of.walk(
            text.data,
            text.size,
            text.before,
            samples,
            self._packed,
            self._ends,
            np.empty(text.size + 1, np.int16),
            fixed,
            numbers,
            start,
            facts,
        )
        if lines < 0:
            what = f"the line does not have the header's {self._header.columns} columns"
            where = f"{self._uri}, line {int(facts[cells_of.LINE])}"
            raise BadSource(what, where, "tabs were lost or added")
        if facts[cells_of.MORE]:
            found.note(MORE_FIELDS, int(facts[cells_of.MORE_LINE]), int(facts[cells_of.MORE]))
        return Block(
            self._uri,
            self._header,
            text.data,
            text.size,
            fixed[:lines],
            numbers[:lines],
            start[:, : lines * samples],
            unknown=bool(facts[cells_of.UNKNOWN]),
        )

    def _arrays(self, block: Block, unfit: Kinds) -> list[pa.Array]:
        """The columns of some lines; those of one contig for all of them."""
        calls = len(block.numbers) * block.samples
        misfits = np.zeros((len(self._keys) + 1, 0), bool)
        arrays: list[Any] = []
        for column, field in zip(self._table.columns, self._fields, strict=True):
            if field is None:
                arrays.append(self._made(block, column.name))
                continue
            key = self._keys.index(_key(column))
            values, wrong = columns_of.read(block.cells, key, field)
            arrays.append(values)
            if wrong is not None and not field.whole:
                if not misfits.size:
                    misfits = np.zeros((len(self._keys) + 1, calls), bool)
                misfits[key, block.cells.call[wrong.view(bool)]] = True
                kind = f"{column.source} does not fit its definition: NULL, kept in {REST}"
                first = int(block.cells.call[int(np.argmax(wrong))]) // block.samples
                unfit.note(kind, int(block.numbers[first]), int(np.count_nonzero(wrong)))
        for place in self._rest:  # known only when all other columns are
            arrays[place] = self._of_rest(block, misfits)
        return arrays

    def _made(self, block: Block, name: str) -> pa.Array:
        if name == "sample":
            return _arrow.dictionary(block.cells.sample, self._names)
        return _COLUMNS[name](block)

    def _of_rest(self, block: Block, misfits: npt.NDArray[np.bool_]) -> pa.Array:
        """The FORMAT fields that no column holds, as KEY=value; NULL for none."""
        import pyarrow as pa

        if not misfits.size and not block.unknown:
            return pa.nulls(block.cells.rows, pa.string())
        calls = len(block.numbers) * block.samples
        if not misfits.size:
            misfits = np.zeros((len(self._keys) + 1, calls), bool)
        stops = np.append(block.fixed[1:, 0], block.size)
        keys = int((block.fixed[:, 9] - block.fixed[:, 8] + 2).sum()) * block.samples
        out = np.empty(keys + int((stops - block.fixed[:, 9]).sum()), np.uint8)
        offsets = np.empty(calls + 1, np.int32)
        rest_of_samples(
            block.text, block.fixed, block.samples, self._packed, self._ends, misfits, offsets, out
        )
        rest = Spans(out, offsets[:-1].astype(np.int64), np.diff(offsets))
        rest.size[rest.size == 0] = spans_of.ABSENT
        return strings(rest.take(block.cells.call))

    def _segments(self, block: Block, arrays: list[Any]) -> Iterator[TableBatch]:
        """A batch for the rows of each run of a contig."""
        import pyarrow as pa

        names = strings(block.field(0)).to_pylist()
        stops = np.cumsum(block.rows_of_line)
        first_line = 0
        for line in range(1, len(names) + 1):
            if line < len(names) and names[line] == names[first_line]:
                continue
            length = self._header.contigs.get(names[first_line])
            name = contigs.canonical(names[first_line], self._assembly, length)
            first = int(stops[first_line - 1]) if first_line else 0
            size = int(stops[line - 1]) - first
            own = [
                _arrow.constant(name, size) if column.name == "contig" else array.slice(first, size)
                for column, array in zip(self._table.columns, arrays, strict=True)
            ]
            own = [
                array if pa.types.is_dictionary(array.type) else _arrow.as_type(array, field.type)
                for array, field in zip(own, self._schema, strict=True)
            ]
            schema = pa.schema(
                field.with_type(array.type) for field, array in zip(self._schema, own, strict=True)
            )
            rows = pa.RecordBatch.from_arrays(own, schema=schema)
            yield TableBatch(self._table.name, (name,), rows)
            first_line = line

    def _field(self, column: Column, type_: pa.DataType) -> TypedField:
        """What reads the FORMAT field of a column."""
        defined = self._header.format.get(_key(column))
        return TypedField(
            defined.number if defined else ".",
            type_,
            self._header.version >= "4.3",
            column.source.endswith(WHOLE),
            parts(defined) if defined else (),
        )

    def _check_utf8(self, text: Text) -> None:
        """Refuse text that goes into a column and is not UTF-8; that of INFO does not."""
        data = text.data[: text.size]
        if not text.size or data.max() < 128 or _is_utf8(data.tobytes()):
            return
        for number, line in enumerate(data.tobytes().split(b"\n"), text.before + 1):
            columns = line.split(b"\t")
            if not all(map(_is_utf8, [columns[0], *columns[3:5], *columns[8:]])):
                where = f"{self._uri}, line {number}"
                raise BadSource("the text is not UTF-8", where, "convert it with iconv")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _key(column: Column) -> str:
    """The FORMAT key of a column."""
    return column.source.removeprefix(FORMAT).removesuffix(WHOLE)


def _texts_of_lines(block: Block, spans: Spans, repeats: npt.NDArray[Any]) -> pa.Array:
    """A text of each line, or line and allele, for every row: each different one kept once."""
    made = strings(spans).dictionary_encode()
    known = spans.size >= 0
    index = np.asarray(made.indices.fill_null(0))
    return _arrow.dictionary(
        np.repeat(index, repeats),
        made.dictionary,
        None if known.all() else np.repeat(known, repeats),
    )


def _ref(block: Block) -> pa.Array:
    return _texts_of_lines(block, missing_blanked(block.field(3)), block.rows_of_line)


def _alt(block: Block) -> pa.Array:
    spans = block.field(4)
    total = len(block.cells.alt_index)
    alt = Spans(spans.text, np.empty(total, np.int64), np.empty(total, np.int32))
    spans_of.elements(*spans, alt.start, alt.size)
    alt.size[block.cells.alt_index == 0] = spans_of.ABSENT
    return _texts_of_lines(block, alt, np.full(total, block.samples))


def _alt_index(block: Block) -> pa.Array:
    index = block.cells.of_rows(block.cells.alt_index)
    return _arrow.numbers(index, index > 0)


_COLUMNS: Mapping[str, Build] = {
    "sample": lambda block: block.cells.sample,  # its numbers
    "contig": lambda block: _arrow.constant("", block.cells.rows),
    "pos": lambda block: _arrow.numbers(block.of_rows(block.pos)),
    "ref": _ref,
    "alt": _alt,
    "alt_index": _alt_index,
    "alt_copies": lambda block: block.calls.copies(),
    "allele_numbers": lambda block: block.calls.allele_numbers(),
    "phased": lambda block: block.calls.phased(),
    "gt": lambda block: block.calls.text(),
    REST: lambda block: block.cells.sample,  # its place; it is made last
}
