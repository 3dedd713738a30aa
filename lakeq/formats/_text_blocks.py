"""Text objects in blocks of whole lines, and tab separated blocks as Arrow columns.

The block is the unit of memory: some ten MB of text, cut at a line end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakeq.errors import BadSource
from lakeq.formats import _bgzf

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from lakeq.storage import SourceObject

BLOCK_BYTES = 16 << 20
LINE_LIMIT_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of one object; `line` is the number of the first, from 1.

    `rows`, an array of booleans, picks those of the lines that are not empty; None all of them.
    """

    uri: str
    line: int
    data: bytes
    rows: pa.Array | None = None

    def where(self, row: int) -> str:
        """The place of the `row`-th line (from 0) that is not empty, of those picked."""
        import pyarrow.compute as pc

        if self.rows is not None:
            row = pc.indices_nonzero(self.rows)[row].as_py()
        numbers = (n for n, line in enumerate(self.data.split(b"\n")) if line.rstrip(b"\r"))
        number = next((n for i, n in enumerate(numbers) if i == row), row)
        return f"{self.uri}, line {self.line + number}"


def blocks(source: SourceObject, progress: Callable[[int], None]) -> Iterator[Block]:
    """Yield the inflated text of `source` in blocks; the last line may lack its line end.

    Raises `BadSource` for an empty object, for a line longer than 64 MiB, and for what is not
    text (a NUL byte in the first block).
    """
    line = 1
    held: list[bytes] = []
    size = 0
    for piece in _bgzf.pieces(source, progress):
        held.append(piece)
        size += len(piece)
        if size < BLOCK_BYTES:
            continue
        text = b"".join(held)
        end = text.rfind(b"\n") + 1
        if end:
            yield _block(source.uri, line, text[:end])
            line += text.count(b"\n", 0, end)
            text = text[end:]
        if len(text) > LINE_LIMIT_BYTES:
            where = f"{source.uri}, line {line}"
            raise BadSource(f"a line is longer than {LINE_LIMIT_BYTES:,} bytes", where)
        held, size = [text], len(text)
    rest = b"".join(held)
    if rest:
        yield _block(source.uri, line, rest)
    elif line == 1:
        raise BadSource("the object is empty", source.uri)


def _block(uri: str, line: int, data: bytes) -> Block:
    if line == 1 and b"\0" in data[: 1 << 16]:
        what = (
            "the object is BCF, not text" if data.startswith(b"BCF") else "the object is not text"
        )
        raise BadSource(what, uri, "convert BCF with: bcftools view -Oz" if "BCF" in what else "")
    return Block(uri, line, data)


def split_tabs(block: Block, names: Sequence[str], wanted: Sequence[str]) -> tuple[pa.Table, int]:
    """The `wanted` columns of a block of tab separated rows without header, as strings.

    `names` are all columns, in order; there is no quoting. The second value counts the lines
    that were not UTF-8 and were read as Latin-1 (ClinVar of 2012 has such). Raises `BadSource`
    that names the first row with another number of columns.
    """
    import pyarrow as pa
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter="\t", quote_char=False, double_quote=False)
    convert = csv.ConvertOptions(
        column_types=dict.fromkeys(wanted, pa.string()),
        include_columns=list(wanted),
        strings_can_be_null=False,
    )
    read = csv.ReadOptions(column_names=list(names), block_size=max(len(block.data), 1 << 16))
    data, foreign = block.data, 0
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        data, foreign = _as_utf8(data)
    try:
        table = csv.read_csv(pa.py_buffer(data), read, parse, convert)
    except pa.ArrowInvalid as error:
        raise _bad_row(block, len(names), error) from error
    return table, foreign


def _as_utf8(data: bytes) -> tuple[bytes, int]:
    lines, foreign = data.split(b"\n"), 0
    for number, line in enumerate(lines):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError:
            lines[number] = line.decode("latin-1").encode("utf-8")
            foreign += 1
    return b"\n".join(lines), foreign


def _bad_row(block: Block, columns: int, error: Exception) -> BadSource:
    rows = [line for line in block.data.split(b"\n") if line.rstrip(b"\r")]
    for row, line in enumerate(rows):
        found = line.count(b"\t") + 1
        if found != columns:
            what = f"the row has {found} columns separated by tabs, not {columns}"
            return BadSource(what, block.where(row))
    return BadSource(f"the rows cannot be read: {error}", block.where(0))
