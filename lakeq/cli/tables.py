"""`lakeq tables`, `describe` and `snapshots`: what there is, what it means, how it came about."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lakeq.cli.options import connect, lake_options, listing_format
from lakeq.cli.output import Style, listing, write
from lakeq.cli.text import neutral

if TYPE_CHECKING:
    from lakeq._lake_queries import TableInfo


_TYPE_WIDTH = 25  # characters of a type in a line


@click.command()
@listing_format
@lake_options
def tables(format: str) -> None:
    """List every table of the catalog, and how much of it the lake holds.

    A table that is not ingested yet has no rows, bytes and files (NULL).

    \b
    lakeq tables
    lakeq tables --format json
    lakeq tables --format csv | head
    """
    rows = [
        (
            info.name,
            info.table.assembly or None,
            *((info.rows, info.size_bytes, info.files) if info.snapshot else (None,) * 3),
            info.table.doc.partition(". ")[0].removesuffix("."),
        )
        for info in connect().tables()
    ]
    found = listing(
        rows,
        table="VARCHAR",
        assembly="VARCHAR",
        rows="BIGINT",
        bytes="BIGINT",
        files="BIGINT",
        meaning="VARCHAR",
    )
    write(found, format, sys.stdout.buffer, Style(sys.stdout.isatty()))


@click.command()
@click.argument("table")
@click.option(
    "--format",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="Text for people, or one JSON object.",
)
@lake_options
def describe(table: str, format: str) -> None:
    """Say what TABLE is: columns with types and units, size, source, licence.

    \b
    lakeq describe clinvar.grch37
    lakeq describe thousand_genomes.variants
    lakeq describe thousand_genomes.samples --format json
    """
    info = connect().table(table)
    if format == "json":
        click.echo(json.dumps({**facts(info), "columns": _columns(info)}, ensure_ascii=False))
        return
    for line in _described(info, shutil.get_terminal_size((100, 24)).columns):
        click.echo(neutral(line))


def _described(info: TableInfo, width: int) -> Iterator[str]:
    """The facts, an empty line and the columns, in lines of about `width` characters."""
    for name, value in facts(info).items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else value
        if shown not in (None, ""):
            yield from _hanging(f"{name + ':':16}", str(shown), width)
    yield ""
    columns = [{"column": "column", "type": "type", "unit": "unit", "meaning": "meaning"}]
    columns += _columns(info)
    # The type of a struct or of a list of them is long: it has lines of its own.
    kinds = [textwrap.wrap(c["type"], _TYPE_WIDTH, break_on_hyphens=False) for c in columns]
    cells = [(c["column"], kind, c["unit"]) for c, kind in zip(columns, kinds, strict=True)]
    name_width = max(len(name) for name, _, _ in cells)
    type_width = max(len(line) for _, kind, _ in cells for line in kind)
    unit_width = max(len(unit) for _, _, unit in cells)
    for (name, kind, unit), column in zip(cells, columns, strict=True):
        head = f"{name:{name_width}}  {kind[0]:{type_width}}  {unit:{unit_width}}  "
        lines = _hanging(head, column["meaning"], width)
        for n, line in enumerate(kind[1:], 1):
            start = f"{'':{name_width}}  {line:{type_width}}"
            if n < len(lines):
                lines[n] = start + lines[n][len(start) :]
            else:
                lines.append(start.rstrip())
        yield from lines


def _hanging(head: str, text: str, width: int) -> list[str]:
    """`head` and then `text`, broken into lines that begin below its beginning."""
    room = max(width - len(head), 30)
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    indent = " " * len(head)
    return [(head if n == 0 else indent) + line for n, line in enumerate(lines)]


def facts(info: TableInfo) -> dict[str, object]:
    """What is known of a table besides its columns; sizes are None when it is not ingested."""
    here = info.snapshot is not None
    return {
        "table": info.name,
        "meaning": info.table.doc,
        "dataset": info.dataset.title,
        "assembly": info.table.assembly,
        "rows": info.rows if here else None,
        "bytes": info.size_bytes if here else None,
        "files": info.files if here else None,
        "partitioned by": list(info.table.partition_by),
        "partitions": list(info.partitions),
        "snapshot": info.snapshot.snapshot_id if info.snapshot else None,
        "made by": info.table.query,
        "made from": [f"{name} at {number}" for name, number in info.made_from.items()],
        "source": list(info.table.objects),
        "keys": [f"{name}: {text}" for name, text in info.dataset.keys.items()],
        "region": info.table.region,
        "access": info.table.access.replace("_", " ") if info.table.objects else "",
        "licence": info.dataset.license,
        "citation": info.dataset.citation,
        "homepage": info.dataset.homepage,
    }


def _columns(info: TableInfo) -> list[dict[str, str]]:
    return [
        {"column": c.name, "type": c.type, "unit": c.unit, "meaning": c.doc} for c in info.columns
    ]


@click.command()
@click.argument("table")
@listing_format
@lake_options
def snapshots(table: str, format: str) -> None:
    """List the snapshots of TABLE, oldest first; lakeq sql --at takes their ids and times.

    \b
    lakeq snapshots clinvar.grch37
    lakeq snapshots clinvar.grch37 --format json
    lakeq snapshots thousand_genomes.variants --format csv
    """
    rows = [
        (s.snapshot_id, s.committed_at, s.operation, s.rows, s.files, s.size_bytes)
        for s in connect().snapshots(table)
    ]
    found = listing(
        rows,
        snapshot="BIGINT",
        committed_at="TIMESTAMP",
        operation="VARCHAR",
        rows="BIGINT",
        files="BIGINT",
        bytes="BIGINT",
    )
    write(found, format, sys.stdout.buffer, Style(sys.stdout.isatty()))
