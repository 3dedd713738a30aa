"""STAC items of Landsat products: those of the USGS, of stactools and of older catalogs.

Sources: STAC 0.7 to 1.1 with the extensions eo, view, projection, raster, alternate and landsat.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, cast

from lakeq.errors import BadSource
from lakeq.formats import _landsat_geometry as geometry
from lakeq.formats._landsat_names import PRODUCT, Product, asset_name, in_bucket, product
from lakeq.formats._landsat_rows import (
    ST_SCALES,
    Asset,
    Facts,
    Grid,
    known_cover,
    moment,
    number,
)

LIMIT_BYTES = 16 << 20  # of an answer with many items; one item has 40 kB
_HINT = "fetch the object again, or leave it out"
_CORNERS = 5  # places of a ring of four
_MAX_PLACES = 10_000  # of an outline

Json = dict[str, Any]


def items(data: bytes, uri: str) -> list[Json]:
    """The items of an object: one, or those of a collection of features."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise BadSource(f"not JSON: {error}", f"{uri}, line {line}", _HINT) from error
    found = document
    if isinstance(document, dict):
        found = document["features"] if document.get("type") == "FeatureCollection" else [document]
    if not isinstance(found, list) or not all(_is_item(item) for item in found):
        raise BadSource("JSON that is neither an MTL file nor STAC items", uri, _HINT)
    return cast("list[Json]", found)


def _is_item(item: object) -> bool:
    return (
        isinstance(item, dict)
        and item.get("type") == "Feature"
        and isinstance(item.get("properties"), dict)
        and isinstance(item.get("assets"), dict)
    )


def facts(item: Json, uri: str) -> Facts:
    """What an item tells of its product."""
    told = item["properties"]
    hrefs = dict(_hrefs(item))
    named = _product(item, hrefs, uri)
    found = Facts(named, moment(str(told.get("datetime")).replace("+00:00", "Z"), uri))
    cover = _number(told, uri, "eo:cloud_cover")
    found.columns = {
        "scene_id": told.get("landsat:scene_id"),
        "processing_level": told.get("landsat:correction") or told.get("landsat:processing_level"),
        "cloud_cover": known_cover(cover),
        "cloud_cover_land": known_cover(_number(told, uri, "landsat:cloud_cover_land")),
        "sun_elevation": _number(told, uri, "view:sun_elevation", "eo:sun_elevation"),
        "sun_azimuth": _number(told, uri, "view:sun_azimuth", "eo:sun_azimuth"),
    }
    found.grid = _grid(told, uri)
    if found.grid is None and (epsg := _epsg(told, uri)):
        zone = epsg % 100 if 32600 < epsg < 32800 else None
        found.columns |= {"epsg": epsg, "utm_zone": zone}
    ring = _ring(item, uri)
    if ring is not None and len(ring) == _CORNERS and not geometry.is_convex(ring):
        found.note = "outlines of STAC items with a corner in the wrong place, not taken"
    elif ring is not None:
        found.footprint, found.footprint_source = geometry.of_ring(ring), "stac"
    for key, href in hrefs.items():
        found.assets.append(_asset(item["assets"][key], href, named))
    return found


def folder(found: Facts) -> str | None:
    """The folder that most of the product's files lie in."""
    folders = Counter(
        asset.uri.rpartition("/")[0] + "/"
        for asset in found.assets
        if asset.uri is not None and "://" in asset.uri
    )
    return folders.most_common(1)[0][0] if folders else found.product.folder


def _product(item: Json, hrefs: Mapping[str, str], uri: str) -> Product:
    """By its files' names, for identifiers of items have parts left out or put on."""
    names = Counter(
        found[0] for href in hrefs.values() if (found := PRODUCT.match(href.rpartition("/")[2]))
    )
    candidates = [name for name, _ in names.most_common(1)]
    identifier = str(item.get("id", ""))
    candidates += [identifier, identifier.removesuffix("_SR").removesuffix("_ST")]
    for candidate in candidates:
        if (named := product(candidate)) is not None:
            return named
    raise BadSource(f"no Landsat product: item {identifier[:60]!r}", uri, _HINT)


def _hrefs(item: Json) -> Iterator[tuple[str, str]]:
    """Assets that are files, by key, by their place in the bucket where the item tells it."""
    for key, asset in item["assets"].items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            continue
        alternate = asset.get("alternate")
        s3 = alternate.get("s3") if isinstance(alternate, dict) else None
        href = s3.get("href") if isinstance(s3, dict) else None
        chosen = href if isinstance(href, str) else in_bucket(asset["href"])
        if "." in chosen.rpartition("/")[2] and not chosen.endswith(".html"):
            yield key, chosen


def _asset(told: Json, href: str, named: Product) -> Asset:
    file_name = href.rpartition("/")[2]
    asset = Asset(asset_name(file_name, named.id), file_name)
    asset.uri = href if "://" in href else None
    bands = told.get("raster:bands")
    band = bands[0] if isinstance(bands, list) and bands and isinstance(bands[0], dict) else {}
    if isinstance(band.get("data_type"), str):
        asset.data_type = band["data_type"].upper()
    scale = band.get("scale")
    if isinstance(scale, int | float) and math.isfinite(scale):
        asset.scale = float(scale)
        offset = band.get("offset", 0)
        asset.offset = float(offset) if isinstance(offset, int | float) else None
        asset.quantity = _quantity(asset.name)
    return asset


def _quantity(name: str) -> str | None:
    if name in ST_SCALES:
        return ST_SCALES[name][0]
    if name.startswith("SR_B"):
        return "surface_reflectance"
    return "surface_temperature" if name.startswith("ST_B") else None


def _number(told: Json, uri: str, *names: str) -> float | None:
    for name in names:
        if told.get(name) is not None:
            return number(told[name], f"{uri}, {name}")
    return None


def _epsg(told: Json, uri: str) -> int | None:
    code = told.get("proj:epsg") or str(told.get("proj:code") or "").removeprefix("EPSG:")
    return int(number(code, f"{uri}, proj:epsg")) if code else None


def _grid(told: Json, uri: str) -> Grid | None:
    epsg = _epsg(told, uri)
    shape, transform = told.get("proj:shape"), told.get("proj:transform")
    if not epsg or not isinstance(shape, list) or not isinstance(transform, list):
        return None
    if len(shape) != 2 or len(transform) not in (6, 9):
        raise BadSource("proj:shape or proj:transform of another length", uri, _HINT)
    lines, samples = (int(number(n, f"{uri}, proj:shape")) for n in shape)
    values = [number(value, f"{uri}, proj:transform") for value in transform]
    if abs(values[0]) > abs(values[1]) > 0:  # GDAL's order, in items of 2018
        values = [values[1], values[2], values[0], values[4], values[5], values[3]]
    if values[0] <= 0 or not (0 < lines < 1e6 and 0 < samples < 1e6):
        raise BadSource(f"an image of {lines} x {samples} pixels of {values[0]} m", uri, _HINT)
    return Grid(epsg, lines, samples, values[0], values[2], values[5])


def _ring(item: Json, uri: str) -> list[tuple[float, float]] | None:
    """The outer ring of a polygon; of several the item's bounds, unrolled, are not enough."""
    outline = item.get("geometry")
    if not isinstance(outline, dict) or outline.get("type") != "Polygon":
        return None
    try:
        places = outline["coordinates"][0]
        ring = [(number(x, uri), number(y, uri)) for x, y, *_ in places[: _MAX_PLACES + 1]]
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise BadSource("the item's geometry is no polygon", uri, _HINT) from error
    if not 4 <= len(ring) <= _MAX_PLACES or not all(
        -360 <= lon <= 360 and -90 <= lat <= 90 for lon, lat in ring
    ):
        raise BadSource("the item's geometry is no outline on earth", uri, _HINT)
    return ring
