"""The gates table: what was measured where, one row per gate with data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats._arrow import numbers
from lakeq.formats._nexrad_geometry import UNITS, Place, along
from lakeq.formats._nexrad_messages import NAMES, Coding, Run
from lakeq.formats._nexrad_rays import decoded
from lakeq.formats._nexrad_rows import decimals, taken, timestamps

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.formats._nexrad_volume import Sweep

FOLDED = 1  # the code that says range-folded
FIRST_VALUE = {"ccorh": 8}  # codes below say how the clutter filter worked
_DATELINE = 165.0  # from here a radar can see over it


@dataclass(frozen=True, slots=True)
class Gates:
    """Gates with data of rays of one run that share an axis: `ray` counts within the sweep.

    Positions are None where nobody knows where the radar stands; `latitude` and `longitude` are
    in units of 0.0001 degrees, the latter running on over the dateline.
    """

    rays: npt.NDArray[Any]
    first_ray: int
    ray: npt.NDArray[np.int64]
    gate: npt.NDArray[np.int64]
    coding: Coding
    values: dict[str, tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]]
    folded: npt.NDArray[np.bool_]
    latitude: npt.NDArray[np.int32] | None
    longitude: npt.NDArray[np.int32] | None
    altitude: npt.NDArray[np.int32] | None

    @property
    def range_m(self) -> npt.NDArray[np.int32]:
        """Ranges of the gates' centres."""
        metres = self.coding.range_m + self.gate * self.coding.spacing_m
        return metres.astype(np.int32)


def gates_of(sweep: Sweep, place: Place | None) -> Iterator[Gates]:
    """The gates of a sweep, run by run and axis by axis, in order of ray and range."""
    first = 0
    for run in sweep.runs:
        axes: dict[tuple[int, int], list[str]] = {}
        for name, coding in run.codings.items():
            axes.setdefault((coding.range_m, coding.spacing_m), []).append(name)
        for names in axes.values():
            if (gates := _gates(run, names, first, place)) is not None:
                yield gates
        first += len(run.rays)


def _gates(run: Run, names: list[str], first: int, place: Place | None) -> Gates | None:
    coding = run.codings[names[0]]
    width = max(run.codes[name].shape[1] for name in names)
    has = np.zeros((len(run.rays), width), bool)
    codes = {name: _plain(run.codes[name], width) for name in names}
    for name, plain in codes.items():
        has |= plain >= FIRST_VALUE.get(name, FOLDED)
    has[:, : _behind(coding)] = False
    at = np.flatnonzero(has)
    if not len(at):
        return None
    ray = np.repeat(np.arange(len(run.rays)), np.count_nonzero(has, axis=1))
    folded = np.zeros(len(at), bool)
    values = {}
    for name, plain in codes.items():
        found = plain.ravel()[at]
        if name not in FIRST_VALUE:
            folded |= found == FOLDED
        known = found >= FIRST_VALUE.get(name, FOLDED + 1)
        values[name] = (taken(_values(run.codings[name]), found), known)
    latitude = longitude = altitude = None
    if place is not None:
        latitude, longitude, altitude = _positions(run, coding, width, at, place)
    return Gates(
        run.rays, first, ray, at - ray * width, coding, values, folded,
        latitude, longitude, altitude,
    )  # fmt: skip


def _plain(codes: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """The codes as a block of its own with `width` columns; 0 where a ray ends before."""
    dtype = np.uint8 if codes.dtype.itemsize == 1 else np.uint16
    if codes.shape[1] == width:
        return np.ascontiguousarray(codes, dtype)
    plain = np.zeros((len(codes), width), dtype)
    plain[:, : codes.shape[1]] = codes
    return plain


def _behind(coding: Coding) -> int:
    """How many gates lie behind the radar."""
    return max(0, -(coding.range_m // coding.spacing_m))


@lru_cache(maxsize=64)
def _values(coding: Coding) -> npt.NDArray[np.float32]:
    return decoded(coding)


def _positions(
    run: Run, coding: Coding, width: int, at: npt.NDArray[np.int64], place: Place
) -> tuple[npt.NDArray[np.int32], ...]:
    azimuth, elevation = run.rays["azimuth"], run.rays["elevation"]
    everywhere = along(place, azimuth, elevation, coding.range_m, coding.spacing_m, width)
    return tuple(taken(values.ravel(), at) for values in everywhere)


def columns(gates: Gates, sweep_number: int) -> dict[str, pa.Array]:
    """The columns of one row per gate."""
    size = len(gates.ray)
    ray = gates.ray
    made = {
        "range_folded": numbers(gates.folded),
        "time": timestamps(taken(gates.rays["time_ms"] * 1000, ray)),
        "sweep_number": numbers(np.full(size, sweep_number, np.int32)),
        "ray_number": numbers((ray + gates.first_ray).astype(np.int32)),
        "range_m": numbers(gates.range_m),
        "gate_spacing_m": numbers(np.full(size, gates.coding.spacing_m, np.int32)),
        "azimuth": numbers(taken(np.ascontiguousarray(gates.rays["azimuth"]), ray)),
        "elevation": numbers(taken(np.ascontiguousarray(gates.rays["elevation"]), ray)),
    }
    for name in NAMES:
        if name in gates.values:
            made[name] = numbers(*gates.values[name])
    if gates.latitude is not None and gates.longitude is not None and gates.altitude is not None:
        longitude = east(gates.longitude)
        made["latitude"] = decimals(gates.latitude, 7, 4)
        made["longitude"] = decimals(longitude, 7, 4)
        made["altitude_m"] = numbers(gates.altitude)
        made["tile"] = numbers(tiles(gates.latitude, longitude))
    return made


def east(longitude: npt.NDArray[np.int32], units: int = UNITS) -> npt.NDArray[np.int32]:
    """Longitudes in units of a degree, brought back over the dateline."""
    if not len(longitude) or abs(int(longitude[0])) < _DATELINE * units:
        return longitude
    back: npt.NDArray[np.int32] = (longitude + 180 * units) % (360 * units) - 180 * units
    return back


def tiles(
    latitude: npt.NDArray[np.int32], longitude: npt.NDArray[np.int32]
) -> npt.NDArray[np.int32]:
    """Numbers of the squares of 0.1 degrees, as the catalog has them."""
    tenth = UNITS // 10
    made: npt.NDArray[np.int32] = (latitude // tenth + 900) * 3600 + longitude // tenth + 1800
    return made
