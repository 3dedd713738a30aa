"""The image directories of a TIFF: where its tiles and strips lie, how they are coded, its place.

Classic TIFF and BigTIFF, both byte orders, tiles and strips, and the tags that make it a GeoTIFF.
Sources: TIFF 6.0 and its supplements, the BigTIFF design (libtiff), OGC GeoTIFF 1.1 (19-008r4); the
geotransform is GDAL's (frmts/gtiff/gtiffdataset_read.cpp), half a pixel for PixelIsPoint included.
A file says how large everything is: nothing is believed, or allocated, before it is held against
the size of the object.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lakeq.errors import BadSource

if TYPE_CHECKING:
    from lakeq.storage import SourceObject

Kind = Literal["image", "overview", "mask"]
Numbers = np.ndarray[Any, np.dtype[np.int64]]

HEAD_BYTES = 1 << 14  # of a cloud optimized scene of 7,800 x 7,700 pixels all directories (10 kB)
MAX_DIRECTORIES = 64
MAX_ENTRIES = 512  # of one directory; GDAL writes about 20
MAX_SIDE = 1 << 24  # pixels; a scene has 15,700 at the most
MAX_BLOCK_BYTES = 1 << 28  # of one tile or strip, inflated
MAX_TEXT_BYTES = 1 << 16
FETCH_LIMIT = 128  # range requests for one object's directories
REPLACED = "fetch the object again; an error page saved under the name of an image looks like this"

# field type: bytes of one value, and numpy's letter; text and bytes have none
_TYPES: Mapping[int, tuple[int, str]] = {
    1: (1, "u1"), 2: (1, ""), 3: (2, "u2"), 4: (4, "u4"), 6: (1, "i1"), 7: (1, ""), 8: (2, "i2"),
    9: (4, "i4"), 11: (4, "f4"), 12: (8, "f8"), 13: (4, "u4"), 16: (8, "u8"), 17: (8, "i8"),
    18: (8, "u8"),
}  # fmt: skip
# tags that are looked at (TIFF 6.0, section 8; GeoTIFF 1.1, 7.1; GDAL_NODATA)
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION = 254, 256, 257, 258, 259
_FILL_ORDER, _STRIPS, _SAMPLES, _ROWS, _STRIP_BYTES, _PLANAR = 266, 273, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _SAMPLE_FORMAT = (
    317, 322, 323, 324, 325, 339)  # fmt: skip
_SCALE, _TIE_POINTS, _MATRIX, _GEO_KEYS, _GEO_DOUBLES, _NODATA = (
    33550, 33922, 34264, 34735, 34736, 42113)  # fmt: skip
_KEPT = frozenset(
    (_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _FILL_ORDER, _STRIPS, _SAMPLES, _ROWS,
     _STRIP_BYTES, _PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES,
     _SAMPLE_FORMAT, _SCALE, _TIE_POINTS, _MATRIX, _GEO_KEYS, _GEO_DOUBLES, _NODATA)
)  # fmt: skip
_ARRAYS = frozenset((_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES))
_RASTER_TYPE, _GEOGRAPHIC, _PROJECTED = 1025, 2048, 3072  # geo keys
_METHOD, _LATITUDE, _POLE_LONGITUDE, _EASTING, _NORTHING = 3075, 3081, 3095, 3082, 3083
_POLAR_STEREOGRAPHIC = 15  # of _METHOD
_PIXEL_IS_POINT = 2
_USER_DEFINED = 32767
_DTYPES: Mapping[tuple[int, int], str] = {
    (1, 8): "u1", (1, 16): "u2", (1, 32): "u4", (2, 8): "i1", (2, 16): "i2", (2, 32): "i4",
    (3, 32): "f4", (3, 64): "f8", (1, 1): "bits",
}  # fmt: skip
COMPRESSIONS: Mapping[int, str] = {
    1: "none", 5: "lzw", 8: "deflate", 32946: "deflate", 50000: "zstd",
}  # fmt: skip
_OTHER_COMPRESSIONS = {6: "old JPEG", 7: "JPEG", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA",
                       50001: "WebP", 32773: "PackBits"}  # fmt: skip

Affine = tuple[float, float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a TIFF: its pixels' grid, and where and how its blocks (tiles, strips) are kept.

    `dtype` is numpy's without byte order ("u2"), or "bits" for masks of one bit; `byte_order` is
    "<" or ">". `offsets` and `lengths` have one entry a block, row by row (and then plane by plane
    where `planar`); 0 in both is a block that is not there: all of it is `fill`. `transform` is
    GDAL's as (a, b, c, d, e, f): x = a * sample + b * line + c at the corner of a pixel,
    y = d * sample + e * line + f; None where the file says none. `epsg` is None where the file
    names no code. `level` is 0 for full resolution, then 1, 2, ... in the order of the file.
    """

    kind: Kind
    level: int
    width: int
    height: int
    block_width: int
    block_height: int
    tiled: bool
    samples: int
    planar: bool
    dtype: str
    byte_order: str
    compression: str
    predictor: int
    offsets: Numbers
    lengths: Numbers
    transform: Affine | None
    epsg: int | None
    point: bool
    nodata: float | None

    @property
    def across(self) -> int:
        """Blocks in a row."""
        return -(-self.width // self.block_width)

    @property
    def down(self) -> int:
        """Rows of blocks."""
        return -(-self.height // self.block_height)

    @property
    def fill(self) -> float:
        """The value of blocks that are not there, as GDAL reads them."""
        return 0.0 if self.nodata is None else self.nodata


def read(source: SourceObject) -> list[Image]:
    """The images of a TIFF in the order of the file.

    A file whose directories stand first takes one range request of 16 KiB, or one more. Raises
    `BadSource`, which names the byte, for what is no TIFF, is cut short, has directories in a ring
    or is coded in a way that is not read.
    """
    return _Directories(source).images()


class _Bytes:
    """The parts of an object that its directories lie in, each fetched once."""

    def __init__(self, source: SourceObject) -> None:
        self.uri, self.size = source.uri, source.size_bytes
        self._source = source
        self._held: list[tuple[int, bytes]] = []
        self._fetches = 0

    def at(self, offset: int, length: int, what: str) -> bytes:
        """`length` bytes from `offset`; `what` they are, for the error where there are none."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise BadSource(
                f"{what} would end at byte {offset + length:,}, the object has {self.size:,}",
                f"{self.uri}, byte {offset}",
                "the object was cut short or is damaged: fetch it again",
            )
        for start, data in self._held:
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start : offset - start + length]
        self._fetches += 1
        if self._fetches > FETCH_LIMIT:
            raise BadSource(
                f"its directories lie in more than {FETCH_LIMIT} places", self.uri, "rewrite it"
            )
        wanted = min(max(length, HEAD_BYTES), self.size - offset)
        data = self._source.read_range(offset, wanted)
        self._held.append((offset, data))
        return data[:length]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One field of a directory: where its values lie."""

    tag: int
    type: int
    count: int
    offset: int


class _Directories:
    """One pass over the chain of directories."""

    def __init__(self, source: SourceObject) -> None:
        self.bytes = _Bytes(source)
        self.uri = source.uri
        self.order, self.big, self.first = self._head()

    def _head(self) -> tuple[str, bool, int]:
        if self.bytes.size < 8:
            raise BadSource(f"no TIFF: {self.bytes.size} bytes", self.uri, REPLACED)
        head = self.bytes.at(0, min(16, self.bytes.size), "the header")
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        version = struct.unpack(f"{order}H", head[2:4])[0] if order else 0
        if version == 42:
            return str(order), False, int(struct.unpack(f"{order}I", head[4:8])[0])
        if version == 43 and len(head) == 16 and struct.unpack(f"{order}HH", head[4:8]) == (8, 0):
            return str(order), True, int(struct.unpack(f"{order}Q", head[8:16])[0])
        raise BadSource(f"no TIFF: it begins with {head[:8]!r}", f"{self.uri}, byte 0", REPLACED)

    def images(self) -> list[Image]:
        found: list[Image] = []
        seen: set[int] = set()
        at = self.first
        while at:
            if at in seen:
                what = f"its directories form a ring: the next after {len(seen)} is one of them"
                raise BadSource(what, f"{self.uri}, byte {at}", "the object is damaged")
            if len(seen) == MAX_DIRECTORIES:
                raise BadSource(
                    f"more than {MAX_DIRECTORIES} directories", f"{self.uri}, byte {at}"
                )
            seen.add(at)
            entries, following = self._entries(at)
            levels = sum(image.kind == "overview" for image in found)
            found.append(_Fields(self, at, entries).image(found[0] if found else None, levels))
            at = following
        if not found:
            raise BadSource("a TIFF without an image", self.uri, REPLACED)
        return found

    def _entries(self, at: int) -> tuple[dict[int, _Entry], int]:
        """The fields of the directory at a byte, and where the next one is (0: nowhere)."""
        wide, word, entry = (8, "Q", 20) if self.big else (2, "H", 12)
        pointer = 8 if self.big else 4
        what = "an image directory"
        count = struct.unpack(f"{self.order}{word}", self.bytes.at(at, wide, what))[0]
        if not 0 < count <= MAX_ENTRIES:
            raise BadSource(f"a directory of {count:,} fields", f"{self.uri}, byte {at}", REPLACED)
        data = self.bytes.at(at + wide, count * entry + pointer, what)
        found = {}
        for number in range(count):
            start = number * entry
            tag, kind = struct.unpack_from(f"{self.order}HH", data, start)
            size = struct.unpack_from(f"{self.order}{'Q' if self.big else 'I'}", data, start + 4)[0]
            if tag not in _KEPT:
                continue
            if kind not in _TYPES:
                what = f"field {tag} is of an unknown type, {kind}"
                raise BadSource(what, f"{self.uri}, byte {at + wide + start}", REPLACED)
            value = start + 4 + pointer
            inside = size * _TYPES[kind][0] <= pointer
            form = "Q" if self.big else "I"
            where = at + wide + value if inside else struct.unpack_from(
                f"{self.order}{form}", data, value)[0]  # fmt: skip
            found[tag] = _Entry(tag, kind, int(size), int(where))
        following = struct.unpack_from(
            f"{self.order}{'Q' if self.big else 'I'}", data, count * entry
        )
        return found, int(following[0])


class _Fields:
    """The fields of one directory, and the image they describe."""

    def __init__(self, file: _Directories, at: int, entries: Mapping[int, _Entry]) -> None:
        self.file, self.at, self.entries = file, at, entries
        self.where = f"{file.uri}, byte {at}"

    def bad(self, what: str, hint: str = REPLACED) -> BadSource:
        return BadSource(what, self.where, hint)

    def values(self, tag: int, most: int) -> Any:
        """The values of a field as an array; None where there is none."""
        entry = self.entries.get(tag)
        if entry is None:
            return None
        width, letter = _TYPES[entry.type]
        if not letter or entry.count > most:
            raise self.bad(f"field {tag} has {entry.count:,} values of type {entry.type}")
        data = self.file.bytes.at(entry.offset, entry.count * width, f"field {tag}")
        return np.frombuffer(data, np.dtype(f"{self.file.order}{letter}"))

    def number(self, tag: int, default: int | None = None) -> int:
        """The one value of a field, or of several equal ones."""
        found = self.values(tag, 1 << 12)
        if found is None or not len(found):
            if default is None:
                raise self.bad(f"field {tag} is missing")
            return default
        if found.dtype.kind not in "ui" or (found != found[0]).any():
            raise self.bad(f"field {tag} has the values {found[:4].tolist()}")
        return int(found[0])

    def text(self, tag: int) -> str | None:
        entry = self.entries.get(tag)
        if entry is None or entry.type != 2:
            return None
        if entry.count > MAX_TEXT_BYTES:
            raise self.bad(f"field {tag} has {entry.count:,} characters")
        data = self.file.bytes.at(entry.offset, entry.count, f"field {tag}")
        return data.split(b"\0")[0].decode("latin-1").strip()

    def image(self, main: Image | None, overviews: int) -> Image:
        width, height = self.number(_WIDTH), self.number(_HEIGHT)
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise self.bad(f"an image of {width:,} x {height:,} pixels; {MAX_SIDE:,} are read")
        samples = self.number(_SAMPLES, 1)
        bits, form = self.number(_BITS, 1), self.number(_SAMPLE_FORMAT, 1)
        dtype = _DTYPES.get((form, bits))
        if dtype is None or not 0 < samples <= 64:
            raise self.bad(f"{samples} samples of {bits} bits in format {form} are not read", "")
        if self.number(_FILL_ORDER, 1) != 1:
            raise self.bad("bits in reverse order (FillOrder 2) are not read", "")
        tiled = _TILE_WIDTH in self.entries
        block_width = self.number(_TILE_WIDTH) if tiled else width
        block_height = self.number(_TILE_HEIGHT) if tiled else self.number(_ROWS, height)
        block_height = block_height if tiled else min(block_height, height)
        planar = self.number(_PLANAR, 1) == 2 and samples > 1
        self._check_block(block_width, block_height, dtype, 1 if planar else samples)
        blocks = -(-width // block_width) * -(-height // block_height) * (samples if planar else 1)
        offsets, lengths = self._blocks(blocks, tiled=tiled)
        place = _place(self) if main is None else None
        subfile = self.number(_SUBFILE, 0)
        kind: Kind = "mask" if subfile & 4 else "overview" if main is not None else "image"
        level = 0 if main is None else _level(main, width, height, overviews, mask=kind == "mask")
        return Image(
            kind, level, width, height, block_width, block_height, tiled, samples, planar, dtype,
            self.file.order, self._compression(), self._predictor(dtype), offsets, lengths,
            *(place or _scaled(main, width, height)),
            nodata=self._nodata() if main is None else main.nodata,
        )  # fmt: skip

    def _check_block(self, width: int, height: int, dtype: str, samples: int) -> None:
        size = width * height * samples * (1 if dtype == "bits" else int(dtype[1:]))
        if not (0 < width <= MAX_SIDE and height > 0 and size <= MAX_BLOCK_BYTES):
            what = f"blocks of {width:,} x {height:,} pixels, {size:,} bytes each"
            raise self.bad(what, f"at most {MAX_BLOCK_BYTES:,} are read")

    def _compression(self) -> str:
        number = self.number(_COMPRESSION, 1)
        if number not in COMPRESSIONS:
            name = _OTHER_COMPRESSIONS.get(number, "unknown")
            raise self.bad(f"compression {number} ({name}) is not read", "rewrite it with DEFLATE")
        return COMPRESSIONS[number]

    def _predictor(self, dtype: str) -> int:
        found = self.number(_PREDICTOR, 1)
        if found not in (1, 2, 3) or (found == 3 and dtype[0] != "f") or (
            found == 2 and dtype == "bits"):  # fmt: skip
            raise self.bad(f"predictor {found} for samples of type {dtype} is not read", "")
        return found

    def _blocks(self, count: int, *, tiled: bool) -> tuple[Numbers, Numbers]:
        """Where the blocks lie: as many as the image has, each inside of the object."""
        tags = (_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES)
        found = []
        for tag in tags:
            entry = self.entries.get(tag)
            if entry is None or entry.count != count:
                there = 0 if entry is None else entry.count
                raise self.bad(f"{there:,} entries in field {tag}, the image has {count:,} blocks")
            values = self.values(tag, count)
            if values.dtype.kind != "u" or (values > self.file.bytes.size).any():
                number = int(np.argmax(values > self.file.bytes.size))
                raise self.bad(
                    f"block {number} lies beyond the end: {int(values[number]):,} in field {tag}, "
                    f"the object has {self.file.bytes.size:,} bytes",
                    "the object was cut short or is damaged: fetch it again",
                )
            found.append(values.astype(np.int64))
        offsets, lengths = found
        beyond = offsets + lengths > self.file.bytes.size
        if beyond.any():
            number = int(np.argmax(beyond))
            raise BadSource(
                f"block {number} ends at byte {int(offsets[number] + lengths[number]):,}, "
                f"the object has {self.file.bytes.size:,}",
                f"{self.file.uri}, byte {int(offsets[number])}",
                "the object was cut short or is damaged: fetch it again",
            )
        return offsets, lengths

    def _nodata(self) -> float | None:
        text = self.text(_NODATA)
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            raise self.bad(f"GDAL_NODATA {text!r} is no number") from None


def _level(main: Image, width: int, height: int, overviews: int, *, mask: bool) -> int:
    """The level of a further image; masks have that of the image of their size."""
    if mask:
        factor = max(main.width / width, main.height / height)
        return max(0, round(math.log2(factor)))
    return overviews + 1


def _place(fields: _Fields) -> tuple[Affine | None, int | None, bool]:
    """Geotransform, EPSG code and PixelIsPoint of the main image, as GDAL tells them."""
    keys = dict(_geo_keys(fields))
    point = keys.get(_RASTER_TYPE) == _PIXEL_IS_POINT
    code = keys.get(_PROJECTED) or keys.get(_GEOGRAPHIC)
    epsg = None if code in (None, 0, _USER_DEFINED) else int(code)
    if epsg is None or epsg == keys.get(_GEOGRAPHIC):
        epsg = _antarctic(keys) or epsg
    found = _transform(fields)
    if found is not None and point:
        a, b, c, d, e, f = found
        found = (a, b, c - (a * 0.5 + b * 0.5), d, e, f - (d * 0.5 + e * 0.5))
    return found, epsg, point


def _antarctic(keys: Mapping[int, float]) -> int | None:
    """EPSG:3031 where a file spells it out, as the USGS's products of Antarctica do."""
    spelt = (
        keys.get(_METHOD) == _POLAR_STEREOGRAPHIC
        and keys.get(_LATITUDE) == -71
        and not any(keys.get(key) for key in (_POLE_LONGITUDE, _EASTING, _NORTHING))
        and keys.get(_GEOGRAPHIC, 4326) in (4326, _USER_DEFINED)
    )
    return 3031 if spelt else None


def _transform(fields: _Fields) -> Affine | None:
    """GDAL's rules: scale and one tie point, else the matrix."""
    scale, ties = fields.values(_SCALE, 3), fields.values(_TIE_POINTS, 1 << 12)
    if scale is not None and len(scale) >= 2 and scale[0] != 0 and scale[1] != 0:
        if ties is None or len(ties) < 6:
            return None
        a, e = float(scale[0]), -abs(float(scale[1]))
        sample, line, _, x, y = (float(value) for value in ties[:5])
        return a, 0.0, x - sample * a, 0.0, e, y - line * e
    matrix = fields.values(_MATRIX, 16)
    if matrix is None or len(matrix) != 16:
        return None
    m = [float(value) for value in matrix]
    return m[0], m[1], m[3], m[4], m[5], m[7]


def _scaled(main: Image | None, width: int, height: int) -> tuple[Affine | None, int | None, bool]:
    """The place of an overview: the same corner, larger pixels."""
    if main is None or main.transform is None:
        return None, None if main is None else main.epsg, main is not None and main.point
    a, b, c, d, e, f = main.transform
    across, down = main.width / width, main.height / height
    return (a * across, b * down, c, d * across, e * down, f), main.epsg, main.point


def _geo_keys(fields: _Fields) -> Iterator[tuple[int, float]]:
    """The geo keys that are numbers, kept in place or among the doubles (GeoTIFF 1.1, 7.1.2)."""
    values = fields.values(_GEO_KEYS, 1 << 12)
    if values is None or len(values) < 4:
        return
    doubles = fields.values(_GEO_DOUBLES, 1 << 12)
    for number in range(min(int(values[3]), len(values) // 4 - 1)):
        key, tag, count, value = (int(v) for v in values[4 * number + 4 : 4 * number + 8])
        if tag == 0 and count == 1:
            yield key, value
        elif tag == _GEO_DOUBLES and count == 1 and doubles is not None and value < len(doubles):
            yield key, float(doubles[value])


def companions(source: SourceObject, main: Image) -> list[Image]:
    """The overviews in a file NAME.ovr beside the image `main`."""
    found = []
    for number, image in enumerate(read(source)):
        place = _scaled(main, image.width, image.height)
        found.append(
            replace(
                image, kind="overview", level=number + 1, transform=place[0], epsg=place[1],
                point=place[2], nodata=main.nodata,
            )
        )  # fmt: skip
    return found
