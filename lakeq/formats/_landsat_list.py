"""Lists of scenes, scene_list.gz of landsat-pds: a line each, of before the collections or of 1.

Source: README of landsat-pds (retired). The lists' boxes are those of whole images, and wrong for
many scenes, so scenes lie where their path and row do. A list of millions of lines is read in the
memory of one year of it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from lakeq.errors import BadSource
from lakeq.formats import _landsat_geometry as geometry
from lakeq.formats._landsat_names import in_bucket, product
from lakeq.formats._landsat_rows import place_columns

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import ReadContext, TableBatch
    from lakeq.storage import SourceObject

    Numbers = npt.NDArray[np.int64]

NEEDED = (
    "entityId",
    "acquisitionDate",
    "cloudCover",
    "processingLevel",
    "path",
    "row",
    "download_url",
)
BLOCK_BYTES = 8 << 20
FIRST_YEAR, LAST_YEAR = 1972, 2100  # Landsat 1 flew in July 1972; each year has a file open
ROWS_PER_BATCH = 1 << 14
_PREFIX_BYTES = 4
_HINT = "fetch the list again"
_ASSETS = (*(f"B{number}" for number in range(1, 12)), "BQA", "MTL.txt")
_WITHOUT = {"O": {"B10", "B11"}, "T": {f"B{number}" for number in range(1, 10)}}


def read(source: SourceObject, table: Table, context: ReadContext) -> Iterator[TableBatch]:
    """Yield the rows of the list, by year and sorted as the catalog says within it."""
    from lakeq.formats import TableBatch

    spill = _Spill(context.temp_dir)
    for lines in _blocks(source, context):
        spill.add(_parsed(lines))
    for year in spill.years():
        scenes = spill.sorted(year)
        for start in range(0, scenes.num_rows, ROWS_PER_BATCH):
            rows = _rows(scenes.slice(start, ROWS_PER_BATCH), table)
            yield TableBatch(table.name, (str(year),), rows)


class _Lines:
    """Some lines of the list as columns of text, and the number of the first, from 1."""

    def __init__(self, uri: str, first: int, columns: pa.Table) -> None:
        self.uri, self.first, self.columns = uri, first, columns

    def bad(self, index: int, what: str) -> BadSource:
        return BadSource(what, f"{self.uri}, line {self.first + index}", _HINT)


def _blocks(source: SourceObject, context: ReadContext) -> Iterator[_Lines]:
    """The lines in blocks; `BadSource` names a line with too few or too many fields."""
    from pyarrow import csv

    with source.open() as raw:
        stream = _plain(raw, source, context)
        header, begun = _header(stream, source.uri)
        rest: bytes | None = begun
        number = 2
        while rest is not None:
            data, rest = _whole_lines(stream, rest, source.uri)
            if not data.strip():
                continue
            count = data.count(b"\n") + (not data.endswith(b"\n"))
            bad: list[Any] = []

            def invalid(row: Any, bad: list[Any] = bad) -> str:
                bad.append(row)
                return "skip"

            options = csv.ConvertOptions(
                include_columns=[name for name in header if name in (*NEEDED, "productId")],
                column_types=dict.fromkeys(header, _text()),
                strings_can_be_null=False,
            )
            parse = csv.ParseOptions(
                ignore_empty_lines=False, invalid_row_handler=invalid, newlines_in_values=False
            )
            reading = csv.ReadOptions(
                column_names=header, block_size=2 * BLOCK_BYTES, use_threads=False
            )
            import pyarrow as pa

            try:
                columns = csv.read_csv(pa.BufferReader(data), reading, parse, options)
            except pa.ArrowInvalid as error:
                where = f"{source.uri}, lines {number} to {number + count - 1}"
                raise BadSource(f"no list of scenes: {error}", where, _HINT) from error
            if bad:
                at = number + (bad[0].number or 1) - 1
                what = f"{bad[0].actual_columns} fields instead of {bad[0].expected_columns}"
                raise BadSource(what, f"{source.uri}, line {at}", _HINT)
            yield _Lines(source.uri, number, columns)
            number += count


def _text() -> Any:
    import pyarrow as pa

    return pa.string()


def _plain(raw: BinaryIO, source: SourceObject, context: ReadContext) -> BinaryIO:
    """The text of the list, which may be compressed by gzip."""
    head = source.read_range(0, min(2, source.size_bytes))
    counted = _Counted(raw, context)
    if head != b"\x1f\x8b":
        return cast("BinaryIO", counted)
    from isal import igzip

    return cast("BinaryIO", igzip.IGzipFile(fileobj=counted, mode="rb"))  # type: ignore[no-untyped-call]  # isal leaves it untyped


class _Counted(io.RawIOBase):
    """A stream that tells how far it was read."""

    def __init__(self, raw: BinaryIO, context: ReadContext) -> None:
        self._raw, self._context, self._at = raw, context, 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # RawIOBase's stub
        """Fill `buffer` as far as the next read goes; 0 at the end."""
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        self._context.progress(self._at)
        return len(data)


def _read(stream: BinaryIO, size: int, uri: str) -> bytes:
    try:
        return stream.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise BadSource(f"the list is cut short or damaged: {error}", uri, _HINT) from error


def _header(stream: BinaryIO, uri: str) -> tuple[list[str], bytes]:
    data = _read(stream, 1 << 16, uri)
    line, newline, rest = data.partition(b"\n")
    names = [name.strip().strip('"') for name in line.decode("utf-8-sig", "replace").split(",")]
    missing = [name for name in NEEDED if name not in names]
    if missing or not newline or len(set(names)) < len(names):
        what = f"no list of scenes: its header lacks {', '.join(missing) or 'an end'}"
        raise BadSource(what, f"{uri}, line 1", "scene_list.gz begins productId or entityId")
    return names, rest


def _whole_lines(stream: BinaryIO, begun: bytes, uri: str) -> tuple[bytes, bytes | None]:
    """Whole lines, some megabytes, and the beginning of the next; None at the end."""
    parts, room = [begun], BLOCK_BYTES
    while room > 0:
        more = _read(stream, room, uri)
        if not more:
            return b"".join(parts), None
        parts.append(more)
        room -= len(more)
    data = b"".join(parts)
    end = data.rfind(b"\n") + 1
    if not end:
        raise BadSource("a line of more than 8 MB", uri, _HINT)
    return data[:end], data[end:]


def _parsed(lines: _Lines) -> pa.Table:
    """The columns that lists have, with their types, and the year and cell to sort by."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = {name: lines.columns[name].combine_chunks() for name in lines.columns.column_names}
    identifiers = texts.get("productId", texts["entityId"])
    path, row = (_numbers(lines, texts[name], name, pa.int32()) for name in ("path", "row"))
    cover = _numbers(lines, texts["cloudCover"], "cloudCover", pa.float64())
    acquired = _times(lines, texts["acquisitionDate"])
    known = pc.match_substring_regex(
        identifiers, "^L[COTEM](0[1-9]_[A-Z0-9_]{20,40}|[1-9][A-Z0-9]{18})$"
    )
    if not pc.all(known).as_py():
        index = pc.index(known, False).as_py()
        raise lines.bad(index, f"no product is called {identifiers[index].as_py()[:60]!r}")
    satellite = pc.cast(
        pc.if_else(
            pc.equal(pc.utf8_slice_codeunits(identifiers, 2, 3), "0"),
            pc.utf8_slice_codeunits(identifiers, 3, 4),
            pc.utf8_slice_codeunits(identifiers, 2, 3),
        ),
        pa.int32(),
    )
    cells = _cells(lines, satellite, path, row)
    year = pc.cast(pc.year(acquired), pa.int32())
    known = pc.and_(pc.greater_equal(year, FIRST_YEAR), pc.less_equal(year, LAST_YEAR))
    if not pc.all(known).as_py():
        index = pc.index(known, value=False).as_py()
        raise lines.bad(index, f"a scene of the year {year[index].as_py()}")
    return pa.table(
        {
            "year": year,
            "cell": cells,
            "path": path,
            "row": row,
            "acquired": acquired,
            "product_id": identifiers,
            "scene_id": texts["entityId"],
            "satellite": satellite,
            "cloud_cover": pc.if_else(pc.less(cover, 0), pa.scalar(None, pa.float64()), cover),
            "processing_level": texts["processingLevel"],
            "folder": _folders(texts["download_url"]),
        }
    )


def _numbers(lines: _Lines, texts: pa.Array, name: str, type_: pa.DataType) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(texts)
    with suppress(pa.ArrowInvalid):
        return pc.cast(trimmed, type_)
    good = pc.match_substring_regex(trimmed, r"^-?\d{1,6}(\.\d{1,9})?$")
    index = pc.index(good, False).as_py()
    raise lines.bad(max(index, 0), f"{name} is no number: {texts[max(index, 0)].as_py()[:60]!r}")


def _times(lines: _Lines, texts: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    with suppress(pa.ArrowInvalid):
        return pc.cast(pc.utf8_trim_whitespace(texts), pa.timestamp("us", "UTC"))
    with suppress(pa.ArrowInvalid):
        naive = pc.cast(pc.utf8_trim_whitespace(texts), pa.timestamp("us"))
        return pc.cast(naive, pa.timestamp("us", "UTC"))
    for index, text in enumerate(texts.to_pylist()):
        try:
            pc.cast(pa.array([text.strip()]), pa.timestamp("us"))
        except pa.ArrowInvalid:
            raise lines.bad(index, f"acquisitionDate is no time: {text[:60]!r}") from None
    raise lines.bad(0, "acquisitionDate is no time")


def _cells(lines: _Lines, satellite: pa.Array, path: pa.Array, row: pa.Array) -> pa.Array:
    """The cell of each scene; `BadSource` where no grid has the path and row."""
    import numpy as np
    import pyarrow as pa

    keys = place_keys(satellite, path, row)
    unique, inverse = np.unique(keys, return_inverse=True)
    found = [place_of(int(key)) for key in unique]
    for number, place in enumerate(found):
        if place is None:
            index = int(np.argmax(inverse == number))
            what = f"no path {path[index].as_py()} with a row {row[index].as_py()}"
            raise lines.bad(index, what)
    cells = np.array([place.cell for place in found if place is not None], np.int32)
    return pa.array(cells[inverse], pa.int32())


def place_keys(satellite: pa.Array, path: pa.Array, row: pa.Array) -> Numbers:
    """One number for grid, path and row of each scene."""
    import numpy as np

    old = (satellite.to_numpy(zero_copy_only=False) <= 3).astype(np.int64)
    parts = (array.to_numpy(zero_copy_only=False).astype(np.int64) for array in (path, row))
    path_, row_ = parts
    valid = (path_ >= 0) & (path_ < 1000) & (row_ >= 0) & (row_ < 1000)
    return np.where(valid, (old * 1000 + path_) * 1000 + row_, 0)


def place_of(key: int) -> geometry.Footprint | None:
    """The footprint of a number of `place_keys`."""
    return geometry.of_path_row(1 if key >= 1_000_000 else 2, key // 1000 % 1000, key % 1000)


def _folders(urls: pa.Array) -> pa.Array:
    """The folder of each index.html, as s3:// URI where it lies in a public bucket."""
    import pyarrow.compute as pc

    folders = pc.replace_substring_regex(urls, r"[^/]*$", "")
    bases = pc.unique(
        pc.replace_substring_regex(folders, r"^(https?://[^/]*/(?:landsat-pds/|data/)?).*", r"\1")
    )
    for base in bases.to_pylist():
        if (moved := in_bucket(base)) != base:
            has = pc.starts_with(folders, base)
            rest = pc.utf8_slice_codeunits(folders, len(base))
            folders = pc.if_else(has, pc.binary_join_element_wise(moved, rest, ""), folders)
    return folders


class _Spill:
    """The scenes of a list on disk, a file for each year."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[int, Any] = {}

    def add(self, scenes: pa.Table) -> None:
        """Put scenes into the files of their years."""
        import pyarrow as pa
        import pyarrow.compute as pc

        for year in pc.unique(scenes["year"]).to_pylist():
            part = scenes.filter(pc.equal(scenes["year"], year))
            if year not in self._writers:
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                path = str(self._folder / f"{year}.arrow")
                self._writers[year] = pa.ipc.new_stream(path, part.schema, options=options)
            self._writers[year].write_table(part)

    def years(self) -> list[int]:
        """The years that there are, in order."""
        for writer in self._writers.values():
            writer.close()
        return sorted(self._writers)

    def sorted(self, year: int) -> pa.Table:
        """The scenes of one year in the table's order."""
        import pyarrow as pa

        path = self._folder / f"{year}.arrow"
        with pa.OSFile(str(path)) as file:
            scenes = pa.ipc.open_stream(file).read_all()
        path.unlink()
        names = ("cell", "path", "row", "acquired", "product_id")
        return scenes.sort_by([(name, "ascending") for name in names])


def _rows(scenes: pa.Table, table: Table) -> pa.RecordBatch:
    """The rows of `scenes`, with their footprints and files."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from lakeq import types

    schema = types.arrow_schema(table)
    columns = {name: scenes[name].combine_chunks() for name in scenes.column_names}
    satellite = columns.pop("satellite")
    columns |= _places(satellite, columns["path"], columns["row"], schema)
    named = [product(identifier) for identifier in columns["product_id"].to_pylist()]
    old = pc.cast(pc.less_equal(satellite, 3), pa.int32())
    columns |= {
        "collection": pa.array([p.collection or 0 if p else None for p in named], pa.int32()),
        "tier": pa.array([p.tier if p else None for p in named], pa.string()),
        "processed": pa.array([p.processed if p else None for p in named], pa.date32()),
        "sensor": pa.array([p.sensor if p else None for p in named], pa.string()),
        "platform": pc.binary_join_element_wise("LANDSAT", pc.cast(satellite, pa.string()), "_"),
        "wrs_type": pc.subtract(pa.scalar(2, pa.int32()), old),
        "assets": _assets(columns["product_id"], columns["folder"], schema.field("assets").type),
    }
    size = scenes.num_rows
    arrays = [columns.get(part.name, pa.nulls(size, part.type)) for part in schema]
    return pa.RecordBatch.from_arrays(
        [array.cast(part.type) for array, part in zip(arrays, schema, strict=True)], schema=schema
    )


def _places(
    satellite: pa.Array, path: pa.Array, row: pa.Array, schema: pa.Schema
) -> dict[str, pa.Array]:
    import numpy as np
    import pyarrow as pa

    unique, inverse = np.unique(place_keys(satellite, path, row), return_inverse=True)
    found = [place for key in unique if (place := place_of(int(key))) is not None]
    rows = [place_columns(place) | {"footprint_source": "path_row"} for place in found]
    taken = pa.array(inverse)
    return {
        name: pa.array([row[name] for row in rows], schema.field(name).type).take(taken)
        for name in rows[0]
    }


def _assets(identifiers: pa.Array, folders: pa.Array, type_: pa.DataType) -> pa.Array:
    """The files that the buckets have of each scene of Landsat 8, by its letter's bands."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    letters = pc.utf8_slice_codeunits(identifiers, 1, 2)
    bases = pc.binary_join_element_wise(folders, identifiers, "")
    size = len(identifiers)
    keep = np.ones((size, len(_ASSETS)), bool)
    for letter, without in _WITHOUT.items():
        rows = np.asarray(pc.equal(letters, letter))
        lacking = np.array([name in without for name in _ASSETS])
        keep[np.ix_(rows, lacking)] = False
    counts = keep.sum(axis=1)
    of_row = pa.array(np.repeat(np.arange(size), counts))
    names = np.tile(np.arange(len(_ASSETS)), (size, 1))[keep]
    suffixes = [f"_{name}" if "." in name else f"_{name}.TIF" for name in _ASSETS]
    uris = pc.binary_join_element_wise(
        bases.take(of_row), pa.array(suffixes).take(pa.array(names)), ""
    )
    parts: Mapping[str, pa.Array] = {"name": pa.array(_ASSETS).take(pa.array(names)), "uri": uris}
    element = type_.value_type
    fields = [element.field(number) for number in range(element.num_fields)]
    structs = pa.StructArray.from_arrays(
        [parts.get(part.name, pa.nulls(len(uris), part.type)) for part in fields], fields=fields
    )
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=type_)
