"""Damaged copies of a file, seeded: each kind of harm in turn, the same for one seed."""

from __future__ import annotations

import random
from collections.abc import Callable

MAGIC = b"PAR1"


def flip(data: bytearray, chance: random.Random) -> None:
    """One bit anywhere."""
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def flips(data: bytearray, chance: random.Random) -> None:
    """Some bits anywhere."""
    for _ in range(chance.randint(2, 40)):
        flip(data, chance)


def cut(data: bytearray, chance: random.Random) -> None:
    """The end is missing."""
    del data[chance.randrange(len(data)) :]


def zeros(data: bytearray, chance: random.Random) -> None:
    """A span of zeros, as a hole in a file has."""
    start = chance.randrange(len(data))
    length = min(chance.choice((1, 16, 512, 4096)), len(data) - start)
    data[start : start + length] = bytes(length)


def noise(data: bytearray, chance: random.Random) -> None:
    """A span of noise."""
    start = chance.randrange(len(data))
    length = min(chance.choice((1, 4, 64, 1024)), len(data) - start)
    data[start : start + length] = chance.randbytes(length)


def moved(data: bytearray, chance: random.Random) -> None:
    """Bytes missing in the middle, so that all after them stands elsewhere."""
    start = chance.randrange(len(data))
    del data[start : start + chance.choice((1, 3, 100))]


def footer(data: bytearray, chance: random.Random) -> None:
    """Noise in the footer: schema, offsets, counts."""
    length = int.from_bytes(data[-8:-4], "little")
    start = len(data) - 8 - length
    for _ in range(chance.randint(1, 6)):
        data[start + chance.randrange(length)] = chance.randrange(256)


def footer_length(data: bytearray, chance: random.Random) -> None:
    """A footer that says to be of another length."""
    length = chance.choice((0, 1, 7, 1 << 31, 0xFFFFFFFF, chance.randrange(len(data))))
    data[-8:-4] = (length & 0xFFFFFFFF).to_bytes(4, "little")


def page_header(data: bytearray, chance: random.Random) -> None:
    """Noise where pages begin: sizes, encodings, counts."""
    start = 4 + chance.randrange(min(64, len(data) - 4))
    data[start : start + 4] = chance.randbytes(4)


KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip, flips, cut, zeros, noise, moved, footer, footer_length, page_header,
)  # fmt: skip


def damaged(data: bytes, seed: int) -> bytes:
    """`data` with the harm that belongs to `seed`; never the same as `data`."""
    chance = random.Random(seed)
    copy = bytearray(data)
    KINDS[seed % len(KINDS)](copy, chance)
    if bytes(copy) == data:
        copy[chance.randrange(len(copy))] ^= 1
    return bytes(copy)
