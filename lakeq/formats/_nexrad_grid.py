"""The grid table: the column of reflectivity over each cell of 0.01 degrees, for one volume."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats._arrow import numbers
from lakeq.formats._nexrad_gates import Gates, east, tiles
from lakeq.formats._nexrad_geometry import UNITS, Place
from lakeq.formats._nexrad_rows import decimals

if TYPE_CHECKING:
    import pyarrow as pa

CELL = UNITS // 100  # of a cell's side, in the units of positions
REACH_DEGREES = 4.6  # a little more than the 500 km that a cell can be away
REACH_M = 500_000
ECHO_TOP_DBZ = 18.0
HAIL_DBZ = 50.0
_NOTHING = -(2**31)

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cells:
    """Gates of one sweep summed up by cell, one entry per cell, in no order.

    `south` and `west` count cells of 0.01 degrees from the equator and Greenwich; `dbzh` is the
    largest, `top` the highest altitude with 18 dBZ (a very negative one where there is none),
    `altitude` the lowest.
    """

    south: Ints
    west: Ints
    gates: Ints
    hail: Ints
    dbzh: Floats
    top: Ints
    altitude: Ints

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """By name."""
        return {part.name: getattr(self, part.name) for part in fields(self)}


def cells_of(gates: Gates) -> Cells | None:
    """The gates of DBZH that have a value and lie within reach, by cell; None without any."""
    if "dbzh" not in gates.values or gates.latitude is None or gates.longitude is None:
        return None
    assert gates.altitude is not None
    values, known = gates.values["dbzh"]
    known = known & (gates.range_m <= REACH_M)
    values, altitude = values[known], gates.altitude[known]
    south, west = gates.latitude[known] // CELL, gates.longitude[known] // CELL
    order = np.argsort(south.astype(np.int64) * 40_000 + west, kind="stable")
    south, west, values, altitude = south[order], west[order], values[order], altitude[order]
    if not len(values):
        return None
    new = np.concatenate([[True], (np.diff(south) != 0) | (np.diff(west) != 0)])
    first = np.flatnonzero(new)
    return Cells(
        south=south[first],
        west=west[first],
        gates=np.diff(np.append(first, len(values))).astype(np.int32),
        hail=np.add.reduceat((values >= HAIL_DBZ).astype(np.int32), first),
        dbzh=np.maximum.reduceat(values, first),
        top=np.maximum.reduceat(
            np.where(values >= ECHO_TOP_DBZ, altitude, np.int32(_NOTHING)), first
        ),
        altitude=np.minimum.reduceat(altitude, first),
    )


class Grid:
    """Gathers the gates of a volume, sweep by sweep, over a box of cells around the radar."""

    def __init__(self, place: Place) -> None:
        widest = min(80.0, abs(place.latitude) + REACH_DEGREES)
        reach_east = REACH_DEGREES / np.cos(np.deg2rad(widest))
        self._south = int(np.floor((place.latitude - REACH_DEGREES) * 100))
        self._west = int(np.floor((place.longitude - reach_east) * 100))
        self._wide = int(2 * reach_east * 100) + 2
        size = (int(2 * REACH_DEGREES * 100) + 2) * self._wide
        self._count: Ints = np.zeros(size, np.int32)
        self._hail: Ints = np.zeros(size, np.int32)
        self._max: Floats = np.full(size, -np.inf, np.float32)
        self._top: Ints = np.full(size, _NOTHING, np.int32)
        self._angle: Floats = np.full(size, np.inf, np.float32)
        self._low: Floats = np.full(size, -np.inf, np.float32)
        self._low_altitude: Ints = np.full(size, -_NOTHING - 1, np.int32)
        self._sweep_low: Floats = np.full(size, -np.inf, np.float32)
        self._sweep_altitude: Ints = np.full(size, -_NOTHING - 1, np.int32)
        self._touched: list[npt.NDArray[np.int64]] = []

    def add(self, gates: Gates) -> None:
        """Take the gates of DBZH that have a value."""
        if "dbzh" not in gates.values or gates.latitude is None or gates.longitude is None:
            return
        values, known = gates.values["dbzh"]
        if int(gates.range_m.max()) > REACH_M:
            known = known & (gates.range_m <= REACH_M)
        values = values[known]
        altitude = gates.altitude[known] if gates.altitude is not None else np.zeros(0, np.int32)
        cell = (gates.latitude[known] // CELL - self._south).astype(np.int64) * self._wide
        cell += gates.longitude[known] // CELL - self._west
        np.add.at(self._count, cell, 1)
        np.maximum.at(self._max, cell, values)
        np.maximum.at(self._sweep_low, cell, values)
        np.minimum.at(self._sweep_altitude, cell, altitude)
        self._touched.append(cell)
        high = values >= ECHO_TOP_DBZ
        np.maximum.at(self._top, cell[high], altitude[high])
        hail = values >= HAIL_DBZ
        np.add.at(self._hail, cell[hail], 1)

    def add_cells(self, cells: Cells) -> None:
        """Take gates that were summed up by cell."""
        cell = (cells.south - self._south).astype(np.int64) * self._wide + (cells.west - self._west)
        np.add.at(self._count, cell, cells.gates)
        np.add.at(self._hail, cell, cells.hail)
        np.maximum.at(self._max, cell, cells.dbzh)
        np.maximum.at(self._sweep_low, cell, cells.dbzh)
        np.minimum.at(self._sweep_altitude, cell, cells.altitude)
        np.maximum.at(self._top, cell, cells.top)
        self._touched.append(cell)

    def end_sweep(self, angle: float) -> None:
        """What `add` took since the last call was the sweep at this angle."""
        if not self._touched:
            return
        seen = np.zeros(len(self._count), bool)
        for part in self._touched:
            seen[part] = True
        cell = np.flatnonzero(seen)
        low, altitude = self._sweep_low[cell], self._sweep_altitude[cell]
        below = angle < self._angle[cell] - 0.1
        same = ~below & (angle < self._angle[cell] + 0.1)
        self._low[cell] = np.where(
            below, low, np.where(same, np.maximum(low, self._low[cell]), self._low[cell])
        )
        self._low_altitude[cell] = np.where(
            below,
            altitude,
            np.where(
                same, np.minimum(altitude, self._low_altitude[cell]), self._low_altitude[cell]
            ),
        )
        self._angle[cell[below]] = angle
        self._sweep_low[cell] = -np.inf
        self._sweep_altitude[cell] = -_NOTHING - 1
        self._touched = []

    def columns(self) -> tuple[dict[str, pa.Array], int]:
        """One row per cell, sorted by tile, latitude, longitude: its columns; and their number."""
        cell = np.flatnonzero(self._count)
        row, column = cell // self._wide, cell % self._wide
        latitude = ((row + self._south) * CELL).astype(np.int32)
        longitude = east(((column + self._west) * CELL).astype(np.int32))
        tile = tiles(latitude, longitude)
        order = np.argsort(tile, kind="stable")
        cell, tile = cell[order], tile[order]
        half = CELL // 2
        top = self._top[cell]
        made = {
            "tile": numbers(tile),
            "latitude": decimals((latitude[order] + half) // 10, 6, 3),
            "longitude": decimals((longitude[order] + half) // 10, 6, 3),
            "dbzh_max": numbers(self._max[cell]),
            "dbzh_low": numbers(self._low[cell]),
            "low_altitude_m": numbers(self._low_altitude[cell]),
            "echo_top_m": numbers(top, top != _NOTHING),
            "gates": numbers(self._count[cell]),
            "gates_50dbz": numbers(self._hail[cell]),
        }
        return made, len(cell)
