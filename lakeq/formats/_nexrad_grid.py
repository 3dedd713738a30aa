"""The grid table: the column of reflectivity over each cell of 0.01 degrees, for one volume."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats import _nexrad_kernels as kernels
from lakeq.formats._arrow import numbers
from lakeq.formats._nexrad_gates import Gates, east, tiles
from lakeq.formats._nexrad_geometry import UNITS, Place
from lakeq.formats._nexrad_rows import decimals

if TYPE_CHECKING:
    import pyarrow as pa

CELL = UNITS // 100  # of a cell's side, in the units of positions
REACH_DEGREES = 4.6  # a little more than the 500 km that a cell can be away
REACH_M = 500_000
ECHO_TOP_DBZ = kernels.ECHO_TOP_DBZ
HAIL_DBZ = kernels.HAIL_DBZ
_NOTHING = kernels.NOTHING
_THOUSANDTH = UNITS // 1000

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
    if "dbzh" not in gates.values or gates.places is None:
        return None
    moment = gates.values["dbzh"]
    known = np.unpackbits(moment.known, count=len(moment.values), bitorder="little").view(bool)
    known &= gates.range_m <= REACH_M
    values, altitude = moment.values[known], gates.places.altitude[known]
    south, west = gates.places.latitude[known] // CELL, gates.places.longitude[known] // CELL
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
        self._box = kernels.Box(
            place=np.array([self._south, self._west, self._wide], np.int32),
            gates=np.zeros(size, np.int32),
            hail=np.zeros(size, np.int32),
            most=np.full(size, -np.inf, np.float32),
            top=np.full(size, _NOTHING, np.int32),
            low=np.full(size, -np.inf, np.float32),  # of the sweep, as the next two
            low_altitude=np.full(size, -_NOTHING - 1, np.int32),
            seen=np.zeros(size, np.uint8),
        )
        self._angle: Floats = np.full(size, np.inf, np.float32)
        self._low: Floats = np.full(size, -np.inf, np.float32)
        self._low_altitude: Ints = np.full(size, -_NOTHING - 1, np.int32)

    def add(self, gates: Gates) -> None:
        """Take the gates of DBZH that have a value."""
        if "dbzh" not in gates.values or gates.places is None:
            return
        moment, coding = gates.values["dbzh"], gates.coding
        last = (REACH_M - coding.range_m) // coding.spacing_m
        kernels.add_gates(
            gates.gate, last, moment.values, moment.known, gates.places, CELL, self._box
        )

    def add_cells(self, cells: Cells) -> None:
        """Take gates that were summed up by cell."""
        cell = (cells.south - self._south).astype(np.int64) * self._wide + (cells.west - self._west)
        np.add.at(self._box.gates, cell, cells.gates)
        np.add.at(self._box.hail, cell, cells.hail)
        np.maximum.at(self._box.most, cell, cells.dbzh)
        np.maximum.at(self._box.low, cell, cells.dbzh)
        np.minimum.at(self._box.low_altitude, cell, cells.altitude)
        np.maximum.at(self._box.top, cell, cells.top)
        self._box.seen[cell] = 1

    def end_sweep(self, angle: float) -> None:
        """What `add` took since the last call was the sweep at this angle."""
        cell = np.flatnonzero(self._box.seen)
        low, altitude = self._box.low[cell], self._box.low_altitude[cell]
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
        self._box.low[cell] = -np.inf
        self._box.low_altitude[cell] = -_NOTHING - 1
        self._box.seen[cell] = 0

    def columns(self) -> tuple[dict[str, pa.Array], int]:
        """One row per cell, sorted by tile, latitude, longitude: its columns; and their number."""
        cell = np.flatnonzero(self._box.gates)
        row, column = cell // self._wide, cell % self._wide
        latitude = ((row + self._south) * CELL).astype(np.int32)
        longitude = east(((column + self._west) * CELL).astype(np.int32))
        tile = tiles(latitude, longitude)
        order = np.argsort(tile, kind="stable")
        cell, tile = cell[order], tile[order]
        half = CELL // 2
        top = self._box.top[cell]
        made = {
            "tile": numbers(tile),
            "latitude": decimals((latitude[order] + half) // _THOUSANDTH, 6, 3),
            "longitude": decimals((longitude[order] + half) // _THOUSANDTH, 6, 3),
            "dbzh_max": numbers(self._box.most[cell]),
            "dbzh_low": numbers(self._low[cell]),
            "low_altitude_m": numbers(self._low_altitude[cell]),
            "echo_top_m": numbers(top, top != _NOTHING),
            "gates": numbers(self._box.gates[cell]),
            "gates_50dbz": numbers(self._box.hail[cell]),
        }
        return made, len(cell)
