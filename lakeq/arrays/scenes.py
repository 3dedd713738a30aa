"""Landsat scenes as one lazy xarray Dataset: bands over (time, y, x) on their common grid.

What a scene's files are is asked of `landsat.scenes`, and their grids of the files themselves. Only
the blocks that a value is asked of are read. Names and layout are those of odc-stac and rioxarray:
`spatial_ref` holds the reference system (CF conventions 1.8, grid mappings; GDAL's GeoTransform).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from lakeq import projections
from lakeq.arrays import places
from lakeq.errors import NotFound, UnknownName, UsageError
from lakeq.formats import _landsat_bands, _tiff_header, _tiff_tiles

if TYPE_CHECKING:
    import numpy.typing as npt

    from lakeq.catalog import Table
    from lakeq.query import Result
    from lakeq.storage import Reader, SourceObject

    Pixels = npt.NDArray[Any]

Values = Literal["scaled", "stored"]
Box = tuple[float, float, float, float]
Ask = Callable[..., "Result"]
Open = Callable[[str], "SourceObject"]

AT_ONCE = 16  # files asked for their headers at the same time
MOST_SCENES = 1000
BOX_POINTS = 32  # along each side of a box, which is no straight line on the map
_SCALES = {"SR": ("surface_reflectance", 2.75e-5, -0.2), "ST": ("surface_temperature", 0.00341802,
           149.0)}  # fmt: skip
_UNITS = {"surface_temperature": "K", "radiance": "W m-2 sr-1 um-1"}

SCENES = """
    SELECT product_id, acquired, path, row, platform, sensor, processing_level, collection, epsg,
        sun_elevation, cloud_cover, assets, _source
    FROM landsat.scenes
    WHERE {where}
    QUALIFY row_number() OVER (PARTITION BY product_id ORDER BY epsg IS NULL) = 1
    ORDER BY acquired, product_id
"""


class Meter:
    """Opens objects, and counts the requests for parts of them and their bytes.

    `s3_requests` are those of them that S3 asks money for.
    """

    def __init__(self, open_: Open) -> None:
        self._open, self._lock = open_, Lock()
        self.requests = self.bytes_read = self.s3_requests = 0

    def __call__(self, uri: str) -> SourceObject:
        """The object at `uri`, counted."""
        source = self._open(uri)
        return replace(source, reader=_Counted(source.reader, self, uri.startswith("s3://")))

    def note(self, length: int, *, s3: bool) -> None:
        """One request of so many bytes."""
        with self._lock:
            self.requests += 1
            self.s3_requests += s3
            self.bytes_read += length


@dataclass(frozen=True, slots=True)
class _Counted:
    """The reader of an object, whose requests are counted."""

    reader: Reader
    meter: Meter
    s3: bool

    def open(self) -> BinaryIO:
        return self.reader.open()

    def read_range(self, offset: int, length: int) -> bytes:
        self.meter.note(length, s3=self.s3)
        return self.reader.read_range(offset, length)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which scenes: by `products`, or the newest of a path and row and time; and how much cloud.

    `box` (west, south, east, north, in degrees) crops them; `level` begins the processing level.
    """

    products: Sequence[str] = ()
    path_row: tuple[int, int] | None = None
    start: object = None
    end: object = None
    max_cloud: float = 100.0
    level: str = "L2"
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """One band of one scene: its file and image, and what turns stored numbers into values.

    Its overviews lie in the file itself, or in that `beside` it.
    """

    source: SourceObject
    image: _tiff_header.Image
    overviews: tuple[_tiff_header.Image, ...]
    beside: SourceObject | None
    quantity: str | None
    scale: float | None
    offset: float | None

    @property
    def transform(self) -> tuple[float, ...]:
        """GDAL's six numbers, or `NotFound` for a file without a place on the map."""
        if self.image.transform is None:
            raise NotFound("the file says not where it lies", self.source.uri, "is it a GeoTIFF?")
        return self.image.transform

    def values(self, stored: Pixels) -> Pixels:
        """Stored numbers as float32, NaN where there is no data."""
        assert self.scale is not None
        assert self.offset is not None
        values = (stored * self.scale + self.offset).astype(np.float32)
        values[stored == np.asarray(self.image.fill).astype(stored.dtype)] = np.nan
        return values


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene, with the bands that were asked for."""

    facts: Mapping[str, Any]
    bands: Mapping[str, Band]


def find(ask: Ask, choice: Choice) -> list[Mapping[str, Any]]:
    """The rows of `scenes` that are chosen, by time; `NotFound` when there is none."""
    from lakeq.keys import Wanted

    where, given = ["true"], dict[str, object]()
    if choice.products:
        where.append("product_id IN (SELECT unnest($products))")
        given["products"] = list(choice.products)
    else:
        if choice.path_row is None:
            raise UsageError("no scene is named", "the scenes", "name products, or a path and row")
        where += ["path = $path", "row = $row", "starts_with(processing_level, $level)"]
        given |= {"path": choice.path_row[0], "row": choice.path_row[1], "level": choice.level}
        span = Wanted.of({}, choice.start, choice.end)  # type: ignore[arg-type]  # it says so itself
        if span.start:
            where.append("acquired >= $start")
            given["start"] = span.start
        if span.end:
            where.append("acquired < $end")
            given["end"] = span.end
    if choice.max_cloud < 100:
        where.append("cloud_cover <= $max_cloud")
        given["max_cloud"] = choice.max_cloud
    asked = ask(SCENES.format(where=" AND ".join(where)), given or None)
    rows: list[Mapping[str, Any]] = asked.arrow().to_pylist()
    missing = [name for name in choice.products if name not in {row["product_id"] for row in rows}]
    if missing or not rows:
        what = f"no scene {missing[0]}" if missing else "no scene is of that place, time and cloud"
        raise NotFound(what, "landsat.scenes", "lakeq ingest landsat brings its metadata")
    rows = rows if choice.products else _newest(rows)
    if len(rows) > MOST_SCENES:
        what = f"{len(rows):,} scenes, more than {MOST_SCENES:,}"
        raise UsageError(what, "the scenes", "ask for a shorter time")
    return rows


def _newest(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each scene the product made last: its identifier ends in collection and tier."""
    found: dict[object, Mapping[str, Any]] = {}
    for row in rows:
        key = row["platform"], row["acquired"].date(), row["processing_level"][:2]
        made = row["product_id"].split("_")
        rank = row["collection"], made[-1] != "RT", row["product_id"]
        if key not in found or rank > found[key]["_rank"]:
            found[key] = {**row, "_rank": rank}
    return sorted(found.values(), key=lambda row: row["acquired"])


def scenes(
    rows: Sequence[Mapping[str, Any]],
    bands: Sequence[str],
    open_: Open,
    tables: Collection[Table] = (),
    *,
    overviews: bool = False,
) -> list[Scene]:
    """The scenes with the headers of their bands; `UnknownName` for a band that one has not.

    Files lie beside their metadata or where the catalog's `tables` have objects; what metadata name
    elsewhere is `AccessDenied`. `overviews` looks for a file NAME.ovr too.
    """
    if not bands or len(set(bands)) < len(bands):
        raise UsageError(
            "no band is named, or one twice", "the scenes", "name red, nir08, qa_pixel"
        )
    files = [(row, band, _asset(row, band)) for row in rows for band in bands]
    for row, _, asset in files:
        places.check(asset["uri"], row["_source"], tables)

    def opened(file: tuple[Mapping[str, Any], str, Mapping[str, Any]]) -> Band:
        row, _, asset = file
        source = open_(asset["uri"])
        images = _tiff_header.read(source)
        main = images[0]
        smaller = [image for image in images[1:] if image.kind == "overview"]
        beside = _beside(asset["uri"], open_) if overviews and not smaller else None
        if beside is not None:
            smaller = _tiff_header.companions(beside, main)
        return Band(source, main, tuple(smaller), beside, *_scaling(row, asset))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(opened, files))
    each = len(bands)
    return [
        Scene(row, dict(zip(bands, found[n * each : (n + 1) * each], strict=True)))
        for n, row in enumerate(rows)
    ]


def _beside(uri: str, open_: Open) -> SourceObject | None:
    """The file of overviews beside an image, as the retired bucket has them."""
    try:
        return open_(f"{uri}.ovr")
    except NotFound:
        return None


def _asset(row: Mapping[str, Any], band: str) -> Mapping[str, Any]:
    """The file of a band, by its common name or by that of its file; level 2 has two of lwir."""
    known: dict[str, Mapping[str, Any]] = {}
    for asset in row["assets"] or ():
        name = _landsat_bands.band(asset["name"], row["platform"], row["sensor"])
        for key in filter(None, (name, asset["name"])):
            known.setdefault(key, asset)
    if band not in known:
        where = f"the scene {row['product_id']}"
        raise UnknownName.among("band", band, sorted(known), where)
    return known[band]


def _scaling(
    row: Mapping[str, Any], asset: Mapping[str, Any]
) -> tuple[str | None, float | None, float | None]:
    quantity, scale, offset = (asset[name] for name in ("quantity", "scale", "offset"))
    if scale is None and row["collection"] == 2:
        kind, _, number = asset["name"].partition("_B")
        quantity, scale, offset = _SCALES.get(kind, (None,) * 3) if number else (None,) * 3
    if quantity == "toa_reflectance" and scale is not None:
        sine = math.sin(math.radians(row["sun_elevation"] or 0))
        scale, offset = (scale / sine, offset / sine) if sine > 0 else (None, None)
    return quantity, scale, offset


@dataclass(frozen=True, slots=True)
class Grid:
    """Pixels of one size on one map: how many, and where the outer corner of the first lies."""

    epsg: int
    x_size: float
    y_size: float  # negative: lines go south
    x_origin: float
    y_origin: float
    lines: int
    samples: int

    @property
    def x(self) -> npt.NDArray[np.float64]:
        """Of the middles of pixels, in m."""
        return np.arange(self.samples, dtype=np.float64) * self.x_size + (
            self.x_origin + self.x_size / 2
        )

    @property
    def y(self) -> npt.NDArray[np.float64]:
        """Of the middles of pixels, in m."""
        return np.arange(self.lines, dtype=np.float64) * self.y_size + (
            self.y_origin + self.y_size / 2
        )

    def offset(self, band: Band) -> tuple[int, int]:
        """The line and the pixel of this grid at which a band's image begins."""
        a, _, c, _, e, f = band.transform
        line, sample = (f - self.y_origin) / self.y_size, (c - self.x_origin) / self.x_size
        aligned = abs(line - round(line)) < 1e-6 and abs(sample - round(sample)) < 1e-6
        same = math.isclose(a, self.x_size) and math.isclose(e, self.y_size)
        if not (aligned and same):
            what = f"pixels of {a:g} x {-e:g} m, which are not on one grid with the others"
            hint = "open bands of one pixel size, and scenes of one path and row, together"
            raise UsageError(what, band.source.uri, hint)
        return round(line), round(sample)


def common_grid(found: Sequence[Scene], box: Box | None) -> Grid:
    """The grid that holds all scenes; `UsageError` where their maps differ."""
    bands = [band for scene in found for band in scene.bands.values()]
    codes = {
        band.image.epsg or scene.facts["epsg"] for scene in found for band in scene.bands.values()
    }
    if len(codes) != 1 or None in codes:
        names = ", ".join(f"EPSG:{code}" for code in sorted(codes, key=str))
        what = f"the scenes lie on several maps: {names}"
        raise UsageError(what, "the scenes", "open those of one map together; lakeq does not warp")
    a, _, _, _, e, _ = bands[0].transform
    spans = [_span(band) for band in bands]
    west, south = min(s[0] for s in spans), min(s[1] for s in spans)
    east, north = max(s[2] for s in spans), max(s[3] for s in spans)
    grid = Grid(int(codes.pop()), a, e, west, north, round((south - north) / e),
                round((east - west) / a))  # fmt: skip
    return grid if box is None else _cropped(grid, box)


def _span(band: Band) -> Box:
    a, _, c, _, e, f = band.transform
    return c, f + e * band.image.height, c + a * band.image.width, f


def _cropped(grid: Grid, box: Box) -> Grid:
    """The pixels that a box of degrees touches."""
    west, south, east, north = box
    if not (south < north and west < east):
        raise UsageError(f"a box of west {west}, south {south}, east {east}, north {north}",
                         "the box", "west before east, south before north")  # fmt: skip
    step = np.linspace(0, 1, BOX_POINTS)
    lon = np.concatenate(
        [west + (east - west) * step] * 2 + [np.full(BOX_POINTS, west), np.full(BOX_POINTS, east)]
    )
    lat = np.concatenate(
        [np.full(BOX_POINTS, south), np.full(BOX_POINTS, north)]
        + [south + (north - south) * step] * 2
    )
    x, y = projections.of_epsg(grid.epsg).from_lonlat(lon, lat)
    left, right = (float(v - grid.x_origin) / grid.x_size for v in (x.min(), x.max()))
    top, bottom = (float(v - grid.y_origin) / grid.y_size for v in (y.max(), y.min()))
    first, last = max(0, math.floor(left)), min(grid.samples, math.ceil(right))
    upper, lower = max(0, math.floor(top)), min(grid.lines, math.ceil(bottom))
    if first >= last or upper >= lower:
        raise NotFound("the box lies outside the scenes", "the box", "see @scenes_in_box")
    return Grid(grid.epsg, grid.x_size, grid.y_size, grid.x_origin + first * grid.x_size,
                grid.y_origin + upper * grid.y_size, lower - upper, last - first)  # fmt: skip


class _Lazy(BackendArray):
    """One band of all scenes; reads what is asked of it."""

    def __init__(self, bands: Sequence[Band], grid: Grid, *, scaled: bool) -> None:
        self._bands, self._grid, self._scaled = bands, grid, scaled
        self._offsets = [grid.offset(band) for band in bands]
        self.shape = (len(bands), grid.lines, grid.samples)
        stored = np.result_type(*(np.dtype(band.image.dtype) for band in bands))
        self.dtype = np.dtype(np.float32) if scaled else stored

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> Pixels:
        ranges = [range(size)[part] for part, size in zip(key, self.shape, strict=True)]
        whole = [range(r, r + 1) if isinstance(r, int) else r for r in ranges]
        spans = [(min(r, default=0), max(r, default=-1) + 1) for r in whole[1:]]
        layers = [self._layer(n, *spans) for n in whole[0]]
        (top, _), (left, _) = spans
        lines, pixels = (
            [i - low for i in r] for r, low in zip(whole[1:], (top, left), strict=True)
        )
        stack = np.stack(layers) if layers else np.empty((0, *map(len, whole[1:])), self.dtype)
        found = stack[:, lines][:, :, pixels] if layers else stack
        keep = tuple(0 if isinstance(r, int) else slice(None) for r in ranges)
        return np.asarray(found[keep])

    def _layer(self, number: int, lines: tuple[int, int], pixels: tuple[int, int]) -> Pixels:
        """The window of one scene; outside its image there is no data."""
        band, (line, pixel) = self._bands[number], self._offsets[number]
        top, bottom = max(lines[0] - line, 0), min(lines[1] - line, band.image.height)
        left, right = max(pixels[0] - pixel, 0), min(pixels[1] - pixel, band.image.width)
        shape = (max(0, lines[1] - lines[0]), max(0, pixels[1] - pixels[0]))
        empty = np.nan if self._scaled else band.image.fill
        out = np.full(shape, np.asarray(empty).astype(self.dtype), self.dtype)
        if top < bottom and left < right:
            window = slice(top, bottom), slice(left, right)
            stored = _tiff_tiles.read(band.source, band.image, window)[0]
            rows = slice(top + line - lines[0], bottom + line - lines[0])
            columns = slice(left + pixel - pixels[0], right + pixel - pixels[0])
            out[rows, columns] = band.values(stored) if self._scaled else stored
        return out


def open_scenes(  # what `Lake.open_scenes` has
    ask: Ask,
    open_: Open,
    choice: Choice,
    bands: Sequence[str],
    values: Values = "scaled",
    tables: Collection[Table] = (),
) -> xr.Dataset:
    """The scenes chosen, as `Lake.open_scenes` describes it."""
    if values not in get_args(Values):
        hint = f"choose from: {', '.join(get_args(Values))}"
        raise UsageError(f"values = {values!r}", "the scenes", hint)
    if not bands or len(set(bands)) < len(bands):
        raise UsageError(
            "no band is named, or one twice", "the scenes", "name red, nir08, qa_pixel"
        )
    found = scenes(find(ask, choice), bands, open_, tables)
    grid = common_grid(found, choice.box)
    variables = {
        band: _variable([s.bands[band] for s in found], band, grid, values) for band in bands
    }
    facts = [scene.facts for scene in found]
    times = np.array([row["acquired"].replace(tzinfo=None) for row in facts], "datetime64[ns]")
    return xr.Dataset(
        variables,
        coords={
            "time": ("time", times, {"standard_name": "time", "long_name": "middle of the scene"}),
            "y": ("y", grid.y, _axis("y")),
            "x": ("x", grid.x, _axis("x")),
            "product_id": ("time", [row["product_id"] for row in facts]),
            "cloud_cover": ("time", [_number(row["cloud_cover"]) for row in facts],
                            {"units": "percent"}),
            "spatial_ref": ((), grid.epsg, _reference(grid)),
        },
    )  # fmt: skip


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _axis(name: str) -> dict[str, str]:
    standard = f"projection_{name}_coordinate"
    return {"axis": name.upper(), "standard_name": standard, "units": "metre",
            "long_name": f"{name} coordinate of projection"}  # fmt: skip


def _variable(bands: Sequence[Band], name: str, grid: Grid, values: Values) -> xr.Variable:
    told = {(band.quantity, band.scale, band.offset) for band in bands}
    known = all(band.scale is not None for band in bands)
    quality = name.lower().startswith(("qa_", "sr_qa", "bqa"))
    if values == "scaled" and not known and not quality:
        where = next(band.source.uri for band in bands if band.scale is None)
        hint = "ingest its MTL file, or ask for values='stored'"
        raise UsageError(f"nothing says how {name} is scaled", where, hint)
    scaled = values == "scaled" and known
    attrs: dict[str, Any] = {"long_name": name, "grid_mapping": "spatial_ref"}
    quantity = bands[0].quantity
    if quantity:
        attrs["quantity"] = quantity
    if scaled:
        attrs["units"] = _UNITS.get(quantity or "", "1")
    else:
        attrs["nodata"] = np.asarray(bands[0].image.fill).astype(bands[0].image.dtype).item()
        if known and len(told) == 1:
            attrs |= {"scale_factor": bands[0].scale, "add_offset": bands[0].offset}
    lazy = indexing.LazilyIndexedArray(_Lazy(bands, grid, scaled=scaled))
    encoding = {"grid_mapping": attrs.pop("grid_mapping")}
    return xr.Variable(("time", "y", "x"), lazy, attrs, encoding)


def _reference(grid: Grid) -> dict[str, Any]:
    """What rioxarray writes: CF's grid mapping, the WKT twice, and GDAL's transform."""
    try:
        from pyproj import CRS
    except ImportError as error:
        raise UsageError(
            "pyproj is not installed", "open_scenes", "pip install 'lakeq[geo]'"
        ) from error
    system = CRS.from_epsg(grid.epsg)
    attrs: dict[str, Any] = system.to_cf()
    numbers = (grid.x_origin, grid.x_size, 0.0, grid.y_origin, 0.0, grid.y_size)
    attrs["spatial_ref"] = attrs["crs_wkt"]
    attrs["GeoTransform"] = " ".join(map(str, numbers))
    return attrs
