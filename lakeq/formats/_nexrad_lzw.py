"""LZW as compress(1) writes it (.Z): codes of 9 to 16 bits, in groups of eight.

Source: compress 4.0 and gzip's unlzw.c, which read the same files. Codes of one width come in
groups of eight (width bytes); when the width grows or the table is cleared, the rest of a group
is skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lakeq.errors import BadSource

_CLEAR = 256
_FIRST_FREE = 257
_GROUP_BYTES = 1 << 12
_TABLE_LIMIT_BYTES = 64 << 20  # of a volume, some 3 MB; a bomb of one byte would need 2 GB


def inflate(
    head: bytes, more: Callable[[], bytes], damaged: Callable[[str], BadSource]
) -> Iterator[bytes]:
    """The content behind `head` and `more()`, in pieces; ends where the data ends."""
    data = head
    while len(data) < 3:
        if not (extra := more()):
            return
        data += extra
    flags = data[2]
    if flags & 0x60 or not 9 <= flags & 31 <= 16:
        raise damaged(f"compress data of an unknown kind (flags {flags})")
    yield from _Table(flags & 31, bool(flags & 128), damaged).pieces(data[3:], more)


class _Table:
    """The growing table of strings."""

    def __init__(self, bits: int, block: bool, damaged: Callable[[str], BadSource]) -> None:
        self._limit = 1 << bits
        self._bits = bits
        self._block = block
        self._damaged = damaged
        self._reset()
        self._before: bytes | None = None

    def _reset(self) -> None:
        self._strings = [bytes([value]) for value in range(256)]
        if self._block:
            self._strings.append(b"")  # the code that clears
        self._width = 9
        self._table_bytes = 0

    def pieces(self, data: bytes, more: Callable[[], bytes]) -> Iterator[bytes]:
        """The content, piece by piece."""
        while True:
            while len(data) < self._width:
                if not (extra := more()):
                    break
                data += extra
            if not data:
                return
            size = self._span(len(data))
            piece, used = self._decode(data[:size] if size else data)
            if piece:
                yield piece
            if not used or (not size and used >= len(data)):
                return
            data = data[used:]

    def _span(self, size: int) -> int:
        """Whole groups of the present width, at most `_GROUP_BYTES`; 0 when none is whole."""
        return min(size, _GROUP_BYTES) // self._width * self._width

    def _decode(self, data: bytes) -> tuple[bytes, int]:
        """What the codes of `data` say, until the width changes, and the bytes they took."""
        width, mask = self._width, (1 << self._width) - 1
        out: list[bytes] = []
        strings, before = self._strings, self._before
        grows = (1 << width) if width < self._bits else self._limit + 1
        for start in range(0, len(data), width):
            group = data[start : start + width]
            number = int.from_bytes(group, "little")
            for _ in range(len(group) * 8 // width):
                code = number & mask
                number >>= width
                if code == _CLEAR and self._block:
                    self._reset()
                    self._before = None
                    return b"".join(out), min(start + width, len(data))
                if code < len(strings):
                    text = strings[code]
                elif code == len(strings) and before is not None:
                    text = before + before[:1]
                else:
                    raise self._damaged("the compress data does not inflate")
                out.append(text)
                if before is not None and len(strings) < self._limit:
                    strings.append(before + text[:1])
                    self._table_bytes += len(before)
                before = text
                if len(strings) >= grows:
                    self._width += 1
                    self._before = before
                    return b"".join(out), min(start + width, len(data))
        self._before = before
        if self._table_bytes > _TABLE_LIMIT_BYTES:
            raise self._damaged("the compress data repeats one byte for ever: a bomb")
        return b"".join(out), len(data)
