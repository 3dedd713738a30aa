"""Kernels that choose the elements of a field that belong to one allele, and keep the rest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part

ONE, ALTERNATES, ALLELES, GENOTYPES, ANY, OWN, FIXED = range(7)
MODES = {"1": ONE, "A": ALTERNATES, "R": ALLELES, "G": GENOTYPES, ".": ANY, "P": ANY}
PLOIDIES = 8  # of Number=G; more alleles in one call are kept verbatim
COMMA, BAR, SEMICOLON, EQUALS, COLON, TAB, NEWLINE, RETURN = 44, 124, 59, 61, 58, 9, 10, 13
SLASH, DOT, ZERO, ABSENT = 47, 46, 48, -1

U8 = npt.NDArray[np.uint8]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@part
def _genotypes(alts: int, ploidy: int) -> int:
    """How many genotypes of `ploidy` alleles there are: choose(alts + ploidy, ploidy)."""
    count = i64(1)
    for k in range(1, ploidy + 1):
        count = count * (alts + k) // k
    return count


@part
def _ploidy(alts: int, count: int) -> int:
    """The ploidy whose genotypes are `count`: 2 if it can be, else the lowest; 0 for none."""
    if count == _genotypes(alts, 2):
        return 2
    for ploidy in range(1, PLOIDIES + 1):
        if count == _genotypes(alts, ploidy):
            return ploidy
    return 0


@kernel
def choose_sizes(
    counts: I32, alt_index: I32, alts: I32, mode: int, fixed: int, sizes: I32, bad: Flags
) -> None:
    """How many elements of each value its row takes; `bad` where the count does not fit."""
    for i in range(counts.size):
        count, n = counts[i], alts[i]
        sizes[i] = 0
        if count == 0:
            continue
        fits = True
        if mode == ONE:
            fits = count == 1
            sizes[i] = 1
        elif mode == ALTERNATES:
            fits = count == max(n, 1)
            sizes[i] = 1
        elif mode == ALLELES:
            fits = count == n + 1
            sizes[i] = 2 if alt_index[i] > 0 else 1
        elif mode == GENOTYPES:
            ploidy = _ploidy(n, count)
            fits = ploidy > 0
            sizes[i] = ploidy + 1 if alt_index[i] > 0 else 1
        elif mode == OWN:
            fits = count == 1 or count == n
            sizes[i] = 1
        elif mode == FIXED:
            fits = count == fixed
            sizes[i] = count
        else:
            sizes[i] = count
        if not fits:
            bad[i] = True
            sizes[i] = 0


@kernel
def choose(counts: I32, alt_index: I32, alts: I32, mode: int, offsets: I32, index: I32) -> None:
    """Write which elements each row takes, ascending."""
    for i in range(counts.size):
        at = offsets[i]
        size = offsets[i + 1] - at
        if size == 0:
            continue
        allele = alt_index[i]
        if mode == ALTERNATES:
            index[at] = max(allele - 1, 0)
        elif mode == OWN:
            index[at] = 0 if counts[i] == 1 else max(allele - 1, 0)
        elif mode == ALLELES:
            index[at] = 0
            if size == 2:
                index[at + 1] = allele
        elif mode == GENOTYPES:
            # Genotype k1 <= ... <= kp stands at the sum of choose(k_m + m - 1, m): section 1.6.2.
            ploidy = size - 1
            place = i64(0)
            index[at] = 0
            for m in range(ploidy, 0, -1):
                place += _genotypes(allele - 1, m)
                index[at + ploidy - m + 1] = place
        else:
            for k in range(size):
                index[at + k] = k


@kernel
def take_elements(
    text: U8, start: I64, size: I32, offsets: I32, index: I32, to_start: I64, to_size: I32
) -> None:
    """Write the spans of the chosen comma-separated elements; those of a row are ascending."""
    for i in range(start.size):
        n = offsets[i]
        stop_n = offsets[i + 1]
        if n == stop_n:
            continue
        stop = start[i] + size[i]
        first = start[i]
        element = 0
        for p in range(start[i], stop + 1):
            if p == stop or text[p] == COMMA:
                while n < stop_n and index[n] == element:
                    to_start[n] = first
                    to_size[n] = p - first
                    n += 1
                element += 1
                first = p + 1
        while n < stop_n:
            to_start[n] = 0
            to_size[n] = ABSENT
            n += 1


@kernel
def count_bars(text: U8, start: I64, size: I32, bars: I32) -> None:
    """How many | each span has."""
    for i in range(start.size):
        for k in range(size[i]):
            bars[i] += text[start[i] + k] == BAR


@kernel
def between_bars(text: U8, start: I64, size: I32, place: int, to_start: I64, to_size: I32) -> None:
    """Take part `place` of each span that | separates; -1, or past the end, takes nothing."""
    for i in range(start.size):
        to_start[i] = 0
        to_size[i] = ABSENT
        if place < 0 or size[i] < 0:
            continue
        at = start[i]
        stop = at + size[i]
        element = 0
        while at < stop and element < place:
            element += text[at] == BAR
            at += 1
        if element == place:
            p = at
            while p < stop and text[p] != BAR:
                p += 1
            to_start[i] = at
            to_size[i] = p - at


@part
def _key_at(text: U8, at: int, stop: int, keys: U8, key_end: I32) -> int:
    """Which of the keys text[at:stop] is, or -1."""
    first = 0
    for k in range(key_end.size):
        size = key_end[k] - first
        if size == stop - at:
            same = True
            for i in range(size):
                same = same and keys[first + i] == text[at + i]
            if same:
                return k
        first = key_end[k]
    return -1


@kernel
def rest_of_info(
    text: U8,
    starts: I64,
    sizes: I32,
    keys: U8,
    key_end: I32,
    bad: Flags,
    seen: Flags,
    offsets: I32,
    out: U8,
) -> None:
    """Write the INFO items of each line that no column holds, joined by semicolons.

    Those are items of keys that are not among `keys`, repeats, and where bad[key, line]. `seen` is
    room for one mark per key.
    """
    n = 0
    for line in range(starts.size):
        offsets[line] = n
        seen[:] = False
        at = starts[line]
        stop = at + sizes[line]
        begin = n
        while at < stop:
            p = at
            while p < stop and text[p] != EQUALS and text[p] != SEMICOLON:
                p += 1
            k = _key_at(text, at, p, keys, key_end)
            while p < stop and text[p] != SEMICOLON:
                p += 1
            dot = p == at + 1 and text[at] == DOT
            if p > at and not dot and (k < 0 or seen[k] or bad[k, line]):
                if n > begin:
                    out[n] = SEMICOLON
                    n += 1
                for i in range(at, p):
                    out[n] = text[i]
                    n += 1
            if k >= 0:
                seen[k] = True
            at = p + 1
    offsets[starts.size] = n
