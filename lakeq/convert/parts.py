"""Things that come in parts: what is kept aside of each part, and the rows that tell of the whole.

A radar volume arrives as some sixty chunks, shuffled, doubled, some never. The rows of each chunk
go into the tables as they are; the tables that tell of the volume as a whole are worked out anew
from what was kept aside of the chunks that have come. That lies in the dataset's hidden table
`_parts`, committed together with the rows, and goes when the whole object takes over.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lakeq import types
from lakeq.catalog import SOURCE_COLUMN, Column, Table
from lakeq.convert.sink import Sink

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Dataset
    from lakeq.convert.things import Converted, Things
    from lakeq.formats import Assembling, Format
    from lakeq.lake import IcebergLake
    from lakeq.lake.parquet import NewFile, TableWriter
    from lakeq.storage import SourceObject

NAME = "_parts"
_COLUMNS = {
    "key": "what the object is a part of",
    "part": "name of the part; parts are put together in the order of their names",
    "version": "version of the object when it was read",
    "tables": "tables that the object was ingested into, JSON",
    "aside": "rows kept aside, by table: base64 of Arrow's IPC format, JSON",
}


def parts_table(dataset: Dataset) -> Table:
    """The hidden table of what is kept aside of parts: one row per part."""
    columns = tuple(Column(name, "string", doc) for name, doc in _COLUMNS.items())
    doc = "One row per part of a thing that is not there as a whole."
    return Table(dataset.name, NAME, doc, next(iter(dataset.tables.values())).format, columns)


@dataclass(frozen=True, slots=True)
class Part:
    """One part that the lake has: `aside` is read when it is needed."""

    uri: str
    key: str
    part: str
    version: str
    tables: frozenset[str]
    packed: str

    @property
    def aside(self) -> dict[str, pa.Table]:
        """The rows kept aside, by table."""
        return unpacked(self.packed)


def packed(aside: Mapping[str, pa.Table]) -> str:
    """Rows by table as one text."""
    import pyarrow as pa

    options = pa.ipc.IpcWriteOptions(compression="zstd")
    texts = {}
    for name, rows in aside.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema, options=options) as writer:
            writer.write_table(rows)
        texts[name] = base64.b64encode(sink.getvalue()).decode("ascii")
    return json.dumps(texts)


def unpacked(text: str) -> dict[str, pa.Table]:
    """The rows by table of what `packed` gave."""
    import pyarrow as pa

    texts: dict[str, str] = json.loads(text)
    return {
        name: pa.ipc.open_stream(base64.b64decode(data)).read_all() for name, data in texts.items()
    }


def known_parts(lake: IcebergLake, things: Things, keys: Iterable[str]) -> dict[str, list[Part]]:
    """The parts that the lake has of these things, by key."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = sorted(set(keys))
    found: dict[str, list[Part]] = {key: [] for key in wanted}
    for path in sorted(things.paths(wanted, NAME)):
        table = lake.read_file(path)
        rows = table.filter(pc.is_in(table["key"], value_set=pa.array(wanted, pa.string())))
        for row in rows.to_pylist():
            tables = frozenset(json.loads(row["tables"]))
            uri = row[SOURCE_COLUMN]
            part = Part(uri, row["key"], row["part"], row["version"], tables, row["aside"])
            found[part.key].append(part)
    return found


def write_parts(writer: TableWriter, taken: Sequence[Converted]) -> NewFile:
    """A file of the hidden table with what is kept aside of these parts of one thing."""
    import pyarrow as pa

    rows = [
        {
            "key": item.identity.key,
            "part": item.identity.part,
            "version": item.source.version,
            "tables": json.dumps(sorted(item.tables)),
            "aside": packed(item.aside),
            SOURCE_COLUMN: item.source.uri,
        }
        for item in taken
        if item.identity is not None
    ]
    schema = types.arrow_schema(writer.table).append(pa.field(SOURCE_COLUMN, pa.string()))
    file = writer.merged("", rows[0]["key"])
    file.write(pa.RecordBatch.from_pylist(rows, schema))
    return file.close()


def combined(
    reader: Format,
    tables: Mapping[str, Table],
    known: Sequence[Part],
    taken: Sequence[Converted],
    writers: Mapping[str, TableWriter],
) -> dict[str, list[NewFile]]:
    """New files of the summaries `tables` of one thing, from its known and its new parts.

    Their rows are said to come from the first part, so that ingesting it again makes them anew.
    """
    named = {item.identity.part: item for item in taken if item.identity is not None}
    asides = {part.part: part.aside for part in known if part.part not in named}
    uris = {part.part: part.uri for part in known if part.part not in named}
    asides |= {name: item.aside for name, item in named.items()}
    uris |= {name: item.source.uri for name, item in named.items()}
    order = sorted(asides)
    sink = Sink(uris[order[0]], writers)
    assembling = cast("Assembling", reader)
    try:
        for batch in assembling.combine(tables, [asides[name] for name in order]):
            sink.write(batch)
        sink.close()
    finally:
        sink.abort()
    return sink.finished


def summaries(reader: Format) -> frozenset[str]:
    """The tables of a format whose rows tell of a whole thing."""
    return frozenset(getattr(reader, "SUMMARIES", frozenset()))


def to_read(tables: frozenset[str], source: SourceObject, known: Iterable[Part]) -> bool:
    """Whether this version of a part has to be read: the lake has not all its rows yet."""
    return not any(
        part.uri == source.uri and part.version == source.version and tables <= part.tables
        for part in known
    )
