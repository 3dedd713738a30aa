"""Values as the bytes of Parquet pages: bit-packed runs, packed differences, levels of lists.

Source: Apache Parquet format 2.x, Encodings.md. Each kernel returns how many bytes it wrote.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part
from lakeq.lake.thrift import varint

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Numbers = npt.NDArray[Any]  # of any whole type
DELTA_BLOCK, DELTA_MINIBLOCKS = 128, 4
LIST_BLOCK = 512  # of aligned lists: fewer headers between equal runs
_COMMON_LEAST = 1 << 15  # differences above its negative fit two bytes beside it
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
def _pack_group(values: Numbers, first: int, count: int, width: int, out: U8, at: int) -> int:
    """Write values[first:first + count], and zeros up to eight, with `width` bits each."""
    if width == 8 and count == 8:
        for k in range(8):
            out[at + k] = np.uint8(values[first + k])
        return at + 8
    held = np.uint64(0)
    if width <= 8:
        for k in range(count):
            held |= np.uint64(values[first + k]) << np.uint64(k * width)
        for _ in range(width):
            out[at] = np.uint8(held & np.uint64(255))
            held >>= np.uint64(8)
            at += 1
        return at
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
def hybrid(values: Numbers, width: int, out: U8) -> int:
    """The values in runs of equal ones and bit-packed groups of eight; `width` is at most 32."""
    n = values.size
    at = i64(0)
    i = i64(0)
    head = i64(-1)  # where the header of the open bit-packed run stands
    groups = 0
    value_bytes = (width + 7) // 8
    while i < n:
        run = i64(1)
        if i + 7 >= n or values[i + 7] == values[i]:
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
def differences(values: Numbers, narrow: int, aligned: int, block: I64, out: U8) -> int:
    """DELTA_BINARY_PACKED; `narrow` for 32-bit columns, `block` is room for those of one block.

    With `aligned` a difference takes whole bytes, at least two, and blocks share their least
    difference where they can: equal runs of differences become equal bytes, which zstd finds.
    """
    n = values.size
    base = i64(0)
    for k in range(1, n if aligned else 0):
        base = min(base, i64(values[k]) - i64(values[k - 1]))
    if base < -_COMMON_LEAST:
        base = i64(0)
    mini_size = block.size // DELTA_MINIBLOCKS
    at = put_varint(out, 0, block.size)
    at = put_varint(out, at, DELTA_MINIBLOCKS)
    at = put_varint(out, at, n)
    first = i64(values[0]) if n else i64(0)
    at = put_varint(out, at, (first << 1) ^ (first >> 63))
    start = 1
    while start < n:
        count = min(block.size, n - start)
        least = i64(0)
        for k in range(count):
            step = i64(values[start + k]) - i64(values[start + k - 1])
            if narrow:
                step = ((step + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)
            block[k] = step
            least = step if k == 0 else min(least, step)
        if aligned and least >= base:
            least = base
        at = put_varint(out, at, (least << 1) ^ (least >> 63))
        widths = at
        at += DELTA_MINIBLOCKS
        for mini in range(DELTA_MINIBLOCKS):
            low = mini * mini_size
            high = min(low + mini_size, count)
            every = np.uint64(0)
            for k in range(low, high):
                rest = np.uint64(block[k]) - np.uint64(least)
                every |= rest & np.uint64(0xFFFFFFFF) if narrow else rest
            width = 0
            while width < 64 and (every >> np.uint64(width)) != np.uint64(0):
                width += 1
            if aligned and width:
                width = max((width + 7) // 8 * 8, 16)
            out[widths + mini] = width
            if high <= low:
                continue
            at = _pack_miniblock(block, low, high, low + mini_size, least, narrow, width, out, at)
        start += count
    return at


@kernel
def narrow_differences(values: I32, steps: I32, out: U8) -> int:
    """The bytes of `differences` for 32-bit columns, a third of the work; `steps` is a block."""
    n = values.size
    mini_size = DELTA_BLOCK // DELTA_MINIBLOCKS
    at = put_varint(out, 0, DELTA_BLOCK)
    at = put_varint(out, at, DELTA_MINIBLOCKS)
    at = put_varint(out, at, n)
    first = i64(values[0]) if n else i64(0)
    at = put_varint(out, at, (first << 1) ^ (first >> 63))
    start = i64(1)
    while start < n:
        count = min(i64(DELTA_BLOCK), n - start)
        least = np.int32(2147483647)
        here, before = values[start : start + count], values[start - 1 : start - 1 + count]
        for k in range(count):
            step = np.int32(here[k]) - np.int32(before[k])
            steps[k] = step
        for k in range(count):
            least = min(least, np.int32(steps[k]))
        whole = i64(least)
        at = put_varint(out, at, (whole << 1) ^ (whole >> 63))
        widths = at
        at += DELTA_MINIBLOCKS
        for mini in range(DELTA_MINIBLOCKS):
            low = mini * mini_size
            high = min(low + mini_size, count)
            every = np.uint32(0)
            for k in range(low, high):
                every |= np.uint32(np.uint32(steps[k]) - np.uint32(least))
            width = i64(0)
            while width < 32 and (every >> np.uint32(width)) != np.uint32(0):
                width += 1
            out[widths + mini] = np.uint8(width)
            if high <= low or width == 0:
                continue
            held = np.uint64(0)
            bits = i64(0)
            for k in range(low, low + mini_size):
                if k < high:
                    rest = np.uint32(np.uint32(steps[k]) - np.uint32(least))
                    held |= np.uint64(rest) << np.uint64(bits)
                bits += width
                if bits >= 32:
                    out[at] = np.uint8(held)
                    out[at + 1] = np.uint8(held >> np.uint64(8))
                    out[at + 2] = np.uint8(held >> np.uint64(16))
                    out[at + 3] = np.uint8(held >> np.uint64(24))
                    held >>= np.uint64(32)
                    bits -= 32
                    at += 4
        start += count
    return at


@part
def _pack_miniblock(
    block: I64,
    low: int,
    high: int,
    stop: int,
    least: int,
    narrow: int,
    width: int,
    out: U8,
    at: int,
) -> int:
    held = np.uint64(0)
    bits = 0
    for k in range(low, stop):
        rest = np.uint64(0)
        if k < high:
            rest = np.uint64(block[k]) - np.uint64(least)
            if narrow:
                rest &= np.uint64(0xFFFFFFFF)
        if width & 7 == 0:
            for byte in range(width // 8):
                out[at] = np.uint8((rest >> np.uint64(8 * byte)) & np.uint64(255))
                at += 1
            continue
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
def known_only(values: Numbers, known: U8, out: Numbers) -> None:
    """The values that are known."""
    n = i64(0)
    for i in range(known.size):
        if known[i] != 0:
            out[n] = values[i]
            n += 1


@kernel
def run_levels(offsets: I32, known: U8, has_known: int, repetition: U8, definition: U8) -> int:
    """The levels of long lists whose elements are all there, as runs; NULL where not `known`.

    Returns the bytes of both: those of `repetition` in the upper 32 bits.
    """
    r = i64(0)
    d = i64(0)
    run = i64(0)
    for row in range(offsets.size - 1):
        size = i64(offsets[row + 1]) - i64(offsets[row])
        here = has_known == 0 or known[row] != 0
        if here and size:
            r = put_varint(repetition, r, 2)
            repetition[r] = 0
            r += 1
            if size > 1:
                r = put_varint(repetition, r, (size - 1) << 1)
                repetition[r] = 1
                r += 1
            run += size
            continue
        r = put_varint(repetition, r, 2)
        repetition[r] = 0
        r += 1
        if run:
            d = put_varint(definition, d, run << 1)
            definition[d] = 3
            d += 1
            run = i64(0)
        d = put_varint(definition, d, 2)
        definition[d] = 1 if here else 0
        d += 1
    if run:
        d = put_varint(definition, d, run << 1)
        definition[d] = 3
        d += 1
    return (r << 32) | d


@kernel
def list_levels(
    offsets: I32,
    known: U8,
    elements: U8,
    has_known: int,
    has_elements: int,
    repetition: U8,
    definition: U8,
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
def mark(numbers: Numbers, low: int, place: I32) -> None:
    """Set place[number - low] to 1 for every number."""
    for i in range(numbers.size):
        place[i64(numbers[i]) - low] = 1


@kernel
def renumber(numbers: Numbers, low: int, rank: Numbers, out: Numbers) -> None:
    """Replace each number by rank[number - low]."""
    for i in range(numbers.size):
        out[i] = rank[i64(numbers[i]) - low]


_MIX = np.uint64(0x9E3779B97F4A7C15)


@kernel
def distinct(values: Numbers, slots: I32, shift: int, most: int, words: Numbers, out: I32) -> int:
    """Number the values by their first appearance; return how many differ, -1 beyond `most`.

    `slots` is a hash table, all -1, of 1 << (64 - shift) places; `words` gets the values.
    """
    n = i64(0)
    mask = slots.size - 1
    number = i64(-1)
    for i in range(values.size):
        value = values[i]
        if number >= 0 and value == words[number]:
            out[i] = number
            continue
        slot = i64((np.uint64(value) * _MIX) >> np.uint64(shift))
        while slots[slot] >= 0 and words[slots[slot]] != value:
            slot = (slot + 1) & mask
        if slots[slot] < 0:
            if n == most:
                return -1
            words[n] = value
            slots[slot] = n
            n += 1
        number = i64(slots[slot])
        out[i] = number
    return n


def hybrid_bytes(values: Numbers, width: int) -> bytes:
    """The bytes of `hybrid`."""
    out = np.empty(values.size * (width + 8) // 8 + _OVERHEAD_BYTES, np.uint8)
    return out[: hybrid(values, width, out)].tobytes()


def difference_bytes(
    values: Numbers, *, narrow: bool, aligned: bool = False, block: int = DELTA_BLOCK
) -> bytes:
    """The bytes of `differences`, in blocks of `block` numbers."""
    blocks = values.size // block + 2
    if narrow and not aligned and block == DELTA_BLOCK and values.dtype == np.int32:
        out = np.empty(blocks * (block * 4 + 16) + _OVERHEAD_BYTES, np.uint8)
        return out[: narrow_differences(values, np.empty(block, np.int32), out)].tobytes()
    out = np.empty(blocks * (block * 8 + 16) + _OVERHEAD_BYTES, np.uint8)
    room = np.empty(block, np.int64)
    return out[: differences(values, int(narrow), int(aligned), room, out)].tobytes()


def constant_bytes(value: int, count: int) -> bytes:
    """`count` times a value of one byte, as one run."""
    return varint(count << 1) + bytes([value]) if count else b""


def repetition_bytes(size: int, lists: int) -> bytes:
    """The levels of repetition of lists that all have `size` elements: 0, then ones."""
    count = size * lists
    levels = np.ones(-(-count // 8) * 8, np.uint8)
    levels[:count:size] = 0
    return varint(levels.size // 8 << 1 | 1) + np.packbits(levels, bitorder="little").tobytes()


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
