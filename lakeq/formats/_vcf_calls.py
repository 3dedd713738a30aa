"""The `calls` table: genotype events of a whole file turned from variant-major to sample-major.

While the file is read, the events of each batch are sorted by sample and appended to files (a
run). At the end each contig is merged, as many samples at a time as fit in memory; within a run
events stand in file order, so a stable counting sort by sample is all it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel
from lakeq.formats import _arrow
from lakeq.formats import _vcf_counts as counts_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._vcf_fields import strings
from lakeq.formats._vcf_spans import Spans
from lakeq.formats._vcf_spill import Columns

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.formats._vcf_rows import BatchRows, Segment

EVENTS_PER_MERGE = 1 << 19
TEXTS_KNOWN = 1 << 17  # alleles whose text is looked up, not stored again
TEXT_KNOWN_CHARACTERS = 64

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]

_DTYPES: dict[str, npt.DTypeLike] = {
    # per site with events
    "pos": np.int64,
    "line": np.int64,
    "alts": np.int32,
    "first_allele": np.int64,
    "fields": np.int16,
    # per allele of such a site, ref first: the number of its text
    "allele": np.int32,
    # per text
    "text_of_allele_end": np.int64,
    "text_of_allele": np.uint8,
    # per event, sorted by sample within its run
    "site": np.uint32,
    "call": np.uint32,
    "text_end": np.int64,
    "text": np.uint8,
    # per run: where the events of each sample begin
    "index": np.int64,
    # per wide call
    "wide_end": np.int64,
    "wide_phased": np.uint8,
    "wide_allele": np.int32,
}


@dataclass(frozen=True, slots=True)
class Run:
    """Events of one contig from one batch: where its parts begin in their columns.

    `text` is -1 where no event has a sample field to keep.
    """

    index: int
    first: int
    wide: int
    text: int


@dataclass(slots=True)
class ContigRuns:
    """The runs of one contig, and whether its positions never went down."""

    runs: list[Run]
    last_pos: int = -1
    ascending: bool = True


@dataclass(frozen=True, slots=True)
class Merged:
    """Events of some samples of one contig, by sample, then position, then file order.

    `rank` is the place of the sample in name order, `site` the number of the site in the file,
    `text` the sample field of each event (empty spans when no FORMAT column is wanted).
    """

    rank: I32
    site: I64
    call: U32
    wide: counts_of.Wide
    text: Spans


@kernel
def count_by_rank(sample: I32, rank: I32, offsets: I64) -> None:
    """Write where the events of each sample, in order of rank, will begin."""
    offsets[:] = 0
    for i in range(sample.size):
        offsets[rank[sample[i]] + 1] += 1
    for k in range(rank.size):
        offsets[k + 1] += offsets[k]


@kernel
def scatter(
    sample: I32, rank: I32, call: U32, per_line: I64, offsets: I64, sites: U32, calls: U32
) -> None:
    """Sort events by rank, in file order within one; a site is a line that has events."""
    event = 0
    site = 0
    for line in range(per_line.size):
        for _ in range(per_line[line]):
            to = offsets[rank[sample[event]]]
            sites[to] = site
            calls[to] = call[event]
            offsets[rank[sample[event]]] = to + 1
            event += 1
        site += per_line[line] > 0
    for k in range(offsets.size - 1, 0, -1):  # each stands where the next began
        offsets[k] = offsets[k - 1]
    offsets[0] = 0


@kernel
def order_by_rank(sample: I32, rank: I32, offsets: I64, order: I32) -> None:
    """The order that `scatter` makes."""
    for i in range(sample.size):
        to = offsets[rank[sample[i]]]
        order[to] = i
        offsets[rank[sample[i]]] = to + 1
    for k in range(offsets.size - 1, 0, -1):
        offsets[k] = offsets[k - 1]
    offsets[0] = 0


@kernel
def place(index: I64, at: I64, site: U32, call: U32, to_site: I64, to_call: U32) -> None:
    """Copy the events of each sample, index[k] to index[k + 1], to where at[k] says."""
    for k in range(at.size):
        for i in range(index[k + 1] - index[k]):
            to_site[np.uint64(at[k] + i)] = site[np.uint64(index[k] + i)]
            to_call[np.uint64(at[k] + i)] = call[np.uint64(index[k] + i)]


@kernel
def place_text(index: I64, at: I64, end: I64, base: int, start: I64, size: I32) -> None:
    """Write the span of the text of each event; end[i] and end[i + 1] bound the i-th."""
    for k in range(at.size):
        for i in range(index[k + 1] - index[k]):
            start[at[k] + i] = base + end[index[k] + i]
            size[at[k] + i] = end[index[k] + i + 1] - end[index[k] + i]


class CallsSpill:
    """Takes the events of every batch; gives them back contig by contig, by sample."""

    def __init__(self, folder: Path, names: Sequence[str], keys: int) -> None:
        self.columns = Columns(folder, _DTYPES)
        self._samples = len(names)
        order = sorted(range(len(names)), key=names.__getitem__)
        self.names = [names[i] for i in order]
        self._rank = np.empty(len(names), np.int32)
        self._rank[order] = np.arange(len(names), dtype=np.int32)
        self._keys = keys
        self._texts = AlleleTexts(self.columns)
        self.contigs: dict[str, ContigRuns] = {}

    def add(self, rows: BatchRows) -> None:
        """Spill the events of one batch, a run for each segment of a contig."""
        for segment in rows.segments:
            first, stop = segment.first_line, segment.stop_line
            per_line = np.diff(rows.batch.lines.first_event[first : stop + 1])
            if per_line.any():
                base = self.columns["pos"].size
                self._add_sites(rows, segment, first + np.flatnonzero(per_line))
                self._add_events(rows, segment, per_line, base)
        self._add_wide(rows)

    def _add_sites(self, rows: BatchRows, segment: Segment, lines: I64) -> None:
        columns, batch = self.columns, rows.batch.lines
        pos = batch.pos[lines]
        contig = self.contigs.setdefault(segment.contig, ContigRuns([]))
        contig.ascending &= bool(pos[0] >= contig.last_pos and np.all(pos[1:] >= pos[:-1]))
        contig.last_pos = int(pos[-1])
        columns["pos"].append(pos)
        columns["line"].append(batch.number[lines])
        columns["alts"].append(rows.alts[lines])
        columns["fields"].append(batch.fields[lines].ravel())
        base = columns["allele"].size
        per_site = 1 + np.maximum(rows.alts[lines], 1)
        columns["first_allele"].append(base + np.cumsum(per_site) - per_site)
        columns["allele"].append(self._texts.numbers(_alleles(rows, lines)))

    def _add_events(
        self, rows: BatchRows, segment: Segment, per_line: I64, first_site: int
    ) -> None:
        columns, events = self.columns, rows.batch.events
        first_event = rows.batch.lines.first_event
        first, stop = int(first_event[segment.first_line]), int(first_event[segment.stop_line])
        sample = events.sample[first:stop]
        offsets = np.empty(self._samples + 1, np.int64)
        count_by_rank(sample, self._rank, offsets)
        sites, calls = np.empty(stop - first, np.uint32), np.empty(stop - first, np.uint32)
        scatter(sample, self._rank, events.call[first:stop], per_line, offsets, sites, calls)
        before = int(events.text_end[first - 1]) if self._keys > 1 and first else 0
        with_text = self._keys > 1 and int(events.text_end[stop - 1]) > before
        self.contigs[segment.contig].runs.append(
            Run(
                columns["index"].size,
                columns["site"].size,
                columns["wide_end"].size,
                columns["text_end"].size if with_text else -1,
            )
        )
        columns["index"].append(offsets)
        columns["site"].append(sites + np.uint32(first_site))
        columns["call"].append(calls)
        if with_text:
            order = np.empty(stop - first, np.int32)
            order_by_rank(sample, self._rank, offsets, order)
            self._add_text(events.text, events.text_end[first:stop], before, order)

    def _add_text(self, text: npt.NDArray[np.uint8], end: I64, before: int, order: I32) -> None:
        start = np.empty_like(end)
        start[0], start[1:] = before, end[:-1]
        size = (end - start).astype(np.int32)[order]
        to = np.zeros(len(order) + 1, np.int32)
        np.cumsum(size, out=to[1:])
        sorted_text = np.empty(int(to[-1]), np.uint8)
        spans_of.gather(text, start[order], size, to, sorted_text)
        self.columns["text_end"].append(self.columns["text"].size + to.astype(np.int64))
        self.columns["text"].append(sorted_text)

    def _add_wide(self, rows: BatchRows) -> None:
        columns, events, count = self.columns, rows.batch.events, rows.batch.wide_count
        if count:
            end = events.wide_end[:count]
            columns["wide_end"].append(columns["wide_allele"].size + end)
            columns["wide_phased"].append(events.wide_phased[:count])
            columns["wide_allele"].append(events.wide_allele[: int(end[-1])])

    def merged(self, contig: ContigRuns) -> Iterator[Merged]:
        """The events of one contig, about EVENTS_PER_MERGE at a time, never part of a sample."""
        total = np.zeros(self._samples + 1, np.int64)
        for run in contig.runs:
            total += self.columns["index"].read(run.index, run.index + self._samples + 1)
        first = 0
        while first < self._samples:
            stop = int(np.searchsorted(total, total[first] + EVENTS_PER_MERGE, "right")) - 1
            stop = max(stop, first + 1)
            if total[stop] > total[first]:
                yield self._merge(contig, first, total[first : stop + 1] - total[first])
            first = stop

    def _merge(self, contig: ContigRuns, first: int, offsets: I64) -> Merged:
        """The events of the samples from rank `first`, whose events begin at `offsets`."""
        count, samples = int(offsets[-1]), len(offsets) - 1
        site, call = np.empty(count, np.int64), np.empty(count, np.uint32)
        texts = _Texts(count if any(run.text >= 0 for run in contig.runs) else 0)
        wide = _WideCalls(self.columns)
        at = offsets[:-1].copy()
        for run in contig.runs:
            index = self.columns["index"].read(run.index + first, run.index + first + samples + 1)
            a, b = run.first + int(index[0]), run.first + int(index[-1])
            calls = wide.renumbered(self.columns["call"].read(a, b), run.wide)
            place(index - index[0], at, self.columns["site"].read(a, b), calls, site, call)
            if run.text >= 0:
                texts.add(self.columns, run.text, index, at)
            at += np.diff(index)
        rank = np.repeat(np.arange(first, first + samples, dtype=np.int32), np.diff(offsets))
        merged = Merged(rank, site, call, wide.table(), texts.spans())
        return merged if contig.ascending else self._by_position(merged)

    def _by_position(self, merged: Merged) -> Merged:
        """The same events of a contig whose lines are not in order of position."""
        pos = self.columns["pos"].mapped()[merged.site]
        order = np.lexsort((merged.site, pos, merged.rank))
        text = merged.text.take(order) if len(merged.text.start) else merged.text
        site, call = merged.site[order], merged.call[order]
        return Merged(merged.rank[order], site, call, merged.wide, text)


class _Texts:
    """Collects the sample fields of merged events."""

    def __init__(self, count: int) -> None:
        self._start, self._size = np.zeros(count, np.int64), np.zeros(count, np.int32)
        self._texts: list[npt.NDArray[np.uint8]] = []
        self._bytes = 0

    def add(self, columns: Columns, base: int, index: I64, at: I64) -> None:
        """Take the fields of the events index[0] to index[-1] of the run at `base`."""
        end = columns["text_end"].read(base + int(index[0]), base + int(index[-1]) + 1)
        text = columns["text"].read(int(end[0]), int(end[-1]))
        place_text(index - index[0], at, end - end[0], self._bytes, self._start, self._size)
        self._texts.append(text)
        self._bytes += len(text)

    def spans(self) -> Spans:
        """The field of each event."""
        text = np.concatenate(self._texts) if self._texts else np.empty(0, np.uint8)
        return Spans(text, self._start, self._size)


class _WideCalls:
    """Collects the wide calls of merged events."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._numbers: list[I64] = []
        self._count = 0

    def renumbered(self, call: U32, base: int) -> U32:
        """The calls of one run, whose wide ones begin at `base`, numbered as in `table`."""
        is_wide = (call >> np.uint32(counts_of.PLOIDY_SHIFT)) & np.uint32(3) == 0
        number = base + call[is_wide].astype(np.int64)
        if len(number):
            call[is_wide] = np.arange(self._count, self._count + len(number), dtype=np.uint32)
            self._numbers.append(number)
            self._count += len(number)
        return call

    def table(self) -> counts_of.Wide:
        """The alleles of all wide calls collected."""
        number = np.concatenate(self._numbers or [np.empty(0, np.int64)])
        ends = self._columns["wide_end"].mapped()
        if not len(number):
            return counts_of.Wide(number, np.empty(0, np.uint8), np.empty(0, np.int32))
        end = ends[number]
        start = np.where(number > 0, ends[np.maximum(number - 1, 0)], 0)
        size = end - start
        to = np.cumsum(size)
        source = np.arange(int(to[-1])) + np.repeat(start - (to - size), size)
        phased = self._columns["wide_phased"].mapped()[number]
        return counts_of.Wide(to, phased, self._columns["wide_allele"].mapped()[source])


def _alleles(rows: BatchRows, lines: I64) -> Spans:
    """REF, then each ALT, of every one of `lines`."""
    ref, alt = rows.field(3).take(lines), rows.alt
    per_line = 1 + np.maximum(rows.alts[lines], 1)
    first = np.cumsum(per_line) - per_line
    is_ref = np.zeros(int(per_line.sum()), bool)
    is_ref[first] = True
    selected = np.zeros(rows.batch.rows, bool)
    selected[lines] = True
    own = selected[rows.line]
    start, size = np.empty(len(is_ref), np.int64), np.empty(len(is_ref), np.int32)
    start[is_ref], size[is_ref] = ref.start, ref.size
    start[~is_ref], size[~is_ref] = alt.start[own], np.maximum(alt.size[own], 0)
    return Spans(ref.text, start, size)


class AlleleTexts:
    """The texts of alleles on disk, each of the common ones once."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._known: dict[str, int] = {}

    def numbers(self, alleles: Spans) -> I32:
        """The number of the text of each allele; -1 of one that is missing (. or empty)."""
        found = strings(alleles).dictionary_encode()
        words = found.dictionary.to_pylist()
        numbers = np.array([self._number(word) for word in words], np.int32)
        places = np.frombuffer(found.indices.buffers()[1], np.int32, len(found))
        return numbers[places]

    def _number(self, text: str) -> int:
        if text in {"", "."}:
            return -1
        known = self._known.get(text)
        if known is not None:
            return known
        end = self._columns["text_of_allele_end"]
        number = end.size
        data = np.frombuffer(text.encode(), np.uint8)
        self._columns["text_of_allele"].append(data)
        end.append(np.array([self._columns["text_of_allele"].size]))
        if len(self._known) < TEXTS_KNOWN and len(text) <= TEXT_KNOWN_CHARACTERS:
            self._known[text] = number
        return number


@kernel
def allele_texts(first: I64, number: I32, site: I64, allele: I32, out: I32) -> None:
    """The number of the text of each row's allele of its site; -1 where there is none."""
    for i in range(site.size):
        out[i] = -1
        if allele[i] >= 0:
            out[i] = number[first[site[i]] + allele[i]]


@kernel
def rank_present(number: I32, place: I32, out: I32) -> int:
    """Replace each number that is not -1 by its rank among those present.

    `place` is room, all zero, for every number; it becomes the rank plus one of those present.
    Returns how many are.
    """
    for i in range(number.size):
        if number[i] >= 0:
            place[number[i]] = 1
    count = i64(0)
    for k in range(place.size):
        if place[k] != 0:
            count += 1
            place[k] = count
    for i in range(number.size):
        out[i] = place[number[i]] - 1 if number[i] >= 0 else 0
    return count


def allele_strings(columns: Columns, site: I64, allele: I32) -> pa.DictionaryArray:
    """The text of each row's allele of its site (0 is REF, -1 none), each text once."""
    number = np.empty(len(site), np.int32)
    allele_texts(columns["first_allele"].mapped(), columns["allele"].mapped(), site, allele, number)
    end = columns["text_of_allele_end"].mapped()
    place, rank = np.zeros(len(end), np.int32), np.empty(len(site), np.int32)
    rank_present(number, place, rank)
    used = np.flatnonzero(place)
    start = np.where(used > 0, end[used - 1], 0)
    texts = Spans(columns["text_of_allele"].mapped(), start, (end[used] - start).astype(np.int32))
    return _arrow.dictionary(rank, strings(texts), number >= 0)
