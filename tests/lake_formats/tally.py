"""A tiny raw format for tests of the lake: text lines `contig pos allele`, and who carries it.

    #samples ann bob
    22 1000 A 1 0
    22 1001 C 0 1

fills `sites` (one row per line, partition contig) and `carriers` (one row per carried allele).
`!fail` as a line is a bad object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import pyarrow as pa

from lakeq import types
from lakeq.catalog import Column, Dataset, Table
from lakeq.errors import BadSource
from lakeq.formats import ReadContext, TableBatch
from lakeq.storage import SourceObject

BATCH_LINES = 1000


def _table(name: str, columns: dict[str, str], **more: object) -> Table:
    described = tuple(Column(key, value, key) for key, value in columns.items())
    return Table("made", name, name, "tally", described, **more)  # type: ignore[arg-type]  # kept short


SITES = _table(
    "sites",
    {"contig": "string", "pos": "int64", "allele": "string", "carriers": "list<int32>"},
    partition_by=("contig",),
    sort_by=("pos",),
)
CARRIERS = _table("carriers", {"sample": "string", "pos": "int64", "allele": "string"})
SAMPLES = _table(
    "samples",
    {
        "sample": "string",
        "number": "int32",
        "population": "string",
        "super_population": "string",
        "sex": "string",
    },
)
RELEASE = _table("release", {"pos": "int64", "allele": "string"}, replace="table")


def dataset(*tables: Table, panel: str = "") -> Dataset:
    """A dataset of this format; all its tables but `release` unless told otherwise."""
    chosen = tables or (SITES, CARRIERS, SAMPLES)
    by_name = {table.name: table for table in chosen}
    return Dataset("made", "Made", "made", "none", "none", "", by_name, panel=panel)


def sample_names(source: SourceObject) -> list[str]:
    """The names on the first line, where it is `#samples`."""
    with source.open() as stream:
        words = stream.readline().decode().split()
    return words[1:] if words[:1] == ["#samples"] else []


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """The batches of `sites`, `carriers` and `release`, as far as they are wanted."""
    numbers = [sample.number for sample in context.samples.values()]
    names = list(context.samples)
    with source.open() as stream:
        lines = [line.split() for line in stream.read().decode().splitlines()]
    rows = [line for line in lines if line and not line[0].startswith("#")]
    for start in range(0, len(rows), BATCH_LINES):
        context.progress(source.size_bytes * start // len(rows))
        yield from _batches(source, tables, rows[start : start + BATCH_LINES], names, numbers)


def _batches(
    source: SourceObject,
    tables: Mapping[str, Table],
    rows: list[list[str]],
    names: list[str],
    numbers: list[int],
) -> Iterator[TableBatch]:
    if ["!fail"] in rows:
        raise BadSource("a line says !fail", source.uri, "mend the object")
    by_contig: defaultdict[str, list[list[str]]] = defaultdict(list)
    for row in rows:
        by_contig[row[0]].append(row)
    for contig, part in by_contig.items():
        found = {name: _rows(name, contig, part, names, numbers) for name in tables}
        for name, values in found.items():
            partition = (contig,) if tables[name].partition_by else ()
            schema = types.arrow_schema(tables[name])
            yield TableBatch(name, partition, pa.RecordBatch.from_pylist(values, schema))


def _rows(
    table: str, contig: str, part: list[list[str]], names: list[str], numbers: list[int]
) -> list[dict[str, object]]:
    if table == "sites":
        return [
            {
                "contig": contig,
                "pos": int(row[1]),
                "allele": row[2],
                "carriers": [n for n, flag in zip(numbers, row[3:], strict=True) if flag == "1"],
            }
            for row in part
        ]
    if table == "release":
        return [{"pos": int(row[1]), "allele": row[2]} for row in part]
    return [
        {"sample": name, "pos": int(row[1]), "allele": row[2]}
        for row in part
        for name, flag in zip(names, row[3:], strict=True)
        if flag == "1"
    ]
