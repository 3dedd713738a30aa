"""The rows of `tiles`: where each block of each band of a product lies, from TIFF directories.

A directory says how large its image is and where its blocks are, so nothing of the pixels is read:
one range request of 16 KiB a file, seldom two, several files at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakeq.errors import BadSource
from lakeq.formats import _tiff_header
from lakeq.formats._arrow_values import array_of
from lakeq.formats._landsat_bands import PAN, band, radsat_bit

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.catalog import Table
    from lakeq.formats import ReadContext
    from lakeq.formats._tiff_header import Image
    from lakeq.storage import SourceObject

READERS = 16
MAX_BLOCKS = 1 << 22  # of one file; a scene has 1,300
SEVERAL = "images of several samples a pixel, not indexed"
UNPLACED = "images without coordinates, not indexed"
FLOATS = "images of floating point numbers, not indexed"
_WIDE = ("u4", "f4", "f8")


class _File(NamedTuple):
    """One image file of a product, and the images in it, full resolution first.

    `beside` is the file of its overviews, if there is one, and what is in that.
    """

    band: str
    asset: Mapping[str, Any]
    source: SourceObject
    images: Sequence[Image]
    beside: tuple[SourceObject, Sequence[Image]] | None = None


def rows(
    table: Table, row: Mapping[str, Any], context: ReadContext, only: str = ""
) -> Iterator[pa.RecordBatch]:
    """The tiles of a product by band, level, row and column of blocks; none where no file is there.

    `row` is the product's row of `scenes`; files of its `assets` that were seen beside the
    metadata (with a size) are indexed, those alone whose names begin with `only`. Raises
    `BadSource` for a file that is no TIFF, and for bands whose grids differ.
    """
    wanted = dict(_wanted(row, only))
    if not wanted:
        return
    old = row["collection"] != 2 and row["folder"]  # later ones have their overviews inside
    seen = context.beside(f"{row['folder']}{row['product_id']}") if old else {}
    with ThreadPoolExecutor(min(READERS, len(wanted))) as pool:
        files = list(pool.map(lambda item: _open(item, seen, context), wanted.items()))
    kept = [file for file in files if _is_indexed(file, context)]
    _check_grids(kept)
    for file in sorted(kept, key=lambda file: file.band):
        yield _batch(table, row, file, file.source, file.images)
        if file.beside is not None:
            yield _batch(table, row, file, *file.beside)


def _wanted(row: Mapping[str, Any], only: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Band and asset of each image file that is there; of two for one band the first."""
    found: dict[str, Mapping[str, Any]] = {}
    for asset in row["assets"] or ():
        if asset["size_bytes"] is None or not asset["uri"].upper().endswith(".TIF"):
            continue
        name = band(asset["name"], row["platform"] or "", row["sensor"] or "")
        if name is not None and asset["name"].startswith(only):
            found.setdefault(name, asset)
    yield from found.items()


def _open(
    item: tuple[str, Mapping[str, Any]], seen: Mapping[str, int], context: ReadContext
) -> _File:
    name, asset = item
    uri = asset["uri"]
    source = context.other(uri)
    images = [image for image in _tiff_header.read(source) if image.kind != "mask"]
    if f"{uri}.ovr" not in seen or len(images) > 1:
        return _File(name, asset, source, images)
    beside = context.other(f"{uri}.ovr")
    return _File(name, asset, source, images, (beside, _tiff_header.companions(beside, images[0])))


def _is_indexed(file: _File, context: ReadContext) -> bool:
    main = file.images[0]
    reason = ""
    if main.samples != 1:
        reason = SEVERAL
    elif main.transform is None:
        reason = UNPLACED
    elif main.dtype in _WIDE:
        reason = FLOATS
    if reason:
        context.notes[reason] = context.notes.get(reason, 0) + 1
    return not reason


def _check_grids(files: Sequence[_File]) -> None:
    """All bands but the panchromatic one share their pixels: else rows would mix places."""
    shared = [file for file in files if file.band != PAN]
    for file in shared[1:]:
        first, main = shared[0].images[0], file.images[0]
        if (first.width, first.height, first.transform) != (
            main.width, main.height, main.transform):  # fmt: skip
            what = (
                f"{file.band} has {main.width} x {main.height} pixels from {main.transform}, "
                f"{shared[0].band} {first.width} x {first.height} from {first.transform}"
            )
            raise BadSource(
                what, file.source.uri, "bands of a product have one grid: fetch it again"
            )


def _batch(
    table: Table,
    row: Mapping[str, Any],
    file: _File,
    source: SourceObject,
    images: Sequence[Image],
) -> pa.RecordBatch:
    import pyarrow as pa

    from lakeq import types

    parts = [_columns(image) for image in images if image.samples == 1]
    columns: dict[str, Any] = {
        name: np.concatenate([part[name] for part in parts]) for name in parts[0]
    }
    count = len(columns["level"])
    main = file.images[0]
    assert main.transform is not None
    same: dict[str, Any] = {
        **{name: row[name] for name in ("year", "product_id", "acquired", "path", "row")},
        "band": file.band,
        "object": source.uri,
        "etag": source.version,
        "object_bytes": source.size_bytes,
        "epsg": row.get("epsg") if main.epsg is None else main.epsg,
        "nodata": main.nodata,
        "collection": row["collection"],
        "sun_elevation": row.get("sun_elevation"),
        "quantity": file.asset.get("quantity"),
        "scale": file.asset.get("scale"),
        "add_offset": file.asset.get("offset"),
        "radsat_bit": radsat_bit(file.asset["name"]),
    }
    schema = types.arrow_schema(table)
    made = []
    for part in schema:
        if part.name in columns:
            made.append(_array(columns[part.name], part.type))
        else:
            made.append(array_of([same[part.name]] * count, part.type))
    return pa.RecordBatch.from_arrays(made, schema=schema)


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    """Numbers or texts of numpy as Arrow has them."""
    import pyarrow as pa

    if values.dtype == object:
        return array_of(values.tolist(), kind)
    dtype = f"{'f' if pa.types.is_floating(kind) else 'i'}{kind.bit_width // 8}"
    numbers = np.ascontiguousarray(values, dtype)
    return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])


def _columns(image: Image) -> dict[str, Any]:
    """The columns of one image's blocks, row by row."""
    count = image.across * image.down
    if count > MAX_BLOCKS:
        raise BadSource(f"an image of {count:,} blocks; {MAX_BLOCKS:,} are indexed")
    numbers = np.arange(count)
    down, across = np.divmod(numbers, image.across)
    line, sample = down * image.block_height, across * image.block_width
    lines = np.minimum(image.block_height, image.height - line)
    samples = np.minimum(image.block_width, image.width - sample)
    a, b, c, d, e, f = image.transform or (1, 0, 0, 0, 1, 0)
    xs = [a * s + b * n + c for s in (sample, sample + samples) for n in (line, line + lines)]
    ys = [d * s + e * n + f for s in (sample, sample + samples) for n in (line, line + lines)]
    texts = {
        "data_type": {"u1": "uint8", "u2": "uint16", "i1": "int8", "i2": "int16", "i4": "int32",
                      "bits": "bit"}.get(image.dtype, image.dtype),
        "byte_order": "little" if image.byte_order == "<" else "big",
        "compression": image.compression,
    }  # fmt: skip
    numbers_of = {
        "level": image.level, "image_lines": image.height, "image_samples": image.width,
        "block_lines": image.block_height, "block_samples": image.block_width,
        "predictor": image.predictor, "x_origin": c, "y_origin": f, "x_step": a, "y_step": e,
        "x_line_step": b, "y_sample_step": d,
    }  # fmt: skip
    return {
        **{name: np.full(count, value) for name, value in numbers_of.items()},
        **{name: np.full(count, value, object) for name, value in texts.items()},
        "block_row": down, "block_column": across,
        "line": line, "sample": sample, "lines": lines, "samples": samples,
        "x_min": np.minimum.reduce(xs), "x_max": np.maximum.reduce(xs),
        "y_min": np.minimum.reduce(ys), "y_max": np.maximum.reduce(ys),
        "byte_offset": image.offsets, "byte_length": image.lengths,
    }  # fmt: skip
