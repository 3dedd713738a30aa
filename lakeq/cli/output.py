r"""Rows to table, CSV, TSV, JSON, JSON lines, Markdown, Arrow and Parquet, in constant memory.

Text is UTF-8 with `\n` line ends. In CSV and TSV (RFC 4180) NULL is an empty cell and an empty
string is `""`; lists, structs and maps are JSON. In JSON, NULL and what JSON has no number for
(NaN, infinities) are null. Table and Markdown write control characters out.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, cast

from lakeq import cost
from lakeq.cli.text import neutral
from lakeq.engines import ResultColumn, Row
from lakeq.errors import AccessDenied, NotFound, StorageUnavailable, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

TEXT_FORMATS = ("table", "csv", "tsv", "json", "jsonl", "markdown")
BINARY_FORMATS = ("arrow", "parquet")
FORMATS = TEXT_FORMATS + BINARY_FORMATS
SUFFIXES = {
    ".txt": "table",
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".md": "markdown",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".parquet": "parquet",
}
MAX_CELL = 60  # characters of a cell on a terminal
DOLLARS = "DECIMAL(38,18)"
_RUNS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # what makes a cell a formula (OWASP)
_NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL\(.*\)")


Cell = Callable[[object], str]
Quick = Mapping[type, Callable[[Any], Iterable[str]]]  # writers of columns of one type


class Rows(Protocol):
    """What can be printed: columns, and rows in parts."""

    @property
    def columns(self) -> Sequence[ResultColumn]:
        """Names and types."""
        ...

    def stream(self) -> Iterator[Sequence[Row]]:
        """The rows, some at a time."""
        ...


class ArrowRows(Rows, Protocol):
    """What can be written as Arrow too."""

    def reader(self) -> pa.RecordBatchReader:
        """The schema, and the rows as record batches."""
        ...


@dataclass(frozen=True, slots=True)
class Listing:
    """A few rows that are already there."""

    columns: Sequence[ResultColumn]
    rows: Sequence[Row]

    def stream(self) -> Iterator[Sequence[Row]]:
        """All rows at once."""
        yield self.rows

    def reader(self) -> pa.RecordBatchReader:
        """The rows as Arrow."""
        import pyarrow as pa

        types = {
            "VARCHAR": pa.string(),
            "BIGINT": pa.int64(),
            "DOUBLE": pa.float64(),
            "BOOLEAN": pa.bool_(),
            "TIMESTAMP": pa.timestamp("us", tz="UTC"),
            DOLLARS: pa.decimal128(38, 18),
        }
        fields = [pa.field(column.name, types[column.type]) for column in self.columns]
        arrays = [
            pa.array([row[number] for row in self.rows], field.type)
            for number, field in enumerate(fields)
        ]
        return pa.Table.from_arrays(arrays, schema=pa.schema(fields)).to_reader()


def listing(rows: Sequence[Row], /, **types: str) -> Listing:
    """`rows` under columns given as name=type."""
    return Listing([ResultColumn(name, type_) for name, type_ in types.items()], rows)


@dataclass(frozen=True, slots=True)
class Style:
    """How text is printed: on a terminal cells are cut; `csv_safe` disarms spreadsheet formulas."""

    terminal: bool = False
    csv_safe: bool = False


def write(rows: Rows, format: str, out: IO[bytes], style: Style) -> None:
    """Write all rows to `out`."""
    if format in BINARY_FORMATS:
        _BINARY[format](cast("ArrowRows", rows), out)
        return
    for text in _TEXT[format](rows, style):
        out.write(text.encode("utf-8", "surrogatepass"))
    out.flush()


def write_to(rows: Rows, format: str | None, output: str | None, style: Style) -> None:
    """Write all rows to the file `output`, whose suffix is the format, else to standard output."""
    target = None if output in (None, "-") else Path(str(output))
    if target is not None:
        with opened(target) as file:
            write(rows, format or format_of(target), file, style)
        return
    kind = format or "table"
    if kind in BINARY_FORMATS and sys.stdout.isatty():
        raise UsageError(f"{kind} is not for a terminal", "--format", "add -o FILE, or a pipe")
    write(rows, kind, sys.stdout.buffer, style)


def format_of(path: Path) -> str:
    """The format that the suffix of `path` names; `UsageError` when it names none."""
    if path.suffix.lower() not in SUFFIXES:
        hint = f"add --format, or end the name in {', '.join(SUFFIXES)}"
        raise UsageError(f"no format is known for {path.name!r}", "--output", hint)
    return SUFFIXES[path.suffix.lower()]


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name only when everything is written."""
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as device:
                yield device
            return
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                yield file
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
    except FileNotFoundError as error:
        raise NotFound(f"no folder {str(path.parent)!r}", "--output") from error
    except PermissionError as error:
        raise AccessDenied(f"cannot write {str(path)!r}", "--output") from error
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageUnavailable(f"cannot write: {error.strerror}", str(path)) from error


# Cells


def _nested(value: object) -> str:
    return json.dumps(_clean(value), ensure_ascii=False, separators=(",", ":"))


def _plain(value: object) -> str:
    """One value as text: what a reader of CSV expects, JSON for what has parts."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict | tuple):
        return _nested(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"  # 0.0000005, where str says 5E-7
    return value.hex() if isinstance(value, bytes) else str(value)


def _clean(value: object) -> object:
    """`value` as what JSON can say."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_plain(key): _clean(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(part) for part in value]
    return _number(value) if isinstance(value, Decimal) else _plain(value)


def _number(value: Decimal) -> object:
    """A JSON number where it says the value exactly, else text."""
    if not value.is_finite():
        return None
    if value == value.to_integral_value():
        return int(value)
    return cost.number(value)


# Writers


def _separated(rows: Rows, style: Style, separator: str) -> Iterator[str]:
    special = re.compile(f'[{separator}"\r\n]')

    def quoted(text: str) -> str:
        if style.csv_safe and text[:1] in _RUNS:
            text = "'" + text
        if text and not special.search(text):
            return text
        return '"' + text.replace('"', '""') + '"'

    def cell(value: object) -> str:
        if value is None:
            return ""
        text = _plain(value)
        return text if isinstance(value, int | float) else quoted(text)

    def texts(column: Sequence[str]) -> Iterable[str]:
        """A column of strings, most of which need no quotes: one search for all of them."""
        if style.csv_safe or not all(column) or special.search(" ".join(column)):
            return map(quoted, column)
        return column

    quick: Quick = {int: _numbers, float: _numbers, str: texts}
    yield separator.join(quoted(column.name) for column in rows.columns) + "\n"
    for part in rows.stream():
        cells = [_encoded(column, quick, cell) for column in zip(*part, strict=True)]
        yield "".join([separator.join(row) + "\n" for row in zip(*cells, strict=True)])


def _numbers(column: Sequence[object]) -> Iterable[str]:
    return map(str, column)


def _encoded(column: Sequence[object], quick: Quick, cell: Cell) -> Iterable[str]:
    """The cells of one column, at once where `quick` has a writer for its only type."""
    types = set(map(type, column))
    whole = quick.get(types.pop()) if len(types) == 1 else None
    return whole(column) if whole else map(cell, column)


def _csv(rows: Rows, style: Style) -> Iterator[str]:
    return _separated(rows, style, ",")


def _tsv(rows: Rows, style: Style) -> Iterator[str]:
    return _separated(rows, style, "\t")


def _objects(rows: Rows) -> Iterator[list[str]]:
    encode = json.JSONEncoder(ensure_ascii=False).encode
    names = [encode(name) for name in _unique([column.name for column in rows.columns])]
    form = "{" + ", ".join(f"{name.replace('%', '%%')}: %s" for name in names) + "}"

    def texts(column: Sequence[str]) -> Iterable[str]:
        return map(json.encoder.encode_basestring, column)

    quick: Quick = {int: _numbers, str: texts}

    def cell(value: object) -> str:
        return encode(_clean(value))

    for part in rows.stream():
        cells = [_encoded(column, quick, cell) for column in zip(*part, strict=True)]
        yield [form % row for row in zip(*cells, strict=True)]


def _unique(names: Sequence[str]) -> list[str]:
    """`names` with `_1`, `_2` behind those that come again."""
    ordered: list[str] = []
    for name in names:
        candidate, number = name, 0
        while candidate in ordered:
            number += 1
            candidate = f"{name}_{number}"
        ordered.append(candidate)
    return ordered


def _jsonl(rows: Rows, _style: Style) -> Iterator[str]:
    for part in _objects(rows):
        yield "".join([line + "\n" for line in part])


def _json(rows: Rows, _style: Style) -> Iterator[str]:
    lead = "[\n"
    for part in _objects(rows):
        if part:
            yield lead + ",\n".join(part)
            lead = ",\n"
    yield "[]\n" if lead == "[\n" else "\n]\n"


def _markdown(rows: Rows, _style: Style) -> Iterator[str]:
    def cell(value: object) -> str:
        return neutral(_plain(value)).replace("\\", "\\\\").replace("|", "\\|")

    rules = ["---:" if _is_number(column) else "---" for column in rows.columns]
    yield "| " + " | ".join(cell(column.name) for column in rows.columns) + " |\n"
    yield "| " + " | ".join(rules) + " |\n"
    for part in rows.stream():
        yield "".join(["| " + " | ".join(map(cell, row)) + " |\n" for row in part])


def _table(rows: Rows, style: Style) -> Iterator[str]:
    """Columns wide enough for the first part of the rows."""

    def cell(value: object) -> str:
        text = "NULL" if value is None else neutral(_plain(value))
        return text[: MAX_CELL - 1] + "…" if style.terminal and len(text) > MAX_CELL else text

    parts = rows.stream()
    first = [[cell(value) for value in row] for row in next(parts, [])]
    names = [neutral(column.name) for column in rows.columns]
    widths = [max(map(len, column)) for column in zip(names, *first, strict=True)]
    right = [_is_number(column) for column in rows.columns]

    def line(cells: Sequence[str]) -> str:
        padded = zip(cells, widths, right, strict=True)
        return "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in padded).rstrip() + "\n"

    yield line(names) + line(["-" * width for width in widths])
    for part in chain([first], ([list(map(cell, row)) for row in part] for part in parts)):
        yield "".join([line(cells) for cells in part])


def _is_number(column: ResultColumn) -> bool:
    return _NUMBER.fullmatch(column.type) is not None


def _arrow(rows: ArrowRows, out: IO[bytes]) -> None:
    import pyarrow as pa

    reader = rows.reader()
    with pa.ipc.new_stream(out, reader.schema) as stream:
        for batch in reader:
            stream.write_batch(batch)


def _parquet(rows: ArrowRows, out: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    reader = rows.reader()
    with pq.ParquetWriter(out, reader.schema, compression="zstd") as file:
        for batch in reader:
            file.write_batch(batch)


_TEXT: dict[str, Callable[[Rows, Style], Iterator[str]]] = {
    "table": _table,
    "csv": _csv,
    "tsv": _tsv,
    "json": _json,
    "jsonl": _jsonl,
    "markdown": _markdown,
}
_BINARY: dict[str, Callable[[ArrowRows, IO[bytes]], None]] = {"arrow": _arrow, "parquet": _parquet}
