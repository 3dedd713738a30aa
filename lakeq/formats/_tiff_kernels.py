"""The inner loops of TIFF blocks: LZW, differences undone, samples widened. See `lakeq._jit`."""

from __future__ import annotations

from typing import Any

import numpy as np

from lakeq._jit import i64, kernel

BAD_CODE, TOO_LONG = -1, -2  # what `lzw` returns instead of a length
_CLEAR, _END, _FREE, _LAST = 256, 257, 258, 4096


@kernel
def lzw(data: Any, out: Any, starts: Any, lengths: Any) -> int:
    """Inflate one LZW strip (TIFF 6.0, section 13) into `out`; its length, or what is wrong.

    The string of a code stands in the output already: `starts` and `lengths` (4,096 each) say
    where. Codes come highest bit first and grow one code early.
    """
    size = i64(len(out))
    at = i64(0)  # bits read
    bits = i64(len(data)) * 8
    done = i64(0)
    width = i64(9)
    free = i64(_FREE)
    before = i64(-1)  # where the string of the code before begins, -1 after a clear code
    before_length = i64(0)
    while at + width <= bits:
        byte = at >> 3
        word = i64(data[byte]) << 16
        if byte + 1 < len(data):
            word |= i64(data[byte + 1]) << 8
        if byte + 2 < len(data):
            word |= i64(data[byte + 2])
        code = (word >> (24 - width - (at & 7))) & ((i64(1) << width) - 1)
        at += width
        if code == _END:
            return done
        if code == _CLEAR:
            width = i64(9)
            free = i64(_FREE)
            before = i64(-1)
            continue
        if code < 256:
            if done >= size:
                return TOO_LONG
            start, length = done, i64(1)
            out[done] = code
        else:
            if before < 0 or code > free or free > _LAST or code < _FREE:
                return BAD_CODE
            if code < free:
                source, length = starts[code], lengths[code]
            else:
                source, length = before, before_length + 1
            if done + length > size:
                return TOO_LONG
            start = done
            for n in range(length):
                out[done + n] = out[source + n]
        if before >= 0 and free < _LAST:
            starts[free] = before
            lengths[free] = before_length + 1
            free += 1
            if free + 1 >= (i64(1) << width) and width < 12:
                width += 1
        before, before_length = start, length
        done = start + length
    return done


@kernel
def sums(rows: Any, samples: int) -> None:
    """Undo horizontal differences (predictor 2) in place; `rows` is lines x (pixels * samples)."""
    for line in range(rows.shape[0]):
        for n in range(samples, rows.shape[1]):
            rows[line, n] += rows[line, n - samples]


@kernel
def widened(
    block: Any, differences: int, bits: int, signed: int, first: int, count: int, out: Any
) -> None:
    """Samples of one plane as int32, differences undone on the way.

    `block` is lines x pixels of samples of so many `bits` (up to 32), `signed` or not; of each line
    the `count` pixels from `first` go to `out`, one line of `out` after the other. Four lines are
    summed side by side: the sums of one line wait for each other.
    """
    mask = np.uint32((i64(1) << bits) - 1)
    sign = np.uint32((i64(1) << (bits - 1)) if signed else i64(0))
    lines = out.shape[0]
    fours = lines // 4 if differences else 0
    for four in range(fours):
        line = 4 * four
        row0, row1 = block[line], block[line + 1]
        row2, row3 = block[line + 2], block[line + 3]
        out0, out1, out2, out3 = out[line], out[line + 1], out[line + 2], out[line + 3]
        a = np.uint32(0)
        b = np.uint32(0)
        c = np.uint32(0)
        d = np.uint32(0)
        for n in range(first):
            a += np.uint32(row0[n])
            b += np.uint32(row1[n])
            c += np.uint32(row2[n])
            d += np.uint32(row3[n])
        for n in range(count):
            a += np.uint32(row0[first + n])
            b += np.uint32(row1[first + n])
            c += np.uint32(row2[first + n])
            d += np.uint32(row3[first + n])
            out0[n] = ((a & mask) ^ sign) - sign
            out1[n] = ((b & mask) ^ sign) - sign
            out2[n] = ((c & mask) ^ sign) - sign
            out3[n] = ((d & mask) ^ sign) - sign
    for line in range(4 * fours, lines):
        a = np.uint32(0)
        if differences:
            for n in range(first):
                a += np.uint32(block[line, n])
        for n in range(count):
            if differences:
                a += np.uint32(block[line, first + n])
            else:
                a = np.uint32(block[line, first + n])
            out[line, n] = ((a & mask) ^ sign) - sign
