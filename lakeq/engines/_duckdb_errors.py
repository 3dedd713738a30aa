"""DuckDB's errors as ours: its own words, without secrets, with the file or line they are about."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lakeq.errors import (
    AccessDenied,
    BadLake,
    LakeqError,
    QueryFailed,
    StorageUnavailable,
)

if TYPE_CHECKING:
    import duckdb


def explain(
    error: duckdb.Error, secrets: Sequence[str] = (), paths: Collection[str] = ()
) -> LakeqError:
    """Our error for one of DuckDB's: its own words, with secrets blotted out.

    An error that names one of the data files `paths`, or that only a damaged file can cause, is
    `BadLake`.
    """
    text = str(error)
    for secret in secrets:
        text = text.replace(secret, "***")
    status = getattr(error, "status_code", None)
    if status is not None or "HTTP" in text.partition(":")[0] or "for HTTP" in text:
        return _storage_error(text, int(status) if status else 0)
    named = next((path for path in paths if path in text), None)
    if named is not None or (paths and _of_a_file(error, text)):
        where = named or (next(iter(paths)) if len(paths) == 1 else f"one of {len(paths)} files")
        return BadLake(headline(text) or "it cannot be read", where, DAMAGED_HINT)
    if text.startswith("INTERNAL"):
        hint = "is a file damaged? lakeq verify; if none is, this is a bug in DuckDB"
        return QueryFailed(headline(text), "the query", hint)
    if text.startswith("Out of Memory"):
        hint = "raise memory_limit, or ask for fewer rows or columns"
        return QueryFailed(headline(text), "the query", hint)
    if "No space left" in text or "max_temp_directory_size" in text:
        hint = "make room, or set temp_dir to a larger disk"
        return StorageUnavailable(headline(text), "the folder for spilled rows", hint)
    body, where = _placed(text)
    return QueryFailed(body, where)


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


def _storage_error(text: str, status: int) -> LakeqError:
    """What an HTTP status from S3, or none at all, means to the user."""
    address = re.search(r"'((?:s3|https?)://[^'?]+)", text)
    where = address[1] if address else "S3"
    what = headline(text).partition(" for HTTP")[0]
    if status in (401, 403):
        hint = "check credentials (--profile, --anon), the region, or whether the requester pays"
        return AccessDenied(what, where, hint)
    if status == 404:
        return BadLake(what, where, "the lake names a file that is not there; ingest it again")
    if status in (301, 307, 400):
        hint = "the bucket may be in another region: set s3.region (--region)"
        return AccessDenied(what, where, hint)
    return StorageUnavailable(what, where, "try again; check the endpoint and the network")


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
