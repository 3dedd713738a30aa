"""Footprints of scenes: outlines in longitude and latitude, split at the antimeridian, as WKB.

Sources: OGC Simple Features, well-known binary; GeoParquet 1.1 (edges planar, counterclockwise,
split at 180 degrees after RFC 7946, 3.1.9); the Worldwide Reference Systems (USGS): WRS-2 has 233
paths of 248 rows in 16 days, path 1 crossing the equator at 64.60 W, WRS-1 251 paths in 18 days,
path 1 at 65.48 W.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import asin, atan2, cos, degrees, floor, hypot, isfinite, pi, radians, sin, tan

import numpy as np

from lakeq import projections

Place = tuple[float, float]  # longitude, latitude
Ring = list[Place]

CELL_DEGREES = 5
SIDE_POINTS = 8  # of the outline of an image, which is no straight line in degrees
_BOUNDS_POINTS = 64
_ROWS, _EQUATOR_ROW = 248, 60
_EARTH_RADIUS_KM = 6371.0088
_ACROSS_KM = (
    100.0  # half of a scene and what the orbit strays; real ones lie inside to 95 % and more
)
_ALONG_KM = 98.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Where a scene lies: WKB, its bounds, and from where in the west to where in the east.

    `bounds` are those of the geometry (west, south, east, north), -180 to 180 where it was split;
    then `west` is greater than `east`.
    """

    wkb: bytes
    bounds: tuple[float, float, float, float]
    west: float
    east: float
    centre: Place

    @property
    def cell(self) -> int:
        """The cell of 5 degrees that the centre lies in, row by row from 180 W, 90 S."""
        return cell_of(*self.centre)


def cell_of(lon: float, lat: float) -> int:
    """The number, 0 to 2591, of the cell of 5 degrees of a place."""
    columns, rows = 360 // CELL_DEGREES, 180 // CELL_DEGREES
    column = min(max(floor((lon + 180) / CELL_DEGREES), 0), columns - 1)
    row = min(max(floor((lat + 90) / CELL_DEGREES), 0), rows - 1)
    return row * columns + column


def of_image(epsg: int, bounds: tuple[float, float, float, float]) -> Footprint:
    """The footprint of an image of these outer bounds (west, south, east, north) in its own system.

    `ValueError` for a system that no product has.
    """
    dense = _outline(epsg, bounds, _BOUNDS_POINTS)
    return of_ring(_outline(epsg, bounds, SIDE_POINTS), dense)


def _outline(epsg: int, bounds: tuple[float, float, float, float], points: int) -> Ring:
    west, south, east, north = bounds
    step = np.linspace(0, 1, points, endpoint=False)
    across, up = west + (east - west) * step, south + (north - south) * step
    x = np.concatenate([across, np.full(points, east), across[::-1] + (east - west) / points,
                        np.full(points, west)])  # fmt: skip
    y = np.concatenate([np.full(points, south), up, np.full(points, north),
                        up[::-1] + (north - south) / points])  # fmt: skip
    lon, lat = projections.of_epsg(epsg).to_lonlat(x, y)
    return list(zip(lon.tolist(), lat.tolist(), strict=True))


def of_ring(ring: Sequence[Place], dense: Sequence[Place] = ()) -> Footprint:
    """The footprint that a ring of places encloses; `dense` is the same ring with more of them.

    A step of more than 180 degrees crosses the antimeridian; a ring around a pole has it inside.
    """
    if not all(map(isfinite, (number for place in [*ring, *dense] for number in place))):
        raise ValueError("its outline is not finite")
    open_ = _unrolled(ring)
    parts = _split(open_)
    wide = _unrolled(dense or ring)
    lons, lats = [lon for lon, _ in wide], [lat for _, lat in wide]
    low, high = min(lons), max(lons)
    parted = len(parts) > 1
    west, east = (-180.0, 180.0) if high - low >= 360 else (_wrap(low), _wrap(high, upper=True))
    lon_bounds = (-180.0, 180.0) if parted or high - low >= 360 else (west, east)
    bounds = (lon_bounds[0], min(lats), lon_bounds[1], max(lats))
    centre = (_wrap((low + high) / 2), (min(lats) + max(lats)) / 2)
    return Footprint(_wkb(parts), bounds, west, east, centre)


def is_convex(ring: Sequence[Place]) -> bool:
    """Whether a ring turns one way all along, as the outline of a scene does.

    Some STAC items of scenes across the antimeridian have a corner in the wrong place.
    """
    places = _unrolled(ring)
    turns = set()
    for number, (lon, lat) in enumerate(places):
        (lon_1, lat_1), (lon_2, lat_2) = places[number - 2], places[number - 1]
        turns.add((lon_2 - lon_1) * (lat - lat_2) > (lat_2 - lat_1) * (lon - lon_2))
    return len(turns) == 1


def _wrap(lon: float, *, upper: bool = False) -> float:
    """Degrees brought into -180 to 180; `upper` keeps 180 as it is."""
    if upper and -180 < lon <= 180:
        return lon
    return lon if -180 <= lon < 180 else (lon + 180) % 360 - 180


def _unrolled(ring: Sequence[Place]) -> Ring:
    """The places in turn, without the repeated last, with longitudes that never jump.

    A ring that goes around a pole is led over it.
    """
    places = list(ring[:-1]) if len(ring) > 1 and ring[0] == ring[-1] else list(ring)
    found: Ring = []
    for lon, lat in places:
        turned = lon if not found else lon + 360 * round((found[-1][0] - lon) / 360)
        found.append((turned, lat))
    turn = round((found[-1][0] - found[0][0] - _short(found[-1][0], found[0][0])) / 360) * 360
    if turn:
        pole = 90.0 if sum(lat for _, lat in found) > 0 else -90.0
        first, last = found[0], found[0][0] + turn
        found += [(last, first[1]), (last, pole), (first[0], pole)]
    shift = 360 * floor((min(lon for lon, _ in found) + 180) / 360)
    return [(lon - shift, lat) for lon, lat in found]


def _short(lon: float, other: float) -> float:
    """From `other` to `lon` the short way."""
    return (lon - other + 180) % 360 - 180


def _split(ring: Ring) -> list[Ring]:
    """The ring, or where it passes 180 degrees its parts on both sides, each within -180 to 180."""
    if max(lon for lon, _ in ring) <= 180:
        return [ring]
    parts = [_clipped(ring, 180.0, below=True)]
    beyond = _clipped(ring, 180.0, below=False)
    parts.append([(lon - 360, lat) for lon, lat in beyond])
    return [part for part in parts if len(part) > 2]


def _clipped(ring: Ring, limit: float, *, below: bool) -> Ring:
    """Sutherland and Hodgman: what lies on one side of a meridian."""
    found: Ring = []
    for number, (lon, lat) in enumerate(ring):
        before_lon, before_lat = ring[number - 1]
        inside, was_inside = ((x <= limit) == below or x == limit for x in (lon, before_lon))
        if inside != was_inside:
            at = (limit - before_lon) / (lon - before_lon)
            found.append((limit, before_lat + at * (lat - before_lat)))
        if inside:
            found.append((lon, lat))
    return [place for number, place in enumerate(found) if place != found[number - 1]]


def _wkb(parts: Sequence[Ring]) -> bytes:
    polygons = [_polygon(part) for part in parts]
    if len(polygons) == 1:
        return polygons[0]
    return struct.pack("<BII", 1, 6, len(polygons)) + b"".join(polygons)


def _polygon(ring: Ring) -> bytes:
    area = sum(
        ring[number - 1][0] * lat - lon * ring[number - 1][1]
        for number, (lon, lat) in enumerate(ring)
    )
    turned = ring if area > 0 else ring[::-1]
    numbers = [number for place in [*turned, turned[0]] for number in place]
    return struct.pack("<BIII", 1, 3, 1, len(turned) + 1) + struct.pack(
        f"<{len(numbers)}d", *numbers
    )


@dataclass(frozen=True, slots=True)
class _Grid:
    paths: int
    days: int
    first_lon: float  # where path 1 crosses the equator southwards
    inclination: float

    @property
    def drift(self) -> float:
        """What the earth turns while the satellite goes one degree, in degrees."""
        return self.days / self.paths


_GRIDS = {1: _Grid(251, 18, -65.48, 99.092), 2: _Grid(233, 16, -64.60, 98.2096)}


def _track(grid: _Grid, path: int, angle: float) -> Place:
    """The place under the satellite `angle` degrees after it crossed the equator southwards."""
    gone, tilt = radians(angle), radians(grid.inclination)
    node = grid.first_lon - (path - 1) * 360 / grid.paths
    lon = node + degrees(atan2(cos(tilt) * sin(gone), cos(gone))) - angle * grid.drift
    geocentric = -asin(sin(gone) * sin(tilt))
    return lon, degrees(atan2(tan(geocentric), 1 - projections.E2))


@lru_cache(maxsize=1 << 16)
def of_path_row(wrs_type: int, path: int, row: int) -> Footprint | None:
    """The nominal footprint of a path and row; None where the grid has none.

    Scenes lie within some 10 km of it, most within 5.
    """
    grid = _GRIDS.get(wrs_type)
    if grid is None or not (1 <= path <= grid.paths and 1 <= row <= _ROWS):
        return None
    angle = (row - _EQUATOR_ROW) * 360 / _ROWS
    lon, lat = _track(grid, path, angle)
    before, after = _track(grid, path, angle - 0.01), _track(grid, path, angle + 0.01)
    east = _short(after[0], before[0]) * cos(radians(lat))
    heading = atan2(east, after[1] - before[1])
    along, across = _ALONG_KM, _ACROSS_KM
    corners = [(-across, along), (across, along), (across, -along), (-across, -along)]
    return of_ring([_moved(_wrap(lon), lat, heading, *corner) for corner in corners])


def _moved(lon: float, lat: float, heading: float, right_km: float, ahead_km: float) -> Place:
    """The place so far to the right and ahead of another, on a sphere."""
    bearing = heading + atan2(right_km, ahead_km)
    arc = hypot(right_km, ahead_km) / _EARTH_RADIUS_KM
    start = radians(lat)
    sine = sin(start) * cos(arc) + cos(start) * sin(arc) * cos(bearing)
    end = asin(max(-1.0, min(1.0, sine)))
    turned = atan2(sin(bearing) * sin(arc) * cos(start), cos(arc) - sin(start) * sine)
    return (lon + degrees(turned) + 180) % 360 - 180, end * 180 / pi
