"""The inner loops over gates: which have data, their values, their places, and sums over cells."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Codes = npt.NDArray[Any]

BLOCK = 64  # gates between the ends of a parabola
FOLDED = 1  # the code that says range-folded
ECHO_TOP_DBZ = 18.0
HAIL_DBZ = 50.0
NOTHING = -(2**31)  # no altitude


@kernel
def with_data(codes: Codes, width: int, least: int, first: int, wide: int, has: U8) -> int:
    """Mark gates whose code is `least` or more; rows of `width` codes in rows of `wide` marks.

    Gates before `first` are left out. Returns how many are newly marked.
    """
    new = i64(0)
    for ray in range(codes.size // width):
        marked = i64(0)  # without a branch, so that many gates are looked at at once
        for gate in range(first, width):
            before = has[ray * wide + gate]
            mark = np.uint8(codes[ray * width + gate] >= least) & np.uint8(before ^ np.uint8(1))
            has[ray * wide + gate] = before | mark
            marked += i64(mark)
        new += marked
    return new


class Found(NamedTuple):
    """Gates with data: their ray and number, and 1 in `folded` where a moment is range-folded."""

    ray: I32
    gate: I32
    folded: U8


class Places(NamedTuple):
    """Where gates are, in whole units of a degree and metres."""

    latitude: I32
    longitude: I32
    altitude: I32


class Knots(NamedTuple):
    """Where half blocks of gates begin, ray by ray."""

    north: F64
    east: F64
    up: F64


@kernel
def places(has: U8, wide: int, ray: I32, gate: I32) -> None:
    """Ray and gate of every mark."""
    n = i64(0)
    for row in range(has.size // wide):
        for column in range(wide):
            if has[row * wide + column] != 0:
                ray[n] = row
                gate[n] = column
                n += 1


@kernel
def decode(
    codes: Codes, width: int, found: Found, values: F32, least: int, out: F32, known: U8
) -> int:
    """The values of the codes at these gates, and the bits of those that are known.

    Codes below `least` have none; where it is above 1, so are range-folded ones, which are marked
    in `found`. Returns how many are known.
    """
    count = i64(0)
    for i in range(found.ray.size):
        code = i64(0)
        gate = i64(found.gate[i])
        if gate < width:
            code = i64(codes[i64(found.ray[i]) * width + gate])
        out[i] = values[code]
        if code >= least:
            known[i >> 3] |= np.uint8(1 << (i & 7))
            count += 1
        elif code == FOLDED and least == FOLDED + 1:
            found.folded[i] = 1
    return count


@kernel
def positions(found: Found, knots: Knots, each: int, out: Places) -> None:
    """Positions of gates, rounded, from those at the half blocks, `each` a ray.

    A parabola goes through the begin, the middle and the end of a block.
    """
    north, east, up = knots.north, knots.east, knots.up
    for i in range(found.ray.size):
        gate = i64(found.gate[i])
        block = gate // BLOCK
        at = i64(found.ray[i]) * each + 2 * block
        u = (gate - block * BLOCK) / (BLOCK // 2)
        # of Lagrange: weights of begin, middle and end at u in 0 to 2
        a = (u - 1.0) * (u - 2.0) / 2.0
        b = u * (2.0 - u)
        c = u * (u - 1.0) / 2.0
        out.latitude[i] = np.floor(a * north[at] + b * north[at + 1] + c * north[at + 2] + 0.5)
        out.longitude[i] = np.floor(a * east[at] + b * east[at + 1] + c * east[at + 2] + 0.5)
        out.altitude[i] = np.floor(a * up[at] + b * up[at + 1] + c * up[at + 2] + 0.5)


class Box(NamedTuple):
    """Sums over the cells around a radar; `place` is southern edge, western edge, and width."""

    place: I32
    gates: I32
    hail: I32
    most: F32
    top: I32
    low: F32
    low_altitude: I32
    seen: U8


@kernel
def add_gates(
    gate: I32, last: int, values: F32, known: U8, where: Places, cell_units: int, box: Box
) -> None:
    """Add gates of DBZH that have a value to the sums, but those beyond the gate `last`."""
    south, west, wide = i64(box.place[0]), i64(box.place[1]), i64(box.place[2])
    for i in range(values.size):
        if known[i >> 3] & np.uint8(1 << (i & 7)) == 0 or gate[i] > last:
            continue
        row = i64(where.latitude[i]) // cell_units - south
        cell = row * wide + i64(where.longitude[i]) // cell_units - west
        value, altitude = values[i], where.altitude[i]
        box.seen[cell] = 1
        box.gates[cell] += 1
        box.most[cell] = max(box.most[cell], value)
        box.low[cell] = max(box.low[cell], value)
        box.low_altitude[cell] = min(box.low_altitude[cell], altitude)
        if value >= ECHO_TOP_DBZ:
            box.top[cell] = max(box.top[cell], altitude)
        if value >= HAIL_DBZ:
            box.hail[cell] += 1
