"""Points and polygons that a query is asked about: GeoJSON, or a file of GeoJSON or GeoParquet.

Sources: RFC 7946 (GeoJSON: longitude and latitude, WGS 84), GeoParquet 1.1.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakeq.errors import NotFound, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

LIMIT_BYTES = 64 << 20
_NAMES = ("name", "id")  # of columns that name a feature
_WGS84 = (("OGC", "CRS84"), ("EPSG", "4326"))
_GEOMETRIES = ("Point", "Polygon", "MultiPolygon")


def text(given: str) -> str:
    """A FeatureCollection as text, from GeoJSON or from the path of a file.

    A file called .parquet is GeoParquet, others are GeoJSON; one feature or geometry is made a
    collection. Raises `NotFound` for a file that is not there and `UsageError` for what is neither,
    for other geometries than points and polygons, and for coordinates that are not WGS 84.
    """
    if given.lstrip().startswith("{"):
        return _collected(given, "the parameter")
    path = Path(given).expanduser()
    try:
        size = path.stat().st_size
    except OSError as error:
        hint = "write GeoJSON, or the path of a file of GeoJSON or GeoParquet"
        raise NotFound(f"no file {given!r}: {error.strerror}", str(path), hint) from error
    if size > LIMIT_BYTES:
        raise UsageError(
            f"{size:,} bytes, more than {LIMIT_BYTES:,}", str(path), "take a part of it"
        )
    if path.suffix == ".parquet":
        return json.dumps(_of_parquet(path))
    return _collected(path.read_text("utf-8", "replace"), str(path))


def _collected(written: str, where: str) -> str:
    try:
        document = json.loads(written)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"not GeoJSON: {error}", where, "see RFC 7946") from error
    kind = document.get("type") if isinstance(document, dict) else None
    if kind in _GEOMETRIES:
        document = {"type": "Feature", "properties": {}, "geometry": document}
    if kind in (*_GEOMETRIES, "Feature"):
        document = {"type": "FeatureCollection", "features": [document]}
    if not isinstance(document, dict) or not isinstance(document.get("features"), list):
        raise UsageError("not GeoJSON: no FeatureCollection", where, "see RFC 7946")
    _check(document["features"], where)
    return json.dumps(document)


def _check(features: list[Any], where: str) -> None:
    for number, feature in enumerate(features, 1):
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        kind = geometry.get("type") if isinstance(geometry, dict) else None
        if kind not in _GEOMETRIES:
            what = f"feature {number} has the geometry {kind}"
            raise UsageError(what, where, "points and polygons are read")


def _of_parquet(path: Path) -> dict[str, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
        geo = json.loads((table.schema.metadata or {})[b"geo"])
        column = geo["primary_column"]
        told = geo["columns"][column]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not GeoParquet: {error}", str(path), "see geoparquet.org") from error
    if "crs" in told and not _is_wgs84(told["crs"]):  # without one it is
        hint = "save it in longitude and latitude (EPSG:4326)"
        raise UsageError("coordinates of another reference system", str(path), hint)
    if told.get("encoding") != "WKB":
        raise UsageError(
            f"geometries encoded as {told.get('encoding')}", str(path), "save them as WKB"
        )
    features = list(_features(table, column, str(path)))
    _check(features, str(path))
    return {"type": "FeatureCollection", "features": features}


def _is_wgs84(crs: object) -> bool:
    found = crs.get("id") if isinstance(crs, dict) else None
    return isinstance(found, dict) and ((found.get("authority"), str(found.get("code"))) in _WGS84)


def _features(table: pa.Table, column: str, where: str) -> list[dict[str, Any]]:
    try:
        import shapely  # type: ignore[import-untyped]  # it has no types
    except ImportError as error:
        hint = "pip install 'lakeq[geo]'"
        raise UsageError("shapely is not installed", where, hint) from error
    shapes = shapely.to_geojson(shapely.from_wkb(table[column].to_pylist()))
    name = next((name for name in _NAMES if name in table.column_names), None)
    names = table[name].to_pylist() if name else [None] * table.num_rows
    return [
        {
            "type": "Feature",
            "properties": {} if label is None else {"name": str(label)},
            "geometry": json.loads(shape) if shape else None,
        }
        for label, shape in zip(names, shapes, strict=True)
    ]
