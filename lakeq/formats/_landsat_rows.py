"""From the metadata of a product to its row of `scenes`: what MTL files and STAC items share.

Sources: as `_landsat_mtl`; Landsat 8-9 Collection 2 Level 2 Science Product Guide (LSDS-1619),
table 6-1, for the scales of the bands of surface temperature.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from lakeq.errors import BadSource
from lakeq.formats import _landsat_geometry as geometry
from lakeq.formats._landsat_mtl import Groups
from lakeq.formats._landsat_names import Product, asset_name, product

Row = dict[str, Any]

_HINT = "fetch the object again, or leave it out"
_FILE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,120}\Z")
_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2})(?:\.(\d+))?Z?\Z")
_CONTENTS = ("PRODUCT_CONTENTS", "PRODUCT_METADATA")
_SURFACE = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
_HEAT = "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"
_NO_ASSETS = frozenset({"RLUT_FILE_NAME", "CPF_NAME"})
ST_SCALES = {
    "ST_TRAD": ("radiance", 0.001),
    "ST_URAD": ("radiance", 0.001),
    "ST_DRAD": ("radiance", 0.001),
    "ST_ATRAN": ("transmittance", 0.0001),
    "ST_EMIS": ("emissivity", 0.0001),
    "ST_EMSD": ("emissivity", 0.0001),
    "ST_CDIST": ("cloud_distance_km", 0.01),
    "ST_QA": ("temperature_uncertainty", 0.01),
    "SR_ATMOS_OPACITY": ("opacity", 0.001),
}


@dataclass(slots=True)
class Asset:
    """One file of a product; `name` is as `_landsat_names.asset_name` makes it."""

    name: str
    file_name: str
    uri: str | None = None
    data_type: str | None = None
    quantity: str | None = None
    scale: float | None = None
    offset: float | None = None
    radiance_scale: float | None = None
    radiance_offset: float | None = None
    k1: float | None = None
    k2: float | None = None

    def row(self, folder: str | None, sizes: Mapping[str, int]) -> Row:
        """As the column has it."""
        uri = self.uri or (None if folder is None else folder + self.file_name)
        return {
            "name": self.name,
            "uri": uri,
            "size_bytes": sizes.get(self.file_name),
            **{
                name: getattr(self, name)
                for name in self.__slots__
                if name not in ("name", "file_name", "uri")
            },
        }


@dataclass(slots=True)
class Grid:
    """The pixels of the reflective bands: reference system, shape, and where the corner lies."""

    epsg: int
    lines: int
    samples: int
    pixel_size_m: float
    x_origin_m: float
    y_origin_m: float

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of the outer edges of the pixels."""
        east = self.x_origin_m + self.samples * self.pixel_size_m
        return (
            self.x_origin_m,
            self.y_origin_m - self.lines * self.pixel_size_m,
            east,
            (self.y_origin_m),
        )

    def row(self) -> Row:
        """Its columns."""
        zone = self.epsg % 100 if 32600 < self.epsg < 32800 else None
        return {"utm_zone": zone, **{name: getattr(self, name) for name in self.__slots__}}


@dataclass(slots=True)
class Facts:
    """What one object tells of one product; what it does not tell is None.

    `note` is a remark for the report of the ingest.
    """

    product: Product
    acquired: datetime
    columns: Row = field(default_factory=dict)
    grid: Grid | None = None
    footprint: geometry.Footprint | None = None
    footprint_source: str | None = None
    assets: list[Asset] = field(default_factory=list)
    note: str = ""

    def row(self, folder: str | None, sizes: Mapping[str, int]) -> Row:
        """The row of `scenes`."""
        named = self.product
        found = {
            "year": self.acquired.year,
            "path": named.path,
            "row": named.row,
            "acquired": self.acquired,
            "product_id": named.id,
            "collection": named.collection or 0,
            "tier": named.tier,
            "processing_level": named.level,
            "platform": f"LANDSAT_{named.satellite}",
            "sensor": named.sensor,
            "processed": named.processed,
            "wrs_type": named.wrs_type,
            "folder": folder,
            "assets": [asset.row(folder, sizes) for asset in self.assets],
            **{name: value for name, value in self.columns.items() if value is not None},
        }
        return found | (self.grid.row() if self.grid else {}) | self._place()

    def _place(self) -> Row:
        place, source = self.footprint, self.footprint_source
        if place is None and self.grid is not None:
            place, source = geometry.of_image(self.grid.epsg, self.grid.bounds), "image"
        if place is None:
            named = self.product
            place = geometry.of_path_row(named.wrs_type, named.path, named.row)
            source = None if place is None else "path_row"
        if place is None:
            return {}
        return {**place_columns(place), "footprint_source": source}


def place_columns(place: geometry.Footprint) -> Row:
    """The columns that tell where a scene lies."""
    names = ("xmin", "ymin", "xmax", "ymax")
    return {
        "cell": place.cell,
        "bbox": dict(zip(names, place.bounds, strict=True)),
        "west_lon": place.west,
        "east_lon": place.east,
        "footprint": place.wkb,
    }


class _Keys:
    """The groups of an MTL file, asked for by the names that a key has had."""

    def __init__(self, groups: Groups, uri: str) -> None:
        self._groups = groups
        self._uri = uri

    def text(self, *places: tuple[str, str]) -> str | None:
        """The text of the first of some (group, key) that is there."""
        for group, key in places:
            if (value := self._groups.get(group, {}).get(key)) not in (None, ""):
                return value
        return None

    def needed(self, *places: tuple[str, str]) -> str:
        """As `text`, or `BadSource` that names group and key."""
        if (value := self.text(*places)) is not None:
            return value
        group, key = places[0]
        what = f"key {key} is missing" if group in self._groups else f"group {group} is missing"
        raise BadSource(f"the MTL file is not whole: {what}", self._uri, _HINT)

    def number(self, *places: tuple[str, str]) -> float | None:
        """A finite number, None where the key is missing."""
        text = self.text(*places)
        return None if text is None else number(text, f"{self._uri}, {places[0][1]}")

    def group(self, *names: str) -> Mapping[str, str]:
        """The first group of these that is there, or an empty one."""
        return next((self._groups[name] for name in names if name in self._groups), {})


def number(text: object, where: str) -> float:
    """A finite number, or `BadSource`."""
    try:
        value = float(str(text))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadSource(f"not a number: {str(text)[:60]!r}", where, _HINT)
    return value


def of_mtl(groups: Groups, uri: str) -> Facts:
    """What an MTL file tells of its product; `BadSource` names a group or key that is missing."""
    keys = _Keys(groups, uri)
    _check_groups(groups, uri)
    scene = keys.needed(
        ("LEVEL1_PROCESSING_RECORD", "LANDSAT_SCENE_ID"), ("METADATA_FILE_INFO", "LANDSAT_SCENE_ID")
    )
    before = "METADATA_FILE_INFO" in groups
    given = (
        keys.text(("METADATA_FILE_INFO", "LANDSAT_PRODUCT_ID"))
        if before
        else keys.needed(("PRODUCT_CONTENTS", "LANDSAT_PRODUCT_ID"))
    )
    identifier = given or scene
    named = product(identifier)
    if named is None:
        raise BadSource(f"no product is called {identifier[:60]!r}", uri, _HINT)
    facts = Facts(named, _acquired(keys, uri), grid=_grid(keys, uri))
    attributes, told = "IMAGE_ATTRIBUTES", "PRODUCT_METADATA"
    cover = keys.number((attributes, "CLOUD_COVER"))
    land = keys.number((attributes, "CLOUD_COVER_LAND"))
    facts.columns = {
        "path": _whole(keys.needed((attributes, "WRS_PATH"), (told, "WRS_PATH")), uri),
        "row": _whole(keys.needed((attributes, "WRS_ROW"), (told, "WRS_ROW")), uri),
        "wrs_type": _whole(keys.text((attributes, "WRS_TYPE")), uri),
        "platform": keys.text((attributes, "SPACECRAFT_ID"), (told, "SPACECRAFT_ID")),
        "sensor": keys.text((attributes, "SENSOR_ID"), (told, "SENSOR_ID")),
        "processing_level": keys.text(
            ("PRODUCT_CONTENTS", "PROCESSING_LEVEL"), (told, "DATA_TYPE")
        ),
        "scene_id": scene,
        "cloud_cover": known_cover(cover),
        "cloud_cover_land": known_cover(land),
        "sun_elevation": keys.number((attributes, "SUN_ELEVATION")),
        "sun_azimuth": keys.number((attributes, "SUN_AZIMUTH")),
        "processed": named.processed or _file_date(keys, uri),
    }
    facts.assets = list(_assets(keys, named.id))
    return facts


def _check_groups(groups: Groups, uri: str) -> None:
    """Raise `BadSource` for a group that every MTL file of the kind has and this one lacks."""
    if groups.keys() & {"METADATA_FILE_INFO", "PRODUCT_METADATA"}:
        needed = ["METADATA_FILE_INFO", "PRODUCT_METADATA", "IMAGE_ATTRIBUTES"]
        needed += ["RADIOMETRIC_RESCALING", "PROJECTION_PARAMETERS"]
    else:
        contents = groups.get("PRODUCT_CONTENTS", {})
        needed = ["PRODUCT_CONTENTS", "IMAGE_ATTRIBUTES", "PROJECTION_ATTRIBUTES"]
        needed += ["LEVEL1_PROCESSING_RECORD"]
        level2 = contents.get("PROCESSING_LEVEL", "").startswith("L2")
        needed.append(_SURFACE if level2 else "LEVEL1_RADIOMETRIC_RESCALING")
        if any(key.startswith("FILE_NAME_BAND_ST_") for key in contents):
            needed.append(_HEAT)
    missing = [name for name in needed if name not in groups]
    if missing and "ACQUISITION_DATE" in groups.get("PRODUCT_METADATA", {}):
        what = "an MTL file in the layout of before August 2012, which is not read"
        raise BadSource(what, uri, "take the product of Collection 2, which replaced it")
    if missing:
        raise BadSource(f"the MTL file is not whole: group {missing[0]} is missing", uri, _HINT)


def known_cover(percent: float | None) -> float | None:
    """Cloud cover, which is negative where it was not determined."""
    return None if percent is None or percent < 0 else percent


def _whole(text: str | None, uri: str) -> int | None:
    if text is None:
        return None
    if not text.strip().isdigit() or len(text) > 4:
        raise BadSource(f"not a whole number: {text[:60]!r}", uri, _HINT)
    return int(text)


def _acquired(keys: _Keys, uri: str) -> datetime:
    groups = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
    day = keys.needed(*((group, "DATE_ACQUIRED") for group in groups))
    clock = keys.text(*((group, "SCENE_CENTER_TIME") for group in groups))
    return moment(f"{day}T{clock}" if clock else day, uri)


def moment(text: str, where: str) -> datetime:
    """A UTC time with any number of digits of its second, cut to microseconds, or a day."""
    day, _, clock = text.partition("T")
    found = _TIME.fullmatch(clock or "00:00:00")
    try:
        start = date.fromisoformat(day)
        hour, minute, second = (int(part) for part in (found.groups()[:3] if found else "x"))
        micros = int(((found and found[4]) or "0").ljust(6, "0")[:6])
        at = hour, minute, second, micros
        return datetime(start.year, start.month, start.day, *at, tzinfo=UTC)
    except ValueError as error:
        raise BadSource(f"no time: {text[:60]!r}", where, _HINT) from error


def _file_date(keys: _Keys, uri: str) -> date | None:
    text = keys.text(("METADATA_FILE_INFO", "FILE_DATE"))
    return None if text is None else moment(text, uri).date()


def _grid(keys: _Keys, uri: str) -> Grid:
    """From the corners, which are middles of pixels."""
    shape = ("PROJECTION_ATTRIBUTES", "PRODUCT_METADATA")
    system = ("PROJECTION_ATTRIBUTES", "PROJECTION_PARAMETERS")

    def told(key: str, groups: tuple[str, str] = shape) -> float:
        text = keys.needed(*((group, key) for group in groups))
        return number(text, f"{uri}, {key}")

    size = told("GRID_CELL_SIZE_REFLECTIVE", system)
    lines, samples = told("REFLECTIVE_LINES"), told("REFLECTIVE_SAMPLES")
    if not (0 < size < 1e4 and 0 < lines < 1e6 and 0 < samples < 1e6):
        raise BadSource(f"an image of {lines:g} x {samples:g} pixels of {size:g} m", uri, _HINT)
    west = told("CORNER_UL_PROJECTION_X_PRODUCT") - size / 2
    north = told("CORNER_UL_PROJECTION_Y_PRODUCT") + size / 2
    return Grid(_epsg(keys, system, uri), int(lines), int(samples), size, west, north)


def _epsg(keys: _Keys, groups: tuple[str, str], uri: str) -> int:
    name = keys.needed(*((group, "MAP_PROJECTION") for group in groups))
    if name == "PS":
        south = keys.number(*((group, "TRUE_SCALE_LAT") for group in groups))
        return 3995 if south is not None and south > 0 else 3031
    zone = keys.needed(*((group, "UTM_ZONE") for group in groups))
    number_ = abs(int(number(zone, f"{uri}, UTM_ZONE")))
    if name != "UTM" or not 1 <= number_ <= 60:
        raise BadSource(f"map projection {name[:20]} of zone {zone[:20]}", uri, _HINT)
    return 32600 + number_


def _assets(keys: _Keys, identifier: str) -> Iterator[Asset]:
    contents = keys.group(*_CONTENTS)
    for key, file_name in contents.items():
        named = "FILE_NAME" in key and key not in _NO_ASSETS
        if not named or not file_name.startswith(identifier) or not _FILE_NAME.match(file_name):
            continue
        suffix = key.removeprefix("FILE_NAME_")
        asset = Asset(asset_name(file_name, identifier), file_name)
        asset.data_type = contents.get(f"DATA_TYPE_{suffix}")
        _calibrate(asset, suffix, keys)
        yield asset


def _calibrate(asset: Asset, suffix: str, keys: _Keys) -> None:
    """Scales and offsets, of the level that the band is of: an L2 file has those of Level 1 too."""
    if asset.name in ST_SCALES:
        asset.quantity, asset.scale = ST_SCALES[asset.name]
        asset.offset = 0.0
        return
    level1 = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
    choices = [("toa_reflectance", "REFLECTANCE", level1), ("radiance", "RADIANCE", level1)]
    if asset.name.startswith("SR_"):
        choices = [("surface_reflectance", "REFLECTANCE", (_SURFACE, _SURFACE))]
    elif asset.name.startswith("ST_"):
        choices = [("surface_temperature", "TEMPERATURE", (_HEAT, _HEAT))]
    for quantity, word, groups in choices:
        scale = keys.number(*((group, f"{word}_MULT_{suffix}") for group in groups))
        offset = keys.number(*((group, f"{word}_ADD_{suffix}") for group in groups))
        if quantity == "radiance":
            asset.radiance_scale, asset.radiance_offset = scale, offset
        if scale is not None and asset.quantity is None:
            asset.quantity, asset.scale, asset.offset = quantity, scale, offset
    if choices[0][0] == "toa_reflectance":
        thermal = ("LEVEL1_THERMAL_CONSTANTS", "TIRS_THERMAL_CONSTANTS", "THERMAL_CONSTANTS")
        asset.k1 = keys.number(*((group, f"K1_CONSTANT_{suffix}") for group in thermal))
        asset.k2 = keys.number(*((group, f"K2_CONSTANT_{suffix}") for group in thermal))
