"""Indexes of BGZF files (.tbi, .csi): which bytes of an object can hold lines of a region.

Source: the tabix and CSI specifications (https://samtools.github.io/hts-specs/, tabix.pdf and
CSIv1.pdf). Counts are held against the bytes that are there before anything is made of them.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from lakeq.errors import BadSource
from lakeq.formats import _bgzf

if TYPE_CHECKING:
    from lakeq.storage import SourceObject

INDEX_LIMIT_BYTES = 256 << 20  # inflated; that of a whole human genome has about 3 MB
GAP_BYTES = 1 << 16  # chunks closer than a block are read in one go
STEP_BYTES = 1 << 20  # of one range request within a chunk
DEPTH_LIMIT = 10
_HINT = "make it again: tabix -f -p vcf FILE, or bcftools index -f FILE"


class Chunk(NamedTuple):
    """Inflated bytes from one virtual offset (block offset << 16 | byte in block) to another."""

    start: int
    stop: int


@dataclass(slots=True)
class Contig:
    """The chunks of each bin of one contig, and the least offset of each window of 16 kb (.tbi)."""

    bins: dict[int, list[Chunk]] = field(default_factory=dict)
    floor: dict[int, int] = field(default_factory=dict)  # of a bin (.csi)
    windows: tuple[int, ...] = ()


@dataclass(slots=True)
class Index:
    """One index: its contigs in order; `names` is empty where the index does not name them."""

    min_shift: int
    depth: int
    names: list[str]
    contigs: list[Contig]

    def chunks(self, number: int, start: int, stop: int) -> list[Chunk]:
        """The chunks that can hold records of contig `number` within [start, stop), from 0."""
        if number >= len(self.contigs):
            return []
        contig = self.contigs[number]
        stop = min(stop, 1 << (self.min_shift + 3 * self.depth))
        if start >= stop:
            return []
        least = 0
        if contig.windows:
            least = contig.windows[min(start >> self.min_shift, len(contig.windows) - 1)]
        for level in range(self.depth, -1, -1 if contig.floor else -99):
            shift = self.min_shift + 3 * (self.depth - level)
            bin_of_start = ((1 << (3 * level)) - 1) // 7 + (start >> shift)
            if bin_of_start in contig.floor:
                least = contig.floor[bin_of_start]
                break
        found = [
            Chunk(max(chunk.start, least), chunk.stop)
            for number_of_bin in self._bins(start, stop)
            for chunk in contig.bins.get(number_of_bin, ())
            if chunk.stop > max(least, chunk.start)
        ]
        return merged(found)

    def _bins(self, start: int, stop: int) -> Iterator[int]:
        first = 0
        for level in range(self.depth + 1):
            shift = self.min_shift + 3 * (self.depth - level)
            yield from range(first + (start >> shift), first + ((stop - 1) >> shift) + 1)
            first += 1 << (3 * level)


def merged(chunks: Sequence[Chunk]) -> list[Chunk]:
    """The same chunks in order, those that overlap or are close put together."""
    result: list[Chunk] = []
    for chunk in sorted(chunks):
        if result and chunk.start >> 16 <= (result[-1].stop >> 16) + GAP_BYTES:
            result[-1] = Chunk(result[-1].start, max(result[-1].stop, chunk.stop))
        else:
            result.append(chunk)
    return result


def read_index(source: SourceObject) -> Index:
    """Read a .tbi or .csi index; raises `BadSource` for what is none."""
    data = bytearray()
    for piece in _bgzf.pieces(source):
        data += piece
        if len(data) > INDEX_LIMIT_BYTES:
            what = f"an index of more than {INDEX_LIMIT_BYTES >> 20} MiB"
            raise BadSource(what, source.uri, "raise INDEX_LIMIT_BYTES in lakeq.formats._tabix")
    reader = _Reader(bytes(data), source.uri)
    magic = reader.take(4)
    if magic == b"TBI\1":
        return _tbi(reader)
    if magic == b"CSI\1":
        return _csi(reader)
    raise BadSource(f"no index: it begins {magic!r}", f"{source.uri}, byte 0", _HINT)


class _Reader:
    """Little-endian numbers, held to the end of the data."""

    def __init__(self, data: bytes, uri: str) -> None:
        self.data, self.uri, self.at = data, uri, 0

    def take(self, size: int) -> bytes:
        if size < 0 or size > len(self.data) - self.at:
            raise BadSource("the index ends too early", f"{self.uri}, byte {self.at}", _HINT)
        self.at += size
        return self.data[self.at - size : self.at]

    def numbers(self, form: str) -> tuple[int, ...]:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))

    def count(self, item_bytes: int) -> int:
        """A count of items that need `item_bytes` each."""
        (count,) = self.numbers("i")
        if count < 0 or count * item_bytes > len(self.data) - self.at:
            what = f"{count:,} items in {len(self.data) - self.at:,} bytes"
            raise BadSource(what, f"{self.uri}, byte {self.at}", _HINT)
        return count


def _names(text: bytes) -> list[str]:
    return [name.decode("utf-8", "replace") for name in text.split(b"\0")[:-1]]


def _tbi(reader: _Reader) -> Index:
    contigs = reader.count(8)
    reader.numbers("6i")
    names = _names(reader.take(reader.count(1)))
    found = []
    for _ in range(contigs):
        contig = Contig()
        for _ in range(reader.count(8)):
            (number,) = reader.numbers("I")
            contig.bins[number] = _chunks(reader)
        contig.windows = reader.numbers(f"{reader.count(8)}Q")
        contig.bins.pop(37450, None)  # a pseudo-bin with counts
        found.append(contig)
    return Index(14, 5, names, found)


def _csi(reader: _Reader) -> Index:
    min_shift, depth = reader.numbers("2i")
    if not (0 <= min_shift <= 30 and 0 <= depth <= DEPTH_LIMIT):
        raise BadSource(f"bins of depth {depth}, shift {min_shift}", reader.uri, _HINT)
    auxiliary = reader.take(reader.count(1))
    names = _names(auxiliary[28:]) if len(auxiliary) > 28 else []
    pseudo = ((1 << (3 * (depth + 1))) - 1) // 7 + 1
    found = []
    for _ in range(reader.count(4)):
        contig = Contig()
        for _ in range(reader.count(16)):
            number, floor = reader.numbers("IQ")
            contig.bins[number], contig.floor[number] = _chunks(reader), floor
        contig.bins.pop(pseudo, None)
        found.append(contig)
    return Index(min_shift, depth, names, found)


def _chunks(reader: _Reader) -> list[Chunk]:
    return [Chunk(*reader.numbers("2Q")) for _ in range(reader.count(16))]


def inflated(source: SourceObject, chunk: Chunk) -> Iterator[bytes]:
    """The inflated bytes of one chunk, reading its blocks and at most one more.

    Raises `BadSource` where a block is not where the index says.
    """
    block, skip = chunk.start >> 16, chunk.start & 0xFFFF
    last, stop = chunk.stop >> 16, chunk.stop & 0xFFFF
    held, base = b"", block
    while block < last or (block == last and stop):
        size = _bgzf.block_size(held, block - base) if len(held) >= block - base + 18 else None
        if size is None or block - base + size > len(held):
            base, held = block, _more(source, block, last)
            size = _bgzf.block_size(held, 0)
            if size is None or size > len(held):
                raise BadSource(
                    "no BGZF block where the index has one", f"{source.uri}, byte {block}", _HINT
                )
        data = held[block - base : block - base + size]
        content = b"".join(_bgzf.blocks_of(source.uri, io.BytesIO(data + _bgzf.EOF_BLOCK)))
        end = stop if block == last else len(content)
        yield content[skip:end]
        skip = 0
        block += size


def _more(source: SourceObject, start: int, last: int) -> bytes:
    """Raw bytes from `start`: to the end of the block at `last`, or a good step of them."""
    wanted = min(last + _bgzf.BLOCK_LIMIT_BYTES - start, STEP_BYTES)
    length = min(max(wanted, _bgzf.BLOCK_LIMIT_BYTES), source.size_bytes - start)
    if length <= 0:
        raise BadSource("the index points behind the object", f"{source.uri}, byte {start}", _HINT)
    return source.read_range(start, length)


class _Ranged(io.RawIOBase):
    """An object read by small ranges, front to back: what is not asked for is not sent."""

    def __init__(self, source: SourceObject, step: int) -> None:
        self._source, self._step, self._at = source, step, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most a step of them."""
        length = min(self._step, self._source.size_bytes - self._at)
        if size >= 0:
            length = min(length, size)
        if length <= 0:
            return b""
        data = self._source.read_range(self._at, length)
        self._at += length
        return data


@dataclass(frozen=True, slots=True)
class _RangedReader:
    source: SourceObject
    step: int

    def open(self) -> _Ranged:
        return _Ranged(self.source, self.step)

    def read_range(self, offset: int, length: int) -> bytes:
        return self.source.read_range(offset, length)


def ranged(source: SourceObject, step: int = 1 << 16) -> SourceObject:
    """`source`, whose stream reads ranges of `step` bytes as they are needed: for headers."""
    from typing import cast

    from lakeq.storage import Reader, SourceObject

    reader = cast("Reader", _RangedReader(source, step))
    return SourceObject(source.uri, source.size_bytes, source.version, reader)
