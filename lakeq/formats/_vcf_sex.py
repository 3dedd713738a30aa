"""Counts by sex on X and Y: one allele of a male where a file writes two.

Outside the pseudo-autosomal regions a male has one X, so his 1/1 is one allele, as bcftools
+fixploidy and plink 2 count it, and his 0/1 is none that is known (plink 2.00a3.5 counts half of
each). Regions: UCSC, tables of hg19 and hg38, and https://www.ncbi.nlm.nih.gov/grc/human.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq.formats import _vcf_counts as counts_of

if TYPE_CHECKING:
    from lakeq.formats._vcf_rows import BatchRows

COLUMNS = ("ac_by_sex", "an_by_sex", "af_by_sex")
MALE, FEMALE = 1, 2
CODES = {"male": MALE, "female": FEMALE}
# Pseudo-autosomal regions by assembly and contig: first and last positions, from 1.
PAR = {
    ("GRCh37", "X"): ((60_001, 2_699_520), (154_931_044, 155_260_560)),
    ("GRCh37", "Y"): ((10_001, 2_649_520), (59_034_050, 59_363_566)),
    ("GRCh38", "X"): ((10_001, 2_781_479), (155_701_383, 156_030_895)),
    ("GRCh38", "Y"): ((10_001, 2_781_479), (56_887_903, 57_217_415)),
}

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class BySex(NamedTuple):
    """Copies and called alleles of each row, and where they are known: on X and Y only."""

    ac: Ints
    an: Ints
    known: Bools


def by_sex(rows: BatchRows) -> BySex:
    """Count the alleles of a batch by sex.

    Outside the pseudo-autosomal regions a male's two equal alleles count once and two others not
    at all, on Y calls of females not either; inside, and for samples whose sex no panel tells,
    calls count as they are written. A line that has a call of more than two alleles is unknown.
    """
    n, batch, groups = rows.batch.rows, rows.batch, rows.facts.groups
    single, on_y, known = _places(rows)
    if not known.any():
        nothing = np.zeros(rows.count, np.int64)
        return BySex(nothing, nothing, known[rows.line])
    calls = batch.events.call[: batch.event_count].astype(np.int64)
    line = np.repeat(np.arange(n), np.diff(batch.lines.first_event[: n + 1]))
    sex = groups.sex[batch.events.sample[: batch.event_count]]
    a = calls & counts_of.ALLELE_MASK
    b = (calls >> counts_of.ALLELE_BITS) & counts_of.ALLELE_MASK
    ploidy = (calls >> counts_of.PLOIDY_SHIFT) & 3

    def per_line(chosen: Bools) -> Ints:
        return np.bincount(line[chosen], minlength=n)

    male, two = sex == MALE, ploidy == 2
    equal = per_line(male & two & (a == b) & (a > 0))
    other = per_line(male & two & (a != b) & (a > 0) & (b > 0))
    halves = per_line(male & two & ((a == 0) != (b == 0)))
    ones = per_line(male & (ploidy == 1) & (a > 0))
    # Reference calls are no events: what males' called alleles and calls leave over tells them.
    stated = _called(rows, MALE)
    alleles = stated - 2 * (equal + other) - halves - ones
    references = np.count_nonzero(groups.sex == MALE) - per_line(male)
    doubled = alleles - references  # of two reference alleles
    known &= (per_line(ploidy == 0) == 0) & (doubled >= 0) & (doubled <= references)
    called: Ints = batch.lines.an[:n].sum(axis=1, dtype=np.int64)
    an = called - np.where(single, doubled + equal + 2 * other, 0)
    an -= np.where(on_y, _called(rows, FEMALE), 0)
    return BySex(_copies(rows, single, on_y, sex, two), an[rows.line], known[rows.line])


def _places(rows: BatchRows) -> tuple[Bools, Bools, Bools]:
    """Per line: whether males have one allele there; whether females have none; on X or Y."""
    n = rows.batch.rows
    single, on_y, known = (np.zeros(n, bool) for _ in range(3))
    pos = rows.batch.lines.pos[:n]
    for segment in rows.segments:
        regions = PAR.get((rows.facts.assembly, segment.contig))
        if regions is None:
            continue
        own = slice(segment.first_line, segment.stop_line)
        inside = [(pos[own] >= first) & (pos[own] <= last) for first, last in regions]
        single[own] = ~np.any(inside, axis=0)
        on_y[own] = single[own] & (segment.contig == "Y")
        known[own] = rows.called[own]
    return single, on_y, known


def _called(rows: BatchRows, sex: int) -> Ints:
    """Called alleles of each line, of the samples of a sex."""
    chosen = rows.facts.groups.of_sex.get(sex, [])
    an: Ints = rows.batch.lines.an[: rows.batch.rows][:, chosen].sum(axis=1, dtype=np.int64)
    return an


def _copies(
    rows: BatchRows, single: Bools, on_y: Bools, sex: npt.NDArray[np.int8], two: Bools
) -> Ints:
    """Copies of each row's allele."""
    carries, row = rows.carries
    count = len(row)
    event, kind = carries.event[:count], carries.kind[:count]
    copies = carries.copies[:count].astype(np.int64)
    there = rows.line[row]
    his = single[there] & (sex[event] == MALE) & two[event]
    copies[his & (kind == counts_of.HOM_ALT)] = 1
    copies[his & (kind == counts_of.HET)] = 0
    copies[on_y[there] & (sex[event] == FEMALE)] = 0
    return np.bincount(row, copies, rows.count).astype(np.int64)
