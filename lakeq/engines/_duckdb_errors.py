"""DuckDB's errors as ours: its own words, with the file or line they are about."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lakeq.errors import (
    BadLake,
    LakeqError,
    OutOfMemory,
    QueryFailed,
    StorageUnavailable,
)

if TYPE_CHECKING:
    import duckdb


def explain(error: duckdb.Error, paths: Sequence[str] = ()) -> LakeqError:
    """Our error for one of DuckDB's, in its own words; `paths` are the data files by address.

    An error that names one of the data files, or that only a damaged file can cause, is `BadLake`.
    """
    said = str(error)
    if _CLOSED in said:  # what it says of the first attempt to fetch rows, before the error
        said = said.partition("\nError: ")[2] or said
    text = _ADDRESS.sub(lambda found: _path(paths, found), said)
    named = next((path for path in paths if path in text), None)
    if named is not None or (paths and _of_a_file(error, text)):
        where = named or (paths[0] if len(paths) == 1 else f"one of {len(paths)} files")
        return BadLake(headline(text) or "it cannot be read", where, DAMAGED_HINT)
    if text.startswith("INTERNAL"):
        hint = "is a file damaged? lakeq verify; if none is, this is a bug in DuckDB"
        return QueryFailed(headline(text), "the query", hint)
    if text.startswith("Out of Memory"):
        hint = "raise memory_limit, or ask for fewer rows or columns"
        return OutOfMemory(headline(text), "the query", hint)
    if "No space left" in text or "max_temp_directory_size" in text:
        hint = "make room, or set temp_dir to a larger disk"
        return StorageUnavailable(headline(text), "the folder for spilled rows", hint)
    body, where = _placed(text)
    return QueryFailed(body, where)


_CLOSED = "Attempting to execute an unsuccessful or closed pending query result"
_KIND = re.compile(r"(?:INTERNAL|INTERRUPT|[A-Z][A-Za-z ]{2,40}) Error: |Out of Memory Error: ")


def in_arrow(error: OSError | ValueError) -> duckdb.Error | None:
    """DuckDB's error that pyarrow raises as one of its own, None for any other."""
    import duckdb

    text = str(error)
    if not _KIND.match(text):
        return None
    kinds = {"INTERRUPT": duckdb.InterruptException, "Conversion": duckdb.ConversionException}
    return kinds.get(text.partition(" ")[0], duckdb.DatabaseError)(text)


_ADDRESS = re.compile(r"lakeq://(\d+)")


def _path(paths: Sequence[str], found: re.Match[str]) -> str:
    number = int(found[1])
    return paths[number] if number < len(paths) else found[0]


# What DuckDB says of Parquet that it cannot follow, without the name of the file.
_DAMAGED = re.compile(
    r"TProtocolException|TTransportException|ZSTD|[Cc]hecksum|[Cc]orrupt|out of buffer|[Pp]arquet"
    r"|Invalid unicode \(byte sequence mismatch\)|DELTA_|[Dd]ictionary offset|[Ss]nappy"
)


DAMAGED_HINT = "see: lakeq verify; what can be ingested again: lakeq verify --repair"


_OF_THE_QUERY = ("Conversion", "Binder", "Catalog", "Parser", "Out of Range")  # they quote values


def _of_a_file(error: duckdb.Error, text: str) -> bool:
    """Whether only a damaged file explains the error: its readers raise without DuckDB's types."""
    import duckdb

    if text.startswith(_OF_THE_QUERY):
        return False
    return type(error) is duckdb.Error or _DAMAGED.search(text) is not None


def headline(text: str) -> str:
    """The first line, without DuckDB's name for the kind of error."""
    first = text.strip().partition("\n")[0]
    kind, colon, rest = first.partition(": ")
    return rest if colon and kind.endswith("Error") else first


def _placed(text: str) -> tuple[str, str]:
    """What DuckDB says and which line of the query it points to."""
    body, marker, place = text.partition("\nLINE ")
    kind, colon, rest = body.strip().partition(": ")
    words = rest if colon and kind.endswith("Error") else body.strip()
    number = place.partition(":")[0]
    where = f"the query, line {number}" if marker and number.isdigit() else "the query"
    return "\n".join(line for line in words.splitlines() if line.strip()), where
