"""The footers of thousands of files as arrays, without an object for each column chunk.

What is found equals what `lakeq.lake.inside.read_inside` finds, file by file: the first file of
each layout is read both ways, and a file that differs in any way from the plain case (damage, an
odd bound) is left to the other way, which knows the words for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from lakeq import _packed_files as packing
from lakeq import _parquet_thrift
from lakeq._packed_files import PackedFiles, Packer
from lakeq.errors import BadLake
from lakeq.lake import footers
from lakeq.lake.inside import (
    FOOTER_GUESS_BYTES,
    NO_KIND,
    ORDER_KEY,
    SOURCES_KEY,
    BoundKind,
    Inside,
    bound_kinds,
    footer_bytes,
    inside_in,
    members_in,
    with_inside,
)
from lakeq.lake.io import WarehouseIO
from lakeq.lake.pointers import Checksum
from lakeq.snapshot import DataFile, Footer, Leaf

FILES_AT_ONCE = 2000
FILES_A_TURN = 32  # to hand over one at a time takes as long as reading it from a disk
_SPARE_SHARE, _SPARE_BYTES = 4, 1024  # a guess is the longest footer seen and some more

Slow = Callable[[DataFile], Inside]
Facts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Layout:
    """What all files of one schema and one writer have in common.

    For each leaf: the hash of its path, and how its bounds are kept and stored. `bounded` unless
    nothing vouches for the bounds: then they count for nothing.
    """

    leaves: tuple[Leaf, ...]
    hashes: Sequence[int]
    kinds: Sequence[BoundKind]
    bounded: bool


class _Tails:
    """The footers of files; a guess of their length spares bytes, and mostly a second request."""

    def __init__(self, files: WarehouseIO, sums: Mapping[str, Checksum]) -> None:
        self._files = files
        self._sums = sums
        self._longest = 0

    def read(self, file: DataFile) -> bytes:
        """The footer with its length and magic; empty when something is wrong with it."""
        spare = self._longest // _SPARE_SHARE + _SPARE_BYTES
        guess = self._longest + spare if self._longest else FOOTER_GUESS_BYTES
        try:
            tail = footer_bytes(self._files, file.path, file.size_bytes, guess)
        except BadLake:
            return b""
        self._longest = max(self._longest, len(tail))
        checksum = self._sums.get(file.path)
        return tail if checksum is None or crc32(tail) == checksum.footer_crc32 else b""


def read_many(
    files: WarehouseIO,
    wanted: Sequence[DataFile],
    sums: Mapping[str, Checksum],
    slow: Slow,
    pool: Executor,
) -> PackedFiles:
    """`wanted` with their footers, in their order; `slow` reads one file the other way.

    The files come without footers and members.
    """
    reader = _Reader(_Tails(files, sums), sums, slow)
    for start in range(0, len(wanted), FILES_AT_ONCE):
        reader.add(wanted[start : start + FILES_AT_ONCE], pool)
    return PackedFiles(reader.packer.packed())


class _Reader:
    """Appends files to `packer`, some at a time."""

    def __init__(self, tails: _Tails, sums: Mapping[str, Checksum], slow: Slow) -> None:
        self.packer = Packer()
        self._tails = tails
        self._sums = sums
        self._slow = slow
        self._layouts: dict[tuple[bytes, bytes, bool, bool], _Layout | None] = {}

    def add(self, wanted: Sequence[DataFile], pool: Executor) -> None:
        """Read and append some files."""

        def read_some(some: Sequence[DataFile]) -> list[bytes]:
            return [self._tails.read(file) for file in some]

        parts = [wanted[at : at + FILES_A_TURN] for at in range(0, len(wanted), FILES_A_TURN)]
        tails = [tail for part in pool.map(read_some, parts) for tail in part]
        walked = _Walked(tails)
        layouts = [self._layout(walked, at, file) for at, file in enumerate(wanted)]
        chunks = _Chunks(walked, layouts, self.packer.text)
        pending = _Pending(self.packer, walked, chunks)
        for at, (file, layout, odd) in enumerate(zip(wanted, layouts, chunks.odd, strict=True)):
            noted = None if odd else _noted(file, walked.notes(at))
            if layout is None or noted is None:
                pending.flush(at)
                self.packer.add(with_inside(file, self._slow(file)))
                pending.start(at + 1)
            else:
                pending.add(at, noted, layout, self._sums.get(file.path))
        pending.flush(len(wanted))

    def _layout(self, walked: _Walked, at: int, file: DataFile) -> _Layout | None:
        """The layout of a file; None where it has to be read the other way."""
        if not walked.facts[at][footers.OK]:
            return None
        checksum = self._sums.get(file.path)
        key = (*walked.layout_key(at), checksum is not None)
        if key not in self._layouts:
            self._layouts[key] = _new_layout(walked.tails[at], file, checksum)
        return self._layouts[key]


def _new_layout(tail: bytes, file: DataFile, checksum: Checksum | None) -> _Layout | None:
    """The layout of the first file that has it, if both ways find the same in that file."""
    try:
        expected = inside_in(tail, file.path, file.size_bytes, checksum)
    except BadLake:
        return None
    leaves = expected.footer.leaves
    bounded = checksum is not None
    kinds = bound_kinds(tail) if bounded else [NO_KIND] * len(leaves)
    layout = _Layout(leaves, [footers.path_hash(leaf.path) for leaf in leaves], kinds, bounded)
    walked, packer = _Walked([tail]), Packer()
    chunks = _Chunks(walked, [layout], packer.text)
    noted = _noted(file, walked.notes(0))
    if chunks.odd[0] or noted is None:
        return None
    pending = _Pending(packer, walked, chunks)
    pending.add(0, noted, layout, checksum)
    pending.flush(1)
    found = PackedFiles(packer.packed())[0]
    same = found == with_inside(file, expected)
    return layout if same and _plain(found.footer) == _plain(expected.footer) else None


def _plain(footer: Footer) -> tuple[object, ...]:
    """All of a footer, to compare."""
    bounds = tuple(footer.bounds) or (None,) * len(footer.offsets)
    numbers = (footer.rows, footer.offsets, footer.lengths, footer.crc32s)
    sums = (footer.size_bytes, footer.footer_crc32)
    return footer.leaves, bounds, *map(tuple, numbers), *sums


class _Pending:
    """Files that are appended together: row groups and chunks of all that follow one another."""

    def __init__(self, packer: Packer, walked: _Walked, chunks: _Chunks) -> None:
        self._packer = packer
        self._walked = walked
        self._chunks = chunks
        self._start = 0

    def start(self, at: int) -> None:
        """The next file to append is the one at `at`."""
        self._start = at

    def add(self, at: int, file: DataFile, layout: _Layout, checksum: Checksum | None) -> None:
        """Append what is told once of the file at `at`; `flush` appends the rest."""
        facts = self._walked.facts[at]
        count = facts[footers.CHUNKS]
        known = checksum.chunk_crc32s if checksum is not None else ()
        summed = checksum is not None and len(known) == count
        self._packer.add_facts(
            file,
            layout.leaves,
            groups=facts[footers.GROUPS],
            footer_bytes=facts[footers.USED] + 8 if layout.bounded else len(self._walked.tails[at]),
            footer_crc32=checksum.footer_crc32 if checksum is not None and summed else None,
        )
        self._packer.arrays["crc32s"].extend(known if summed else [0] * count)

    def flush(self, end: int) -> None:
        """Append row groups and chunks of the files from the start to `end`."""
        walked, chunks, arrays = self._walked, self._chunks, self._packer.arrays
        if end > self._start:
            groups = slice(walked.group_starts[self._start], walked.group_starts[end])
            own = slice(walked.chunk_starts[self._start], walked.chunk_starts[end])
            arrays["group_rows"].frombytes(walked.group_rows[groups].tobytes())
            for name in ("offsets", "lengths", "nulls", "lows", "highs", "kinds"):
                arrays[name].frombytes(getattr(chunks, name)[own].tobytes())
        self._start = end


def _noted(file: DataFile, notes: bytes) -> DataFile | None:
    """`file` with what lakeq notes in footers; None where that is damaged."""
    if SOURCES_KEY.encode() not in notes and ORDER_KEY.encode() not in notes:
        return file
    try:
        texts = _parquet_thrift.notes(notes)
        members = () if file.source is not None else members_in(texts.get(SOURCES_KEY, ""))
    except (ValueError, KeyError, AttributeError, BadLake):
        return None
    return replace(file, members=members, order=texts.get(ORDER_KEY, ""))


class _Walked:
    """Some footers and what the walk over them noted."""

    def __init__(self, tails: Sequence[bytes]) -> None:
        self.tails = tails
        bodies = [tail[:-8] for tail in tails]
        self.text = b"".join(bodies)
        self.data = np.frombuffer(self.text, np.uint8)
        ends = np.cumsum([len(body) for body in bodies], dtype=np.int64)
        walk = footers.walk(self.data, ends)
        self.files, self.group_rows, self.chunks = walk
        self.facts: list[list[int]] = walk.files.tolist()
        self.group_starts = [0, *np.cumsum(walk.files[:, footers.GROUPS]).tolist()]
        self.chunk_starts = [0, *np.cumsum(walk.files[:, footers.CHUNKS]).tolist()]

    def layout_key(self, at: int) -> tuple[bytes, bytes, bool]:
        """What decides how the columns of a file are read: schema, writer, and order of bounds."""
        facts = self.facts[at]
        schema = self.text[facts[footers.SCHEMA] : facts[footers.SCHEMA_END]]
        maker = self.text[facts[footers.MAKER] : facts[footers.MAKER_END]]
        return schema, maker, facts[footers.ORDERED] != 0

    def notes(self, at: int) -> bytes:
        """The key-value pairs of a file, as they stand in its footer."""
        facts = self.facts[at]
        return self.text[facts[footers.NOTES] : facts[footers.NOTES_END]]


class _Chunks:
    """The column chunks of some footers as they are packed; `odd` has the files left to others."""

    def __init__(
        self, walked: _Walked, layouts: Sequence[_Layout | None], number: Callable[[str], int]
    ) -> None:
        self._walked = walked
        self._number = number
        chunks = walked.chunks
        counts = walked.files[:, footers.CHUNKS]
        self._file = np.repeat(np.arange(len(counts)), counts)
        self.odd = walked.files[:, footers.OK] == 0
        self._odd_chunks = np.zeros(len(chunks), bool)
        dictionary, offset = chunks[:, footers.DICTIONARY], chunks[:, footers.OFFSET]
        self.offsets = np.where(dictionary >= 0, dictionary, offset)
        self.lengths = np.minimum(chunks[:, footers.LENGTH], packing.MAX_LENGTH).astype(np.uint32)
        self.nulls = np.full(len(chunks), packing.UNKNOWN_NULLS, np.uint32)
        self.kinds = np.zeros(len(chunks), np.uint8)
        self.lows = np.zeros(len(chunks), np.int64)
        self.highs = np.zeros(len(chunks), np.int64)
        for layout in {id(each): each for each in layouts if each is not None}.values():
            own = np.asarray([each is layout for each in layouts])
            self._fill(layout, own)
        np.logical_or.at(self.odd, self._file, self._odd_chunks)

    def _fill(self, layout: _Layout, own: npt.NDArray[np.bool_]) -> None:
        """Fill in the chunks of the files `own`, which have `layout`."""
        width = len(layout.leaves)
        files = self._walked.files
        self.odd |= own & (files[:, footers.WIDTH] != width) & (files[:, footers.GROUPS] > 0)
        chosen = (own & ~self.odd)[self._file]
        places = np.flatnonzero(chosen)
        if not len(places):
            return
        for leaf in range(width):
            mine = places[leaf::width]  # files and groups have their chunks one after the other
            facts = self._walked.chunks[mine]
            self._odd_chunks[mine] = facts[:, footers.PATH_HASH] != layout.hashes[leaf]
            if layout.bounded:
                self._fill_bounds(mine, facts, *layout.kinds[leaf])

    def _fill_bounds(self, mine: Facts, facts: Facts, kind: int, type_: str) -> None:
        """The bounds and nulls of one leaf's chunks."""
        nulls = facts[:, footers.NULLS]
        known = (nulls >= 0) & (nulls < packing.UNKNOWN_NULLS)
        self.nulls[mine] = np.where(known, nulls, packing.UNKNOWN_NULLS)
        all_null = (nulls == facts[:, footers.VALUES]) & (facts[:, footers.HAS_STATISTICS] > 0)
        self.kinds[mine] = all_null * np.uint8(packing.ALL_NULL)
        if kind == packing.NO_BOUND:
            return
        there = (facts[:, footers.LOW_BYTES] >= 0) & (facts[:, footers.HIGH_BYTES] >= 0)
        half = (facts[:, footers.LOW_BYTES] >= 0) != (facts[:, footers.HIGH_BYTES] >= 0)
        self._odd_chunks[mine] |= half
        if kind == packing.TEXT:
            self._fill_texts(mine[there], facts[there])
            return
        sized = facts[:, [footers.LOW_BYTES, footers.HIGH_BYTES]] == np.dtype(type_).itemsize
        self._odd_chunks[mine] |= there & ~sized.all(axis=1)
        there &= sized.all(axis=1)
        low, high = (
            self._values(facts[there, place], type_) for place in (footers.LOW, footers.HIGH)
        )
        if kind == packing.TRUTH:
            low, high = low & 1, high & 1
        if kind == packing.REAL:
            real = ~(np.isnan(low) | np.isnan(high))
            there[there] = real
            low, high = (side[real].astype(np.float64).view(np.int64) for side in (low, high))
        self.kinds[mine[there]] |= np.uint8(kind)
        self.lows[mine[there]], self.highs[mine[there]] = low, high

    def _values(self, at: Facts, type_: str) -> npt.NDArray[Any]:
        """The stored values that begin at the places `at`."""
        where = at[:, None] + np.arange(np.dtype(type_).itemsize)
        found: npt.NDArray[Any] = self._walked.data[where].view(type_).reshape(-1)
        return found

    def _fill_texts(self, mine: Facts, facts: Facts) -> None:
        text = self._walked.text
        numbers: dict[bytes, int] = {}

        def number(at: int, length: int) -> int:
            value = text[at : at + length]
            found = numbers.get(value)
            if found is None:
                found = numbers[value] = self._text_number(value)
            return found

        sides = facts[:, footers.LOW : footers.HIGH_BYTES + 1].tolist()
        pairs = [(number(low, size), number(high, other)) for low, size, high, other in sides]
        found = np.asarray(pairs, np.int64).reshape(-1, 2)
        good = (found >= 0).all(axis=1)
        self.kinds[mine[good]] |= np.uint8(packing.TEXT)
        self.lows[mine[good]], self.highs[mine[good]] = found[good, 0], found[good, 1]

    def _text_number(self, value: bytes) -> int:
        """The number of a text, -1 where it can be no bound."""
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return -1
        return -1 if packing.TEXT_ENDS in text else self._number(text)
