"""A batch of lines as rows: one per alternate allele, with its counts and carriers.

Everything is computed once, when a column first asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq import contigs
from lakeq.errors import BadSource
from lakeq.formats import _vcf_counts as counts_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._vcf_fields import Alleles, FieldReader, as_utf8, first_not_utf8
from lakeq.formats._vcf_header import FIXED_COLUMNS
from lakeq.formats._vcf_sex import BySex, by_sex
from lakeq.formats._vcf_spans import Spans
from lakeq.formats._vcf_typed import TypedField

if TYPE_CHECKING:
    from lakeq.formats._vcf_batch import Batch, Groups
    from lakeq.formats._vcf_header import Header

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What all batches of one file share; `assembly` is the table's, `notes` the report's."""

    uri: str
    header: Header
    groups: Groups
    assembly: str
    info_keys: tuple[str, ...]
    notes: MutableMapping[str, int]
    by_header: bool = False  # a value that does not fit its definition is NULL and kept elsewhere
    room: list[counts_of.Carries] = field(default_factory=list)  # what a batch left to the next

    def number(self, key: str) -> str:
        """The Number of an INFO key; '.' for one that the header does not define."""
        defined = self.header.info.get(key)
        return defined.number if defined else "."


class Segment(NamedTuple):
    """Consecutive rows of one contig: its canonical name, the file's spelling, rows, lines."""

    contig: str
    source: str
    first_row: int
    stop_row: int
    first_line: int
    stop_line: int


class Lists(NamedTuple):
    """Per row a list of sample numbers, ascending, and of the haplotypes beside them."""

    offsets: I32
    samples: I32
    haplotypes: I32


class BatchRows:
    """The rows of `batch`; valid until the next batch is read."""

    def __init__(self, batch: Batch, facts: FileFacts) -> None:
        self.batch, self.facts = batch, facts
        n = batch.rows
        self._lines = batch.lines
        self.alts: I32 = batch.lines.alts[:n]
        self.called = batch.lines.called[:n].astype(bool)
        rows_per_line = np.maximum(self.alts, 1)
        self.first_row: I64 = np.zeros(n + 1, np.int64)
        np.cumsum(rows_per_line, out=self.first_row[1:])
        self.count = int(self.first_row[-1])
        self.line: I64 = np.repeat(np.arange(n), rows_per_line)
        place = np.arange(self.count) - self.first_row[self.line] + 1
        row_alts = self.alts[self.line]
        self._of_population: dict[str, tuple[I32, I32]] = {}
        self.alleles = Alleles(np.where(row_alts > 0, place, 0).astype(np.int32), row_alts)
        self._check_fixed_fields()

    def where(self, row: int) -> str:
        """Where a row stands in the file."""
        return f"{self.facts.uri}, line {int(self._lines.number[self.line[row]])}"

    def where_line(self, line: int) -> str:
        """Where a line of the batch stands in the file."""
        return f"{self.facts.uri}, line {int(self._lines.number[line])}"

    def field(self, column: int) -> Spans:
        """Fixed column `column` of every line."""
        n = self.batch.rows
        start = self._lines.start[:n, column].astype(np.int64)
        size = self._lines.start[:n, column + 1] - self._lines.start[:n, column] - 1
        return Spans(self._lines.text, start, size)

    def row_field(self, column: int) -> Spans:
        """Fixed column `column` of every row."""
        return self.field(column).take(self.line)

    @cached_property
    def alt(self) -> Spans:
        """The alternate allele of every row; absent where ALT is '.'."""
        spans = self.field(4)
        alt = Spans(spans.text, np.empty(self.count, np.int64), np.empty(self.count, np.int32))
        spans_of.elements(*spans, alt.start, alt.size)
        alt.size[self.alleles.alt_index == 0] = spans_of.ABSENT
        return alt

    @cached_property
    def segments(self) -> Sequence[Segment]:
        """The runs of one contig, in file order."""
        n = self.batch.rows
        firsts = np.flatnonzero(self._lines.new_contig[:n])
        chrom = self.field(0)
        segments = []
        for first, stop in zip(firsts, [*firsts[1:], n], strict=True):
            start = int(chrom.start[first])
            source = bytes(chrom.text[start : start + chrom.size[first]]).decode()
            length = self.facts.header.contigs.get(source)
            name = contigs.canonical(source, self.facts.assembly, length)
            rows = int(self.first_row[first]), int(self.first_row[stop])
            segments.append(Segment(name, source, *rows, int(first), int(stop)))
        return segments

    @cached_property
    def info(self) -> Mapping[str, Spans]:
        """The value of each wanted INFO key in every row."""
        keys, n = self.facts.info_keys, self.batch.rows
        span, text = self.field(7), "".join(keys).encode()
        start = np.zeros((len(keys), n), np.int64)
        size = np.empty((len(keys), n), np.int32)
        repeats = spans_of.find_info(
            span.text,
            span.start,
            span.start + span.size,
            np.frombuffer(bytearray(text or b"."), np.uint8),
            np.cumsum([len(key.encode()) for key in keys], dtype=np.int32),
            np.empty(len(keys), np.uint64),
            start,
            size,
        )
        if repeats:
            note = "INFO keys given twice in a line: the first counts"
            self.facts.notes[note] = self.facts.notes.get(note, 0) + repeats
        return {
            key: Spans(span.text, start[k], size[k]).take(self.line) for k, key in enumerate(keys)
        }

    @cached_property
    def unfit(self) -> npt.NDArray[np.bool_]:
        """Per wanted INFO key and line, whether a column could not take the value as it is."""
        return np.zeros((len(self.facts.info_keys), self.batch.rows), bool)

    def mark_unfit(self, key: str, rows: npt.NDArray[np.bool_]) -> None:
        """Remember that the value of `key` did not fit its column in these rows."""
        self.unfit[self.facts.info_keys.index(key), self.line[rows]] = True

    def info_integers(
        self, key: str, number: str | None = None
    ) -> tuple[I64, npt.NDArray[np.bool_]]:
        """An INFO key as integers, and where it is known."""
        import pyarrow as pa

        number = number or self.facts.number(key)
        if self.facts.by_header:
            values, _ = TypedField(number, pa.int64(), escaped=False).read(
                self.info[key], self.alleles
            )
        else:
            reader = FieldReader(f"INFO/{key}", number, pa.int64(), self.facts.notes)
            values = reader.read(self.info[key], self.alleles, self.where)
        integers: I64 = np.frombuffer(values.buffers()[1], np.int64, len(values))
        if not values.null_count:
            return integers, np.ones(len(values), bool)
        bits = np.frombuffer(values.buffers()[0], np.uint8)
        known = np.unpackbits(bits, count=len(values), bitorder="little").astype(bool)
        return integers, known

    @cached_property
    def carries(self) -> tuple[counts_of.Carries, I32]:
        """The carries of the batch and the row of each."""
        return _expand(self.batch, self.first_row, self.facts.room)

    @cached_property
    def _counts(self) -> tuple[I32, I32, I32]:
        carries, rows = self.carries
        ac = np.zeros((self.count, self.facts.groups.count), np.int32)
        kinds = np.zeros((self.count, 6), np.int32)
        half = np.zeros(self.count, np.int32)
        events = self.batch.events
        counts_of.count(carries, rows, events.sample, self.facts.groups.of_sample, ac, kinds, half)
        site = self.first_row[:-1][self.line]
        kinds[:, counts_of.MISSING] = kinds[site, counts_of.MISSING]
        return np.ascontiguousarray(ac.T), kinds, half[site]

    @property
    def ac(self) -> I32:
        """Copies of each row's allele: one line per group of samples, one column per row."""
        return self._counts[0]

    @cached_property
    def an(self) -> I32:
        """Called alleles of each row's site: one line per group, one column per row."""
        return np.ascontiguousarray(self._lines.an[: self.batch.rows].T)[:, self.line]

    def of_population(self, code: str) -> tuple[I32, I32]:
        """`ac` and `an` of each row within one population or super-population."""
        if code not in self._of_population:
            groups = self.facts.groups.columns.get(code, [])
            ac, an = (a[groups].sum(axis=0, dtype=np.int32) for a in (self.ac, self.an))
            self._of_population[code] = ac, an
        return self._of_population[code]

    @cached_property
    def by_sex(self) -> BySex:
        """Copies and called alleles of each row by sex, on X and Y."""
        return by_sex(self)

    def kind(self, kind: int) -> I32:
        """How many calls of each row are of `kind`."""
        return np.ascontiguousarray(self._counts[1][:, kind])

    @property
    def half_missing_calls(self) -> I32:
        """How many calls of each row's site have some alleles missing and some called."""
        return self._counts[2]

    def lists(self, kind: int, *, haplotypes: bool = False) -> Lists:
        """The samples of each row whose calls are of `kind`."""
        carries, rows = self.carries
        groups = self.facts.groups
        size = self.kind(kind)
        if kind == counts_of.MISSING:  # belongs to the site: listed once, then repeated
            size = np.where(self.line == np.roll(self.line, 1), 0, size)
            size[:1] = self.kind(kind)[:1]
        offsets = np.zeros(self.count + 1, np.int32)
        np.cumsum(size, out=offsets[1:])
        total = int(offsets[-1])
        lists = Lists(
            offsets, np.empty(total, np.int32), np.empty(total if haplotypes else 0, np.int32)
        )
        counts_of.fill(carries, rows, kind, groups.number, self.batch.events.sample, *lists)
        if not np.all(groups.number[:-1] < groups.number[1:]):
            return _sorted_lists(lists)
        return lists

    def check_utf8(self, spans: Spans, where: Callable[[int], str], name: str) -> None:
        """Refuse text that goes into a column and is not UTF-8, whatever the rest of the file."""
        bad = None if self.batch.ascii else first_not_utf8(spans)
        if bad is not None:
            raise BadSource(
                f"the text is not UTF-8: {spans.bytes_of(bad)[:80]!r}",
                f"{where(bad)}, {name}",
                "convert the file to UTF-8, for example with iconv -f latin1 -t utf-8",
            )

    def utf8(self, spans: Spans, name: str) -> Spans:
        """The spans with text that is not UTF-8 read as Latin-1, which is noted."""
        if self.batch.ascii:
            return spans
        read, foreign = as_utf8(spans)
        if foreign:
            note = f"{name}: text that is not UTF-8, read as Latin-1"
            self.facts.notes[note] = self.facts.notes.get(note, 0) + foreign
        return read

    def _check_fixed_fields(self) -> None:
        numbers = self._lines.number
        for column in (0, 2, 3, 4, 6):
            self.check_utf8(
                self.field(column),
                lambda line: f"{self.facts.uri}, line {int(numbers[line])}",
                FIXED_COLUMNS[column],
            )


def _sorted_lists(lists: Lists) -> Lists:
    """Each list by sample number: of samples whose order in the header is another."""
    row = np.repeat(np.arange(len(lists.offsets) - 1), np.diff(lists.offsets))
    order = np.argsort((row << 32) | lists.samples, kind="stable")
    haplotypes = lists.haplotypes[order] if len(lists.haplotypes) else lists.haplotypes
    return Lists(lists.offsets, lists.samples[order], haplotypes)


def _expand(
    batch: Batch, first_row: I64, room: list[counts_of.Carries]
) -> tuple[counts_of.Carries, I32]:
    """The carries of `batch`, in arrays of the batch before where they are large enough."""
    events = batch.events
    calls = events.call[: batch.event_count]
    wide = counts_of.Wide(events.wide_end, events.wide_phased, events.wide_allele)
    most = counts_of.count_carries(calls, wide) if batch.wide_count else 2 * len(calls)
    if not room or room[0].event.size < most:
        room[:] = [new_carries(most)]
    carries = room[0]
    count = counts_of.expand(calls, wide, carries)
    rows = np.empty(count, np.int32)
    counts_of.rows_of_carries(batch.lines.first_event, first_row, carries, count, rows)
    return carries, rows


def new_carries(size: int) -> counts_of.Carries:
    """Room for `size` carries."""
    return counts_of.Carries(
        event=np.empty(size, np.int32),
        allele=np.empty(size, np.int32),
        kind=np.empty(size, np.uint8),
        copies=np.empty(size, np.int32),
        haplotype=np.empty(size, np.int32),
    )
