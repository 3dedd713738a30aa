"""The kernel that keeps what no column of `entries` holds."""

from __future__ import annotations

from lakeq._jit import i64, kernel, part
from lakeq.formats._vcf_numerals import field_ends
from lakeq.formats._vcf_typed_kernels import (
    COLON,
    DOT,
    EQUALS,
    I32,
    I64,
    SEMICOLON,
    U8,
    Flags,
    _key_at,
)


@part
def _copy(text: U8, at: int, stop: int, out: U8, n: int) -> int:
    for p in range(at, stop):
        out[n] = text[p]
        n += 1
    return n


@kernel
def rest_of_samples(
    text: U8, fixed: I64, samples: int, keys: U8, key_end: I32, bad: Flags, offsets: I32, out: U8
) -> None:
    """Write KEY=value of each call's fields that no column holds, joined by semicolons.

    Those are fields of keys that are not among `keys`, and where bad[key, call]. `fixed` is where
    the fixed columns of each line and its first sample begin.
    """
    n = i64(0)
    call = i64(0)
    for line in range(fixed.shape[0]):
        at = fixed[line, 9]
        for _ in range(samples):
            offsets[call] = n
            begin = n
            key_at = fixed[line, 8]
            key_stop = fixed[line, 9] - 1
            while True:
                p = at
                while not field_ends(text, p):
                    p += 1
                if key_at <= key_stop:
                    key_p = key_at
                    while key_p < key_stop and text[key_p] != COLON:
                        key_p += 1
                    k = _key_at(text, key_at, key_p, keys, key_end)
                    missing = p == at or (p == at + 1 and text[at] == DOT)
                    if not missing and (k < 0 or bad[k, call]):
                        if n > begin:
                            out[n] = SEMICOLON
                            n += 1
                        n = _copy(text, key_at, key_p, out, n)
                        out[n] = EQUALS
                        n = _copy(text, at, p, out, n + 1)
                    key_at = key_p + 1
                at = p + 1
                if text[p] != COLON:
                    break
            call += 1
    offsets[call] = n
