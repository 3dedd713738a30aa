"""Which lines of a batch may deviate from the specification, told by their shape.

The rules for CHROM to INFO are plain Python, 10 to 30 us a line. Most lines of a file differ from
others only in their digits and letters, where the rules cannot: so lines are hashed by shape, the
first of each shape is held against the rules, and those of a shape that passed are passed too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lakeq._jit import kernel, part

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
Hash = Any  # 64 bits
U64 = npt.NDArray[np.uint64]
SHAPES_KNOWN = 1 << 16  # a file with more is checked line by line from there on

_DIGIT, _LETTER, _OTHER = 1, 2, 3
_CLASS = np.zeros(256, np.uint8)  # 0: counts as itself
_CLASS[ord("0") : ord("9") + 1] = _DIGIT
_CLASS[ord("A") : ord("Z") + 1] = _LETTER
_CLASS[ord("a") : ord("z") + 1] = _LETTER
_CLASS[[ord(c) for c in "_|()/:>*?~^!#$&@{}[]\\'"]] = _OTHER
_CLASS[128:] = _OTHER
_BASE = np.zeros(256, np.uint8)
_BASE[[ord(c) for c in "ACGTNacgtn"]] = 1


@kernel
def shapes(text: U8, start: I32, verbatim_symbols: int, out: U64) -> None:
    """The hash of the shape of each line's columns CHROM to INFO.

    POS and QUAL: digits are alike, as many as matter. ID: letters and digits are alike, unless it
    is a list. REF and ALT: bases are alike. INFO: so are the digits of values, and the letters of
    those that are no numbers. All else counts as it is. With `verbatim_symbols` so does a line
    with a symbolic allele or a breakend.
    """
    for line in range(out.size):
        h: Hash = np.uint64(1469598103934665603)  # FNV-1a
        verbatim = False
        if verbatim_symbols:
            for p in range(start[line, 4], start[line, 5]):
                verbatim = verbatim or text[p] == 60 or text[p] == 91 or text[p] == 93
        for column in range(8):
            first, stop = start[line, column], start[line, column + 1] - 1
            if verbatim or column == 0 or column == 6:
                for p in range(first, stop):
                    h = _mixed(h, text[p])
            elif column == 2:
                h = _id(text, first, stop, h)
            elif column == 3 or column == 4:
                h = _bases(text, first, stop, h)
            elif column == 7:
                h = _info(text, first, stop, h)
            else:
                h = _value(text, first, stop, h, False)
            h = _mixed(h, np.uint8(9))
        out[line] = h


@part
def _mixed(h: Hash, byte: Any) -> Hash:
    return (h ^ np.uint64(byte)) * np.uint64(1099511628211)


@part
def _id(text: U8, first: int, stop: int, h: Hash) -> Hash:
    listed = False
    for p in range(first, stop):
        listed = listed or text[p] == 59
    last = 0
    for p in range(first, stop):
        kind = _CLASS[text[p]]
        if listed or kind == 0 or kind == _OTHER:
            h = _mixed(h, text[p])
        elif last == 0 or last == _OTHER:
            h = _mixed(h, 97)
        last = kind
    return h


@part
def _bases(text: U8, first: int, stop: int, h: Hash) -> Hash:
    last = 0
    for p in range(first, stop):
        base = _BASE[text[p]]
        if base == 0:
            h = _mixed(h, text[p])
        elif last == 0:
            h = _mixed(h, 65)
        last = base
    return h


@part
def _info(text: U8, first: int, stop: int, h: Hash) -> Hash:
    p = first
    while p < stop:
        while p < stop and text[p] != 61 and text[p] != 59:  # the key, as it is
            h = _mixed(h, text[p])
            p += 1
        q = p
        while q < stop and text[q] != 59:
            q += 1
        h = _value(text, p, q, h, True)
        if q < stop:
            h = _mixed(h, 59)
        p = q + 1
    return h


@part
def _value(text: U8, first: int, stop: int, h: Hash, words: bool) -> Hash:
    """A value or a list of them: numbers by their form, words as one or several characters."""
    p = first
    while p < stop:
        c = text[p]
        kind = _CLASS[c]
        q = p
        if kind == _DIGIT:
            while q < stop and _CLASS[text[q]] == _DIGIT:
                q += 1
            size = q - p
            if size == 1 and c <= 49 and q == stop and p == first + words:  # of a flag, it may be
                h = _mixed(h, c)
            elif size < 10:
                h = _mixed(h, 57)
            else:  # may be too large
                for k in range(p, q):
                    h = _mixed(h, text[k])
            p = q
        elif words and (kind == _LETTER or kind == _OTHER):
            number = True  # nan, inf, 1e5: letters that may belong to a number count as they are
            while q < stop and (
                _CLASS[text[q]] != 0 or text[q] == 45 or text[q] == 43 or text[q] == 46
            ):
                d = text[q] | 32
                letter = d == 101 or d == 110 or d == 97 or d == 105 or d == 102 or d == 116
                number = number and (letter or d == 121 or _CLASS[text[q]] != _LETTER)
                number = number and _CLASS[text[q]] != _OTHER
                q += 1
            if number:
                for k in range(p, q):
                    h = _mixed(h, text[k] if _CLASS[text[k]] != _DIGIT else np.uint8(57))
            else:
                h = _mixed(h, 97)
                if q - p > 1:
                    h = _mixed(h, 98)
            p = q
        else:
            h = _mixed(h, c)
            p += 1
    return h
