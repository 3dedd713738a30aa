"""Kernels over genotype events: who carries which alternate allele, and how many do.

An event is a call that is not all reference, packed as `_vcf_scan` says. `expand` makes one carry
of each (event, alternate allele carried), and one of each call with missing alleles that carries
none; every count, list of samples and row of calls follows from the carries.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part

# Kinds of carries. The last two carry no alternate allele.
HET, HOM_ALT, HEMI, HALF_MISSING, HALF_REF, MISSING = range(6)
ALLELE_BITS, ALLELE_MASK, PLOIDY_SHIFT, PHASED_SHIFT, WIDE_MASK = 14, 0x3FFF, 28, 30, 0x0FFFFFFF

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U32 = npt.NDArray[np.uint32]


class Carries(NamedTuple):
    """One element per carry.

    Its event, allele (0 for none), kind, copies of the allele, and the first haplotype that has
    it (from 1; 0 when the call is not phased).
    """

    event: I32
    allele: I32
    kind: U8
    copies: I32
    haplotype: I32


class Wide(NamedTuple):
    """Calls of more than two alleles, or of large allele numbers: alleles (-1 missing), phase."""

    end: I64
    phased: U8
    allele: I32


@kernel
def count_carries(calls: U32, wide: Wide) -> int:
    """How many carries `expand` will write, at most."""
    n = 0
    for i in range(calls.size):
        call = i64(calls[i])
        ploidy = (call >> PLOIDY_SHIFT) & 3
        if ploidy == 0:
            index = call & WIDE_MASK
            ploidy = wide.end[index] - (wide.end[index - 1] if index > 0 else 0)
        n += max(ploidy, 1)
    return n


@kernel
def expand(calls: U32, wide: Wide, carries: Carries) -> int:
    """Write the carries of all events, in order, alleles ascending; return their number."""
    n = i64(0)
    event, allele, kind = carries.event, carries.allele, carries.kind
    copies, haplotype = carries.copies, carries.haplotype
    for i in range(calls.size):
        call = i64(calls[i])
        ploidy = (call >> PLOIDY_SHIFT) & 3
        if ploidy == 0:
            n = _expand_wide(i, call & WIDE_MASK, wide, carries, n)
            continue
        a = call & ALLELE_MASK
        if ploidy == 1:
            event[n], allele[n], kind[n] = i, max(a - 1, 0), HEMI if a else MISSING
            copies[n], haplotype[n] = a > 0, 0
            n += 1
            continue
        b = (call >> ALLELE_BITS) & ALLELE_MASK
        low, high = min(a, b), max(a, b)
        phased = (call >> PHASED_SHIFT) & 1
        if low == high:
            event[n], allele[n], kind[n] = i, max(a - 1, 0), HOM_ALT if a else MISSING
            copies[n], haplotype[n] = 2 if a else 0, phased
            n += 1
            continue
        if low > 1:
            event[n], allele[n], kind[n] = i, low - 1, HET
            copies[n], haplotype[n] = 1, phased * (1 if a == low else 2)
            n += 1
        event[n], allele[n] = i, high - 1
        kind[n] = HET if low else (HALF_MISSING if high > 1 else HALF_REF)
        copies[n], haplotype[n] = high > 1, phased * (1 if a == high else 2)
        n += 1
    return n


@part
def _expand_wide(i: int, index: int, wide: Wide, carries: Carries, n: int) -> int:
    """Write the carries of one wide call; return how many there are now."""
    start = wide.end[index - 1] if index > 0 else 0
    alleles = wide.allele[start : wide.end[index]]
    ploidy = alleles.size
    called = 0
    for k in range(ploidy):
        called += alleles[k] >= 0
    last = 0
    before = n
    while True:
        lowest = i64(1 << 40)
        for k in range(ploidy):
            if last < alleles[k] < lowest:
                lowest = i64(alleles[k])
        if lowest == 1 << 40:
            break
        copies = 0
        first = 0
        for k in range(ploidy - 1, -1, -1):
            if alleles[k] == lowest:
                copies += 1
                first = k + 1
        kind = HALF_MISSING if called < ploidy else HOM_ALT if copies == ploidy else HET
        carries.kind[n] = HEMI if ploidy == 1 else kind
        carries.event[n], carries.allele[n], carries.copies[n] = i, lowest, copies
        carries.haplotype[n] = first if wide.phased[index] else 0
        last = lowest
        n += 1
    if n == before:
        carries.event[n], carries.allele[n], carries.copies[n] = i, 0, 0
        carries.haplotype[n] = 0
        carries.kind[n] = HALF_REF if called else MISSING
        n += 1
    return n


@kernel
def rows_of_carries(
    first_event: I64, first_row: I64, carries: Carries, count: int, rows: I32
) -> None:
    """The row of each carry's allele; of the line's first row where it carries none."""
    line = 0
    for i in range(count):
        while first_event[line + 1] <= carries.event[i]:
            line += 1
        rows[i] = first_row[line] + max(carries.allele[i] - 1, 0)


@kernel
def count(
    carries: Carries,
    rows: I32,
    sample: I32,
    group: I32,
    ac: I32,
    kinds: I32,
    half_missing_sites: I32,
) -> None:
    """Count copies per (row, group), carries per (row, kind), and half-missing calls per row.

    What is true of the whole site (MISSING, half_missing_sites) is counted at its first row.
    """
    for i in range(rows.size):
        row = rows[i]
        event = carries.event[i]
        kind = carries.kind[i]
        ac[row, group[sample[event]]] += carries.copies[i]
        kinds[row, kind] += 1
        if kind == HALF_REF or (kind == HALF_MISSING and (i == 0 or carries.event[i - 1] != event)):
            half_missing_sites[row - max(carries.allele[i] - 1, 0)] += 1


@kernel
def fill(
    carries: Carries,
    rows: I32,
    kind: int,
    number: I32,
    sample: I32,
    offsets: I32,
    samples: I32,
    haplotypes: I32,
) -> None:
    """Write the sample numbers of each row's carries of `kind` where `offsets` says."""
    for i in range(rows.size):
        if carries.kind[i] == kind:
            row = rows[i]
            at = offsets[row]
            samples[at] = number[sample[carries.event[i]]]
            if haplotypes.size:
                haplotypes[at] = carries.haplotype[i]
            offsets[row] = at + 1
    for row in range(offsets.size - 1, 0, -1):  # each stands where the next began
        offsets[row] = offsets[row - 1]
    offsets[0] = 0


@kernel
def count_alleles(calls: U32, wide: Wide, offsets: I32) -> None:
    """Write where each call's allele numbers begin: offsets[i] to offsets[i + 1]."""
    n = 0
    for i in range(calls.size):
        offsets[i] = n
        call = i64(calls[i])
        ploidy = (call >> PLOIDY_SHIFT) & 3
        if ploidy == 0:
            index = call & WIDE_MASK
            ploidy = wide.end[index] - (wide.end[index - 1] if index > 0 else 0)
        n += ploidy
    offsets[calls.size] = n


@kernel
def allele_numbers(calls: U32, wide: Wide, offsets: I32, out: I32) -> None:
    """Write each call's allele numbers, -1 for a missing one, where `offsets` says."""
    for i in range(calls.size):
        call = i64(calls[i])
        ploidy = (call >> PLOIDY_SHIFT) & 3
        at = offsets[i]
        if ploidy == 0:
            index = call & WIDE_MASK
            start = wide.end[index - 1] if index > 0 else 0
            for k in range(offsets[i + 1] - at):
                out[at + k] = wide.allele[start + k]
        else:
            out[at] = (call & ALLELE_MASK) - 1
            if ploidy == 2:
                out[at + 1] = ((call >> ALLELE_BITS) & ALLELE_MASK) - 1
