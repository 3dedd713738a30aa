"""The fast path of the VCF reader: lines like the last one, compared with a template of it.

A template is a line of the same layout with every call reference. Most calls of a cohort are, so
lines whose FORMAT is GT are compared 64 bytes at a time, and only samples inside a differing group
are looked at. Calls are packed as `_vcf_scan` says.
"""

from __future__ import annotations

import numpy as np

from lakeq._jit import i64, part
from lakeq.formats._vcf_layout import (
    BAR,
    DOT,
    EVENT_TEXT,
    EVENTS,
    GROUP,
    I32,
    I64,
    NEWLINE,
    RETURN,
    SLASH,
    TAB,
    TEMPLATE_BYTES,
    TEMPLATE_HAPLOID,
    TEMPLATE_STRIDE,
    U8,
    U32,
    ZERO,
    Cohort,
    Events,
    Lines,
    Template,
)

BOTH_REFERENCE = 1 | (1 << 14) | (2 << 28)  # the call 0/0, packed

_CODE = np.full(256, 0x80, np.uint8)  # byte of an allele -> allele + 1
_CODE[DOT] = 0
_CODE[ZERO : ZERO + 10] = np.arange(1, 11)
_NOT_SEPARATOR = np.ones(256, np.uint8)
_NOT_SEPARATOR[[BAR, SLASH]] = 0


@part
def ends_line(buf: U8, p: int) -> bool:
    """Whether a line ends at `p`, with a carriage return before its newline or without."""
    return bool(buf[p] == NEWLINE or (buf[p] == RETURN and buf[p + 1] == NEWLINE))


@part
def end_of_field(buf: U8, p: int) -> int:
    """Where the field at `p` ends: at its tab, or at the end of the line."""
    while True:
        while buf[np.uint64(p)] > RETURN:  # one comparison a byte; tabs and line ends are below
            p += 1
        if buf[p] == TAB or ends_line(buf, p):
            return p
        p += 1


@part
def learn(
    buf: U8, at: int, stop: int, row: int, s: I64, lines: Lines, cohort: Cohort, template: Template
) -> None:
    """Make buf[at:stop], calls of one or two one-digit alleles, the template."""
    sample = 0
    template.start[0] = 0
    template.an[:] = 0
    s[TEMPLATE_STRIDE] = 4
    s[TEMPLATE_HAPLOID] = 0
    for i in range(stop - at):
        c = buf[at + i]
        template.sample[i] = sample
        template.text[i] = c if c == TAB or c == BAR or c == SLASH else ZERO
        template.an[cohort.group[sample]] += c != TAB and c != BAR and c != SLASH
        if c == TAB:
            sample += 1
            template.start[sample] = i + 1
    template.start[cohort.samples] = stop - at + 1
    for k in range(cohort.samples):
        if template.start[k + 1] != 4 * (k + 1):
            s[TEMPLATE_STRIDE] = 0
        s[TEMPLATE_HAPLOID] += template.start[k + 1] - template.start[k] == 2
    s[TEMPLATE_BYTES] = stop - at


@part
def against_template(
    buf: U8,
    at: int,
    end: int,
    row: int,
    s: I64,
    lines: Lines,
    events: Events,
    cohort: Cohort,
    template: Template,
) -> int:
    """Read a line of the template's layout; return where it ends, or 0 when it is of another."""
    size = s[TEMPLATE_BYTES]
    if at + size >= end or not ends_line(buf, at + size):
        return 0
    an = lines.an[row]
    for i in range(an.size):
        an[i] = template.an[i]
    first = s[EVENTS]
    n = _compare(
        buf[at : at + size + 1],
        size,
        first,
        lines.alts[row] + 1,
        s[TEMPLATE_STRIDE],
        an,
        cohort.group,
        events.sample,
        events.call,
        template.text,
        template.sample,
        template.start,
    )
    if n < 0:
        return 0
    if cohort.key_end.size > 1:
        events.text_end[first:n] = s[EVENT_TEXT]
    s[EVENTS] = n
    lines.ploidy[row] = _template_ploidy(s[TEMPLATE_HAPLOID], cohort.samples, events.call[first:n])
    return int(at + size)


@part
def _template_ploidy(haploid: int, samples: int, calls: U32) -> int:
    """The ploidy of the calls of a line of the template's layout; 0 where called ones differ."""
    if haploid == 0 or haploid == samples:
        return 2 if haploid == 0 else 1
    diploid = samples - haploid
    for i in range(calls.size):
        call = i64(calls[i])
        haploid -= call == (1 << 28)
        diploid -= call & ~(1 << 30) == (2 << 28)
    if haploid == 0 or diploid == 0:
        return 2 if haploid == 0 else 1
    return 0


@part
def _compare(
    text: U8,
    size: int,
    n: int,
    highest: int,
    stride: int,
    an: I32,
    group: I32,
    samples: I32,
    calls: U32,
    expected: U8,
    sample_of: I32,
    starts: I32,
) -> int:
    """Append the events of the sample columns `text`; return their number, or -1.

    Only arrays that the loop needs come here, one by one: numba passes a tuple of arrays as some
    hundred words, which costs more than comparing a group.
    """
    done = 0
    for block in range((size + GROUP - 1) // GROUP):
        left = min(size - block * GROUP, GROUP)
        differs = np.uint8(0)
        if left == GROUP:
            for i in range(GROUP):
                differs |= text[block * GROUP + i] ^ expected[block * GROUP + i]
        else:
            for i in range(left):
                differs |= text[block * GROUP + i] ^ expected[block * GROUP + i]
        if differs == 0:
            continue
        first = max(done, sample_of[block * GROUP])
        done = sample_of[block * GROUP + left - 1] + 1
        if stride == 4:
            more = -1
            if left == GROUP:
                more = _biallelic(text, expected, block, n, samples, calls)
            if more < 0:
                more = _diploid(text, first, done, n, highest, an, group, samples, calls)
            n = more
        else:
            n = _narrow(text, first, done, n, highest, an, group, samples, calls, starts)
        if n < 0:
            return -1
    return n


@part
def _biallelic(text: U8, expected: U8, block: int, n: int, samples: I32, calls: U32) -> int:
    """Read a block of diploid calls of alleles 0 and 1, phased as in the template; else -1."""
    alleles = np.uint8(0)
    rest = np.uint8(0)
    for i in range(GROUP // 4):
        q = np.uint64(block * GROUP + 4 * i)  # unsigned indices spare the test for negative ones
        second, third, last = q + np.uint64(1), q + np.uint64(2), q + np.uint64(3)
        a = text[q] ^ np.uint8(ZERO)
        b = text[third] ^ np.uint8(ZERO)
        alleles |= a | b
        rest |= (text[second] ^ expected[second]) | (text[last] ^ np.uint8(TAB))
        phased = np.uint32(text[second] == BAR) << np.uint32(30)
        samples[np.uint64(n)] = block * (GROUP // 4) + i
        calls[np.uint64(n)] = (
            np.uint32(BOTH_REFERENCE) + phased + (np.uint32(a) + (np.uint32(b) << np.uint32(14)))
        )
        n += i64((a | b) != 0)
    return n if alleles <= 1 and rest == 0 else -1


@part
def _diploid(
    text: U8,
    first: int,
    stop: int,
    n: int,
    highest: int,
    an: I32,
    group: I32,
    samples: I32,
    calls: U32,
) -> int:
    """Read diploid calls of four bytes each, without a branch per call; -1 when one is not so."""
    bad = 0
    top = 0
    missing = 0
    before = n
    last = group.size - 1
    for i in range(stop - first):
        sample = first + i
        q = np.uint64(4 * sample)  # unsigned indices spare the test for negative ones
        separator = text[q + np.uint64(1)]
        a = i64(_CODE[text[q]])
        b = i64(_CODE[text[q + np.uint64(2)]])
        bad |= i64(_NOT_SEPARATOR[separator])
        bad |= i64(text[q + np.uint64(3)] != TAB) & i64(sample != last)
        top = max(top, a, b)
        missing |= i64(a == 0) | i64(b == 0)
        samples[np.uint64(n)] = sample
        calls[np.uint64(n)] = a | (b << 14) | (2 << 28) | (i64(separator == BAR) << 30)
        n += i64(a != 1) | i64(b != 1)
    if bad != 0 or top > highest:
        return -1
    if missing != 0:
        for i in range(before, n):
            call = i64(calls[i])
            gone = i64(call & 0x3FFF == 0) + i64((call >> 14) & 0x3FFF == 0)
            an[group[samples[i]]] -= gone
    return n


@part
def _narrow(
    text: U8,
    first: int,
    stop: int,
    n: int,
    highest: int,
    an: I32,
    group: I32,
    samples: I32,
    calls: U32,
    starts: I32,
) -> int:
    """Read calls of one or two one-digit alleles; return -1 when one is anything else."""
    for sample in range(first, stop):
        q = starts[sample]
        size = starts[sample + 1] - q - 1
        if sample < group.size - 1 and text[q + size] != TAB:
            return -1
        a = i64(_CODE[text[q]])
        b = i64(1)
        call = a | (1 << 28)
        if size == 3:
            b = i64(_CODE[text[q + 2]])
            if _NOT_SEPARATOR[text[q + 1]] != 0:
                return -1
            call = a | (b << 14) | (2 << 28) | (i64(text[q + 1] == BAR) << 30)
        if max(a, b) > highest:
            return -1
        an[group[sample]] -= i64(a == 0) + i64(b == 0)
        samples[n] = sample
        calls[n] = call
        n += i64(a != 1) | i64(b != 1)
    return n
