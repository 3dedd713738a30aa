"""A raw format of tests for notifications: lines `name version number`, no samples.

    ktlx-1 3 0
    ktlx-1 3 1

Each row carries the version of its object, so that rows of two versions would show.
`!fail` as a line is a bad object, `!slow` one that reads its bytes singly. A region, such as
`any:0-1`, limits the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from lakeq import types
from lakeq.catalog import Column, Dataset, Table, Topic
from lakeq.errors import BadSource
from lakeq.formats import ReadContext, TableBatch
from lakeq.storage import SourceObject

KEYS = "s3://{bucket}/{{site}}/{{time:%Y%m%d-%H%M%S}}{{rest}}"
PIECE_BYTES = 64 << 10


def dataset(bucket: str, topics: tuple[str, ...] = (), more: tuple[str, ...] = ()) -> Dataset:
    """A dataset of this format whose objects are all those of `bucket`; `more` are columns."""
    columns = {"name": "string", "version": "int64", "number": "int64"}
    described = [Column(name, type_, name) for name, type_ in columns.items()]
    described += [Column(name, "string", name) for name in more]
    objects = (f"s3://{bucket}/**",)
    rows = Table("marks", "rows", "rows", "marks", tuple(described), objects=objects,
                 region="us-east-1", access="signed")  # fmt: skip
    return Dataset(
        "marks",
        "Marks",
        "marks",
        "none",
        "none",
        "",
        {"rows": rows},
        topics=tuple(map(Topic, topics)),
        keys={"archive": KEYS.format(bucket=bucket)},
    )


def body(name: str, version: int = 1, rows: int = 3) -> bytes:
    """An object of this format."""
    return "".join(f"{name} {version} {number}\n" for number in range(rows)).encode()


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """The rows of the one table."""
    data = bytearray()
    with source.open() as stream:
        while piece := stream.read(PIECE_BYTES):
            data += piece
            context.progress(len(data))
    schema = types.arrow_schema(tables["rows"])  # columns that only the catalog has are NULL
    rows = []
    for number, line in enumerate(data.decode().splitlines()):
        if line == "!fail":
            raise BadSource("a line says !fail", f"{source.uri}, line {number + 1}")
        name, version, row = line.split()
        if context.options.regions and not _within(int(row), context.options.regions):
            continue
        rows.append({"name": name, "version": int(version), "number": int(row)})
    yield TableBatch("rows", (), pa.RecordBatch.from_pylist(rows, schema))


def _within(number: int, regions: tuple[str, ...]) -> bool:
    spans = [region.partition(":")[2].partition("-") for region in regions]
    return any(int(low) <= number <= int(high) for low, _, high in spans)
