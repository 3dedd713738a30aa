"""The data files of a snapshot packed column by column: read at once, made into objects on demand.

Ten thousand files with the bounds of their columns are a few arrays; a plan reads the arrays, and
only a file that is asked for becomes a `DataFile`.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, TypeVar, overload

from lakeq.snapshot import Bounds, DataFile, Footer, Leaf

K = TypeVar("K", bound=Hashable)
UNKNOWN_NULLS = 2**32 - 1
NO_BOUND, NUMBER, REAL, TEXT, TRUTH = range(5)  # what the bounds of a chunk are
ALL_NULL = 8  # added to the kind where all values are null
TEXT_ENDS = "\0"  # parts texts in their bytes
_CODES = ("q", "q", "q", "q", "q", "q", "q", "q", "q", "q", "q", "I", "I", "q", "q", "B", "I")
_NAMES = (
    "sizes",  # one per file
    "rows",
    "footer_sizes",
    "group_counts",
    "layout_of",
    "partition_of",
    "source_of",
    "order_of",
    "footer_crc32s",
    "group_rows",  # one per row group
    "offsets",  # one per column chunk
    "lengths",
    "nulls",
    "lows",
    "highs",
    "kinds",
    "crc32s",
)
_PER_FILE = 9
UNSUMMED = -1  # the CRC-32 of a footer where none was kept, nor of the file's column chunks
MAX_LENGTH = 2**32 - 1


@dataclass(frozen=True)
class Packed:
    """The arrays of all files; see `_NAMES`.

    Bounds are 64-bit numbers, doubles by their bits, or numbers of entries in `texts`, as `kinds`
    says; `nulls` is `UNKNOWN_NULLS` where a footer does not tell.
    """

    root: str
    paths: Sequence[str]
    layouts: Sequence[tuple[Leaf, ...]]
    partitions: Sequence[tuple[tuple[str, str | None], ...]]
    sources: Sequence[str | None]
    orders: Sequence[str]
    members: Mapping[int, tuple[tuple[str, int], ...]]
    arrays: Mapping[str, Sequence[int]]
    text_bytes: bytes

    @cached_property
    def texts(self) -> list[str]:
        """The texts that bounds refer to, by number; behind them may be empty ones."""
        return self.text_bytes.decode().split(TEXT_ENDS)

    @cached_property
    def group_starts(self) -> list[int]:
        """The number of the first row group of each file, and their count."""
        return [0, *accumulate(self.arrays["group_counts"])]

    @cached_property
    def chunk_starts(self) -> list[int]:
        """The number of the first column chunk of each file, and their count."""
        widths = [len(leaves) for leaves in self.layouts]
        groups, layout = self.arrays["group_counts"], self.arrays["layout_of"]
        counts = (n * widths[which] for n, which in zip(groups, layout, strict=True))
        return [0, *accumulate(counts)]


class PackedFiles(Sequence[DataFile]):
    """The files of a snapshot, or some of them, in their order; equal to any sequence of them."""

    def __init__(self, packed: Packed, numbers: Sequence[int] | None = None) -> None:
        self.packed = packed
        self.numbers = range(len(packed.paths)) if numbers is None else numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> DataFile: ...
    @overload
    def __getitem__(self, index: slice) -> PackedFiles: ...
    def __getitem__(self, index: int | slice) -> DataFile | PackedFiles:
        if isinstance(index, slice):
            return PackedFiles(self.packed, self.numbers[index])
        return _file(self.packed, self.numbers[index])

    def __iter__(self) -> Iterator[DataFile]:
        return (_file(self.packed, number) for number in self.numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return repr(tuple(self))

    def contents(self) -> Iterator[tuple[str, tuple[tuple[str, int], ...]]]:
        """The path of each file, and the objects whose rows it holds with the number of them."""
        packed = self.packed
        source_of, rows = packed.arrays["source_of"], packed.arrays["rows"]
        for number in self.numbers:
            source = packed.sources[source_of[number]]
            inside = packed.members.get(number, ()) if source is None else ((source, rows[number]),)
            yield packed.root + packed.paths[number], inside

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        sizes = self.packed.arrays["sizes"]
        return sum(sizes[number] for number in self.numbers)

    @property
    def all_summed(self) -> bool:
        """Whether the checksums of the column chunks of all files are known."""
        return UNSUMMED not in self.packed.arrays["footer_crc32s"]

    @property
    def row_groups(self) -> int:
        """Row groups of all files."""
        counts = self.packed.arrays["group_counts"]
        return sum(counts[number] for number in self.numbers)


def _file(packed: Packed, number: int) -> DataFile:
    arrays = packed.arrays
    group, groups = packed.group_starts[number], packed.group_starts[number + 1]
    chunk, chunks = packed.chunk_starts[number], packed.chunk_starts[number + 1]
    summed = arrays["footer_crc32s"][number] != UNSUMMED
    footer = Footer(
        leaves=packed.layouts[arrays["layout_of"][number]],
        rows=arrays["group_rows"][group:groups],
        offsets=arrays["offsets"][chunk:chunks],
        lengths=arrays["lengths"][chunk:chunks],
        bounds=_PackedBounds(packed, chunk, chunks),
        size_bytes=arrays["footer_sizes"][number],
        crc32s=arrays["crc32s"][chunk:chunks] if summed else (),
        footer_crc32=arrays["footer_crc32s"][number] if summed else None,
    )
    return DataFile(
        path=packed.root + packed.paths[number],
        size_bytes=arrays["sizes"][number],
        rows=arrays["rows"][number],
        footer=footer,
        partition=packed.partitions[arrays["partition_of"][number]],
        source=packed.sources[arrays["source_of"][number]],
        members=packed.members.get(number, ()),
        order=packed.orders[arrays["order_of"][number]],
    )


class _PackedBounds(Sequence["Bounds | None"]):
    """The bounds of one file's column chunks, from the arrays."""

    def __init__(self, packed: Packed, start: int, end: int) -> None:
        self._packed = packed
        self._start = start
        self._end = end

    def __len__(self) -> int:
        return self._end - self._start

    @overload
    def __getitem__(self, index: int) -> Bounds | None: ...
    @overload
    def __getitem__(self, index: slice) -> list[Bounds | None]: ...
    def __getitem__(self, index: int | slice) -> Bounds | list[Bounds | None] | None:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        at = self._start + index
        arrays = self._packed.arrays
        names = ("kinds", "lows", "highs", "nulls")
        return bounds(self._packed, *(arrays[name][at] for name in names))


def bounds(packed: Packed, kind: int, low: int, high: int, nulls: int) -> Bounds | None:
    """The bounds that one entry of the arrays means."""
    if nulls == UNKNOWN_NULLS and kind == NO_BOUND:
        return None
    values = (_value(packed, kind & 7, low), _value(packed, kind & 7, high))
    return Bounds(*values, -1 if nulls == UNKNOWN_NULLS else nulls, kind & ALL_NULL > 0)


def _value(packed: Packed, kind: int, number: int) -> int | float | str | bool | None:
    if kind == NUMBER:
        return number
    if kind == TEXT:
        return packed.texts[number]
    if kind == REAL:
        real: float = struct.unpack("<d", struct.pack("<q", number))[0]
        return real
    return bool(number) if kind == TRUTH else None


def pack(files: Sequence[DataFile]) -> tuple[dict[str, Any], list[bytes]]:
    """`files` as a part of a JSON document and the bytes of the arrays, the texts last."""
    packed = packed_of(files)
    header = {
        "root": packed.root,
        "paths": packed.paths,
        "layouts": packed.layouts,
        "partitions": packed.partitions,
        "sources": packed.sources,
        "orders": packed.orders,
        "members": packed.members,
        "counts": [len(packed.arrays[name]) for name in _NAMES],
    }
    parts = []
    for name, code in zip(_NAMES, _CODES, strict=True):
        values = packed.arrays[name]
        if sys.byteorder == "big":
            values = array(code, values)
            values.byteswap()
        parts.append(_padded(bytes(memoryview(values))))  # type: ignore[arg-type]  # an array or its view
    return header, [*parts, _padded(packed.text_bytes)]


def grown(files: Sequence[DataFile], added: Sequence[DataFile]) -> Sequence[DataFile]:
    """`files` with `added` behind them; packed ones are packed again without a look at each."""
    if not isinstance(files, PackedFiles) or files.numbers != range(len(files.packed.paths)):
        return (*files, *added)
    packer = Packer(files.packed)
    for file in added:
        packer.add(file)
    return PackedFiles(packer.packed())


def contents(files: Sequence[DataFile]) -> Iterator[tuple[str, tuple[tuple[str, int], ...]]]:
    """The path of each file, and the objects whose rows it holds with the number of them."""
    if isinstance(files, PackedFiles):
        return files.contents()
    return ((file.path, file.contents) for file in files)


def _numbered(values: Sequence[K]) -> dict[K, int]:
    return {value: number for number, value in enumerate(values)}


def packed_of(files: Sequence[DataFile]) -> Packed:
    """The arrays of `files`; those of all files that were packed are taken as they are."""
    if isinstance(files, PackedFiles) and files.numbers == range(len(files.packed.paths)):
        return files.packed
    packer = Packer()
    for file in files:
        packer.add(file)
    return packer.packed()


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 8)


class Packer:
    """Collects files into arrays, behind those of `begun`, whose arrays are copied."""

    def __init__(self, begun: Packed | None = None) -> None:
        self.arrays = {name: array(code) for name, code in zip(_NAMES, _CODES, strict=True)}
        self._paths: list[str] = []
        self._layouts: dict[tuple[Leaf, ...], int] = {}
        self._partitions: dict[tuple[tuple[str, str | None], ...], int] = {}
        self._sources: dict[str | None, int] = {}
        self._orders: dict[str, int] = {}
        self._members: dict[int, tuple[tuple[str, int], ...]] = {}
        self._texts: dict[str, int] = {}
        if begun is not None:
            self._begin(begun)

    def _begin(self, packed: Packed) -> None:
        for name, values in self.arrays.items():
            values.frombytes(bytes(memoryview(packed.arrays[name])))  # type: ignore[arg-type]  # its view
        self._paths = [packed.root + path for path in packed.paths]
        self._layouts = _numbered(packed.layouts)
        self._partitions = _numbered(packed.partitions)
        self._sources = _numbered(packed.sources)
        self._orders = _numbered(packed.orders)
        self._members = dict(packed.members)
        texts = packed.texts
        while len(texts) > 1 and texts[-1] == texts[-2] == "":  # what fills the last eight bytes
            texts = texts[:-1]
        self._texts = _numbered(texts)

    def add(self, file: DataFile) -> None:
        """Append one file."""
        footer = file.footer
        self.add_facts(
            file,
            footer.leaves,
            groups=len(footer.rows),
            footer_bytes=footer.size_bytes,
            footer_crc32=footer.footer_crc32,
        )
        self.arrays["group_rows"].extend(footer.rows)
        self.arrays["offsets"].extend(footer.offsets)
        self.arrays["lengths"].extend(min(size, MAX_LENGTH) for size in footer.lengths)
        self.arrays["crc32s"].extend(footer.crc32s or [0] * len(footer.lengths))
        bounds = footer.bounds or [None] * len(footer.lengths)
        for each in bounds:
            self._bounds(each)

    def add_facts(
        self,
        file: DataFile,
        leaves: tuple[Leaf, ...],
        *,
        groups: int,
        footer_bytes: int,
        footer_crc32: int | None,
    ) -> None:
        """Append what is told once per file; its row groups and chunks go into `arrays`.

        The footer of `file` is not looked at.
        """
        if file.members:
            self._members[len(self._paths)] = file.members
        self._paths.append(file.path)
        per_file = (
            file.size_bytes,
            file.rows,
            footer_bytes,
            groups,
            self._layouts.setdefault(leaves, len(self._layouts)),
            self._partitions.setdefault(file.partition, len(self._partitions)),
            self._sources.setdefault(file.source, len(self._sources)),
            self._orders.setdefault(file.order, len(self._orders)),
            UNSUMMED if footer_crc32 is None else footer_crc32,
        )
        for name, value in zip(_NAMES[:_PER_FILE], per_file, strict=True):
            self.arrays[name].append(value)

    def text(self, text: str) -> int:
        """The number of a text among those that bounds refer to; it has no `TEXT_ENDS` in it."""
        return self._texts.setdefault(text, len(self._texts))

    def packed(self) -> Packed:
        """The arrays of all files so far."""
        root = _common_start(self._paths)
        return Packed(
            root=root,
            paths=[path[len(root) :] for path in self._paths],
            layouts=list(self._layouts),
            partitions=list(self._partitions),
            sources=list(self._sources),
            orders=list(self._orders),
            members=self._members,
            arrays={name: memoryview(values) for name, values in self.arrays.items()},
            text_bytes=TEXT_ENDS.join(self._texts).encode(),
        )

    def _bounds(self, bounds: Bounds | None) -> None:
        kind, low, high, nulls = NO_BOUND, 0, 0, UNKNOWN_NULLS
        if bounds is not None:
            nulls = bounds.nulls if 0 <= bounds.nulls < UNKNOWN_NULLS else UNKNOWN_NULLS
            kind, low, high = self._pair(bounds.low, bounds.high)
            kind |= ALL_NULL * bounds.all_null
        for name, value in (("kinds", kind), ("lows", low), ("highs", high), ("nulls", nulls)):
            self.arrays[name].append(value)

    def _pair(self, low: object, high: object) -> tuple[int, int, int]:
        if isinstance(low, bool) and isinstance(high, bool):
            return TRUTH, int(low), int(high)
        if isinstance(low, int) and isinstance(high, int):
            return NUMBER, low, high
        if isinstance(low, float) and isinstance(high, float):
            bits: tuple[int, int] = struct.unpack("<2q", struct.pack("<2d", low, high))
            return REAL, *bits
        if isinstance(low, str) and isinstance(high, str) and TEXT_ENDS not in low + high:
            return TEXT, self.text(low), self.text(high)
        return NO_BOUND, 0, 0


def unpack(header: Mapping[str, Any], data: memoryview) -> PackedFiles:
    """The files that `pack` wrote; `ValueError` when lengths do not add up."""
    arrays: dict[str, Sequence[int]] = {}
    at = 0
    for name, code, count in zip(_NAMES, _CODES, header["counts"], strict=True):
        values = array(code)
        size = count * values.itemsize
        values.frombytes(data[at : at + size])
        if len(values) != count:
            raise ValueError(f"{name} is cut short")
        if sys.byteorder == "big":
            values.byteswap()
        arrays[name] = memoryview(values)
        at += size + -size % 8
    packed = Packed(
        root=header["root"],
        paths=header["paths"],
        layouts=[tuple(Leaf(*leaf) for leaf in leaves) for leaves in header["layouts"]],
        partitions=[tuple((n, v) for n, v in values) for values in header["partitions"]],
        sources=header["sources"],
        orders=header["orders"],
        members={int(n): tuple((s, c) for s, c in v) for n, v in header["members"].items()},
        arrays=arrays,
        text_bytes=bytes(data[at:]),
    )
    counts = (len(packed.paths), len(arrays["sizes"]), len(arrays["order_of"]))
    if len(set(counts)) > 1 or packed.chunk_starts[-1] != len(arrays["kinds"]):
        raise ValueError("the arrays do not fit the files")
    return PackedFiles(packed)


def _common_start(paths: Sequence[str]) -> str:
    """The longest text that all of `paths` begin with, to write it once."""
    if not paths:
        return ""
    first, last = min(paths), max(paths)
    same = (number for number, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    return first[: next(same, min(len(first), len(last)))]


def kept(files: Sequence[DataFile], numbers: Iterable[int]) -> Sequence[DataFile]:
    """The files at the places `numbers` of `files`."""
    if isinstance(files, PackedFiles):
        return PackedFiles(files.packed, [files.numbers[n] for n in numbers])
    return tuple(files[n] for n in numbers)
