"""The hot loop of the VCF reader: whole lines of text in, site columns and genotype events out.

Source: VCF 4.1 to 4.5 specifications, sections 1.6.1 (fixed fields) and 1.6.2 (genotype fields).
An event is a call that is not all reference. Most calls of a cohort are, so lines whose FORMAT is
GT are compared 64 bytes at a time with a template, the same line with every call reference, and
only samples inside a differing group are looked at. Every other line goes through the general
parser, which also makes the template for lines of the same layout.

A call of one or two alleles is packed in 32 bits: allele + 1 (0 is missing) in bits 0 to 13 and
14 to 27, ploidy in bits 28 and 29, phased in bit 30. Ploidy 0 marks a wide call: its low 28 bits
are an index into the wide calls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part
from lakeq.formats._vcf_layout import (
    BAD_ALLELE,
    BAD_ALT,
    BAD_CHROM,
    BAD_COLUMNS,
    BAD_GT,
    BAD_PLOIDY,
    BAD_POS,
    BAR,
    COLON,
    COMMA,
    CURSOR,
    DONE,
    DOT,
    ERROR_AT,
    ERROR_SAMPLE,
    EVENT_TEXT,
    EVENTS,
    FULL,
    HASH,
    HIGH,
    I32,
    I64,
    LINE,
    NEWLINE,
    PLOIDY_LIMIT,
    RETURN,
    ROWS,
    SLASH,
    TAB,
    TEMPLATE_BYTES,
    TEXT,
    U8,
    WIDE,
    WIDE_ALLELE,
    WIDE_ALLELES,
    ZERO,
    Cohort,
    Events,
    Lines,
    Template,
)
from lakeq.formats._vcf_template import against_template, end_of_field, ends_line, learn


@kernel
def scan(  # one function: numba compiles each level of calls anew, 3 s each
    buf: U8, end: int, s: I64, lines: Lines, events: Events, cohort: Cohort, template: Template
) -> int:
    """Read the lines of buf[s[CURSOR]:end] until the end, or until the outputs are full.

    Every line must end in a newline and PAD_BYTES must be readable behind `end`. Returns DONE,
    FULL (nothing of the line at the cursor was kept), or an error with s[LINE] at its line.
    """
    while s[CURSOR] < end:
        at, row, text = s[CURSOR], s[ROWS], s[TEXT]
        if ends_line(buf, at):
            s[CURSOR] = at + (1 if buf[at] == NEWLINE else 2)
            s[LINE] += 1
            continue
        if row == lines.pos.size or s[EVENTS] + cohort.samples + 1 > events.sample.size:
            return FULL
        p, columns = _split(buf, at, end, text, row, lines.start)
        if text + p - at + 1 > lines.text.size:
            return FULL
        s[LINE] += 1
        if columns < 8 or (columns == 8) != (cohort.columns == 8):
            return BAD_COLUMNS
        for i in range(p - at):
            lines.text[text + i] = buf[at + i]
        s[TEXT] = text + p - at
        status = _check(lines.text, lines.start, lines.pos, lines.alts, lines.new_contig, row, s)
        if status != DONE:
            return status
        lines.number[row] = s[LINE]
        lines.first_event[row] = s[EVENTS]
        lines.called[row] = 0
        lines.an[row, :] = 0
        lines.ploidy[row] = 0
        if columns > 8:
            first = p + 1
            stop = end_of_field(buf, first)
            if (buf[stop] == TAB) != (cohort.samples > 0):
                return BAD_COLUMNS
            wanted = _find_fields(buf, first, stop, cohort.keys, cohort.key_end, lines.fields[row])
            p = stop
            if cohort.samples > 0:
                place = lines.fields[row, 0]
                lines.called[row] = place >= 0
                only_gt = place == 0 and stop - first == 2
                p = 0
                if only_gt and s[TEMPLATE_BYTES] > 0:
                    p = against_template(
                        buf, stop + 1, end, row, s, lines, events, cohort, template
                    )
                if p == 0:
                    status, p = _samples(
                        buf, stop + 1, row, only_gt, wanted, s, lines, events, cohort, template
                    )
                    if status != DONE:
                        s[TEXT] = text
                        s[LINE] -= status == FULL
                        return status
        while buf[p] != NEWLINE:
            p += 1
        s[CURSOR] = p + 1
        s[ROWS] = row + 1
        lines.first_event[row + 1] = s[EVENTS]
    return DONE


@part
def _split(buf: U8, at: int, end: int, text: int, row: int, start: I32) -> tuple[int, int]:
    """Find the fixed columns; return the end of INFO and how many columns were met (9 = more)."""
    columns = 1
    start[row, 0] = text
    p = at
    while p < end:
        c = buf[p]
        if c == TAB:
            start[row, columns] = text + p - at + 1
            columns += 1
            if columns == 9:
                return p, columns
        elif c == NEWLINE:
            break
        p += 1
    if p > at and buf[p - 1] == RETURN:
        p -= 1
    if columns < 9:
        start[row, columns] = text + p - at + 1
    return p, columns


@part
def _check(
    text: U8, start: I32, positions: I64, alternates: I32, new_contig: U8, row: int, s: I64
) -> int:
    """Check CHROM, POS, REF and ALT of a line; fill positions, alternates and new_contig."""
    high = np.uint8(0)
    for i in range(start[row, 0], start[row, 8] - 1):
        high |= text[i]
    s[HIGH] |= high
    size = start[row, 1] - start[row, 0]
    if size < 2 or text[start[row, 0]] == HASH:
        return BAD_CHROM
    same = row > 0 and start[row - 1, 1] - start[row - 1, 0] == size
    for i in range(size):
        same = same and text[start[row, 0] + i] == text[start[row - 1, 0] + i]
    new_contig[row] = not same
    digits = start[row, 2] - 1 - start[row, 1]
    pos = 0
    for i in range(start[row, 1], start[row, 2] - 1):
        c = text[i] - ZERO
        if c < 0 or c > 9 or digits > 15:
            return BAD_POS
        pos = pos * 10 + c
    if digits < 1:
        return BAD_POS
    positions[row] = pos
    alts = _count_alts(text, start[row, 4], start[row, 5] - 1)
    alternates[row] = alts
    return BAD_ALT if alts < 0 else DONE


@part
def _count_alts(text: U8, start: int, stop: int) -> int:
    """How many alternate alleles text[start:stop] lists; 0 for '.', -1 when one is empty."""
    if stop - start == 1 and text[start] == DOT:
        return 0
    alts = 1
    length = 0
    for i in range(start, stop):
        if text[i] == COMMA:
            if length == 0:
                return -1
            alts += 1
            length = 0
        else:
            length += 1
    return alts if length else -1


@part
def _find_fields(
    buf: U8, at: int, stop: int, keys: U8, key_end: I32, places: npt.NDArray[np.int16]
) -> bool:
    """Find GT and the wanted keys in the FORMAT text; return whether any but GT is there."""
    places[:] = -1
    wanted = False
    place = 0
    start = at
    for p in range(at, stop + 1):
        if p < stop and buf[p] != COLON:
            continue
        first = 0
        for k in range(key_end.size):
            size = key_end[k] - first
            same = size == p - start
            for i in range(size):
                same = same and keys[first + i] == buf[start + i]
            if same and places[k] < 0:
                places[k] = place
                wanted = wanted or k > 0
            first = key_end[k]
        place += 1
        start = p + 1
    return wanted


@part
def _samples(
    buf: U8,
    at: int,
    row: int,
    only_gt: bool,
    wanted: bool,
    s: I64,
    lines: Lines,
    events: Events,
    cohort: Cohort,
    template: Template,
) -> tuple[int, int]:
    """The general parser of sample columns: any ploidy, any FORMAT; also learns the template."""
    alleles = template.alleles
    before = s[WIDE], s[WIDE_ALLELES], s[EVENT_TEXT]
    lines.an[row, :] = 0
    place = lines.fields[row, 0]
    n = s[EVENTS]
    simple = only_gt
    low, high = PLOIDY_LIMIT, 0
    p = at
    for sample in range(cohort.samples):
        status, stop, called, event, narrow, ploidy = DONE, p, 0, False, False, 0
        first = i64(buf[np.uint64(p)]) - ZERO
        second = i64(buf[np.uint64(p + 2)]) - ZERO
        between, after = buf[np.uint64(p + 1)], buf[np.uint64(p + 3)]
        if (  # what nearly all calls of all files are: two alleles of one digit
            place == 0
            and (between == SLASH or between == BAR)
            and (after == COLON or after == TAB)
            and min(first, second) >= 0
            and max(first, second) <= min(max(i64(lines.alts[row]), 1), 9)
        ):
            stop, called, event, narrow, ploidy = p + 3, 2, first + second > 0, True, 2
            if event:
                phased = i64(between == BAR) << 30
                events.call[n] = (first + 1) | ((second + 1) << 14) | (2 << 28) | phased
        elif place >= 0:
            status, stop, called, event, narrow, ploidy = _call(
                buf, p, place, lines.alts[row], n, s, events, alleles
            )
        if status != DONE:
            s[ERROR_AT], s[ERROR_SAMPLE] = p, sample
            s[WIDE], s[WIDE_ALLELES], s[EVENT_TEXT] = before
            return status, p
        simple = simple and narrow and (buf[stop] == TAB or ends_line(buf, stop))
        stop = end_of_field(buf, stop)
        if (sample == cohort.samples - 1) == (buf[stop] == TAB):
            return BAD_COLUMNS, p
        if place >= 0:
            lines.an[row, cohort.group[sample]] += called
            if called > 0:
                low, high = min(low, ploidy), max(high, ploidy)
            if event:
                events.sample[n] = sample
                if wanted and not _keep_text(buf, p, stop, s, events):
                    s[WIDE], s[WIDE_ALLELES], s[EVENT_TEXT] = before
                    return FULL, p
                events.text_end[n] = s[EVENT_TEXT]
                n += 1
        p = stop + 1
    s[EVENTS] = n
    lines.ploidy[row] = high if low == high else 0
    if simple:
        learn(buf, at, p - 1, row, s, lines, cohort, template)
    return DONE, p - 1


@part
def _keep_text(buf: U8, start: int, stop: int, s: I64, events: Events) -> bool:
    text = s[EVENT_TEXT]
    if text + stop - start > events.text.size:
        return False
    for i in range(start, stop):
        events.text[text + i - start] = buf[i]
    s[EVENT_TEXT] = text + stop - start
    return True


@part
def _call(
    buf: U8, p: int, place: int, alts: int, n: int, s: I64, events: Events, alleles: I32
) -> tuple[int, int, int, bool, bool, int]:
    """Parse the GT of one sample field.

    Returns a status, where the GT ends, how many alleles are called, whether the call is an event
    (written to events.call[n]), whether it has one or two alleles of one character, and its ploidy.
    """
    for _ in range(place):
        while buf[p] != TAB and buf[p] != COLON and not ends_line(buf, p):
            p += 1
        if buf[p] != COLON:  # trailing fields may be dropped: no GT here
            events.call[n] = 1 << 28
            return DONE, p, 0, True, False, 1
        p += 1
    ploidy, stop, phased, narrow = _alleles(buf, p, alleles)
    if ploidy < 1:
        return (BAD_GT if ploidy == 0 else BAD_PLOIDY), p, 0, False, False, 0
    called = 0
    reference = 0
    highest = 0
    for i in range(ploidy):
        called += alleles[i] >= 0
        reference += alleles[i] == 0
        highest = max(highest, alleles[i])
    if highest > max(alts, 1):  # 0/1 where ALT is '.': an allele that the line does not spell
        return BAD_ALLELE, p, 0, False, False, 0
    if reference == ploidy:
        return DONE, stop, called, False, narrow, ploidy
    if ploidy <= 2 and highest <= WIDE_ALLELE:
        call = i64(alleles[0] + 1) | (i64(ploidy) << 28)
        if ploidy == 2:
            call |= (i64(alleles[1] + 1) << 14) | (i64(phased) << 30)
        events.call[n] = call
        return DONE, stop, called, True, narrow, ploidy
    if not _keep_wide(ploidy, phased, n, s, events, alleles):
        return FULL, p, 0, False, False, 0
    return DONE, stop, called, True, False, ploidy


@part
def _keep_wide(ploidy: int, phased: bool, n: int, s: I64, events: Events, alleles: I32) -> bool:
    at = s[WIDE_ALLELES]
    if s[WIDE] == events.wide_phased.size or at + ploidy > events.wide_allele.size:
        return False
    for i in range(ploidy):
        events.wide_allele[at + i] = alleles[i]
    events.wide_phased[s[WIDE]] = phased and ploidy > 1
    events.wide_end[s[WIDE]] = at + ploidy
    events.call[n] = s[WIDE]
    s[WIDE_ALLELES] = at + ploidy
    s[WIDE] += 1
    return True


@part
def _alleles(buf: U8, p: int, alleles: I32) -> tuple[int, int, bool, bool]:
    """Parse a GT into `alleles` (-1 is missing).

    Returns the ploidy (0 when it is no genotype, -1 when it passes PLOIDY_LIMIT), where it ends,
    whether it is phased, and whether all alleles have one character.
    """
    ploidy = 0
    phased = True
    narrow = True
    if buf[p] == BAR or buf[p] == SLASH:  # VCF 4.4 may state the first phase
        phased = buf[p] == BAR
        narrow = False
        p += 1
    while True:
        if ploidy == PLOIDY_LIMIT:
            return -1, p, False, False
        start = p
        allele = -1
        if buf[p] == DOT:
            p += 1
        else:
            allele = 0
            while ZERO <= buf[p] <= ZERO + 9 and p - start < 9:
                allele = allele * 10 + buf[p] - ZERO
                p += 1
            if p == start:
                return 0, p, False, False
        narrow = narrow and p - start == 1
        alleles[ploidy] = allele
        ploidy += 1
        c = buf[p]
        if c == BAR or c == SLASH:
            phased = phased and c == BAR
            p += 1
            c = buf[p]
            if c == TAB or c == COLON or c == NEWLINE or c == RETURN:  # 0/0| has two alleles
                return ploidy, p, phased, False
        elif c == TAB or c == COLON or c == NEWLINE or c == RETURN:
            return ploidy, p, phased, narrow and ploidy <= 2
        else:
            return 0, p, False, False
