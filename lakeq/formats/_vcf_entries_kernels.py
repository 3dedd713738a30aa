"""Kernels over whole lines: where every sample's fields are, and what its call is."""

from __future__ import annotations

from lakeq._jit import i64, kernel, part
from lakeq.formats._vcf_typed_kernels import (
    ABSENT,
    COLON,
    DOT,
    EQUALS,
    I16,
    I32,
    I64,
    NEWLINE,
    RETURN,
    SEMICOLON,
    SLASH,
    TAB,
    U8,
    ZERO,
    Flags,
    _key_at,
)

BAR = 124
MISSING_ALLELE = -1


@kernel
def count_lines(text: U8, size: int) -> int:
    """How many lines that are not empty text[:size] has."""
    lines = 0
    start = 0
    for p in range(size):
        if text[p] == NEWLINE:
            lines += p > start and not (p == start + 1 and text[start] == RETURN)
            start = p + 1
    return lines


@kernel
def columns(text: U8, size: int, number: int, starts: I64, numbers: I64) -> int:
    """Write where each column of each line begins, and one past the line's last byte plus one.

    `number` is the number of the line before. Returns the first line with another number of
    columns, or -1.
    """
    line = 0
    width = starts.shape[1] - 1
    at = 0
    while at < size:
        number += 1
        p = at
        column = 0
        while text[p] != NEWLINE:
            if text[p] == TAB:
                column += 1
                if column >= width:
                    return line
                starts[line, column] = p + 1
            p += 1
        end = p - 1 if p > at and text[p - 1] == RETURN else p
        if end > at:
            starts[line, 0] = at
            if column != width - 1:
                return line
            starts[line, width] = end + 1
            numbers[line] = number
            line += 1
        at = p + 1
    return -1


@kernel
def places(text: U8, starts: I64, keys: U8, key_end: I32, place: I16) -> None:
    """Where each wanted key stands in the FORMAT of each line: place[line, key], or -1."""
    place[:, :] = -1
    for line in range(starts.shape[0]):
        at = starts[line, 8]
        stop = starts[line, 9] - 1
        n = 0
        while at <= stop:
            p = at
            while p < stop and text[p] != COLON:
                p += 1
            k = _key_at(text, at, p, keys, key_end)
            if k >= 0 and place[line, k] < 0:
                place[line, k] = n
            n += 1
            at = p + 1


@kernel
def sample_fields(text: U8, starts: I64, place: I16, key: int, start: I64, size: I32) -> None:
    """Where the value of one key is in every sample of every line; size -1 where it is absent."""
    samples = starts.shape[1] - 10
    n = 0
    for line in range(starts.shape[0]):
        for sample in range(samples):
            start[n] = 0
            size[n] = ABSENT
            if place[line, key] >= 0:
                at = starts[line, 9 + sample]
                stop = starts[line, 10 + sample] - 1
                element = 0
                while at < stop and element < place[line, key]:
                    element += text[at] == COLON
                    at += 1
                if element == place[line, key] and (at < stop or element == 0):
                    p = at
                    while p < stop and text[p] != COLON:
                        p += 1
                    start[n] = at
                    size[n] = p - at
            n += 1


@kernel
def count_call_alleles(text: U8, start: I64, size: I32, counts: I32) -> int:
    """How many alleles each genotype has; returns the first that is none, or -1."""
    for i in range(start.size):
        counts[i] = 0
        at = start[i]
        stop = at + max(size[i], 0)
        if at < stop and (text[at] == BAR or text[at] == SLASH):
            at += 1
        while at < stop:
            p = at
            while p < stop and text[p] != BAR and text[p] != SLASH:
                p += 1
            if p == at or p - at > 9:
                return i
            for k in range(at, p):
                digit = ZERO <= text[k] <= ZERO + 9
                if not digit and not (text[k] == DOT and p == at + 1):
                    return i
            counts[i] += 1
            at = p + 1
    return -1


@kernel
def call_alleles(
    text: U8, start: I64, size: I32, offsets: I32, alleles: I32, phased: Flags
) -> None:
    """Write the allele numbers of each genotype, and whether all its separators are bars."""
    for i in range(start.size):
        n = offsets[i]
        at = start[i]
        stop = at + max(size[i], 0)
        phased[i] = True
        if at < stop and (text[at] == BAR or text[at] == SLASH):
            phased[i] = text[at] == BAR
            at += 1
        while at < stop:
            value = i64(0)
            while at < stop and text[at] != BAR and text[at] != SLASH:
                value = MISSING_ALLELE if text[at] == DOT else value * 10 + text[at] - ZERO
                at += 1
            if at < stop and at + 1 < stop and text[at] == SLASH:
                phased[i] = False
            alleles[n] = value
            n += 1
            at += 1


@kernel
def copies(offsets: I32, alleles: I32, call: I32, allele: I32, out: I32) -> None:
    """How many of the alleles of call[row] are allele[row]."""
    for row in range(call.size):
        n = 0
        if allele[row] > 0:
            for k in range(offsets[call[row]], offsets[call[row] + 1]):
                n += alleles[k] == allele[row]
        out[row] = n


@kernel
def rest_size(starts: I64) -> int:
    """The most bytes that `rest_of_samples` can write."""
    samples = starts.shape[1] - 10
    total = i64(0)
    for line in range(starts.shape[0]):
        keys = starts[line, 9] - starts[line, 8]
        total += samples * (keys + 1) + starts[line, 9 + samples] - starts[line, 9] + samples
    return total


@part
def _copy(text: U8, at: int, stop: int, out: U8, n: int) -> int:
    for p in range(at, stop):
        out[n] = text[p]
        n += 1
    return n


@kernel
def rest_of_samples(
    text: U8, starts: I64, keys: U8, key_end: I32, bad: Flags, offsets: I32, out: U8
) -> None:
    """Write KEY=value of each sample's fields that no column holds, joined by semicolons.

    Those are fields of keys that are not among `keys`, and where bad[key, line * samples + sample].
    """
    samples = starts.shape[1] - 10
    n = 0
    row = 0
    for line in range(starts.shape[0]):
        for sample in range(samples):
            offsets[row] = n
            begin = n
            key_at = starts[line, 8]
            key_stop = starts[line, 9] - 1
            at = starts[line, 9 + sample]
            stop = starts[line, 10 + sample] - 1
            while at <= stop and key_at <= key_stop:
                key_p = key_at
                while key_p < key_stop and text[key_p] != COLON:
                    key_p += 1
                p = at
                while p < stop and text[p] != COLON:
                    p += 1
                k = _key_at(text, key_at, key_p, keys, key_end)
                missing = p == at or (p == at + 1 and text[at] == DOT)
                if not missing and (k < 0 or bad[k, row]):
                    if n > begin:
                        out[n] = SEMICOLON
                        n += 1
                    n = _copy(text, key_at, key_p, out, n)
                    out[n] = EQUALS
                    n = _copy(text, at, p, out, n + 1)
                key_at = key_p + 1
                at = p + 1
            row += 1
    offsets[row] = n
