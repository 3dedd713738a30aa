"""Where things lie in the footers of many Parquet files: one walk over their bytes, compiled.

Ten thousand footers take pyarrow, and the objects that it makes, more than a second; the walk some
milliseconds. It notes numbers and places only, follows no length past the end of a footer, and
marks a footer that it does not understand, for a slower reader to explain.

Sources: apache/parquet-format, parquet.thrift; apache/thrift, thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lakeq._jit import i64, kernel, part

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_DEPTH = 16  # parquet.thrift nests 6 deep
_VARINT_BYTES = 10
_CHUNK_BYTES = 12  # of a column chunk in a footer at the least: it has six fields
_HASH_START, _HASH_PRIME = 0xCBF29CE484222325, 0x100000001B3  # FNV-1a, 64 bits
_DOT = 0x2E

# Columns of `Walk.files`, one row per footer. Places are from the start of the walked bytes.
OK, ROWS, GROUPS, CHUNKS, WIDTH, USED, ORDERED = range(7)
SCHEMA, SCHEMA_END, NOTES, NOTES_END, MAKER, MAKER_END = range(7, 13)
_FILE_FACTS = 13
# Columns of `Walk.chunks`, one row per column chunk. Numbers that are not there are -1.
OFFSET, DICTIONARY, LENGTH, VALUES, PATH_HASH, HAS_STATISTICS, NULLS = range(7)
LOW, LOW_BYTES, HIGH, HIGH_BYTES = range(7, 11)
_CHUNK_FACTS = 11


class Walk(NamedTuple):
    """What is in some footers: facts of each, rows of each row group, facts of each chunk.

    Groups and chunks are in the order of the footers; those of a footer that is not `OK` are left
    out.
    """

    files: I64
    group_rows: I64
    chunks: I64


def walk(data: U8, ends: I64) -> Walk:
    """The footers that lie one after the other in `data`, each up to one of `ends`.

    They come without their length and magic.
    """
    files = np.empty((len(ends), _FILE_FACTS), np.int64)
    most = len(data) // _CHUNK_BYTES + 1
    group_rows = np.empty(len(data) // 4 + 1, np.int64)
    chunks = np.empty((most, _CHUNK_FACTS), np.int64)
    stack = np.empty(2 * _DEPTH, np.int64)
    _walk(data, ends, files, group_rows, chunks, stack)
    groups, count = files[:, GROUPS].sum(), files[:, CHUNKS].sum()
    return Walk(files, group_rows[:groups], chunks[:count])


def path_hash(path: str) -> int:
    """What the walk makes of a dotted column path."""
    found = _HASH_START
    for byte in path.encode():
        found = ((found ^ byte) * _HASH_PRIME) & 0xFFFFFFFFFFFFFFFF
    return found - (1 << 64) if found >> 63 else found


@part
def _number(data: U8, at: int, end: int) -> tuple[int, int]:
    """An unsigned number and where it ends, -1 when it does not end."""
    value = np.uint64(0)
    shift = np.uint64(0)
    for _ in range(_VARINT_BYTES):
        if at >= end:
            break
        byte = np.uint64(data[at])
        at += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return i64(value), at
        shift += np.uint64(7)
    return i64(0), i64(-1)


@part
def _signed(data: U8, at: int, end: int) -> tuple[int, int]:
    """A signed number and where it ends, -1 when it does not end."""
    value, at = _number(data, at, end)
    bits = np.uint64(value)
    half = i64(bits >> np.uint64(1))
    return (half ^ -i64(bits & np.uint64(1))), at


@part
def _field(data: U8, at: int, end: int, before: int) -> tuple[int, int, int]:
    """The number and kind of the next field and where its value starts.

    Kind 0 is the end of the struct, -1 damage.
    """
    if at < 0 or at >= end:
        return i64(0), i64(-1), i64(-1)
    head = i64(data[at])
    at += 1
    kind = head & 15
    if head == 0:
        return i64(0), i64(0), at
    number = before + (head >> 4)
    if head >> 4 == 0:
        number, at = _signed(data, at, end)
        if at < 0:
            kind = i64(-1)
    return number, kind, at


@part
def _items(data: U8, at: int, end: int) -> tuple[int, int, int]:
    """Count and kind of the items of a list and where the first starts; kind -1 is damage."""
    if at < 0 or at >= end:
        return i64(0), i64(-1), i64(-1)
    head = i64(data[at])
    at += 1
    count, kind = head >> 4, head & 15
    if count == 15:
        count, at = _number(data, at, end)
    if at < 0 or count < 0 or count > end - at:
        return i64(0), i64(-1), i64(-1)
    return count, kind, at


@part
def _text(data: U8, at: int, end: int) -> tuple[int, int]:
    """Where a text or bytes begin and end; an end of -1 is damage."""
    length, at = _number(data, at, end)
    if at < 0 or length < 0 or length > end - at:
        return i64(0), i64(-1)
    return at, at + length


@part
def _skip(data: U8, at: int, end: int, kind: int, stack: I64) -> int:
    """Where a value of `kind` that starts at `at` ends; -1 for damage.

    `stack` has, for each struct or list around, the items that are left (-1: a struct) and their
    kind.
    """
    depth = i64(0)
    while True:
        if at < 0 or at > end:
            return i64(-1)
        if kind in (_STRUCT, _LIST, _SET):
            if depth == _DEPTH:
                return i64(-1)
            count, inner = i64(-1), i64(0)
            if kind != _STRUCT:
                count, inner, at = _items(data, at, end)
                if inner < 0:
                    return i64(-1)
                if inner in (_TRUE, _FALSE, _BYTE):
                    at += count
                    count = i64(0)
            stack[2 * depth] = count
            stack[2 * depth + 1] = inner
            depth += 1
        elif kind in (_I16, _I32, _I64):
            _, at = _number(data, at, end)
        elif kind == _BINARY:
            _, at = _text(data, at, end)
        elif kind == _DOUBLE:
            at += 8
        elif kind == _BYTE:
            at += 1
        elif kind not in (_TRUE, _FALSE):
            return i64(-1)
        if at < 0 or at > end:
            return i64(-1)
        kind = i64(0)
        while kind == 0:
            if depth == 0:
                return at
            left = stack[2 * depth - 2]
            if left < 0:
                _, kind, at = _field(data, at, end, i64(0))
                if kind < 0:
                    return i64(-1)
            elif left > 0:
                stack[2 * depth - 2] = left - 1
                kind = stack[2 * depth - 1]
                if kind == 0:
                    return i64(-1)
            if kind == 0:
                depth -= 1


@part
def _statistics(data: U8, at: int, end: int, chunk: I64, stack: I64) -> int:
    """Note the bounds and nulls of a chunk, from its Statistics; -1 for damage."""
    chunk[HAS_STATISTICS] = 1
    number = i64(0)
    while True:
        number, kind, at = _field(data, at, end, number)
        if kind <= 0:
            return at if kind == 0 else i64(-1)
        if number == 3 and kind == _I64:
            chunk[NULLS], at = _signed(data, at, end)
        elif number in (5, 6) and kind == _BINARY:
            start, at = _text(data, at, end)
            place = HIGH if number == 5 else LOW
            chunk[place] = start
            chunk[place + 1] = at - start
        else:
            at = _skip(data, at, end, kind, stack)


@part
def _path(data: U8, at: int, end: int, chunk: I64) -> int:
    """Note the hash of a chunk's path, its parts joined by dots; -1 for damage."""
    count, kind, at = _items(data, at, end)
    if kind != _BINARY:
        return i64(-1)
    found = np.uint64(_HASH_START)
    for part_number in range(count):
        start, at = _text(data, at, end)
        if at < 0:
            return i64(-1)
        if part_number:
            found = (found ^ np.uint64(_DOT)) * np.uint64(_HASH_PRIME)
        for place in range(start, at):
            found = (found ^ np.uint64(data[place])) * np.uint64(_HASH_PRIME)
    chunk[PATH_HASH] = i64(found)
    return at


@part
def _column(data: U8, at: int, end: int, chunk: I64, stack: I64) -> int:
    """Note the facts of one column chunk, from its ColumnMetaData; -1 for damage."""
    number = i64(0)
    while True:
        number, kind, at = _field(data, at, end, number)
        if kind <= 0:
            return at if kind == 0 else i64(-1)
        if kind == _I64 and number in (5, 7, 9, 11):
            value, at = _signed(data, at, end)
            if value < 0:
                return i64(-1)
            if number == 5:
                chunk[VALUES] = value
            elif number == 7:
                chunk[LENGTH] = value
            elif number == 9:
                chunk[OFFSET] = value
            else:
                chunk[DICTIONARY] = value
        elif number == 3 and kind == _LIST:
            at = _path(data, at, end, chunk)
        elif number == 12 and kind == _STRUCT:
            at = _statistics(data, at, end, chunk, stack)
        else:
            at = _skip(data, at, end, kind, stack)


@part
def _chunk(data: U8, at: int, end: int, chunk: I64, stack: I64) -> int:
    """Note the facts of a ColumnChunk; -1 for damage, another file's column or an encrypted one."""
    for fact in range(_CHUNK_FACTS):
        chunk[fact] = -1
    number = i64(0)
    while True:
        number, kind, at = _field(data, at, end, number)
        if kind <= 0:
            whole = min(chunk[OFFSET], chunk[LENGTH], chunk[VALUES]) >= 0
            return at if kind == 0 and whole else i64(-1)
        if number == 3 and kind == _STRUCT:
            at = _column(data, at, end, chunk, stack)
        elif number in (1, 3, 8, 9):
            return i64(-1)
        else:
            at = _skip(data, at, end, kind, stack)


@part
def _group(
    data: U8, at: int, end: int, file: I64, group_rows: I64, chunks: I64, done: int, stack: I64
) -> int:
    """Note the rows and the chunks of a row group; -1 for damage."""
    rows, width = i64(-1), i64(-1)
    number = i64(0)
    while True:
        number, kind, at = _field(data, at, end, number)
        if kind < 0:
            return i64(-1)
        if kind == 0:
            break
        if number == 3 and kind == _I64:
            rows, at = _signed(data, at, end)
        elif number == 1 and kind == _LIST:
            if width >= 0:
                return i64(-1)
            width, inner, at = _items(data, at, end)
            if inner != _STRUCT or done + file[CHUNKS] + width > chunks.shape[0]:
                return i64(-1)
            for column in range(width):
                at = _chunk(data, at, end, chunks[done + file[CHUNKS] + column], stack)
                if at < 0:
                    return i64(-1)
            file[CHUNKS] += width
        else:
            at = _skip(data, at, end, kind, stack)
    if rows < 0 or width < 0 or (file[WIDTH] >= 0 and file[WIDTH] != width):
        return i64(-1)
    file[WIDTH] = width
    group_rows[file[GROUPS]] = rows
    file[GROUPS] += 1
    return at


@part
def _footer(
    data: U8, at: int, end: int, file: I64, group_rows: I64, chunks: I64, done: int, stack: I64
) -> int:
    """Note the facts of one footer, its FileMetaData; -1 for damage."""
    number = i64(0)
    while True:
        number, kind, at = _field(data, at, end, number)
        if kind <= 0:
            return at if kind == 0 else i64(-1)
        if number == 3 and kind == _I64:
            file[ROWS], at = _signed(data, at, end)
        elif number == 4 and kind == _LIST:
            count, inner, at = _items(data, at, end)
            if inner != _STRUCT or file[GROUPS] or count > group_rows.shape[0]:
                return i64(-1)
            for _ in range(count):
                at = _group(data, at, end, file, group_rows, chunks, done, stack)
                if at < 0:
                    return i64(-1)
        elif number in (2, 5, 6):
            place = MAKER if number == 6 else SCHEMA if number == 2 else NOTES
            file[place] = at
            at = _skip(data, at, end, kind, stack)
            file[place + 1] = at
        else:
            file[ORDERED] |= number == 7
            at = _skip(data, at, end, kind, stack)


@kernel
def _walk(data: U8, ends: I64, files: I64, group_rows: I64, chunks: I64, stack: I64) -> None:
    """Fill `files`, `group_rows` and `chunks`; see `Walk`."""
    at, groups, done = i64(0), i64(0), i64(0)
    for number in range(ends.shape[0]):
        end = ends[number]
        file = files[number]
        for fact in range(_FILE_FACTS):
            file[fact] = 0
        file[ROWS] = -1
        file[WIDTH] = -1
        used = _footer(data, at, end, file, group_rows[groups:], chunks, done, stack)
        total = i64(0)
        for group in range(file[GROUPS]):
            total += group_rows[groups + group]
        if used < 0 or file[SCHEMA] == 0 or file[ROWS] != total:
            file[OK], file[GROUPS], file[CHUNKS] = 0, 0, 0
        else:
            file[OK] = 1
            file[USED] = used - at
        groups += file[GROUPS]
        done += file[CHUNKS]
        at = end
