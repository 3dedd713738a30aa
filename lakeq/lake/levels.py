"""Which values of a column are there, as the levels of repetition and definition of its pages.

Source: Apache Parquet format, README.md ("Nested Encoding") and Encodings.md (RLE). A level needs
two bits at most; where levels follow a pattern they are written as runs without being listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from lakeq.lake import encode
from lakeq.lake.columns import Leaf

if TYPE_CHECKING:
    import pyarrow as pa

LONG_LIST = 64  # elements of a list on average from which their levels are runs
_MOST_OF_EACH = 64
_RUN_BYTES = 12  # at most, of the levels of one long list

Known = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int32]


class Levels(Protocol):
    """The levels of one column chunk and the array of its values.

    `known` is 1 for values that are there, None when all are; `count` is how many levels there
    are.
    """

    array: pa.Array
    known: Known | None
    count: int

    def pages(self, values: int) -> Iterator[tuple[int, int, int]]:
        """Where pages of about so many values begin and end, and their levels."""
        ...

    def packed(self, start: int, stop: int) -> tuple[bytes, int]:
        """The levels of a page, and how many of its values are there."""
        ...


def levels_of(leaf: Leaf, array: pa.Array) -> Levels:
    """The levels of a column of a row group."""
    if not leaf.nested:
        return _Flat(leaf, array)
    if each := _size_of_each(array):
        return _Even(array, each)
    if len(array) and _mean(array) >= LONG_LIST and not array.flatten().null_count:
        return _Long(array)
    return _Lists(array)


class _Flat:
    """Of plain values, or of one part of structs."""

    def __init__(self, leaf: Leaf, array: pa.Array) -> None:
        self.count = len(array)
        self._top = leaf.top
        self._levels: Known | None
        if leaf.part:
            self.array = array.field(leaf.part)
            self._levels = _part_levels(array, self.array)
            self.known = None if self._levels is None else (self._levels == leaf.top).view(np.uint8)
        else:
            self.array = array
            self._levels = self.known = bits(array)

    def pages(self, values: int) -> Iterator[tuple[int, int, int]]:
        for start in range(0, max(self.count, 1), values):
            stop = min(start + values, self.count)
            yield start, stop, stop - start

    def packed(self, start: int, stop: int) -> tuple[bytes, int]:
        if self._levels is None or self.known is None:
            return _sized(encode.constant_bytes(self._top, stop - start)), stop - start
        own = int(np.count_nonzero(self.known[start:stop]))
        width = self._top.bit_length()
        return _sized(encode.hybrid_bytes(self._levels[start:stop], width)), own


def _part_levels(whole: pa.Array, part: pa.Array) -> Known | None:
    """0 where the struct is NULL, 1 where its part is, else 2; None when nothing is NULL."""
    outer, inner = bits(whole), bits(part)
    if outer is None and inner is None:
        return None
    ones = np.ones(len(whole), np.uint8)
    outer = ones if outer is None else outer
    levels: Known = outer * (ones if inner is None else inner) + outer
    return levels


class _Even:
    """Of lists that all have the same, small size: the levels are a pattern."""

    known: Known | None = None

    def __init__(self, array: pa.Array, each: int) -> None:
        self.array = array.flatten()
        self.count = len(self.array)
        self._each = each

    def pages(self, values: int) -> Iterator[tuple[int, int, int]]:
        step = max(self._each, values - values % self._each)
        for start in range(0, self.count, step):
            stop = min(start + step, self.count)
            yield start, stop, stop - start

    def packed(self, start: int, stop: int) -> tuple[bytes, int]:
        count = stop - start
        repeated = _sized(encode.repetition_bytes(self._each, count // self._each))
        return repeated + _sized(encode.constant_bytes(3, count)), count


class _Long:
    """Of long lists whose elements are all there: two runs a list."""

    known: Known | None = None

    def __init__(self, array: pa.Array) -> None:
        self.array = array.flatten()
        self._lists = bits(array)
        self._offsets = _own_offsets(array, self._lists)
        self._sizes = np.maximum(np.diff(self._offsets), 1)
        self.count = int(self._sizes.sum())

    def pages(self, values: int) -> Iterator[tuple[int, int, int]]:
        ends = np.cumsum(self._sizes, dtype=np.int64)
        start = 0
        while start < len(ends):
            before = int(ends[start - 1]) if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + values, "right")))
            yield start, stop, int(ends[stop - 1]) - before
            start = stop

    def packed(self, start: int, stop: int) -> tuple[bytes, int]:
        own = self._offsets[start : stop + 1]
        repetition = np.empty((stop - start) * _RUN_BYTES, np.uint8)
        definition = np.empty((stop - start) * _RUN_BYTES, np.uint8)
        has = self._lists is not None
        lists = np.empty(0, np.uint8) if self._lists is None else self._lists[start:stop]
        sizes = encode.run_levels(own, lists, int(has), repetition, definition)
        parts = repetition[: sizes >> 32], definition[: sizes & 0xFFFFFFFF]
        return b"".join(_sized(part.tobytes()) for part in parts), int(own[-1] - own[0])


class _Lists:
    """Of any lists."""

    def __init__(self, array: pa.Array) -> None:
        lists, self.array = bits(array), array.flatten()
        offsets = _own_offsets(array, lists)
        self.known = bits(self.array)
        most = len(self.array) + len(array)
        repetition, definition = np.empty(most, np.uint8), np.empty(most, np.uint8)
        nothing = np.empty(0, np.uint8)
        self.count = encode.list_levels(
            offsets,
            nothing if lists is None else lists,
            nothing if self.known is None else self.known,
            int(lists is not None),
            int(self.known is not None),
            repetition,
            definition,
        )
        self._repetition = repetition[: self.count]
        self._definition = definition[: self.count]

    def pages(self, values: int) -> Iterator[tuple[int, int, int]]:
        """A list is never cut."""
        rows = np.flatnonzero(self._repetition == 0)
        wanted = np.searchsorted(rows, np.arange(0, max(self.count, 1), values))
        firsts = sorted({int(rows[i]) for i in wanted if i < len(rows)}) or [0]
        for start, stop in zip(firsts, [*firsts[1:], self.count], strict=True):
            yield start, stop, stop - start

    def packed(self, start: int, stop: int) -> tuple[bytes, int]:
        own = self._definition[start:stop]
        repeated = _sized(encode.hybrid_bytes(self._repetition[start:stop], 1))
        return repeated + _sized(encode.hybrid_bytes(own, 2)), int(np.count_nonzero(own == 3))


def bits(array: pa.Array) -> Known | None:
    """1 for each value that is there, else 0; None when all are."""
    if not array.null_count:
        return None
    whole = np.frombuffer(array.buffers()[0], np.uint8)
    stop = array.offset + len(array)
    return np.unpackbits(whole, count=stop, bitorder="little")[array.offset :]


def _sized(packed: bytes) -> bytes:
    return len(packed).to_bytes(4, "little") + packed


def _mean(array: pa.Array) -> float:
    offsets = _offsets(array)
    return float(offsets[-1] - offsets[0]) / len(array)


def _size_of_each(array: pa.Array) -> int:
    """The size of the lists when all have the same, of 1 to 64 elements, and none is NULL; else 0.

    Elements are all there too: then the levels are a pattern.
    """
    if array.null_count or not len(array):
        return 0
    sizes = np.diff(_offsets(array))
    first = int(sizes[0])
    if not 1 <= first <= _MOST_OF_EACH or np.any(sizes != first) or array.flatten().null_count:
        return 0
    return first


def _offsets(array: pa.Array) -> Offsets:
    whole = np.frombuffer(array.buffers()[1], np.int32)
    return whole[array.offset : array.offset + len(array) + 1]


def _own_offsets(array: pa.Array, lists: Known | None) -> Offsets:
    """Offsets into the elements of all lists: what a NULL list covers is not among them."""
    offsets = _offsets(array)
    sizes = np.diff(offsets)
    if lists is not None:
        sizes *= lists
    return np.concatenate([np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)])
