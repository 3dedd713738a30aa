"""Bases of a reference by position, through its .fai index, read by ranges as they are asked for.

Source: samtools faidx (faidx(5)): name, length, offset of the first base, bases and bytes a line.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lakeq.errors import BadSource, NotFound

if TYPE_CHECKING:
    from lakeq.storage import SourceObject

INDEX_LIMIT_BYTES = 64 << 20
WINDOW_BYTES = 1 << 16
WINDOWS = 256  # kept in memory
_HINT = "make it again: samtools faidx FILE"


class _Sequence(NamedTuple):
    length: int
    offset: int
    bases: int
    width: int


class Fasta:
    """One reference; `bases` gives its letters in upper case."""

    def __init__(self, uri: str, other: Callable[[str], SourceObject]) -> None:
        """`other` opens an object by its URI. Raises `NotFound` without a .fai beside it."""
        self._source = other(uri)
        self.uri = self._source.uri
        try:
            index = other(uri + ".fai")
        except NotFound as error:
            raise NotFound("the reference has no index", uri + ".fai", "samtools faidx") from error
        if self._source.read_range(0, min(2, self._source.size_bytes)) == b"\x1f\x8b":
            raise BadSource(
                "a compressed reference", self.uri, "decompress it, then samtools faidx"
            )
        self._sequences = _parse(index)
        self._windows: OrderedDict[int, bytes] = OrderedDict()

    def __contains__(self, name: str) -> bool:
        return name in self._sequences

    def bases(self, name: str, start: int, stop: int) -> str:
        """The bases `start` to `stop` of a sequence, from 1, both included, as far as it goes."""
        sequence = self._sequences[name]
        stop = min(stop, sequence.length)
        if start < 1 or start > stop:
            return ""
        first, last = self._place(sequence, start - 1), self._place(sequence, stop - 1)
        raw = self._raw(first, last + 1)
        return raw.translate(None, b"\r\n").decode("latin-1").upper()

    def _place(self, sequence: _Sequence, base: int) -> int:
        return sequence.offset + base // sequence.bases * sequence.width + base % sequence.bases

    def _raw(self, start: int, stop: int) -> bytes:
        parts = []
        for window in range(start // WINDOW_BYTES, (stop - 1) // WINDOW_BYTES + 1):
            base = window * WINDOW_BYTES
            parts.append(self._window(window)[max(start - base, 0) : stop - base])
        return b"".join(parts)

    def _window(self, window: int) -> bytes:
        if window not in self._windows:
            at = window * WINDOW_BYTES
            length = min(WINDOW_BYTES, self._source.size_bytes - at)
            if length <= 0:
                raise BadSource("the index points behind the reference", self.uri, _HINT)
            self._windows[window] = self._source.read_range(at, length)
            if len(self._windows) > WINDOWS:
                self._windows.popitem(last=False)
        self._windows.move_to_end(window)
        return self._windows[window]


def _parse(index: SourceObject) -> dict[str, _Sequence]:
    if index.size_bytes > INDEX_LIMIT_BYTES:
        raise BadSource(f"an index of more than {INDEX_LIMIT_BYTES >> 20} MiB", index.uri, _HINT)
    found = {}
    text = index.read_range(0, index.size_bytes).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split("\t")
        if len(fields) < 5 or not all(f.isascii() and f.isdigit() for f in fields[1:5]):
            raise BadSource(
                f"no line of a .fai: {line[:60]!r}", f"{index.uri}, line {number}", _HINT
            )
        length, offset, bases, width = (int(f) for f in fields[1:5])
        if bases < 1 or width < bases:
            raise BadSource(f"{bases} bases in {width} bytes", f"{index.uri}, line {number}", _HINT)
        found[fields[0]] = _Sequence(length, offset, bases, width)
    return found
