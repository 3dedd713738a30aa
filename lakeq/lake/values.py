"""The values of one column chunk in the encoding that suits them, with their bounds.

Few distinct values become a dictionary, in their order, and numbers into it; columns of `deltas`,
and whole numbers that are many and near each other, are packed as differences; what is left is
plain. Source: Apache Parquet format, Encodings.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.lake import encode
from lakeq.lake.columns import BOOLEAN, BYTES, DTYPES, INT32, INT64, Leaf
from lakeq.lake.thrift import struct

if TYPE_CHECKING:
    import pyarrow as pa

PLAIN, RLE, DELTA, DICTIONARY = 0, 3, 5, 8
DICTIONARY_BYTES = 1 << 20  # a larger dictionary costs more than it saves
_FEW_WORDS = 256
STATISTICS_BYTES = 4096  # a longer bound is left out
_TIGHT_BITS = 4  # numbers of more are stored in whole bytes: zstd packs those better
_NARROW = 1 << 16  # whole numbers of a smaller span are numbered without hashing
_NEAR = 1 << 40  # of a smaller span differences are shorter than the numbers
_SLOTS_BITS = 19  # of the hash table: twice the numbers that DICTIONARY_BYTES has room for
_FIRST_ENTRIES = 2048  # of a dictionary that is tried first: its hash table fits the first cache

Numbers = npt.NDArray[Any]
Known = npt.NDArray[np.uint8]


class Values:
    """The values of a column chunk that are there: where `known` is 1, or all of `array`."""

    def __init__(self, leaf: Leaf, array: pa.Array, known: Known | None) -> None:
        self.leaf, self._array = leaf, array
        self.dictionary: bytes | None = None
        self.entries = 0
        self._deltas = leaf.deltas
        self._numbers: Numbers = np.empty(0, np.int32)
        self._bounds: tuple[bytes, bytes] | None = None
        if leaf.physical == BYTES:
            self._array = array if known is None else array.filter(_mask(known))
            self._strings()
            self.count = len(self._array)
            return
        plain = booleans(array) if leaf.physical == BOOLEAN else stored(array, leaf.physical)
        if known is not None:
            plain = _known(plain, known)
        self._plain = plain
        self.count = len(plain)
        if leaf.physical == BOOLEAN:
            self._bound_booleans()
        else:
            self._find_numbers()

    @property
    def whole(self) -> bool:
        """Whether they are stored as whole numbers."""
        return self.leaf.physical in {INT32, INT64}

    @property
    def encoding(self) -> int:
        """How data pages hold the values."""
        if self.dictionary is not None:
            return DICTIONARY
        return DELTA if self._deltas else PLAIN

    @property
    def encodings(self) -> list[int]:
        """All encodings that the chunk's pages use."""
        plain = [PLAIN] if self.dictionary is not None else []
        return [self.encoding, *plain, RLE]

    def _strings(self) -> None:
        import pyarrow as pa

        array = self._array
        if not pa.types.is_dictionary(array.type):
            array = array.dictionary_encode()
        words = array.dictionary
        indices = stored(array.indices, INT32)
        if not len(indices):
            return
        if len(words) == 1:
            count, numbers = 1, np.zeros(len(indices), np.uint8)
        else:
            numbers, present = _ranked(indices, 0, len(words))
            count = len(present)
            if count < len(words):
                words = words.take(_int64(present))
        self._bound_strings(words)
        plain = encode.string_bytes(words)
        few = 2 * count <= max(len(indices), _FEW_WORDS)  # else numbers cost more than they save
        if few and len(plain) <= DICTIONARY_BYTES:
            self.dictionary, self.entries, self._numbers = plain, count, numbers
        elif pa.types.is_dictionary(self._array.type):
            self._array = self._array.cast(pa.string())

    def _bound_strings(self, words: pa.Array) -> None:
        if len(words) <= _FEW_WORDS:  # UTF-8 is in the order of its characters, as text is here
            texts = words.to_pylist()
            low, high = min(texts).encode(), max(texts).encode()
        else:
            import pyarrow.compute as pc

            found = pc.min_max(words).as_py()
            low, high = found["min"].encode(), found["max"].encode()
        if max(len(low), len(high)) <= STATISTICS_BYTES:
            self._bounds = low, high

    def _bound_booleans(self) -> None:
        if len(self._plain):
            self._bounds = bytes([int(self._plain.min())]), bytes([int(self._plain.max())])

    def _find_numbers(self) -> None:
        plain, dtype = self._plain, np.dtype(DTYPES[self.leaf.physical])
        if not len(plain):
            return
        if plain.dtype.kind == "f":
            if self.leaf.plain or not self._find_distinct():
                self._bounds = _float_bounds(plain.min(), plain.max())
            return
        low, high = plain.min(), plain.max()
        self._bounds = dtype.type(low).tobytes(), dtype.type(high).tobytes()
        if self._deltas:
            return
        span = int(high) - int(low) + 1
        if span == 1:
            self._numbers, self.entries = np.zeros(len(plain), np.uint8), 1
            self.dictionary = dtype.type(low).tobytes()
            return
        if span > _NARROW:
            self._deltas = not self._find_distinct() and span <= _NEAR
            return
        numbers, present = _ranked(plain, int(low), span)
        if len(present) > max(len(plain) // 4, _NARROW >> 8):  # a dictionary would not pay
            self._deltas = True
            return
        self._numbers, self.entries = numbers, len(present)
        self.dictionary = (present + int(low)).astype(dtype).tobytes()

    def _find_distinct(self) -> bool:
        """A dictionary of the distinct values, where they are few."""
        plain = self._plain
        bits = plain.view(f"<u{plain.dtype.itemsize}") if plain.dtype.kind == "f" else plain
        most = min(DICTIONARY_BYTES // plain.dtype.itemsize, max(len(plain) // 2, 1))
        numbers = np.empty(len(plain), np.int32)
        found = -1
        for tried in sorted({min(most, _FIRST_ENTRIES), most}):
            size = min(_SLOTS_BITS, max(4, (2 * tried - 1).bit_length()))
            words, slots = np.empty(tried, bits.dtype), np.full(1 << size, -1, np.int32)
            found = encode.distinct(bits, slots, 64 - size, tried, words, numbers)
            if found >= 0:
                break
        if found < 0:
            return False
        known = words[:found].view(plain.dtype)
        order = np.argsort(known, kind="stable")
        rank = np.empty(found, np.min_scalar_type(found - 1))
        rank[order] = np.arange(found)
        self._numbers = np.empty(len(plain), rank.dtype)
        encode.renumber(numbers, 0, rank, self._numbers)
        ordered = known[order]
        if plain.dtype.kind == "f":
            self._bounds = _float_bounds(ordered[0], ordered[-1])
        self.dictionary, self.entries = ordered.tobytes(), found
        return True

    def page(self, start: int, stop: int) -> bytes:
        """The values start to stop of a data page."""
        if self.dictionary is not None:
            return self._page_of_numbers(self._numbers[start:stop])
        if self.leaf.physical == BYTES:
            own = self._array.slice(start, stop - start)
            return encode.string_bytes(own) if len(own) else b""
        plain = self._plain[start:stop]
        if self.leaf.physical == BOOLEAN:
            return np.packbits(plain, bitorder="little").tobytes()
        if self._deltas:
            leaf = self.leaf
            block = encode.LIST_BLOCK if leaf.aligned and leaf.nested else encode.DELTA_BLOCK
            return encode.difference_bytes(
                plain, narrow=leaf.physical == INT32, aligned=leaf.aligned, block=block
            )
        return plain.astype(DTYPES[self.leaf.physical], copy=False).tobytes()

    def _page_of_numbers(self, numbers: Numbers) -> bytes:
        width = max(1, (self.entries - 1).bit_length())
        if self.entries == 1:
            return bytes([width]) + encode.constant_bytes(0, len(numbers))
        if _TIGHT_BITS < width <= 8 * numbers.itemsize <= 16:
            width = 8 * numbers.itemsize
        return bytes([width]) + encode.hybrid_bytes(numbers, width)

    def statistics(self, nulls: int) -> bytes:
        """The chunk's Statistics."""
        if self._bounds is None:
            return struct((3, "i64", nulls))
        low, high = self._bounds
        return struct((3, "i64", nulls), (5, "bytes", high), (6, "bytes", low))


def _ranked(numbers: Numbers, low: int, span: int) -> tuple[Numbers, npt.NDArray[np.int64]]:
    """The rank of each number among those present; and these, less `low`, in order."""
    present = np.zeros(span, np.int32)
    encode.mark(numbers, low, present)
    found = np.flatnonzero(present)
    rank = np.zeros(span, np.min_scalar_type(len(found) - 1))
    rank[found] = np.arange(len(found))
    ranks = np.empty(len(numbers), rank.dtype)
    encode.renumber(numbers, low, rank, ranks)
    return ranks, found


def booleans(array: pa.Array) -> Known:
    """A boolean array as zeros and ones."""
    bits = np.frombuffer(array.buffers()[1] or b"", np.uint8)
    start, stop = array.offset, array.offset + len(array)
    return np.unpackbits(bits, count=stop, bitorder="little")[start:]


def stored(array: pa.Array, physical: int) -> Numbers:
    """The numbers that stand for the values of an array, NULL ones too, over its memory.

    Whole numbers may come in fewer bytes than they are stored in, decimals in more.
    """
    import pyarrow as pa

    start, stop = array.offset, array.offset + len(array)
    data = array.buffers()[1] or b""
    if pa.types.is_decimal128(array.type):
        low = np.frombuffer(data, np.int64)[2 * start : 2 * stop : 2]
        return low.astype(DTYPES[physical])
    width = array.type.bit_width // 8
    kind = "f" if pa.types.is_floating(array.type) else "i"
    if pa.types.is_unsigned_integer(array.type):
        kind = "u"
    return np.frombuffer(data, f"<{kind}{width}")[start:stop]


def _known(values: Numbers, known: Known) -> Numbers:
    found = np.empty(int(np.count_nonzero(known)), values.dtype)
    if len(found):
        encode.known_only(values, known, found)
    return found


def _mask(known: Known) -> pa.Array:
    import pyarrow as pa

    packed = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(known), [None, packed])


def _int64(values: npt.NDArray[np.int64]) -> pa.Array:
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(values)])


def _float_bounds(low: Any, high: Any) -> tuple[bytes, bytes] | None:
    """Bounds of floats: none where there is a NaN; a zero of either sign is taken as both."""
    if np.isnan(low) or np.isnan(high):
        return None
    minus = low.dtype.type(-0.0)
    return (minus if low == 0 else low).tobytes(), (high + 0 if high != 0 else -minus).tobytes()
