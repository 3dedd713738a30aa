"""Parquet's own structures, read from bytes that may be damaged: footers and page headers.

Thrift's compact protocol (apache/thrift, doc/specs/thrift-compact-protocol.md) with the field
numbers of apache/parquet-format, parquet.thrift. pyarrow ends the process on some damaged footers
(a C++ exception that nothing catches); this reader raises `ValueError` on anything that does not
decode, asks for no memory that the bytes do not back, and never loops.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

Struct = dict[int, Any]  # by field number

_MAX_DEPTH = 16  # parquet.thrift nests 6 deep
_MAX_VARINT = 10  # bytes of 64 bits
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_INTEGERS = frozenset({_I16, _I32, _I64})


class Column(NamedTuple):
    """One column chunk: its dotted path, where it lies and what it says to hold."""

    path: str
    offset: int
    length: int
    values: int


class Group(NamedTuple):
    """One row group."""

    rows: int
    columns: tuple[Column, ...]


class FileFooter(NamedTuple):
    """What a footer says; `notes` are its key-value pairs."""

    rows: int
    leaves: tuple[str, ...]
    groups: tuple[Group, ...]
    notes: dict[str, str]
    flat: frozenset[str]  # leaves with one value per row


class Page(NamedTuple):
    """One page header: its own length, the compressed bytes after it, its CRC if it has one.

    `values` is 0 for a dictionary page.
    """

    header_length: int
    length: int
    crc: int | None
    values: int


class _Reader:
    """Bytes and a place in them."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes | memoryview, at: int = 0) -> None:
        self.data = data
        self.at = at
        self.end = len(data)

    def varint(self) -> int:
        data, at = self.data, self.at
        try:
            byte = data[at]
            if byte < 0x80:
                self.at = at + 1
                return byte
            value, shift = byte & 0x7F, 7
            for place in range(at + 1, at + _MAX_VARINT):
                byte = data[place]
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    self.at = place + 1
                    return value
                shift += 7
        except IndexError:
            raise ValueError(f"the bytes end inside a number at {at}") from None
        raise ValueError(f"a number at {at} does not end")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, length: int) -> int:
        start = self.at
        if length > self.end - start:
            raise ValueError(f"{length} bytes wanted at {start}, {self.end - start} are there")
        self.at = start + length
        return start

    def struct(self, depth: int = 0) -> Struct:
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        found: Struct = {}
        number = 0
        while True:
            head = self.data[self.skip(1)]
            if head == 0:
                return found
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self.zigzag()
            found[number] = self.value(kind, depth)

    def value(self, kind: int, depth: int) -> Any:
        if kind in _INTEGERS:
            return self.zigzag()
        if kind == _BINARY:
            length = self.varint()
            start = self.skip(length)
            return bytes(self.data[start : start + length])
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self.list(depth + 1)
        if kind in (_TRUE, _FALSE):
            return kind == _TRUE
        if kind == _BYTE:
            return self.data[self.skip(1)]
        if kind == _DOUBLE:
            return self.skip(8)
        raise ValueError(f"a field of unknown kind {kind} at {self.at}")

    def list(self, depth: int) -> list[Any]:
        head = self.data[self.skip(1)]
        count, kind = head >> 4, head & 15
        if count == 15:
            count = self.varint()
        if count > self.end - self.at:
            raise ValueError(f"a list of {count} items at {self.at}, more than bytes")
        if kind in (_TRUE, _FALSE):
            start = self.skip(count)
            return list(self.data[start : start + count])
        return [self.value(kind, depth) for _ in range(count)]


def footer(data: bytes) -> FileFooter:
    """The footer `data`, without its length and magic; `ValueError` when it is damaged."""
    found = _Reader(data).struct()
    try:
        leaves = _leaves(found[2])
        groups = tuple(_group(group, leaves) for group in found[4])
        notes_ = _texts(found.get(5, ()))
        rows = int(found[3])
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"a part is missing or of another kind: {error!r}") from error
    if rows != sum(group.rows for group in groups):
        raise ValueError(f"{rows} rows in all, {sum(g.rows for g in groups)} in the row groups")
    flat = frozenset(leaf.path for leaf in leaves if not leaf.repeated)
    return FileFooter(rows, tuple(leaf.path for leaf in leaves), groups, notes_, flat)


def notes(data: bytes) -> dict[str, str]:
    """The key-value pairs of a footer, of which `data` is the list."""
    return _texts(_Reader(data).list(0))


def _texts(pairs: Iterable[Struct]) -> dict[str, str]:
    return {str(pair[1], "utf-8"): str(pair.get(2, b""), "utf-8") for pair in pairs}


class _Leaf(NamedTuple):
    """A leaf column: its dotted path, and whether it is part of a list."""

    path: str
    repeated: bool


def _leaves(schema: list[Struct]) -> list[_Leaf]:
    """The leaf columns in order."""
    leaves: list[_Leaf] = []
    nodes: list[list[Any]] = [[schema[0].get(5, 0), _Leaf("", False)]]  # parts left, and itself
    for element in schema[1:]:
        while nodes and not nodes[-1][0]:
            nodes.pop()
        if not nodes:
            raise ValueError("more columns than the schema says")
        nodes[-1][0] -= 1
        parent = nodes[-1][1]
        path = f"{parent.path}{str(element[4], 'utf-8')}"
        repeated = parent.repeated or element.get(3) == 2
        if element.get(5):
            nodes.append([element[5], _Leaf(f"{path}.", repeated)])
        else:
            leaves.append(_Leaf(path, repeated))
    if any(node[0] for node in nodes):
        raise ValueError("fewer columns than the schema says")
    return leaves


def _group(group: Struct, leaves: list[_Leaf]) -> Group:
    columns = []
    for chunk, leaf in zip(group[1], leaves, strict=True):
        meta = chunk[3]
        named = b".".join(meta[3]).decode()
        if named != leaf.path:
            raise ValueError(f"column {named!r} where the schema has {leaf.path!r}")
        start = meta[9] if meta.get(11) is None else meta[11]
        if min(start, meta[7], meta[5]) < 0:
            raise ValueError(f"a negative place or size of column {leaf.path!r}")
        columns.append(Column(leaf.path, start, meta[7], meta[5]))
    return Group(group[3], tuple(columns))


def page(data: bytes | memoryview, at: int) -> Page:
    """The page header at `at`; `ValueError` when it is damaged or not all there."""
    reader = _Reader(data, at)
    found = reader.struct()
    try:
        length = found[3]
        header = found.get(5) or found.get(8)
        values = header[1] if header else 0
        crc = found.get(4)
        if not isinstance(length, int) or length < 0 or not isinstance(values, int):
            raise ValueError("a negative length")
        if header is None and 7 not in found:
            raise ValueError("neither a data page nor a dictionary")
    except (KeyError, TypeError) as error:
        raise ValueError(f"a part is missing or of another kind: {error!r}") from error
    return Page(reader.at - at, length, None if crc is None else crc & 0xFFFFFFFF, values)


def in_file_order(found: FileFooter) -> Iterator[tuple[int, Group, Column]]:
    """The column chunks by their place in the file, each with its row group and its number."""
    chunks = [
        (number, group, column)
        for number, group in enumerate(found.groups)
        for column in group.columns
    ]
    yield from sorted(chunks, key=lambda chunk: chunk[2].offset)
