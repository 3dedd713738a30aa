"""Landsat: the metadata of a product, a list of scenes or STAC items in, rows of `scenes` out.

What MTL files, STAC items and scene lists are stands in `_landsat_mtl`, `_landsat_stac` and
`_landsat_list`; what the names of objects say in `_landsat_names`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lakeq.errors import BadSource
from lakeq.formats._arrow_values import array_of
from lakeq.formats._landsat_names import is_mtl, of_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import Identity, ReadContext, TableBatch
    from lakeq.formats._landsat_rows import Facts
    from lakeq.selection import Rows, Wanted
    from lakeq.storage import SourceObject

SUMMARIES = frozenset({"scenes"})  # a product comes as one MTL file, or as up to two STAC items
AT_ONCE = 16
_GZIP = b"\x1f\x8b"
_LIST = re.compile(rb"\s*\"?(?:productId|entityId)\"?,", re.IGNORECASE)

__all__ = ["SUMMARIES", "at_once", "combine", "identity", "read", "scan"]


def identity(uri: str) -> Identity | None:
    """The product that an object of metadata tells of; its MTL file outranks its STAC items."""
    from lakeq.formats import Identity as Identified

    found = of_object(uri)
    if found is None:
        return None
    named, part = found
    if is_mtl(uri):
        return Identified(named.id, rank=2)
    return Identified(named.id, part=part) if part else Identified(named.id, rank=1)


def at_once(_tables: Mapping[str, Table]) -> int:
    """Metadata are small: what takes time is asking for them."""
    return AT_ONCE


def read(
    source: SourceObject, tables: Mapping[str, Table], context: ReadContext
) -> Iterator[TableBatch]:
    """Yield the rows of `scenes` that an object tells of, by year.

    An MTL file or a STAC item gives one row, a scene list one for each line, sorted as the catalog
    says. Raises `BadSource` with line or key for what is none of them and for one that is not
    whole.
    """
    wanted = {table.options.get("role", table.name): table for table in tables.values()}
    table = wanted.get("scenes")
    stored = {name: each for name, each in wanted.items() if each.index}
    head = source.read_range(0, min(source.size_bytes, 4096))
    if not head.strip():
        raise BadSource("an empty object, no metadata", source.uri, "fetch the object again")
    if head.startswith(_GZIP) or _LIST.match(head.removeprefix(b"\xef\xbb\xbf")):
        from lakeq.formats import _landsat_list

        if table is not None:
            yield from _landsat_list.read(source, table, context)
        return
    try:
        rows = [_row(found, source, context) for found in _facts(source, context)]
    except (ValueError, OverflowError) as error:  # of an outline that lies nowhere on earth
        hint = "fetch the object again, or leave it out"
        raise BadSource(
            f"the metadata place the scene nowhere: {error}", source.uri, hint
        ) from error
    context.progress(source.size_bytes)
    for year in sorted({row["year"] for row in rows}):
        if table is not None:
            yield _batch(table, year, [row for row in rows if row["year"] == year])
        if "tiles" in wanted:
            for row in rows:
                if row["year"] == year:
                    tiles = list(_tiles(wanted["tiles"], row, source, context))
                    yield from tiles
                    yield from _pixels(stored, tiles, context)


def _pixels(
    tables: Mapping[str, Table], found: Sequence[TableBatch], context: ReadContext
) -> Iterator[TableBatch]:
    """The pixels of a product, materialized; `found` are its tiles."""
    import pyarrow as pa

    from lakeq.formats import TableBatch
    from lakeq.formats._landsat_materialize import rows_of

    if not found:
        return
    index = pa.Table.from_batches([batch.rows for batch in found])
    for table in tables.values():
        for batch in rows_of(table, index, context):
            yield TableBatch(table.name, (), batch)


def _tiles(
    table: Table, row: Mapping[str, Any], source: SourceObject, context: ReadContext
) -> Iterator[TableBatch]:
    """The index of a product's files; a STAC item of surface temperature tells of those alone."""
    from lakeq.formats import TableBatch, _landsat_tiles

    found = identity(source.uri)
    only = "ST_" if found is not None and found.part.upper().startswith("ST") else ""
    for batch in _landsat_tiles.rows(table, row, context, only):
        yield TableBatch(table.name, (str(row["year"]),), batch)


def _facts(source: SourceObject, context: ReadContext) -> list[Facts]:
    from lakeq.formats import _landsat_mtl, _landsat_rows, _landsat_stac

    uri = source.uri
    limit = _landsat_stac.LIMIT_BYTES if uri.endswith("json") else _landsat_mtl.LIMIT_BYTES
    if source.size_bytes > limit:
        what = f"{source.size_bytes:,} bytes, more than metadata have ({limit:,})"
        raise BadSource(what, uri, "is it the right object?")
    data = source.read_range(0, source.size_bytes)
    if data.lstrip()[:1] not in (b"{", b"[") or b'_METADATA_FILE"' in data[:4096]:
        return [_landsat_rows.of_mtl(_landsat_mtl.parse(data, uri), uri)]
    found = [_landsat_stac.facts(item, uri) for item in _landsat_stac.items(data, uri)]
    if days := sum(not any(_clock(facts)) for facts in found):
        context.notes["STAC items that tell the day, but not the time"] = days
    for note in filter(None, (facts.note for facts in found)):
        context.notes[note] = context.notes.get(note, 0) + 1
    return found


def _clock(facts: Facts) -> tuple[int, ...]:
    at = facts.acquired
    return at.hour, at.minute, at.second, at.microsecond


def _row(facts: Facts, source: SourceObject, context: ReadContext) -> dict[str, Any]:
    """The row, with the product's files where they lie: beside the object, or in the buckets."""
    from lakeq.formats import _landsat_stac

    here = source.uri.rpartition("/")[0] + "/"
    named = facts.product.id
    beside = context.beside(here + named)
    sizes = {uri.rpartition("/")[2]: size for uri, size in beside.items()}
    pixels = any(asset.file_name in sizes for asset in facts.assets if _is_tiff(asset.file_name))
    if pixels or here.rstrip("/").endswith("/" + named):
        for asset in facts.assets:
            asset.uri = here + asset.file_name if asset.file_name in sizes else asset.uri
        return facts.row(here, sizes)
    if any(asset.uri for asset in facts.assets):
        return facts.row(_landsat_stac.folder(facts), {})
    return facts.row(facts.product.folder or here, {})


def _is_tiff(name: str) -> bool:
    return name.upper().endswith(".TIF")


def _batch(table: Table, year: int, rows: Sequence[Mapping[str, Any]]) -> TableBatch:
    import pyarrow as pa

    from lakeq import types
    from lakeq.formats import TableBatch

    schema = types.arrow_schema(table)
    columns = [array_of([row.get(part.name) for row in rows], part.type) for part in schema]
    batch = pa.RecordBatch.from_arrays(columns, schema=schema)
    order = [(name, "ascending") for name in table.sort_by]
    return TableBatch(table.name, (str(year),), batch.sort_by(order) if order else batch)


def scan(table: Table, wanted: Wanted) -> Rows:
    """Rows of a virtual table of pixels; reads the index of tiles and nothing else."""
    from lakeq.formats._landsat_pixels import PixelRows

    return PixelRows(table, wanted)


def combine(
    tables: Mapping[str, Table], parts: Sequence[Mapping[str, pa.Table]]
) -> Iterator[TableBatch]:
    """The row of a product of which STAC items of surface reflectance and temperature have come.

    It is that of the first with the files of all, each once.
    """
    for name, table in tables.items():
        rows = [row for part in parts if name in part for row in part[name].to_pylist()]
        if not rows:
            continue
        assets: dict[str, Any] = {}
        for row in rows:
            for asset in row["assets"] or ():
                assets.setdefault(asset["name"], asset)
        first = rows[0] | {"assets": list(assets.values())}
        yield _batch(table, first["year"], [first])
