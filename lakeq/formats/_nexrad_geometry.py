"""Where gates are: the 4/3 earth model and the azimuthal equidistant projection of Py-ART.

Source: Doviak and Zrnic (1993), Doppler Radar and Weather Observations, equations 2.28b and c,
with an earth of 6,371 km; the inverse projection is Snyder (1987), Map Projections, section 25.
Along a ray latitude, longitude and altitude are smooth: they are computed at every 32nd gate
and parabolas lead from one to the next, which is off by less than 1e-6 degrees and 1 cm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lakeq.formats._nexrad_kernels import BLOCK

EARTH_M = 6_371_000.0
EFFECTIVE_M = EARTH_M * 4 / 3
SPHERE_M = 6_370_997.0  # of the projection: the sphere that Py-ART takes
UNITS = 100_000  # of latitude and longitude in a degree

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a radar is: degrees north and east, metres above mean sea level."""

    latitude: float
    longitude: float
    altitude_m: float


def exact(place: Place, azimuth: Floats, elevation: Floats, range_m: Floats) -> tuple[Floats, ...]:
    """Latitude, longitude (running on over 180) and altitude (m) of points seen from `place`.

    Arrays broadcast against each other; angles are in degrees.
    """
    up, around = np.deg2rad(elevation), np.deg2rad(azimuth)
    height = np.sqrt(range_m**2 + EFFECTIVE_M**2 + 2 * range_m * EFFECTIVE_M * np.sin(up))
    arc = EFFECTIVE_M * np.arcsin(range_m * np.cos(up) / height) / SPHERE_M
    north, south = np.sin(np.deg2rad(place.latitude)), np.cos(np.deg2rad(place.latitude))
    sine, cosine = np.sin(arc), np.cos(arc)
    latitude = np.arcsin(cosine * north + sine * south * np.cos(around))
    east = np.arctan2(sine * np.sin(around), south * cosine - north * sine * np.cos(around))
    longitude = place.longitude + np.rad2deg(east)
    above = height - EFFECTIVE_M + place.altitude_m
    return _floats(np.rad2deg(latitude)), _floats(longitude), _floats(above)


def _floats(values: npt.NDArray[np.floating[Any]]) -> Floats:
    return values.astype(np.float64, copy=False)


def knots(
    place: Place,
    azimuth: npt.NDArray[np.float32],
    elevation: npt.NDArray[np.float32],
    first_m: int,
    spacing_m: int,
    gates: int,
) -> tuple[Floats, Floats, Floats]:
    """Latitude, longitude and altitude at every half block of gates: a row a ray.

    In units of 0.00001 degrees and in metres. Longitudes run on over 180 degrees.
    """
    blocks = -(-gates // BLOCK)
    ranges = first_m + spacing_m * (BLOCK // 2) * np.arange(2 * blocks + 1, dtype=np.float64)
    latitude, longitude, altitude = exact(
        place,
        azimuth.astype(np.float64)[:, None],
        elevation.astype(np.float64)[:, None],
        ranges[None, :],
    )
    return latitude * UNITS, longitude * UNITS, altitude
