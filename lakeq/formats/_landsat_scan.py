"""Which blocks of which files hold the pixels that a query wants, told from the index alone.

Conditions on columns become rectangles of lines and samples in the image of each product, a pixel
too wide rather than too narrow; the engine tests the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lakeq import projections
from lakeq.errors import QueryRefused
from lakeq.formats._landsat_bands import PAN
from lakeq.formats._tiff_tiles import Layout
from lakeq.selection import ANYTHING, Domain, Domains, Spans

if TYPE_CHECKING:
    from lakeq.selection import Selection, Wanted

BLOCK = 256  # side of the squares that the column block counts
UNIT_PIXELS = 1 << 15  # fewer make batches that are not worth their while
MAX_TILES = 4_000_000  # rows of the index for one scan; a scene and band has 961
# An index up to this size is asked once, for products and blocks together; of a larger one only the
# blocks of the products that have wanted pixels are read, with a second query.
SMALL_INDEX_BYTES = 1_000_000
MAX_VALUES = 1000  # of a condition that are written out for the index
SLACK = 1e-6  # of a pixel, for rounding
EDGE_POINTS = 64  # on each side of a box in longitude and latitude
HEADERS = (
    "acquired", "object", "etag", "object_bytes", "epsg", "nodata", "image_lines", "image_samples",
    "block_lines", "block_samples", "data_type", "byte_order", "compression", "predictor",
    "x_origin", "y_origin", "x_step", "y_step", "x_line_step", "y_sample_step", "scale",
    "add_offset", "quantity", "radsat_bit", "path", "row", "sun_elevation", "collection",
)  # fmt: skip
WHOLE = ("acquired", "path", "row", "epsg")  # columns that all pixels of a product share
PLACED = ("line", "sample", "x", "y", "lon", "lat")
BLOCKS = ("block_row", "block_column", "byte_offset", "byte_length")
_DTYPES = {"uint8": "u1", "int8": "i1", "uint16": "u2", "int16": "i2", "int32": "i4"}

Rectangles = (
    Any  # n x 4 whole numbers: first line, line after the last, first sample, after the last
)


@dataclass(frozen=True, slots=True)
class Band:
    """One band of one product at full resolution, and where its blocks lie (rows x columns)."""

    name: str
    facts: Mapping[str, Any]
    offsets: Any
    lengths: Any

    @property
    def layout(self) -> Layout:
        """How its blocks are coded."""
        facts = self.facts
        order = "<" if facts["byte_order"] == "little" else ">"
        return Layout(
            int(facts["block_samples"]), int(facts["block_lines"]), 1,
            _DTYPES[facts["data_type"]], order, facts["compression"], int(facts["predictor"]),
        )  # fmt: skip

    @property
    def fill(self) -> int:
        """The value of blocks that are not there."""
        nodata = self.facts["nodata"]
        return 0 if nodata is None or not np.isfinite(nodata) else int(nodata)


@dataclass(frozen=True, slots=True)
class Product:
    """One product, its bands that the query reads, and the pixels that it may want."""

    product_id: str
    bands: Mapping[str, Band]
    facts: Mapping[str, Any]
    rectangles: Rectangles

    @property
    def shape(self) -> tuple[int, int]:
        """Lines and samples."""
        return int(self.facts["image_lines"]), int(self.facts["image_samples"])


class Unit(NamedTuple):
    """Some lines and samples of a product that are decoded together: whole blocks of each band."""

    product: Product
    lines: tuple[int, int]
    samples: tuple[int, int]
    rectangles: Rectangles


def products(wanted: Wanted, bands: Sequence[str], options: Mapping[str, str]) -> list[Product]:
    """The products and rectangles of a selection, by time and name.

    `bands` are those whose pixels are read; of none of them, the grid of any band is taken.
    """
    pan, quantity = options.get("role") == "pixels_pan", options.get("quantity")
    condition = " AND ".join(_conditions(wanted.selection))
    grid = f"band = '{PAN}'" if pan else f"band <> '{PAN}'"
    heads = ", ".join(f"any_value({name}) AS {name}" for name in HEADERS[1:])
    named = f"band IN ({_texts(bands)})" if bands else grid
    at_once = bool(bands) and wanted.index_bytes <= SMALL_INDEX_BYTES
    lists = "".join(f", list({name}) AS {name}" for name in BLOCKS) if at_once else ""
    having = f" HAVING bool_or(quantity = '{quantity}')" if quantity else ""
    found = wanted.index(
        f"SELECT product_id, band, epoch_us(any_value(acquired)) AS acquired, {heads}{lists} "
        "FROM tile_index "
        f"WHERE level = 0 AND {grid} AND {named} AND {condition} "
        "GROUP BY product_id, band ORDER BY acquired, product_id, band"
    )
    if having:
        fits = wanted.index(
            f"SELECT product_id FROM tile_index WHERE level = 0 AND {condition} "
            f"GROUP BY product_id{having}"
        )
        kept = set(fits["product_id"])
    else:
        kept = None
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for number, product_id in enumerate(found["product_id"]):
        if kept is None or product_id in kept:
            facts = {name: found[name][number] for name in HEADERS}
            groups.setdefault(product_id, {})[str(found["band"][number])] = facts
    placed = {}
    for product_id, heads_of in groups.items():
        facts = next(iter(heads_of.values()))
        rectangles = _rectangles(facts, wanted.selection)
        if len(rectangles):
            placed[product_id] = (heads_of, facts, rectangles)
    if at_once:
        blocks = dict(_of_lists(found))
    else:
        blocks = _blocks(wanted, list(placed), bands) if bands else {}
    return [
        Product(
            product_id,
            {name: Band(name, facts, *blocks[product_id, name]) for name, facts in heads_of.items()}
            if bands else {},
            facts,
            rectangles,
        )
        for product_id, (heads_of, facts, rectangles) in placed.items()
    ]  # fmt: skip


def _texts(values: Iterable[str]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _conditions(selection: Selection) -> Iterator[str]:
    """What the index can be asked: product, time, path and row."""
    yield "true"
    domain = selection.of("product_id")
    if domain.values is not None and len(domain.values) <= MAX_VALUES:
        yield (
            f"product_id IN ({_texts(map(str, sorted(domain.values)))})"
            if domain.values
            else "false"
        )
    else:
        yield from _between("product_id", domain, lambda value: _texts([str(value)]))
    for name in ("path", "row"):
        yield from _between(name, selection.of(name), lambda value: str(math.floor(value)))
    yield from _between("acquired", selection.of("acquired"), _moment)
    yield from _between("year", selection.of("acquired"), _year)


def _between(name: str, domain: Domain, text: Any) -> Iterator[str]:
    if domain.empty:
        yield "false"
        return
    if domain.least is not None:
        yield f"{name} >= {text(domain.least)}"
    if domain.most is not None:
        most = domain.most
        yield f"{name} <= {text(math.ceil(most) if name in ('path', 'row') else most)}"


_ERA_US = 4 * 10**15  # about 126 years from 1970: what lies beyond is written as its bound


def _moment(micros: int) -> str:
    return f"make_timestamptz({max(-_ERA_US, min(_ERA_US, int(micros)))})"


def _year(micros: int) -> str:
    bounded = max(-_ERA_US, min(_ERA_US, int(micros)))
    return str(int(np.datetime64(bounded, "us").astype("datetime64[Y]").astype(int)) + 1970)


def _of_lists(found: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], tuple[Any, Any]]]:
    """As `_blocks`, from lists of the blocks of each product and band in no order."""
    for number in range(len(found["band"])):
        columns = [np.asarray(found[name][number], np.int64) for name in BLOCKS]
        order = np.lexsort(columns[::-1])
        rows = np.stack([column[order] for column in columns])
        first = np.ones(rows.shape[1], bool)  # of rows that are the same
        first[1:] = (rows[:, 1:] != rows[:, :-1]).any(axis=0)
        rows = rows[:, first]
        across = int(rows[1].max()) + 1
        key = str(found["product_id"][number]), str(found["band"][number])
        yield key, (rows[2].reshape(-1, across), rows[3].reshape(-1, across))


def _blocks(
    wanted: Wanted, product_ids: Sequence[str], bands: Sequence[str]
) -> dict[tuple[str, str], tuple[Any, Any]]:
    """Offsets and lengths of the blocks of each product and band, as rows x columns."""
    if not product_ids:
        return {}
    where = f"level = 0 AND band IN ({_texts(bands)}) AND " + (
        f"product_id IN ({_texts(product_ids)})"
        if len(product_ids) <= MAX_VALUES
        else f"product_id BETWEEN {_texts([min(product_ids)])} AND {_texts([max(product_ids)])}"
    )
    found = wanted.index(
        "SELECT product_id, band, max(block_column) + 1 AS across, list(byte_offset ORDER BY "
        "block_row, block_column) AS offsets, list(byte_length ORDER BY block_row, block_column) "
        f"AS lengths, sum(count(*)) OVER () AS total FROM (SELECT DISTINCT product_id, band, "
        f"block_row, block_column, byte_offset, byte_length FROM tile_index WHERE {where}) "
        "GROUP BY product_id, band"
    )
    if len(found["total"]) and int(found["total"][0]) > MAX_TILES:
        what = f"the query wants pixels of {int(found['total'][0]):,} tiles; {MAX_TILES:,} are read"
        raise QueryRefused(what, "the query", "name products, a time or a path and row")
    result = {}
    for number in range(len(found["band"])):
        key = str(found["product_id"][number]), str(found["band"][number])
        across = int(found["across"][number])
        arrays = (np.asarray(found[name][number], np.int64) for name in ("offsets", "lengths"))
        offsets, lengths = (array.reshape(-1, across) for array in arrays)
        result[key] = offsets, lengths
    return result


def _rectangles(facts: Mapping[str, Any], selection: Selection) -> Rectangles:
    """The rectangles of a product's image that hold what is selected; none: an empty array."""
    found = _of_rows(facts, selection.scans)
    for rows in selection.joined:
        found = _crossed(found, _of_rows(facts, rows))
    return found


def _crossed(one: Rectangles, two: Rectangles) -> Rectangles:
    """What is in a rectangle of each: every pair that overlaps, each once."""
    low = np.maximum(one[:, None, ::2], two[None, :, ::2])
    high = np.minimum(one[:, None, 1::2], two[None, :, 1::2])
    pairs = np.stack([low[..., 0], high[..., 0], low[..., 1], high[..., 1]], -1).reshape(-1, 4)
    kept = (pairs[:, 0] < pairs[:, 1]) & (pairs[:, 2] < pairs[:, 3])
    return np.unique(pairs[kept], axis=0)


def _of_rows(facts: Mapping[str, Any], rows: Sequence[Domains] | Spans) -> Rectangles:
    """One rectangle for each row of conditions that the product can meet."""
    spans = _fitting(facts, rows if isinstance(rows, Spans) else _spans(facts, rows))
    lines, samples = int(facts["image_lines"]), int(facts["image_samples"])
    found = np.empty((spans.count, 4), np.int64)
    found[:] = (0, lines, 0, samples)
    if not spans.count:
        return found
    for column, at in (("line", 0), ("sample", 2)):
        low, high = _bounds(spans, column)
        found[:, at] = np.maximum(found[:, at], np.ceil(np.maximum(low, 0)).astype(np.int64))
        most = np.floor(np.minimum(high, lines + samples)).astype(np.int64) + 1
        found[:, at + 1] = np.minimum(found[:, at + 1], most)
    if facts["x_line_step"] == 0 and facts["y_sample_step"] == 0:
        x, y = _bounds(spans, "x"), _bounds(spans, "y")
        if "lon" in spans.low or "lat" in spans.low:
            places = _places(facts, _bounds(spans, "lon"), _bounds(spans, "lat"))
            x = np.maximum(x[0], places[0][0]), np.minimum(x[1], places[0][1])
            y = np.maximum(y[0], places[1][0]), np.minimum(y[1], places[1][1])
        for bounds, origin, step, at in (
            (x, "x_origin", "x_step", 2),
            (y, "y_origin", "y_step", 0),
        ):
            ends = [(bound - facts[origin]) / facts[step] - 0.5 for bound in bounds]
            low, high = np.minimum(*ends) - SLACK, np.maximum(*ends) + SLACK
            limit = lines + samples
            first = np.ceil(np.clip(low, 0, limit)).astype(np.int64)
            found[:, at] = np.maximum(found[:, at], first)
            after = np.floor(np.clip(high, -1, limit)).astype(np.int64) + 1
            found[:, at + 1] = np.minimum(found[:, at + 1], after)
    kept = (found[:, 0] < found[:, 1]) & (found[:, 2] < found[:, 3])
    return np.unique(found[kept], axis=0)


def _spans(facts: Mapping[str, Any], rows: Sequence[Domains]) -> Spans:
    """The rows whose conditions on the product as a whole it can meet, as arrays."""
    fitting = [
        row for row in rows
        if not any(
            name in row and facts[name] is not None and not row[name].holds(facts[name])
            for name in WHOLE
        )
    ]  # fmt: skip
    low, high = {}, {}
    for name in PLACED:
        if any(name in row for row in fitting):
            lows = [row.get(name, ANYTHING).least for row in fitting]
            highs = [row.get(name, ANYTHING).most for row in fitting]
            low[name] = np.array([-np.inf if each is None else each for each in lows], np.float64)
            high[name] = np.array([np.inf if each is None else each for each in highs], np.float64)
    return Spans(low, high, len(fitting))


def _fitting(facts: Mapping[str, Any], spans: Spans) -> Spans:
    """The rows that a product as a whole can meet."""
    kept = np.ones(spans.count, bool)
    for name in set(WHOLE) & set(spans.low):
        if facts[name] is not None:
            kept &= (spans.low[name] <= facts[name]) & (facts[name] <= spans.high[name])
    if kept.all():
        return spans
    low = {name: values[kept] for name, values in spans.low.items()}
    high = {name: values[kept] for name, values in spans.high.items()}
    return Spans(low, high, int(kept.sum()))


def _bounds(spans: Spans, column: str) -> tuple[Any, Any]:
    if column in spans.low:
        return spans.low[column], spans.high[column]
    return np.full(spans.count, -np.inf), np.full(spans.count, np.inf)


def _places(
    facts: Mapping[str, Any], lon: tuple[Any, Any], lat: tuple[Any, Any]
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The bounds in x and y of boxes in longitude and latitude, some pixels too wide.

    Sides that are open end where the image does.
    """
    system = projections.of_epsg(int(facts["epsg"]))
    west, east, south, north = _extent(facts, system)
    box = (
        np.clip(np.maximum(lon[0], west), -360, 360), np.clip(np.minimum(lon[1], east), -360, 360),
        np.clip(np.maximum(lat[0], south), -90, 90), np.clip(np.minimum(lat[1], north), -90, 90),
    )  # fmt: skip
    none = (box[0] > box[1]) | (box[2] > box[3])
    share = np.linspace(0, 1, EDGE_POINTS if len(lon[0]) < 1000 else 5)
    xs, ys = [], []
    for horizontal, fixed in ((True, box[2]), (True, box[3]), (False, box[0]), (False, box[1])):
        low, high = (box[0], box[1]) if horizontal else (box[2], box[3])
        moving = low[:, None] + (high - low)[:, None] * share
        still = np.broadcast_to(fixed[:, None], moving.shape)
        found = system.from_lonlat(*((moving, still) if horizontal else (still, moving)))
        xs.append(found[0])
        ys.append(found[1])
    result = []
    for parts, step in ((xs, facts["x_step"]), (ys, facts["y_step"])):
        all_ = np.concatenate(parts, axis=1)
        low, high = all_.min(axis=1), all_.max(axis=1)
        margin = 0.02 * (high - low) + 2 * abs(step)
        result.append(
            (np.where(none, np.inf, low - margin), np.where(none, -np.inf, high + margin))
        )
    return result[0], result[1]


def _extent(facts: Mapping[str, Any], system: Any) -> tuple[float, float, float, float]:
    """Bounds in degrees of the image; all longitudes where it lies across 180 degrees or a pole."""
    lines, samples = int(facts["image_lines"]), int(facts["image_samples"])
    share = np.linspace(0, 1, 33)
    x = facts["x_origin"] + facts["x_step"] * samples * share
    y = facts["y_origin"] + facts["y_step"] * lines * share
    lon, lat = system.to_lonlat(*(grid.ravel() for grid in np.meshgrid(x, y)))
    south, north = float(lat.min()), float(lat.max())
    margin = 0.02 * (north - south) + 1e-4
    wide = float(lon.max() - lon.min())
    if wide > 90 or south < -85 or north > 85:
        return -360.0, 360.0, -90.0, north + margin if south < -85 else 90.0
    edge = 0.02 * wide + 1e-4
    return float(lon.min()) - edge, float(lon.max()) + edge, south - margin, north + margin


def units(found: Iterable[Product]) -> Iterator[Unit]:
    """The products in parts that are decoded together, block by block, those that are wanted."""
    for product in found:
        height, width = _unit_shape(product)
        lines, samples = product.shape
        rows, columns = -(-lines // height), -(-samples // width)
        of_unit: dict[int, list[int]] = {}
        for number, (top, bottom, left, right) in enumerate(product.rectangles.tolist()):
            for row in range(top // height, -(-bottom // height)):
                for column in range(left // width, -(-right // width)):
                    of_unit.setdefault(row * columns + column, []).append(number)
        assert all(number < rows * columns for number in of_unit)
        for number in sorted(of_unit):
            row, column = divmod(number, columns)
            span = (row * height, min(lines, (row + 1) * height))
            across = (column * width, min(samples, (column + 1) * width))
            cut = product.rectangles[of_unit[number]]
            cut = np.stack(
                [np.maximum(cut[:, 0], span[0]), np.minimum(cut[:, 1], span[1]),
                 np.maximum(cut[:, 2], across[0]), np.minimum(cut[:, 3], across[1])], axis=1
            )  # fmt: skip
            cut = np.unique(cut, axis=0) if len(cut) > 1 else cut
            yield Unit(product, span, across, cut)


def _unit_shape(product: Product) -> tuple[int, int]:
    """Lines and samples that hold whole blocks of every band."""
    lines, samples = product.shape
    heights = [int(band.facts["block_lines"]) for band in product.bands.values()] or [BLOCK]
    widths = [int(band.facts["block_samples"]) for band in product.bands.values()] or [BLOCK]
    width = max(widths)
    if any(width % each for each in widths):
        width = samples
    height = min(math.lcm(*heights), lines)
    width = min(samples, width)
    if width * height < UNIT_PIXELS:
        height *= max(1, UNIT_PIXELS // (width * height))
    return min(height, lines), width
