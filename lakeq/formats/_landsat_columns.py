"""Columns of pixels in memory: where pixels lie, what is stored of them, and as Arrow arrays.

Arrays are given to Arrow as they are: `pyarrow.array` would copy them, and imports pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from lakeq import projections
from lakeq.formats import _landsat_quality
from lakeq.formats._landsat_scan import BLOCK, Product

if TYPE_CHECKING:
    import pyarrow as pa

PLACES = ("product_id", "acquired", "path", "row", "epsg", "block", "line", "sample", "x", "y",
          "lon", "lat", "sun_elevation")  # fmt: skip
SAME = ("product_id", "acquired", "path", "row", "epsg", "sun_elevation")  # for all of a product

Column = tuple[Any, Any]  # values, and what of them is NULL or None


def array(columns: Sequence[Column], kind: pa.DataType) -> pa.Array:
    """Columns one after the other as an Arrow array of a fixed width."""
    import pyarrow as pa

    one = len(columns) == 1
    values = columns[0][0] if one else np.concatenate([values for values, _ in columns])
    nulls, valid = 0, None
    if any(mask is not None for _, mask in columns):
        masks = [np.zeros(len(v), bool) if mask is None else mask for v, mask in columns]
        mask = masks[0] if one else np.concatenate(masks)
        nulls = int(np.count_nonzero(mask))
        valid = pa.py_buffer(np.packbits(~mask, bitorder="little"))
    if pa.types.is_boolean(kind):
        values = np.packbits(values, bitorder="little")
        count = sum(len(v) for v, _ in columns)
    else:
        values = np.ascontiguousarray(values)
        count = len(values)
        assert values.itemsize * 8 == kind.bit_width
    return pa.Array.from_buffers(kind, count, [valid, pa.py_buffer(values)], nulls)


def repeated(value: object, kind: pa.DataType, count: int) -> pa.Array:
    """`value` in `count` rows: a text as a dictionary of one word, None as NULL."""
    import pyarrow as pa

    if value is None:
        return pa.nulls(count, kind)
    if isinstance(value, str):
        numbers = array([(np.zeros(count, np.int32), None)], pa.int32())
        return pa.DictionaryArray.from_arrays(numbers, texts([value]))
    if isinstance(value, datetime):
        value = (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    width = kind.bit_width // 8
    dtype = f"f{width}" if pa.types.is_floating(kind) else f"i{width}"
    return array([(np.full(count, value, dtype), None)], kind)


def texts(values: Sequence[str]) -> pa.Array:
    """Texts as an Arrow array."""
    import pyarrow as pa

    coded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, coded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(coded))]
    return pa.Array.from_buffers(pa.string(), len(coded), buffers)


@dataclass(slots=True)
class Pixels:
    """Some pixels of one product: where they are, and what is stored of their bands."""

    product: Product
    hull: tuple[int, int, int, int]
    mask: Any
    count: int
    stored: Mapping[str, Column]
    _lonlat: tuple[Any, Any] | None = None

    def place(self, name: str) -> Column:
        """A column that does not need pixels."""
        facts = self.product.facts
        if name in ("acquired", "path", "row", "epsg", "sun_elevation"):
            value = facts[name]
            dtype = {"acquired": np.int64, "sun_elevation": np.float64}.get(name, np.int32)
            values = np.full(self.count, 0 if value is None else value, dtype)
            if name == "acquired":
                values = values.view("M8[us]")
            return values, (np.ones(self.count, bool) if value is None else None)
        top, bottom, left, right = self.hull
        lines = np.arange(top, bottom, dtype=np.int32)[:, None]
        samples = np.arange(left, right, dtype=np.int32)[None, :]
        if name == "line":
            return self._spread(lines), None
        if name == "sample":
            return self._spread(samples), None
        if name == "block":
            across = -(-self.product.shape[1] // BLOCK)
            return self._spread((lines // BLOCK * across + samples // BLOCK).astype(np.int32)), None
        if name in ("x", "y"):
            return self._spread(self._coordinate(name, lines, samples)), None
        if self._lonlat is None:
            x, y = (self._spread(self._coordinate(n, lines, samples)) for n in ("x", "y"))
            self._lonlat = projections.of_epsg(int(facts["epsg"])).to_lonlat(x, y)
        return self._lonlat[0 if name == "lon" else 1], None

    def _coordinate(self, name: str, lines: Any, samples: Any) -> Any:
        """Of the middles of pixels, as rasterio works it out."""
        facts = self.product.facts
        across, down = ("x_step", "x_line_step") if name == "x" else ("y_sample_step", "y_step")
        origin = facts[f"{name}_origin"]
        found = facts[across] * (samples + 0.5) if facts[across] else 0.0
        if facts[down]:
            found = found + facts[down] * (lines + 0.5)
        return found + origin

    def _spread(self, values: Any) -> Any:
        top, bottom, left, right = self.hull
        whole = np.broadcast_to(values, (bottom - top, right - left))
        return whole.ravel() if self.mask is None else whole[self.mask]

    def band(self, name: str) -> Column:
        """Stored values; NULL where the product lacks the band."""
        return self.stored.get(name) or self._missing(np.int32)

    def flag(self, name: str) -> Column:
        """One of the flags of the quality band."""
        if "qa_pixel" not in self.stored:
            return self._missing(np.bool_)
        collection = int(self.product.facts["collection"])
        found = _landsat_quality.flag(name, self.stored["qa_pixel"][0], collection)
        return self._missing(np.bool_) if found is None else (found, None)

    def scaled(self, name: str, quantity: str) -> Column:
        """Values in their unit; NULL for fill, saturated pixels and bands that are not there."""
        band = self.product.bands.get(name)
        if band is None or band.facts["scale"] is None or name not in self.stored:
            return self._missing(np.float64)
        facts = band.facts
        elevation = facts["sun_elevation"]
        by_sun = quantity == "toa_reflectance"
        if by_sun and (elevation is None or elevation <= 0):
            return self._missing(np.float64)
        values = self.stored[name][0]
        masked = values == band.fill
        collection = int(facts["collection"])
        if "qa_pixel" in self.stored:
            masked |= _landsat_quality.unusable(self.stored["qa_pixel"][0], collection)
        if "qa_radsat" in self.stored and facts["radsat_bit"] is not None:
            masked |= (self.stored["qa_radsat"][0] >> int(facts["radsat_bit"]) & 1).astype(bool)
        found = values * facts["scale"] + facts["add_offset"]
        if by_sun:
            found /= np.sin(np.radians(elevation))
        return found, masked

    def _missing(self, dtype: Any) -> Column:
        return np.zeros(self.count, dtype), np.ones(self.count, bool)
