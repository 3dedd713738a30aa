"""A tiny raw format of things that come whole, in copies and in parts, for tests of the ingest.

An object is called THING.whole (or .whole.gz: a copy; nothing is packed) or THING.NNN.part; its
lines are numbers. `pieces` has one row per number, `things` one row per thing: how many numbers,
their sum, and whether it is whole. Kept aside of a part is a row of `things`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from lakeq import types
from lakeq.catalog import Column, Dataset, Table
from lakeq.errors import BadSource
from lakeq.formats import Identity, ReadContext, TableBatch
from lakeq.storage import SourceObject

SUMMARIES = frozenset({"things"})
_NAME = re.compile(r"(?:.*/)?(?P<key>[a-z]+)\.(?:(?P<part>\d{3})\.part|whole(?:\.gz)?)")


def _table(name: str, columns: dict[str, str]) -> Table:
    described = tuple(Column(key, value, key) for key, value in columns.items())
    return Table("puzzle", name, name, "puzzle", described, partition_by=("thing",), sort_by=("n",))


PIECES = _table("pieces", {"thing": "string", "n": "int64"})
THINGS = _table("things", {"thing": "string", "n": "int64", "total": "int64", "whole": "bool"})


def dataset() -> Dataset:
    """The dataset of this format."""
    tables = {"pieces": PIECES, "things": THINGS}
    return Dataset("puzzle", "Puzzle", "made", "none", "none", "", tables, skip=("*.skip",))


def identity(uri: str) -> Identity | None:
    """The thing is named before the first dot; a whole one outranks its parts."""
    found = _NAME.fullmatch(uri)
    if found is None:
        return None
    part = found["part"] or ""
    return Identity(found["key"], 0 if part else 1, part)


def at_once(tables: Mapping[str, Table]) -> int:
    """Three objects at a time."""
    return 3


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """The batches of `pieces` and `things`."""
    own = identity(source.uri)
    with source.open() as stream:
        lines = stream.read().decode().split()
    if "!fail" in lines:
        raise BadSource("a line says !fail", source.uri, "mend the object")
    numbers = [int(line) for line in lines]
    thing = own.key if own else "other"
    rows = {
        "pieces": [{"thing": thing, "n": number} for number in numbers],
        "things": [_thing(thing, len(numbers), sum(numbers), own is None or not own.part)],
    }
    for name, table in tables.items():
        schema = types.arrow_schema(table)
        yield TableBatch(name, (thing,), pa.RecordBatch.from_pylist(rows[name], schema))


def combine(
    tables: Mapping[str, Table], parts: Sequence[Mapping[str, pa.Table]]
) -> Iterator[TableBatch]:
    """One row of `things` from those of the parts; it is never whole."""
    rows = [row for part in parts for row in part["things"].to_pylist()]
    thing = rows[0]["thing"]
    row = _thing(thing, sum(r["n"] for r in rows), sum(r["total"] for r in rows), False)
    schema = types.arrow_schema(tables["things"])
    yield TableBatch("things", (thing,), pa.RecordBatch.from_pylist([row], schema))


def _thing(thing: str, count: int, total: int, whole: bool) -> dict[str, object]:
    return {"thing": thing, "n": count, "total": total, "whole": whole}
