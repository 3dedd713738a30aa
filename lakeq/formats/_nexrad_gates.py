"""The gates table: what was measured where, one row per gate with data."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lakeq.formats import _nexrad_kernels as kernels
from lakeq.formats._arrow import numbers
from lakeq.formats._nexrad_geometry import UNITS, Place, knots
from lakeq.formats._nexrad_messages import NAMES, Coding, Run
from lakeq.formats._nexrad_rays import decoded
from lakeq.formats._nexrad_rows import decimals, room, taken, timestamps

if TYPE_CHECKING:
    import pyarrow as pa

    from lakeq.formats._nexrad_volume import Sweep

FIRST_VALUE = {"ccorh": 8}  # codes below say how the clutter filter worked
_DATELINE = 165.0  # from here a radar can see over it


Ints = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Moment:
    """Values of one moment at gates; `known` is a bitmap, as Arrow has them, with `count` ones."""

    values: npt.NDArray[np.float32]
    known: npt.NDArray[np.uint8]
    count: int

    def array(self) -> pa.Array:
        """Them as Arrow has them, NULL where not known."""
        import pyarrow as pa

        nulls = len(self.values) - self.count
        buffers = [pa.py_buffer(self.known) if nulls else None, pa.py_buffer(self.values)]
        return pa.Array.from_buffers(pa.float32(), len(self.values), buffers, nulls)


@dataclass(frozen=True, slots=True)
class Gates:
    """Gates with data of rays of one run that share an axis: `ray` counts within the run.

    `places` is None where nobody knows where the radar stands; its latitudes and longitudes are in
    units of 0.00001 degrees, the latter running on over the dateline.
    """

    rays: npt.NDArray[Any]
    first_ray: int
    ray: Ints
    gate: Ints
    coding: Coding
    values: dict[str, Moment]
    folded: npt.NDArray[np.bool_]
    places: kernels.Places | None

    @property
    def range_m(self) -> Ints:
        """Ranges of the gates' centres."""
        metres = self.gate * np.int32(self.coding.spacing_m)
        metres += np.int32(self.coding.range_m)
        return metres


def gates_of(
    sweep: Sweep, place: Place | None, moments: Collection[str] = NAMES
) -> Iterator[Gates]:
    """The gates of a sweep with data of these moments, by run, axis, ray and range."""
    first = 0
    for run in sweep.runs:
        axes: dict[tuple[int, int], list[str]] = {}
        for name, coding in run.codings.items():
            if name not in moments:
                continue
            axes.setdefault((coding.range_m, coding.spacing_m), []).append(name)
        for names in axes.values():
            if (gates := _gates(run, names, first, place)) is not None:
                yield gates
        first += len(run.rays)


def _gates(run: Run, names: list[str], first: int, place: Place | None) -> Gates | None:
    coding = run.codings[names[0]]
    codes = {name: _plain(run.codes[name]) for name in names}
    widths = {name: run.codes[name].shape[1] for name in names}
    wide = max(widths.values())
    has = np.zeros(len(run.rays) * wide, np.uint8)
    size = 0
    for name in names:
        least = FIRST_VALUE.get(name, kernels.FOLDED)
        size += kernels.with_data(codes[name], widths[name], least, _behind(coding), wide, has)
    if not size:
        return None
    found = kernels.Found(room(size, np.int32), room(size, np.int32), np.zeros(size, np.uint8))
    kernels.places(has, wide, found.ray, found.gate)
    values = {}
    for name in names:
        table, least = _values(run.codings[name]), FIRST_VALUE.get(name, kernels.FOLDED + 1)
        decoded_, known = room(size, np.float32), np.zeros(-(-size // 8), np.uint8)
        count = kernels.decode(codes[name], widths[name], found, table, least, decoded_, known)
        values[name] = Moment(decoded_, known, count)
    where = None if place is None else _positions(run, coding, wide, found, place)
    folded = found.folded.view(bool)
    return Gates(run.rays, first, found.ray, found.gate, coding, values, folded, where)


def _plain(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The codes one behind the other, in the machine's order of bytes."""
    dtype = np.uint8 if codes.dtype.itemsize == 1 else np.uint16
    return np.ascontiguousarray(codes, dtype).ravel()


def _behind(coding: Coding) -> int:
    """How many gates lie behind the radar."""
    return max(0, -(coding.range_m // coding.spacing_m))


@lru_cache(maxsize=64)
def _values(coding: Coding) -> npt.NDArray[np.float32]:
    return decoded(coding)


def _positions(
    run: Run, coding: Coding, wide: int, found: kernels.Found, place: Place
) -> kernels.Places:
    azimuth, elevation = run.rays["azimuth"], run.rays["elevation"]
    known = knots(place, azimuth, elevation, coding.range_m, coding.spacing_m, wide)
    flat = kernels.Knots(*(np.ascontiguousarray(part).ravel() for part in known))
    where = kernels.Places(*(room(len(found.ray), np.int32) for _ in range(3)))
    kernels.positions(found, flat, known[0].shape[1], where)
    return where


def columns(gates: Gates, sweep_number: int) -> dict[str, pa.Array]:
    """The columns of one row per gate."""
    size = len(gates.ray)
    ray = gates.ray
    made = {
        "range_folded": numbers(gates.folded),
        "time": timestamps(taken(gates.rays["time_ms"] * 1000, ray)),
        "sweep_number": numbers(np.full(size, sweep_number, np.uint16)),
        "ray_number": numbers(ray + np.int32(gates.first_ray)),
        "range_m": numbers(gates.range_m),
        "gate_spacing_m": numbers(np.full(size, gates.coding.spacing_m, np.uint16)),
        "azimuth": numbers(taken(np.ascontiguousarray(gates.rays["azimuth"]), ray)),
        "elevation": numbers(taken(np.ascontiguousarray(gates.rays["elevation"]), ray)),
    }
    for name in NAMES:
        if name in gates.values:
            made[name] = gates.values[name].array()
    if gates.places is not None:
        latitude, longitude = gates.places.latitude, east(gates.places.longitude)
        made["latitude"] = decimals(latitude, 8, 5)
        made["longitude"] = decimals(longitude, 8, 5)
        made["altitude_m"] = numbers(gates.places.altitude)
        made["tile"] = numbers(tiles(latitude, longitude))
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
