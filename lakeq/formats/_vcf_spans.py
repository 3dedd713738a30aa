"""Kernels over spans: pieces of a text given by start and length; length -1 is an absent one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part

COMMA, COLON, SEMICOLON, EQUALS, DOT = 44, 58, 59, 61, 46
ABSENT = -1
FIELD_KINDS = ("A", "R", "")  # values per alternate allele, per allele, or one for all

U8 = npt.NDArray[np.uint8]
I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


class Spans(NamedTuple):
    """`text[start[i] : start[i] + size[i]]`, or nothing where size[i] is -1."""

    text: U8
    start: I64
    size: I32

    def take(self, rows: npt.NDArray[np.int32] | npt.NDArray[np.int64]) -> Spans:
        """The spans of `rows`, over the same text."""
        return Spans(self.text, self.start[rows], self.size[rows])

    def bytes_of(self, row: int) -> bytes:
        """The bytes of one span; none of an absent one."""
        start = int(self.start[row])
        return bytes(self.text[start : start + max(int(self.size[row]), 0)])

    def shown(self, row: int) -> str:
        """One span, quoted for a message."""
        return repr(self.bytes_of(row)[:80].decode("utf-8", "replace"))


@kernel
def gather(text: U8, start: I64, size: I32, offsets: I32, out: U8) -> None:
    """Copy the spans one behind the other into `out`, where `offsets` says."""
    for i in range(start.size):
        at = start[i]
        to = offsets[i]
        for k in range(size[i]):
            out[np.uint64(to + k)] = text[np.uint64(at + k)]


@kernel
def blank_missing(text: U8, start: I64, size: I32) -> None:
    """Make empty spans and those that are '.' absent."""
    for i in range(start.size):
        if size[i] == 0 or (size[i] == 1 and text[start[i]] == DOT):
            size[i] = ABSENT


@kernel
def find_info(
    text: U8, starts: I64, stops: I64, keys: U8, key_end: I32, hashes: U64, start: I64, size: I32
) -> int:
    """Find the values of the wanted INFO keys in every line's INFO text.

    `start` and `size` have one row per key, one column per line. A key without '=' (a flag) has
    size 0; where a key stands twice the first counts. `hashes` is room for one number per key.
    Returns how many were repeats.
    """
    repeats = 0
    first = 0
    for k in range(key_end.size):
        hashes[k] = _hash(keys, first, key_end[k])
        first = key_end[k]
    size[:, :] = ABSENT
    for line in range(starts.size):
        at = starts[line]
        stop = stops[line]
        while at < stop:
            p = at
            h = np.uint64(1469598103934665603)
            while p < stop and text[p] != EQUALS and text[p] != SEMICOLON:
                h = (h ^ np.uint64(text[p])) * np.uint64(1099511628211)
                p += 1
            key_stop = p
            value = p
            if p < stop and text[p] == EQUALS:
                value = p + 1
                while p < stop and text[p] != SEMICOLON:
                    p += 1
            for k in range(hashes.size):
                if hashes[k] == h and _is_key(text, at, key_stop, keys, key_end, k):
                    if size[k, line] == ABSENT:
                        start[k, line] = value
                        size[k, line] = p - value
                    else:
                        repeats += 1
            at = p + 1
    return repeats


@part
def _hash(text: U8, start: int, stop: int) -> int:
    h = np.uint64(1469598103934665603)  # FNV-1a
    for i in range(start, stop):
        h = (h ^ np.uint64(text[i])) * np.uint64(1099511628211)
    return h  # type: ignore[return-value]  # a uint64 is an int to the callers


@part
def _is_key(text: U8, start: int, stop: int, keys: U8, key_end: I32, k: int) -> bool:
    first = key_end[k - 1] if k > 0 else 0
    if key_end[k] - first != stop - start:
        return False
    for i in range(stop - start):
        if text[start + i] != keys[first + i]:
            return False
    return True


@kernel
def pick(
    text: U8, start: I64, size: I32, place: I32, expected: I32, to_start: I64, to_size: I32
) -> int:
    """Take element place[i] of each comma-separated span; place -1 takes nothing.

    A span that is absent, or just '.', gives nothing. Returns the first span that does not have
    expected[i] elements, or -1.
    """
    for i in range(start.size):
        to_start[i] = 0
        to_size[i] = ABSENT
        if size[i] <= 0 or (size[i] == 1 and text[start[i]] == DOT):
            continue
        at = start[i]
        stop = at + size[i]
        element = 0
        first = at
        for p in range(at, stop + 1):
            if p == stop or text[p] == COMMA:
                if element == place[i]:
                    to_start[i] = first
                    to_size[i] = p - first
                element += 1
                first = p + 1
        if element != expected[i]:
            return i
    return -1


@kernel
def count_elements(text: U8, start: I64, size: I32, counts: I32) -> None:
    """How many elements each comma-separated span has; 0 for an absent one."""
    for i in range(start.size):
        counts[i] = 0
        if size[i] >= 0:
            counts[i] = 1
            for k in range(size[i]):
                counts[i] += text[start[i] + k] == COMMA


@kernel
def elements(text: U8, start: I64, size: I32, to_start: I64, to_size: I32) -> None:
    """Write the spans of all elements of all comma-separated spans, in order."""
    n = 0
    for i in range(start.size):
        if size[i] < 0:
            continue
        first = start[i]
        stop = first + size[i]
        for p in range(first, stop + 1):
            if p == stop or text[p] == COMMA:
                to_start[n] = first
                to_size[n] = p - first
                n += 1
                first = p + 1


@kernel
def subfields(text: U8, start: I64, size: I32, place: I16, to_start: I64, to_size: I32) -> None:
    """Take element place[i] of each colon-separated span; -1, or past the end, takes nothing."""
    for i in range(start.size):
        to_start[i] = 0
        to_size[i] = ABSENT
        if place[i] < 0 or size[i] < 0:
            continue
        at = start[i]
        stop = at + size[i]
        element = 0
        while at < stop and element < place[i]:
            element += text[at] == COLON
            at += 1
        if element == place[i] and at <= stop:
            p = at
            while p < stop and text[p] != COLON:
                p += 1
            to_start[i] = at
            to_size[i] = p - at


@kernel
def rs_numbers(text: U8, start: I64, size: I32, numbers: I64) -> None:
    """The first rs number in each ID text (rs7;COSM1 gives 7), or -1."""
    for i in range(start.size):
        numbers[i] = -1
        stop = start[i] + max(size[i], 0)
        at = start[i]
        while at < stop and numbers[i] < 0:
            p = at
            while p < stop and text[p] != SEMICOLON and text[p] != COMMA:
                p += 1
            if p - at > 2 and p - at < 18 and text[at] == 114 and text[at + 1] == 115:
                number = 0
                for k in range(at + 2, p):
                    digit = i64(text[k]) - 48
                    if number >= 0 and 0 <= digit <= 9:
                        number = number * 10 + digit
                    else:
                        number = -1
                numbers[i] = number
            at = p + 1
