"""The `calls` table: genotype events of a whole file turned from variant-major to sample-major.

While the file is read, the events of each batch are sorted by sample and appended to files (a
run). At the end each contig is merged, as many samples at a time as fit in memory; within a run
events stand in file order, so a stable counting sort by sample is all it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats import _vcf_counts as counts_of
from lakeq.formats import _vcf_spans as spans_of
from lakeq.formats._jit import kernel
from lakeq.formats._vcf_fields import strings
from lakeq.formats._vcf_spans import Spans
from lakeq.formats._vcf_spill import Columns

if TYPE_CHECKING:
    from lakeq.formats._vcf_rows import BatchRows, Segment

EVENTS_PER_MERGE = 1 << 19

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
    # per allele of such a site, ref first
    "allele_end": np.int64,
    "allele_text": np.uint8,
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
    """Events of one contig from one batch; `index` is where its index begins."""

    index: int
    wide: int


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
def sort_by_sample(key: I32, size: int, offsets: I64, order: I32) -> None:
    """Stable counting sort: `order` lists the events by key; `offsets` has size + 1 elements."""
    offsets[:] = 0
    for i in range(key.size):
        offsets[key[i] + 1] += 1
    for k in range(size):
        offsets[k + 1] += offsets[k]
    at = offsets[:-1].copy()
    for i in range(key.size):
        order[at[key[i]]] = i
        at[key[i]] += 1


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
        self.contigs: dict[str, ContigRuns] = {}

    def add(self, rows: BatchRows) -> None:
        """Spill the events of one batch, a run for each segment of a contig."""
        for segment in rows.segments:
            first, stop = segment.first_line, segment.stop_line
            per_line = np.diff(rows.batch.lines.first_event[first : stop + 1])
            lines = first + np.flatnonzero(per_line)
            if len(lines):
                base = self.columns["pos"].size
                self._add_sites(rows, segment, lines)
                sites = base + np.repeat(np.arange(len(lines)), per_line[per_line > 0])
                self._add_events(rows, segment, sites)
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
        alleles = _alleles(rows, lines)
        base = columns["allele_end"].size
        per_site = 1 + np.maximum(rows.alts[lines], 1)
        columns["first_allele"].append(base + np.cumsum(per_site) - per_site)
        offsets = np.zeros(len(alleles.size) + 1, np.int32)
        np.cumsum(alleles.size, out=offsets[1:])
        text = np.empty(int(offsets[-1]), np.uint8)
        spans_of.gather(alleles.text, alleles.start, alleles.size, offsets, text)
        columns["allele_end"].append(columns["allele_text"].size + offsets[1:].astype(np.int64))
        columns["allele_text"].append(text)

    def _add_events(self, rows: BatchRows, segment: Segment, sites: I64) -> None:
        columns, events = self.columns, rows.batch.events
        first_event = rows.batch.lines.first_event
        first, stop = int(first_event[segment.first_line]), int(first_event[segment.stop_line])
        offsets = np.empty(self._samples + 1, np.int64)
        order = np.empty(stop - first, np.int32)
        sort_by_sample(self._rank[events.sample[first:stop]], self._samples, offsets, order)
        run = Run(columns["index"].size, columns["wide_end"].size)
        self.contigs[segment.contig].runs.append(run)
        columns["index"].append(columns["site"].size + offsets)
        columns["site"].append(sites[order])
        columns["call"].append(events.call[first:stop][order])
        if self._keys > 1:
            end = events.text_end[first:stop]
            start = np.empty_like(end)
            start[1:] = end[:-1]
            start[:1] = events.text_end[first - 1] if first else 0
            size = (end - start).astype(np.int32)[order]
            to = np.zeros(len(order) + 1, np.int32)
            np.cumsum(size, out=to[1:])
            text = np.empty(int(to[-1]), np.uint8)
            spans_of.gather(events.text, start[order], size, to, text)
            columns["text_end"].append(columns["text"].size + to[1:].astype(np.int64))
            columns["text"].append(text)

    def _add_wide(self, rows: BatchRows) -> None:
        columns, events, count = self.columns, rows.batch.events, rows.batch.wide_count
        if count:
            end = events.wide_end[:count]
            columns["wide_end"].append(columns["wide_allele"].size + end)
            columns["wide_phased"].append(events.wide_phased[:count])
            columns["wide_allele"].append(events.wide_allele[: int(end[-1])])

    def merged(self, contig: ContigRuns) -> Iterator[Merged]:
        """The events of one contig, about EVENTS_PER_MERGE at a time, never part of a sample."""
        index = np.zeros(self._samples + 1, np.int64)
        for run in contig.runs:
            offsets = self.columns["index"].read(run.index, run.index + self._samples + 1)
            index += offsets - offsets[0]
        first = 0
        while first < self._samples:
            stop = int(np.searchsorted(index, index[first] + EVENTS_PER_MERGE, "right")) - 1
            stop = max(stop, first + 1)
            if index[stop] > index[first]:
                yield self._merge(contig, first, stop)
            first = stop

    def _merge(self, contig: ContigRuns, first: int, stop: int) -> Merged:
        """The events of the samples of rank `first` to `stop`."""
        parts = [self._part(run, first, stop) for run in contig.runs]
        rank, site, call, start, size, wide = (
            np.concatenate([part[i] for part in parts]) for i in range(6)
        )
        texts = [part[6] for part in parts]
        base = np.cumsum([0, *(len(text) for text in texts[:-1])])
        start = start + np.repeat(base, [len(part[0]) for part in parts])
        if not contig.ascending:
            by = (site, self.columns["pos"].mapped()[site], rank)
            order = np.lexsort(by).astype(np.int32)
        else:
            order = np.empty(len(rank), np.int32)
            offsets = np.empty(stop - first + 1, np.int64)
            sort_by_sample(rank, stop - first, offsets, order)
        calls, table = self._wide(call[order], wide[order])
        text = Spans(np.concatenate(texts), start[order], size[order])
        return Merged(rank[order] + np.int32(first), site[order], calls, table, text)

    def _part(self, run: Run, first: int, stop: int) -> tuple[npt.NDArray[Any], ...]:
        """Of one run: rank from `first`, site, call, text start and size, wide base; the text."""
        columns = self.columns
        index = columns["index"].read(run.index + first, run.index + stop + 1)
        a, b = int(index[0]), int(index[-1])
        rank = np.repeat(np.arange(stop - first, dtype=np.int32), np.diff(index))
        start, size = np.zeros(b - a, np.int64), np.zeros(b - a, np.int32)
        text = np.empty(0, np.uint8)
        if self._keys > 1 and b > a:
            end = columns["text_end"].read(max(a - 1, 0), b)
            end = end if a else np.concatenate([np.zeros(1, np.int64), end])
            start, size = end[:-1] - end[0], np.diff(end).astype(np.int32)
            text = columns["text"].read(int(end[0]), int(end[-1]))
        wide = np.full(b - a, run.wide, np.int64)
        site = columns["site"].read(a, b).astype(np.int64)
        return rank, site, columns["call"].read(a, b), start, size, wide, text

    def _wide(self, call: U32, base: I64) -> tuple[U32, counts_of.Wide]:
        """The calls with wide ones numbered from 0, and the table of these."""
        is_wide = (call >> np.uint32(counts_of.PLOIDY_SHIFT)) & np.uint32(3) == 0
        if not is_wide.any():
            none = np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.int32)
            return call, counts_of.Wide(*none)
        number = base[is_wide] + (call[is_wide] & np.uint32(counts_of.WIDE_MASK))
        ends = self.columns["wide_end"].mapped()
        end = ends[number]
        start = np.where(number > 0, ends[np.maximum(number - 1, 0)], 0)
        size = end - start
        to = np.cumsum(size)
        source = np.arange(int(to[-1])) + np.repeat(start - (to - size), size)
        table = counts_of.Wide(
            to,
            self.columns["wide_phased"].mapped()[number],
            self.columns["wide_allele"].mapped()[source],
        )
        renumbered = call.copy()
        renumbered[is_wide] = np.arange(len(number), dtype=np.uint32)
        return renumbered, table


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


def allele_strings(columns: Columns, allele: I64) -> Any:
    """The texts of alleles by number, -1 for none, as an Arrow string array."""
    end, text = columns["allele_end"].mapped(), columns["allele_text"].mapped()
    known = np.maximum(allele, 0)
    start = np.where(known > 0, end[np.maximum(known - 1, 0)], 0)
    size = np.where(allele >= 0, end[known] - start, spans_of.ABSENT).astype(np.int32)
    return strings(Spans(text, start, size))
