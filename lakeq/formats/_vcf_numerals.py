"""Kernels over one element of a sample's field: where it ends, and the number that it writes.

Source: VCF 4.1 to 4.5, sections 1.3 and 1.6.2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, part
from lakeq.formats._vcf_typed_kernels import COLON, COMMA, DOT, NEWLINE, RETURN, TAB, U8, ZERO

PLUS, MINUS, UPPER_E, LOWER_E = 43, 45, 69, 101
NO_NUMBER, MISSING, EXACT, ROUNDED = range(4)  # what an element is; ROUNDED needs long arithmetic
POWERS = 22  # 10 ** 22 is the last power of ten that a float64 holds exactly
EXACT_BITS = 53
MOST_DIGITS = 18  # that fit an int64
WIDEST = 1 << 62  # of a whole number

F64 = npt.NDArray[np.float64]


@part
def byte(text: U8, p: int) -> int:
    """text[p] without the question whether p counts from the end."""
    return text[np.uint64(p)]  # type: ignore[no-any-return]  # a byte is an int to the callers


@part
def field_ends(text: U8, p: int) -> bool:
    """Whether a field of a sample ends before text[p]."""
    c = byte(text, p)
    if c > COLON:
        return False
    return c == COLON or c == TAB or c == NEWLINE or (c == RETURN and byte(text, p + 1) == NEWLINE)


@part
def _whole(text: U8, p: int, low: int, high: int) -> tuple[int, int, int]:
    """The whole number at text[p]: its value, what it is, where its characters end."""
    negative = byte(text, p) == MINUS
    if byte(text, p) == MINUS or byte(text, p) == PLUS:
        p += 1
    first = p
    value = i64(0)
    kind = EXACT
    while ZERO <= byte(text, p) <= ZERO + 9:
        if value > WIDEST // 10:
            kind = NO_NUMBER
        else:
            value = value * 10 + (byte(text, p) - ZERO)
        p += 1
    if p == first:
        kind = NO_NUMBER
    if byte(text, p) == DOT:  # 60.0 is what some callers write for 60
        p += 1
        while byte(text, p) == ZERO:
            p += 1
    if negative:
        value = -value
    if value < low or value > high:
        kind = NO_NUMBER
    return value, kind, p


@part
def _decimal(text: U8, p: int, powers: F64) -> tuple[float, int, int]:
    """The decimal number at text[p]: its value, what it is, where its characters end.

    Exact where the digits fit 53 bits and the power of ten is exact too: one rounding then.
    """
    c = byte(text, p)
    negative = c == MINUS
    if c == MINUS or c == PLUS:
        p += 1
    digits = i64(0)
    value = i64(0)
    exponent = i64(0)
    point = False
    exact = True
    while True:
        c = byte(text, p)
        if ZERO <= c <= ZERO + 9:
            digits += 1
            if value < 10 ** (MOST_DIGITS - 1):
                value = value * 10 + (c - ZERO)
                exponent -= 1 if point else 0
            else:
                exact = False
        elif c == DOT and not point:
            point = True
        else:
            break
        p += 1
    if digits == 0:
        return 0.0, NO_NUMBER, p
    if c == UPPER_E or c == LOWER_E:
        p += 1
        down = byte(text, p) == MINUS
        if byte(text, p) == MINUS or byte(text, p) == PLUS:
            p += 1
        first = p
        power = i64(0)
        while ZERO <= byte(text, p) <= ZERO + 9:
            power = min(power * 10 + (byte(text, p) - ZERO), 10000)
            p += 1
        if p == first:
            return 0.0, NO_NUMBER, p
        exponent += -power if down else power
    if not exact or (value >> EXACT_BITS) != 0 or exponent < -POWERS or exponent > POWERS:
        return 0.0, ROUNDED, p
    number = np.float64(value)
    number = number / powers[-exponent] if exponent < 0 else number * powers[exponent]
    return (-number if negative else number), EXACT, p


@part
def number(
    text: U8, p: int, floating: int, low: int, high: int, powers: F64
) -> tuple[float, int, int, int]:
    """The element at text[p], as `_decimal` or `_whole`; NO_NUMBER where more text follows."""
    real, integer, kind = 0.0, i64(0), MISSING
    c = byte(text, p)
    if c == DOT and (byte(text, p + 1) == COMMA or field_ends(text, p + 1)):
        p += 1
    elif c != COMMA and not field_ends(text, p):
        if floating:
            real, kind, p = _decimal(text, p, powers)
        else:
            integer, kind, p = _whole(text, p, low, high)
    if byte(text, p) != COMMA and not field_ends(text, p):
        kind = NO_NUMBER
        while byte(text, p) != COMMA and not field_ends(text, p):
            p += 1
    return real, integer, kind, p
