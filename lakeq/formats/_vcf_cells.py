"""Kernels over sample cells: where each FORMAT field of each call is, and numbers straight from it.

A call is a sample of a line, numbered line by line; a row is an alternate allele of a line and a
sample: the alleles of a line one after the other, each with all samples. The first row of a line
follows the last of the line before. Source: VCF 4.1 to 4.5, section 1.6.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part
from lakeq.formats._vcf_numerals import F64, MISSING, NO_NUMBER, ROUNDED, byte, field_ends, number
from lakeq.formats._vcf_typed_kernels import (
    ABSENT,
    ALLELES,
    ALTERNATES,
    ANY,
    COLON,
    COMMA,
    DOT,
    FIXED,
    GENOTYPES,
    I16,
    I32,
    I64,
    NEWLINE,
    ONE,
    OWN,
    PLOIDIES,
    RETURN,
    TAB,
    U8,
    ZERO,
    _genotypes,
    _key_at,
    _ploidy,
)

FIXED_STARTS = 10  # of CHROM to FORMAT, and of the first sample
# Places in `facts`: whether a FORMAT has a key that is not wanted, the last line that was begun,
# how many calls have more fields than their FORMAT, and the first line that has one.
UNKNOWN, LINE, MORE, MORE_LINE = range(4)
NO_ROOM = -1

BAR, SLASH = 124, 47
MIX = np.uint64(0x9E3779B97F4A7C15)

Numbers = npt.NDArray[Any]


class Room(NamedTuple):
    """Room for the elements of one line: where those of each call begin, and which a row takes."""

    first: I32  # of samples + 1
    places: I32  # of as many as the text has bytes
    picked: I64  # of PLOIDIES + 1


@kernel
def walk(
    text: U8,
    size: int,
    number: int,
    samples: int,
    keys: U8,
    key_end: I32,
    place: I16,
    fixed: I64,
    numbers: I64,
    start: I32,
    facts: I64,
) -> int:
    """Go through whole lines once: where the fixed columns and the fields of every sample begin.

    `fixed` and `numbers` have a row for each line that is not empty, `start[key, call]` is where
    the value of a wanted key begins, ABSENT where the call has none; it comes filled with ABSENT.
    `number` is the number of the line before, `place` room for the keys of the longest FORMAT.
    Returns how many lines there are, or -1 where line facts[LINE] has other columns
    than the header.
    """
    line = i64(0)
    at = i64(0)
    while at < size:
        number += 1
        facts[LINE] = number
        if byte(text, at) == NEWLINE or (
            byte(text, at) == RETURN and byte(text, at + 1) == NEWLINE
        ):
            at += 1 if byte(text, at) == NEWLINE else 2
            continue
        fixed[line, 0] = at
        column = 1
        p = at
        while column < FIXED_STARTS:
            c = byte(text, p)
            if c == TAB:
                fixed[line, column] = p + 1
                column += 1
            elif c == NEWLINE:
                return -1
            p += 1
        known = _slots(text, fixed[line, 8], fixed[line, 9] - 1, keys, key_end, place, facts)
        call = line * samples
        sample = i64(0)
        element = i64(0)
        first = p
        while True:
            c = byte(text, p)
            p += 1
            if c > COLON or (c > RETURN and c != COLON):
                continue
            if c == COLON:
                if element < known and place[element] >= 0:
                    start[place[element], call] = first
                element += 1
                first = p
            elif c == TAB or c == NEWLINE or (c == RETURN and byte(text, p) == NEWLINE):
                # a last field without text is one that was dropped, but for the first of all
                if element < known and place[element] >= 0 and (p - 1 > first or element == 0):
                    start[place[element], call] = first
                if element >= known:
                    facts[MORE] += 1
                    if facts[MORE] == 1:
                        facts[MORE_LINE] = number
                element = i64(0)
                sample += 1
                call += 1
                if c != TAB:
                    break
                if sample == samples:
                    return -1
                first = p
        if sample != samples:
            return -1
        numbers[line] = number
        line += 1
        at = p if byte(text, p - 1) == NEWLINE else p + 1
    return line


@part
def _slots(text: U8, at: int, stop: int, keys: U8, key_end: I32, place: I16, facts: I64) -> int:
    """Which wanted key each key of a FORMAT is, -1 for none; returns how many keys there are."""
    n = i64(0)
    while at <= stop:
        p = at
        while p < stop and byte(text, p) != COLON:
            p += 1
        k = _key_at(text, at, p, keys, key_end)
        if k < 0:
            facts[UNKNOWN] = 1
        for before in range(n):
            if place[before] == k:
                k = -1
        place[n] = k
        n += 1
        at = p + 1
    return n


@kernel
def sizes(text: U8, start: I32, size: I32) -> None:
    """How long the field at each start is; ABSENT where there is none."""
    for i in range(start.size):
        size[i] = ABSENT
        if start[i] >= 0:
            p = i64(start[i])
            while not field_ends(text, p):
                p += 1
            size[i] = p - start[i]


@part
def _takes_all(mode: int, alts: int) -> bool:
    """Whether a row takes every element of a field that has as many as it may."""
    return alts <= 1 or mode == ONE or mode == ANY or mode == FIXED


@part
def _elements(text: U8, start: I32, first_call: int, samples: int, first: I32, places: I32) -> None:
    """Where the elements of each call of a line begin: places[first[s] : first[s + 1]]."""
    n = i64(0)
    for s in range(samples):
        first[s] = n
        p = i64(start[first_call + s])
        if p < 0 or _is_missing(text, p):
            continue
        places[n] = p
        n += 1
        while not field_ends(text, p):
            p += 1
            if byte(text, p - 1) == COMMA:
                places[n] = p
                n += 1
    first[samples] = n


@part
def _chosen(mode: int, alts: int, allele: int, count: int, index: I64) -> int:
    """Write which elements of `count` the row of an allele takes, ascending; return how many."""
    index[0] = 0
    if mode == ALTERNATES or (mode == OWN and count > 1):
        index[0] = allele - 1
        return 1
    if mode == OWN:
        return 1
    if mode == ALLELES:
        index[1] = allele
        return 2
    # Genotype k1 <= ... <= kp stands at the sum of choose(k_m + m - 1, m).
    ploidy = _ploidy(alts, count)
    at = i64(0)
    for m in range(ploidy, 0, -1):
        at += _genotypes(allele - 1, m)
        index[ploidy - m + 1] = at
    return ploidy + 1


@part
def _fits(mode: int, fixed: int, alts: int, count: int) -> bool:
    """Whether a field of Number `mode` may have so many elements."""
    if mode == ONE:
        return count == 1
    if mode == ALTERNATES:
        return count == max(alts, 1)
    if mode == ALLELES:
        return count == alts + 1
    if mode == GENOTYPES:
        return 2 <= count <= PLOIDIES + 1 if alts == 1 else _ploidy(alts, count) > 0
    if mode == OWN:
        return count == 1 or count == alts
    return mode == ANY or count == fixed


@part
def _fits_whole(
    text: U8, p: int, mode: int, fixed: int, single: int, alts: int, count: int
) -> bool:
    """`_fits` for a field of which a row takes all; of a `single` one only the first was read."""
    more = single and byte(text, p) == COMMA
    return _fits(mode, fixed, alts, 2 if more else count)


@part
def _is_missing(text: U8, p: int) -> bool:
    return byte(text, p) == DOT and field_ends(text, p + 1)


@kernel
def numbers(
    text: U8,
    start: I32,
    alts: I32,
    samples: int,
    mode: int,
    fixed: int,
    whole: int,
    single: int,
    floating: int,
    low: int,
    high: int,
    powers: F64,
    room: Room,
    offsets: I32,
    known: U8,
    values: Numbers,
    valid: U8,
    wrong: U8,
    slow: I32,
    facts: I64,
) -> int:
    """The numbers of one FORMAT field: of every row its one, or with `single` 0 its list.

    `start` is where the field begins in every call. `mode` says which of its elements belong to a
    row (`fixed`: how many Number says), `whole` takes all of lines with several alleles and none of
    others. A row whose value does not fit is NULL and 1 in `wrong`. With `single` values have a
    place for each row and `known` is 0 for missing ones too; else they follow each other,
    `offsets` say whose they are and `valid` which are there. Elements that need long arithmetic
    are listed in `slow` by place and where their text is; facts[0] becomes their number, facts[1]
    that of rows that are wrong.

    Returns how many values there are, or -1 where `values` has no room for them.
    """
    row = i64(0)
    n = i64(0)
    late = i64(0)
    bad = i64(0)
    for line in range(alts.size):
        own = i64(alts[line])
        every = _takes_all(mode, own)
        if not every:
            _elements(text, start, line * samples, samples, room.first, room.places)
        for a in range(max(own, 1)):
            last_count = i64(-1)
            size = i64(0)
            for s in range(samples):
                p = i64(start[line * samples + s])
                if not single:
                    offsets[row] = n
                if p < 0 or (whole and own < 2) or _is_missing(text, p):
                    known[row] = 0
                    if single:
                        values[row] = 0
                    row += 1
                    continue
                begin = row if single else n
                before = late
                count = i64(1)
                right = not field_ends(text, p)
                k = i64(0)
                if not every:
                    count = i64(room.first[s + 1] - room.first[s])
                    right = right and _fits(mode, fixed, own, count)
                    if right and count != last_count:
                        size = _chosen(mode, own, a + 1, count, room.picked)
                        last_count = count
                while right:
                    if begin + k >= values.size:
                        return NO_ROOM
                    if not every:
                        p = i64(room.places[room.first[s] + room.picked[k]])
                    at = p
                    real, integer, kind, p = number(text, p, floating, low, high, powers)
                    if kind == ROUNDED:
                        slow[late] = begin + k
                        slow[late + 1] = at
                        slow[late + 2] = p - at
                        late += 3
                    if floating:
                        values[begin + k] = real
                    else:
                        values[begin + k] = integer
                    if single:
                        known[row] = kind != MISSING
                    else:
                        valid[begin + k] = kind != MISSING
                    right = kind != NO_NUMBER
                    k += 1
                    if (every and byte(text, p) != COMMA) or (not every and k == size) or single:
                        break
                    p += 1
                if right and every:
                    right = _fits_whole(text, p, mode, fixed, single, own, k)
                if right:
                    n += k
                    if not single:
                        known[row] = 1
                else:
                    known[row] = 0
                    wrong[row] = 1
                    bad += 1
                    late = before
                row += 1
    offsets[row] = n
    facts[0] = late // 3
    facts[1] = bad
    return n


@kernel
def texts(
    text: U8,
    start: I32,
    alts: I32,
    samples: int,
    mode: int,
    fixed: int,
    whole: int,
    single: int,
    room: Room,
    offsets: I32,
    known: U8,
    ends: I32,
    valid: U8,
    out: U8,
    wrong: U8,
    facts: I64,
) -> int:
    """The strings of one FORMAT field, as `numbers`: the bytes of each one end at ends[1 + place].

    Returns how many strings there are, or -1 where `valid` or `out` have no room.
    """
    row = i64(0)
    n = i64(0)
    written = i64(0)
    bad = i64(0)
    ends[0] = 0
    for line in range(alts.size):
        own = i64(alts[line])
        every = _takes_all(mode, own)
        if not every:
            _elements(text, start, line * samples, samples, room.first, room.places)
        for a in range(max(own, 1)):
            for s in range(samples):
                p = i64(start[line * samples + s])
                offsets[row] = n
                known[row] = 0
                if single:
                    ends[row + 1] = written
                if p < 0 or (whole and own < 2) or _is_missing(text, p):
                    row += 1
                    continue
                begin = row if single else n
                before = written
                count = i64(1)
                size = i64(0)
                right = not field_ends(text, p)
                k = i64(0)
                if not every:
                    count = i64(room.first[s + 1] - room.first[s])
                    right = right and _fits(mode, fixed, own, count)
                    if right:
                        size = _chosen(mode, own, a + 1, count, room.picked)
                while right:
                    if not every:
                        p = i64(room.places[room.first[s] + room.picked[k]])
                    at = p
                    while byte(text, p) != COMMA and not field_ends(text, p):
                        p += 1
                    if begin + k >= valid.size or written + p - at > out.size:
                        return NO_ROOM
                    there = p > at and not (p == at + 1 and byte(text, at) == DOT)
                    valid[begin + k] = there
                    for i in range(p - at if there else 0):
                        out[np.uint64(written + i)] = byte(text, at + i)
                    written += p - at if there else 0
                    ends[begin + k + 1] = written
                    k += 1
                    if (every and byte(text, p) != COMMA) or (not every and k == size) or single:
                        break
                    p += 1
                if right and every:
                    right = _fits_whole(text, p, mode, fixed, single, own, k)
                if right:
                    n += k
                    known[row] = valid[row] if single else 1
                else:
                    written = before
                    if single:
                        ends[row + 1] = before
                    wrong[row] = 1
                    bad += 1
                row += 1
    offsets[row] = n
    facts[0] = 0
    facts[1] = bad
    return n


@kernel
def genotypes(
    text: U8,
    start: I32,
    alts: I32,
    samples: int,
    offsets: I32,
    alleles: I32,
    valid: U8,
    phased: U8,
    copies: I32,
    code: I32,
    slots: I32,
    words: npt.NDArray[np.uint64],
    facts: I64,
) -> int:
    """The call of every row: allele numbers, phase, copies of the row's own allele, its text.

    The text is `code`: -1 for a call without GT, else a place in `words`, which hold up to seven
    bytes and above them how many; `slots` is their hash table, all -1. facts[0] becomes the number
    of words, -1 where a text is longer or `words` are full: then `code` is of no use.

    Returns how many alleles there are, -1 where `alleles` has no room, or -2 - call for one that
    is no genotype.
    """
    row = i64(0)
    n = i64(0)
    count = i64(0)
    mask = slots.size - 1
    for line in range(alts.size):
        for a in range(max(alts[line], 1)):
            allele = min(a + 1, i64(alts[line]))
            for call in range(line * samples, (line + 1) * samples):
                offsets[row] = n
                phased[row] = 1
                copies[row] = 0
                code[row] = -1
                p = i64(start[call])
                if p < 0:
                    row += 1
                    continue
                first = p
                c = byte(text, p)
                if c == BAR or c == SLASH:
                    phased[row] = c == BAR
                    p += 1
                while not field_ends(text, p):
                    begin = p
                    value = i64(0)
                    while (
                        byte(text, p) != BAR and byte(text, p) != SLASH and not field_ends(text, p)
                    ):
                        digit = i64(byte(text, p)) - ZERO
                        if byte(text, p) == DOT and p == begin:
                            value = i64(-1)
                        elif value < 0 or digit < 0 or digit > 9 or p - begin > 8:
                            return -2 - call
                        else:
                            value = value * 10 + digit
                        p += 1
                    if p == begin:
                        return -2 - call
                    if n == alleles.size:
                        return NO_ROOM
                    alleles[n] = max(value, 0)
                    valid[n] = value >= 0
                    copies[row] += value == allele
                    n += 1
                    if not field_ends(text, p):
                        if byte(text, p) == SLASH and not field_ends(text, p + 1):
                            phased[row] = 0
                        p += 1
                if count >= 0:
                    size = p - first
                    word = np.uint64(size) << np.uint64(56)
                    for i in range(min(size, 7)):
                        word |= np.uint64(byte(text, first + i)) << np.uint64(8 * i)
                    slot = i64((word * MIX) >> np.uint64(48)) & mask
                    while slots[slot] >= 0 and words[slots[slot]] != word:
                        slot = (slot + 1) & mask
                    if slots[slot] < 0:
                        if count == words.size or size > 7:
                            count = i64(-1)
                        else:
                            words[count] = word
                            slots[slot] = count
                            count += 1
                    code[row] = slots[slot]
                row += 1
    offsets[row] = n
    facts[0] = count
    return n
