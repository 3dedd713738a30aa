"""The kernel that copies the lines and sample columns that are wanted."""

from __future__ import annotations

from lakeq._jit import i64, kernel, part
from lakeq.formats._vcf_typed_kernels import (
    I32,
    I64,
    NEWLINE,
    RETURN,
    SEMICOLON,
    TAB,
    U8,
    ZERO,
    Flags,
)

E, N, D, EQUALS = 69, 78, 68, 61


@part
def _number(text: U8, at: int, stop: int) -> int:
    """The digits of text[at:stop] as a number; -1 where there are none."""
    value = i64(-1)
    for p in range(at, stop):
        digit = i64(text[p]) - ZERO
        if digit < 0 or digit > 9:
            break
        value = max(value, 0) * 10 + digit
    return value


@part
def _last(text: U8, pos: int, ref: int, info: int, stop: int) -> int:
    """The last position of a record: INFO/END, or that of its reference allele."""
    at = info
    while at < stop:
        if text[at] == E and text[at + 1] == N and text[at + 2] == D and text[at + 3] == EQUALS:
            value = _number(text, at + 4, stop)
            if value >= pos:
                return value
        while at < stop and text[at] != SEMICOLON:
            at += 1
        at += 1
    return pos + max(ref, 1) - 1


@kernel
def keep_lines(
    text: U8,
    size: int,
    names: U8,
    name_end: I32,
    first: I64,
    last: I64,
    by_region: bool,
    samples: Flags,
    out: U8,
) -> int:
    """Copy the lines that overlap a region, with the columns of `samples`; return their size.

    A line that is left out becomes an empty one. Region i has the name up to name_end[i] and the
    positions first[i] to last[i].
    """
    start = i64(0)
    n = i64(0)
    every = True
    for i in range(samples.size):
        every = every and samples[i]
    while start < size:
        stop = start
        while text[stop] != NEWLINE:
            stop += 1
        tabs = 0
        column1 = column2 = column3 = column4 = column7 = column8 = i64(stop)
        p = start
        while p < stop and tabs < 8:
            if text[p] == TAB:
                tabs += 1
                if tabs == 1:
                    column1 = p + 1
                elif tabs == 2:
                    column2 = p + 1
                elif tabs == 3:
                    column3 = p + 1
                elif tabs == 4:
                    column4 = p + 1
                elif tabs == 7:
                    column7 = p + 1
                elif tabs == 8:
                    column8 = p + 1
            p += 1
        keep = not by_region
        if by_region and tabs >= 7:
            pos = _number(text, column1, column2)
            end = _last(
                text, pos, column4 - 1 - column3, column7, stop if tabs < 8 else column8 - 1
            )
            begin = 0
            for i in range(name_end.size):
                if (
                    name_end[i] - begin == column1 - 1 - start
                    and pos <= last[i]
                    and end >= first[i]
                ):
                    same = True
                    for k in range(name_end[i] - begin):
                        same = same and names[begin + k] == text[start + k]
                    keep = keep or same
                begin = name_end[i]
        if keep and (every or tabs < 8):
            for q in range(start, stop):
                out[n] = text[q]
                n += 1
        elif keep:
            n = _copy_columns(text, start, column8, stop, samples, out, n)
        out[n] = NEWLINE
        n += 1
        start = stop + 1
    return n


@part
def _copy_columns(
    text: U8, start: int, format_: int, stop: int, samples: Flags, out: U8, n: int
) -> int:
    """Copy the fixed columns of a line, FORMAT and the wanted sample columns."""
    end = stop - 1 if text[stop - 1] == RETURN else stop
    some = False
    for i in range(samples.size):
        some = some or samples[i]
    sample_at = format_
    while sample_at < end and text[sample_at] != TAB:
        sample_at += 1
    for q in range(start, sample_at if some else format_ - 1):
        out[n] = text[q]
        n += 1
    sample = 0
    at = sample_at
    while at < end:
        p = at + 1
        while p < end and text[p] != TAB:
            p += 1
        if sample < samples.size and samples[sample]:
            for q in range(at, p):
                out[n] = text[q]
                n += 1
        sample += 1
        at = p
    return n
