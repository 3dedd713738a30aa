"""Values as the bytes of Parquet pages: bit-packed runs, packed differences, levels of lists.

Source: Apache Parquet format 2.x, Encodings.md. Each kernel returns how many bytes it wrote.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
DELTA_BLOCK, DELTA_MINIBLOCKS = 128, 4
_MINIBLOCK = DELTA_BLOCK // DELTA_MINIBLOCKS
_OVERHEAD_BYTES = 64  # headers and the last, incomplete group


@part
def put_varint(out: U8, at: int, number: int) -> int:
    """Write an unsigned number in groups of 7 bits; return where it ends."""
    rest = np.uint64(number)
    while rest >= np.uint64(128):
        out[at] = np.uint8((rest & np.uint64(127)) | np.uint64(128))
        rest >>= np.uint64(7)
        at += 1
    out[at] = np.uint8(rest)
    return at + 1


@part
def _pack_group(values: I32, first: int, count: int, width: int, out: U8, at: int) -> int:
    """Write values[first:first + count], and zeros up to eight, with `width` bits each."""
    held = np.uint64(0)
    bits = np.uint64(0)
    for k in range(8):
        if k < count:
            held |= np.uint64(values[first + k]) << bits
        bits += np.uint64(width)
        while bits >= np.uint64(8):
            out[at] = np.uint8(held & np.uint64(255))
            held >>= np.uint64(8)
            bits -= np.uint64(8)
            at += 1
    return at


@kernel
def hybrid(values: I32, width: int, out: U8) -> int:
    """The values in runs of equal ones and bit-packed groups of eight; `width` is at most 32."""
    n = values.size
    at = i64(0)
    i = i64(0)
    head = i64(-1)  # where the header of the open bit-packed run stands
    groups = 0
    value_bytes = (width + 7) // 8
    while i < n:
        run = i64(1)
        while i + run < n and values[i + run] == values[i]:
            run += 1
        if run >= 8 or (run == n - i and head < 0):
            if head >= 0:
                out[head] = np.uint8((groups << 1) | 1)
                head = i64(-1)
            at = put_varint(out, at, run << 1)
            for k in range(value_bytes):
                out[at] = np.uint8((i64(values[i]) >> (8 * k)) & 255)
                at += 1
            i += run
            continue
        if head < 0:
            head = at
            at += 1
            groups = 0
        at = _pack_group(values, i, min(8, n - i), width, out, at)
        groups += 1
        i += 8
        if groups == 63:
            out[head] = np.uint8((groups << 1) | 1)
            head = i64(-1)
    if head >= 0:
        out[head] = np.uint8((groups << 1) | 1)
    return at


@kernel
def differences(values: I64, narrow: int, block: I64, out: U8) -> int:
    """DELTA_BINARY_PACKED; `narrow` for 32-bit columns, `block` is room for DELTA_BLOCK numbers."""
    n = values.size
    at = put_varint(out, 0, DELTA_BLOCK)
    at = put_varint(out, at, DELTA_MINIBLOCKS)
    at = put_varint(out, at, n)
    first = values[0] if n else i64(0)
    at = put_varint(out, at, (first << 1) ^ (first >> 63))
    start = 1
    while start < n:
        count = min(DELTA_BLOCK, n - start)
        least = i64(0)
        for k in range(count):
            step = values[start + k] - values[start + k - 1]
            if narrow:
                step = ((step + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
            block[k] = step
            least = step if k == 0 else min(least, step)
        at = put_varint(out, at, (least << 1) ^ (least >> 63))
        widths = at
        at += DELTA_MINIBLOCKS
        for mini in range(DELTA_MINIBLOCKS):
            low = mini * _MINIBLOCK
            high = min(low + _MINIBLOCK, count)
            every = np.uint64(0)
            for k in range(low, high):
                rest = np.uint64(block[k]) - np.uint64(least)
                every |= rest & np.uint64(0xFFFFFFFF) if narrow else rest
            width = 0
            while width < 64 and (every >> np.uint64(width)) != np.uint64(0):
                width += 1
            out[widths + mini] = width
            if high <= low:
                continue
            at = _pack_miniblock(block, low, high, least, narrow, width, out, at)
        start += count
    return at


@part
def _pack_miniblock(
    block: I64, low: int, high: int, least: int, narrow: int, width: int, out: U8, at: int
) -> int:
    held = np.uint64(0)
    bits = 0
    for k in range(low, low + _MINIBLOCK):
        rest = np.uint64(0)
        if k < high:
            rest = np.uint64(block[k]) - np.uint64(least)
            if narrow:
                rest &= np.uint64(0xFFFFFFFF)
        left = width
        while left > 0:
            take = min(left, 64 - bits)
            piece = (
                rest if take == 64 else rest & ((np.uint64(1) << np.uint64(take)) - np.uint64(1))
            )
            held |= piece << np.uint64(bits)
            rest = np.uint64(0) if take == 64 else rest >> np.uint64(take)
            bits += take
            left -= take
            while bits >= 8:
                out[at] = np.uint8(held & np.uint64(255))
                held >>= np.uint64(8)
                bits -= 8
                at += 1
    return at


@kernel
def bitmap_levels(bits: U8, first: int, step: int, levels: I32) -> int:
    """Write `step` where a validity bit is set, else 0; return how many are set."""
    known = i64(0)
    for i in range(levels.size):
        place = first + i
        bit = (bits[place >> 3] >> np.uint8(place & 7)) & np.uint8(1)
        levels[i] = step * bit
        known += bit
    return known


@kernel
def compact(values: I64, levels: I32, wanted: int, out: I64) -> None:
    """The values whose level is `wanted`."""
    n = 0
    for i in range(levels.size):
        if levels[i] == wanted:
            out[n] = values[i]
            n += 1


@kernel
def list_levels(
    offsets: I32,
    known: I32,
    elements: I32,
    has_known: int,
    has_elements: int,
    repetition: I32,
    definition: I32,
) -> int:
    """The levels of optional lists of optional elements: 0 no list, 1 empty, 2 no element, 3.

    `known` and `elements` are 1 for lists and elements that are there. Returns how many levels.
    """
    n = i64(0)
    base = offsets[0]
    for row in range(offsets.size - 1):
        size = offsets[row + 1] - offsets[row]
        if (has_known and known[row] == 0) or size == 0:
            repetition[n] = 0
            definition[n] = 0 if has_known and known[row] == 0 else 1
            n += 1
            continue
        for k in range(size):
            repetition[n] = 1 if k else 0
            there = has_elements == 0 or elements[offsets[row] - base + k] != 0
            definition[n] = 3 if there else 2
            n += 1
    return n


@kernel
def renumber(numbers: I64, low: int, place: I32, out: I32) -> int:
    """Replace each number by the rank of its value among those present; return how many there are.

    `place` is room, all zero, for every value from `low` on; it becomes the rank of each value
    present plus one.
    """
    for i in range(numbers.size):
        place[numbers[i] - low] = 1
    count = i64(0)
    for k in range(place.size):
        if place[k] != 0:
            count += 1
            place[k] = count
    for i in range(numbers.size):
        out[i] = place[numbers[i] - low] - 1
    return count


def hybrid_bytes(values: I32, width: int) -> bytes:
    """The bytes of `hybrid`."""
    out = np.empty(values.size * (width + 8) // 8 + _OVERHEAD_BYTES, np.uint8)
    return out[: hybrid(values, width, out)].tobytes()


def difference_bytes(values: I64, *, narrow: bool) -> bytes:
    """The bytes of `differences`."""
    blocks = values.size // DELTA_BLOCK + 2
    out = np.empty(blocks * (DELTA_BLOCK * 8 + 16) + _OVERHEAD_BYTES, np.uint8)
    room = np.empty(DELTA_BLOCK, np.int64)
    return out[: differences(values, int(narrow), room, out)].tobytes()


def constant_bytes(value: int, count: int) -> bytes:
    """`count` times a value of one byte, as one run."""
    return _varint(count << 1) + bytes([value]) if count else b""


def repetition_bytes(size: int, lists: int) -> bytes:
    """The levels of repetition of lists that all have `size` elements: 0, then ones."""
    count = size * lists
    levels = np.ones(-(-count // 8) * 8, np.uint8)
    levels[:count:size] = 0
    return _varint(levels.size // 8 << 1 | 1) + np.packbits(levels, bitorder="little").tobytes()


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def bits_of(array: Any) -> tuple[U8, int] | None:
    """The validity bitmap of an Arrow array and its first bit; None when nothing is NULL."""
    if not array.null_count:
        return None
    return np.frombuffer(array.buffers()[0], np.uint8), array.offset


@kernel
def byte_arrays(text: U8, offsets: I32, out: U8) -> int:
    """Strings one behind the other, each after its length in four bytes."""
    at = i64(0)
    for i in range(offsets.size - 1):
        size = offsets[i + 1] - offsets[i]
        for k in range(4):
            out[at] = np.uint8((size >> (8 * k)) & 255)
            at += 1
        for k in range(size):
            out[np.uint64(at + k)] = text[np.uint64(offsets[i] + k)]
        at += size
    return at


def string_bytes(array: Any) -> bytes:
    """The strings of an Arrow array without NULL, as PLAIN writes them."""
    offsets = np.frombuffer(array.buffers()[1], np.int32)[
        array.offset : array.offset + len(array) + 1
    ]
    text = np.frombuffer(array.buffers()[2] or b"\0", np.uint8)
    out = np.empty(int(offsets[-1] - offsets[0]) + 4 * len(array), np.uint8)
    return out[: byte_arrays(text, offsets, out)].tobytes()
